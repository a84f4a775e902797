"""The checks themselves: maps of the trained network beside those of a random network, picture or class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from onnx_saliency.errors import ImageError, MetricError
from onnx_saliency.evaluation.arrays import as_map
from onnx_saliency.evaluation.sanity.randomisation import STAGES, Forgetful
from onnx_saliency.evaluation.sanity.result import Checked, Sanity
from onnx_saliency.evaluation.sanity.similarity import Traits, compare
from onnx_saliency.evaluation.sanity.verdict import THRESHOLD
from onnx_saliency.explain import Explainer, with_settings
from onnx_saliency.exporter import Method, find_method
from onnx_saliency.graph import ModelSource

Floats = npt.NDArray[np.float64]
Images = npt.NDArray[Any]
Targets = npt.NDArray[np.int64]
Mapper = Callable[[onnx.ModelProto, Images, Targets], npt.NDArray[np.floating[Any]]]
"""A method of one's own: a model, images in its own form and classes in, maps (N, H, W) out."""

METHODS = ("gradient", "guided", "deconvnet")


@dataclass(frozen=True)
class _Maps:
    """One an image: as explained, and with sign; None of methods without one."""

    values: list[Traits]
    signed: list[Traits] | None

    def likeness(self, others: _Maps) -> Floats:
        """All measures of each picture's two maps, (N, measures)."""
        rows = []
        for i, (first, second) in enumerate(zip(self.values, others.values, strict=True)):
            both = None if self.signed is None or others.signed is None else (self.signed[i], others.signed[i])
            rows.append(compare(first, second, both))
        return np.array(rows, np.float64)


def check_sanity(
    model: ModelSource | Explainer,
    images: Any,
    *,
    methods: Sequence[str | Method | Mapper] = METHODS,
    stages: int = STAGES,
    independent: bool = True,
    draw: str = "normal",
    seed: int = 0,
    threshold: float = THRESHOLD,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Sanity:
    """Randomise a network, its input and its target, and measure how far the maps follow.

    Every map explains the class that the trained network predicts, but where the target is what is randomised. That is
    another class, drawn at random, of the trained network: the test of Adebayo et al. with random labels trains the
    network again, which a file does not allow.

    Args:
        model: path, bytes, onnx.ModelProto or onnx_ir.Model; or an `Explainer` of it, whose settings are taken.
        images: pictures, or an array in the network's own form.
        methods: names, `Method`s with their options, or functions of model, images and classes that return maps.
        stages: in how many steps the layers are randomised.
        independent: whether stages are randomised alone, too.
        draw: "normal", of the weights' own spread, or "permutation" of them.
        seed: of weights, shuffled pixels and other classes.
        threshold: of the verdict, above 0 and at most 1.
        progress: told how many randomised models and inputs are done, and how many there are.
        settings: of `Explainer`, such as `preprocess` and `threads`.

    Raises:
        ModelError: the model cannot be read or explained, has no weights, or computes NaN once they are random.
        ImageError: no pictures, or one that cannot be read.
        MethodError: no such method.
        MetricError: an option out of range, a method twice, or invalid maps.

    Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps".
    """
    if not 0 < threshold <= 1:
        raise MetricError(f"a threshold is above 0 and at most 1; found {threshold}")
    mappers = _name_all(methods)
    source, given = with_settings(model, settings)
    trained = Explainer(source, **given)
    forgetful = Forgetful(source, stages=stages, draw=draw, seed=seed, input=trained.input, output=given.get("output"))
    array, names = _read(trained, images)
    first = trained.explain(array)
    other = _other_classes(first.target, first.logits.shape[1], seed)
    # Explained again and again, so nothing of it is worth keeping on disk.
    given |= {"preprocess": trained.preprocess, "labels": None, "cache": False}
    depth = range(1, len(forgetful.stages) + 1)
    total = len(depth) * (2 if independent else 1) + (2 if other is None else 3)
    done = 0

    def maps(graph: ir.Model, some: Images = array, classes: Targets = first.target) -> list[_Maps]:
        nonlocal done
        found = [_explain(graph, mapper, some, classes, given) for mapper in mappers.values()]
        done += 1
        if progress is not None:
            progress(done, total)
        return found

    whole = forgetful.cascading(0)
    reference = maps(whole)

    def likeness(found: list[_Maps]) -> list[Floats]:
        return [before.likeness(after) for before, after in zip(reference, found, strict=True)]

    shown, cascading = [[each.values[0].values for each in reference]], []
    for count in depth:
        found = maps(forgetful.cascading(count))
        cascading.append(likeness(found))
        shown.append([each.values[0].values for each in found])
    alone = [likeness(maps(forgetful.independent(count - 1))) for count in depth if independent]
    shuffled = likeness(maps(whole, _shuffle(array, trained.layout, seed)))
    unknown = [np.full(rows.shape, np.nan) for rows in shuffled]
    elsewhere = unknown if other is None else likeness(maps(whole, array, other))
    checked = tuple(
        Checked(
            method=name,
            cascading=np.stack([rows[place] for rows in cascading]),
            independent=np.stack([rows[place] for rows in alone]) if alone else np.zeros((0, *shuffled[place].shape)),
            input=shuffled[place],
            target=elsewhere[place],
            shown=np.stack([values[place] for values in shown]).astype(np.float32),
        )
        for place, name in enumerate(mappers)
    )
    return Sanity(checked, forgetful.stages, first.target, names, threshold, draw, seed)


def _name_all(methods: Sequence[str | Method | Mapper]) -> dict[str, Method | Mapper]:
    """Methods by name; raises MethodError and MetricError."""
    found: dict[str, Method | Mapper] = {}
    for each in methods:
        mapper = find_method(each) if isinstance(each, str | Method) else each
        name = mapper.name if isinstance(mapper, Method) else getattr(mapper, "__name__", repr(mapper))
        if name in found:
            raise MetricError(f"each method is checked once; found {name!r} twice")
        found[name] = mapper
    if not found:
        raise MetricError("a check wants one method or more; found none")
    return found


def _read(explainer: Explainer, images: Any) -> tuple[Images, tuple[str, ...]]:
    """Images in the network's own form, and their names."""
    if not isinstance(images, np.ndarray):
        array, pictures, _ = explainer.prepare(images)
        return array, tuple(picture.name for picture in pictures)
    if not images.ndim or not len(images):
        raise ImageError("No pictures were given.")
    batch = images[None] if images.ndim == 3 else images
    return batch, tuple(map(str, range(len(batch))))


def _shuffle(images: Images, layout: str, seed: int) -> Images:
    """The pixels of each image in another order, their colours whole."""
    channels_last = np.moveaxis(images, 1, 3) if layout == "NCHW" else images
    flat = channels_last.reshape(len(images), -1, channels_last.shape[3])
    shuffled = np.stack(
        [pixels[np.random.default_rng([seed, i]).permutation(len(pixels))] for i, pixels in enumerate(flat)]
    )
    placed = shuffled.reshape(channels_last.shape)
    return np.ascontiguousarray(np.moveaxis(placed, 3, 1) if layout == "NCHW" else placed)


def _other_classes(targets: Targets, classes: int, seed: int) -> Targets | None:
    """Another class for each image; None where there is no other."""
    if classes < 2:
        return None
    return (targets + np.random.default_rng(seed).integers(1, classes, len(targets))) % classes


def _explain(
    graph: ir.Model, mapper: Method | Mapper, images: Images, targets: Targets, settings: dict[str, Any]
) -> _Maps:
    if isinstance(mapper, Method):
        explainer = Explainer(graph, method=mapper, **settings)
        found = explainer.explain(images, targets)
        channels = 1 if explainer.layout == "NCHW" else 3
        signed = None if found.gradient is None else found.gradient.sum(axis=channels, dtype=np.float64)
        return _Maps(_traits(found.saliency), None if signed is None else _traits(signed))
    values = np.asarray(mapper(ir.to_proto(graph), images, targets), np.float64)
    if values.ndim != 3 or len(values) != len(images):
        raise MetricError(f"a method returns a map (H, W) an image, ({len(images)}, H, W); found {values.shape}")
    return _Maps(_traits(values), None)


def _traits(maps: npt.NDArray[np.floating[Any]]) -> list[Traits]:
    return [Traits(as_map(values)) for values in maps]
