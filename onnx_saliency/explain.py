"""Model and pictures in, maps out: `Explainer` and `Explanation`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.backward import profile_for
from onnx_saliency.errors import ImageError, ModelError, SaliencyError, TargetError
from onnx_saliency.exporter import (
    Cosine,
    Method,
    Options,
    Score,
    find_method,
    rewrite,
    warn_of_method,
)
from onnx_saliency.exporter.cache import user_cache
from onnx_saliency.exporter.explained import AGAINST, CHOSEN, GAP, LOGITS, SALIENCY, TARGET, VALUE, Precision
from onnx_saliency.graph import ModelSource
from onnx_saliency.images import Picture, Placement, Preprocess, prepare, read_picture
from onnx_saliency.images.choice import DEFAULT_SIZE, LabelChoice, PreprocessChoice, choose_labels, choose_preprocess
from onnx_saliency.numeric import is_integer
from onnx_saliency.probability import probabilities
from onnx_saliency.runtime import (
    Batches,
    CudaOptions,
    RunMemory,
    Session,
    first_provider,
    share_of_threads,
    usable_cores,
)
from onnx_saliency.runtime import memory_limit as parse_limit
from onnx_saliency.targets import PREDICTED, TargetReader, Targets


@dataclass(frozen=True)
class Explanation:
    """The explanation of a batch: one row per image, or one per image and class.

    Attributes:
        saliency: float32 (N, H, W), >= 0: max over colour channels of |gradient| (paper, section 3), or the
            method's own map.
        gradient: float32, the shape and layout of the network's image input, signed: dS_c/dI, or what the method makes
            of it; None of class activation maps.
        logits: float32 (N, classes), before any final Softmax or Sigmoid.
        target: int64 (N,), the class explained, or the channel.
        score: float32 (N,), the value of what is explained.
        source: int64 (N,), which of the images a row explains.
        gap: float32 (N,), of integrated gradients: what its points miss of the score's change, as a fraction of it,
            before that is made up for; None of other methods.
        notes: what to know before comparing methods.
        pictures: the pictures, where pictures were given, one per row.
        placements: where each picture went into the network's input, one per row.
        activation: what the network ends in, "Softmax", "LogSoftmax" or "Sigmoid"; None where it ends in the logits.
    """

    saliency: npt.NDArray[np.float32]
    gradient: npt.NDArray[np.float32] | None
    logits: npt.NDArray[np.float32]
    target: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]
    source: npt.NDArray[np.int64]
    gap: npt.NDArray[np.float32] | None = None
    notes: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    placements: tuple[Placement, ...] = ()
    activation: str | None = None

    def __len__(self) -> int:
        return len(self.saliency)

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """Of the classes, (N, classes): the sigmoid of each logit of a network that ends in Sigmoid, else a softmax."""
        return probabilities(self.logits, self.activation)

    @cached_property
    def maps(self) -> tuple[npt.NDArray[np.float32], ...]:
        """The saliency in each picture's own pixels (H, W), resize and crop undone; 0 where nothing was seen.

        Of an array, which has no picture, the saliency as it is.
        """
        if not self.placements:
            return tuple(self.saliency)
        return tuple(place.restore(values) for place, values in zip(self.placements, self.saliency, strict=True))


class Explainer:
    """Saliency maps of one classifier; the model is rewritten and the session built once.

    Args:
        model: path, bytes, onnx.ModelProto or onnx_ir.Model.
        method: a name of `METHODS`, such as "gradient" (Simonyan et al. 2013, section 3), or a `Method` with its
            options, such as `SmoothGrad(samples=50)`.
        providers: "cuda", "cpu" or ONNX Runtime's names, best first; None takes CUDA where it works.
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.
        preprocess: a `Preprocess` or the name of a preset; None takes what the model stores, else
            the preset "inception" (`preprocess_source` says which); a function changes that.
        labels: class names, or a file of them; None takes what the model stores.
        threads: threads within an operator; shared among the workers, where there are several.
        workers: runs side by side on the CPU. For many pictures, as many as there are cores take up to a quarter less
            time, and half the memory or less, than all cores at one run; a single picture then has only its share of
            them. On other providers there is one.
        score: "logit", as in the paper, or "probability"; or a `Neuron` or a `Channel` of a layer, of which the target
            is then the channel; or `Cosine()`, to the input `reference`, given in `feeds`.
        several: how many classes of each image are explained, from one forward pass; None explains one.
        batch_size: pictures per run at most, where the model leaves it open; halved where memory does not suffice.
            None: 16; on the CPU one where a run has one thread, else two per thread, between 4 and 16.
        memory_limit: what this process may hold while the model runs, in bytes or as in "2GiB": runs of one and of two
            images, at the first explanation, tell how many fit. Images that are given, pictures as they were read, and
            results of earlier runs come on top. On CUDA it is the device's memory, which the runtime takes no more of,
            and halving finds what fits.
        feeds: values of the model's other inputs, the same for every run.
        cache: whether the rewritten model is taken from disk, and kept there for the next time.
        cuda: how CUDA is used where the model runs on it.
        precision: "mixed" computes the scores in float64, so that rounding turns no rectifier and no maximum, at about
            twice the cost; "double" the gradient too, exact but for the rounding of the result, at more.

    Raises:
        ModelError: the model cannot be read, explained or run.
        ExportError: no such precision, or operators that have no form in double precision; lists them all.
        SaliencyError: a batch size, a number of workers or a memory limit that makes no sense.
        CacheError: the environment names no size for the folder of rewritten models.
        ImageError: a preprocessing that makes no sense.
        LabelError: the labels do not fit the model's classes.
        MethodError, LayerError, TargetError: an option that does not fit the model.
        ProviderError: no such provider.

    Warns:
        MethodWarning: the model has no rectifier, and the method differs from the gradient there only.
    """

    def __init__(
        self,
        model: ModelSource,
        *,
        method: str | Method = "gradient",
        providers: Sequence[str] | None = None,
        input: str | None = None,
        output: str | None = None,
        preprocess: PreprocessChoice = None,
        labels: LabelChoice = None,
        threads: int | None = None,
        workers: int = 1,
        score: Score = "logit",
        several: int | None = None,
        batch_size: int | None = None,
        memory_limit: int | str | None = None,
        feeds: Mapping[str, npt.ArrayLike] | None = None,
        cache: bool = True,
        cuda: CudaOptions | None = None,
        precision: Precision = "single",
    ) -> None:
        if batch_size is not None and not is_integer(batch_size, 1):
            raise SaliencyError(f"batch_size is a whole number of pictures, 1 or more, not {batch_size!r}.")
        if not is_integer(workers, 1):
            raise SaliencyError(f"workers is a whole number, 1 or more, not {workers!r}.")
        limit = parse_limit(memory_limit)
        if limit is not None:
            cuda = replace(cuda or CudaOptions(), memory_limit=limit)
        self.source = model
        self._given = {
            "providers": providers,
            "input": input,
            "output": output,
            "threads": threads,
            "workers": workers,
            "batch_size": batch_size,
            "memory_limit": limit,
            "feeds": feeds,
            "cache": cache,
            "cuda": cuda,
            "precision": precision,
        }
        provider = first_provider(providers)
        options = Options(
            find_method(method),
            score,
            several=several,
            details=True,
            profile=profile_for(provider),
            precision=precision,
        )
        rewritten = rewrite(model, options, input=input, output=output, cache=user_cache() if cache else None)
        facts = rewritten.facts
        warn_of_method(options.method, facts.changed, facts.notes)
        self.method, self.score, self.several, self.precision = options.method, score, several, precision
        self.changed, self.smooth, self.layer, self.notes = facts.changed, facts.smooth, facts.layer, facts.notes
        self._infinite = facts.infinite
        self.layout = facts.layout
        self.batch = facts.batch
        self._limit = limit
        self._memory: tuple[int, RunMemory] | None = None  # numbers of an image, and what runs of such take
        self.input = facts.input
        self.classes, self.activation = facts.classes, facts.activation
        self._dtype, self._dims = facts.dtype, facts.shape
        self.preprocess, self.preprocess_source = choose_preprocess(preprocess, facts.stored, facts.size)
        self.workers = workers if provider == "cpu" else 1
        share = threads if self.workers == 1 else share_of_threads(threads, self.workers)
        self.session = Session(rewritten.model, providers=providers, threads=share, cuda=cuda)
        self._per_run = facts.batch or batch_size or _pictures_a_run(self.provider, share)
        self.feeds = self.session.other_inputs({self.input}, feeds or {})
        self.labels = choose_labels(labels, facts.stored, self.classes)
        self._targets = TargetReader(self.labels, facts.width, several, self.explains_classes)

    @property
    def settings(self) -> dict[str, Any]:
        """How its model is read and run, for verbs that write another graph of it: options of `Explainer` by name.

        All but what is explained, and how: `method`, `score` and `several`, which each verb has of its own.
        """
        return {**self._given, "preprocess": self.preprocess, "labels": self.labels}

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels; what the preprocessing makes where it is open."""
        height, width = self._dims[2:] if self.layout == "NCHW" else self._dims[1:3]
        chosen = self.preprocess.height_width or DEFAULT_SIZE
        return height or chosen[0], width or chosen[1]

    @property
    def provider(self) -> str:
        """The execution provider that really runs the model."""
        return self.session.provider

    @property
    def at_once(self) -> int:
        """Pictures at once, of all workers; fewer where memory does not suffice.

        Raises:
            OutOfMemoryError: the memory limit is too small for one picture.
        """
        height, width = self.size
        sides = {"N": 1, "C": self._dims[self.layout.index("C")] or 3, "H": height, "W": width}
        return self._fitting(tuple(sides[axis] for axis in self.layout[1:]))

    def label(self, index: int) -> str:
        """The name of a class, its number where no names are known.

        Raises:
            TargetError: it is no number.
            LabelError: a number that no class has.
        """
        if not is_integer(index):
            raise TargetError(f"A class is named by its number, not by {index!r}.")
        return self.labels.short_name(index) if self.labels is not None else f"class {index}"

    @property
    def explains_classes(self) -> bool:
        """Whether targets are classes, and not channels of a layer."""
        return isinstance(self.score, str)

    def target_name(self, target: int) -> str:
        """What a target is called: the class, or the channel of the layer that is explained."""
        if isinstance(self.score, str):
            return self.label(target)
        return "cosine" if isinstance(self.score, Cosine) else f"{self.score.layer}, channel {target}"

    def explain(self, images: Any, target: Targets = None, *, against: Targets = None) -> Explanation:
        """Explain a batch.

        Args:
            images: a float array in the network's own form (shape, layout, range; one image without
                the batch axis is taken too), or a picture: path, PIL image, `Picture`, or a list of them.
            target: the class explained: None for the predicted one, a number or name for all, or one per image. Of
                several classes per image: None for the best ones, a list of them for all, or a list per image.
            against: a class whose score is subtracted, a number or name for all, or one per image: what speaks for the
                target and not for this one.

        Raises:
            ImageError: a picture that cannot be read, or an array of another shape than the network's.
            TargetError: a class that the model does not have, another number of targets than images, or a class against
                itself.
            ModelError: the runtime refuses the images, or the network makes NaN of one.
            OutOfMemoryError: memory, or the limit set to it, does not suffice for one image.
        """
        pictures: tuple[Picture, ...] = ()
        placements: tuple[Placement, ...] = ()
        if isinstance(images, np.ndarray):
            array = self._check_array(images)
        else:
            array, pictures, placements = self.prepare(images)
        targets = self._targets.read(target, len(array))
        others = self._targets.read_against(against, targets)
        parts = self._run_all(array, targets, others, self._fitting(array.shape[1:]))
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts[1:] else parts[0]
        rows = np.repeat(np.arange(len(array)), self.several or 1)
        names = [pictures[row].name if pictures else str(row) for row in rows]
        _check_finite(found[SALIENCY], found[LOGITS][rows], names, self._infinite)
        values, gap = found.get(self.method.result), found.get(GAP)
        return Explanation(
            saliency=found[SALIENCY],
            gradient=None if values is None else values.astype(np.float32, copy=False),
            logits=found[LOGITS][rows].astype(np.float32),
            target=found[CHOSEN],
            score=found[VALUE].astype(np.float32),
            source=rows,
            gap=None if gap is None else gap.astype(np.float32),
            notes=self.notes,
            pictures=tuple(pictures[row] for row in rows) if pictures else (),
            placements=tuple(placements[row] for row in rows) if placements else (),
            activation=self.activation,
        )

    def prepare(
        self, images: Any, preprocess: Preprocess | None = None
    ) -> tuple[npt.NDArray[Any], tuple[Picture, ...], tuple[Placement, ...]]:
        """Read pictures, one or a list, and return them in the network's own form, as read, and where they were put.

        Args:
            images: a path, PIL image or `Picture`, or a list of them.
            preprocess: another than the explainer's own.

        Raises:
            ImageError: a picture that cannot be read, or colour channels that the network does not take.
        """
        sources = list(images) if isinstance(images, list | tuple) else [images]
        if not sources:
            raise ImageError("No pictures were given.")
        pictures = tuple(source if isinstance(source, Picture) else read_picture(source) for source in sources)
        chosen = preprocess or self.preprocess
        prepared = [
            prepare(picture, chosen, layout=self.layout, size=self.size, dtype=self._dtype) for picture in pictures
        ]
        chosen.check_channels(self._dims[self.layout.index("C")])
        return np.stack([array for array, _ in prepared]), pictures, tuple(place for _, place in prepared)

    def check_target(self, target: Targets, against: Targets = None) -> None:
        """Raise now what `explain` would raise for this target, and for a class whose score is subtracted.

        Raises:
            TargetError: a class that the model does not have.
            LabelError: a name that no class has.
        """
        self._targets.read(target, 1)
        if against is not None:
            self._targets.read_one_each(against, 1)

    def _fitting(self, shape: tuple[int, ...]) -> int:
        """How many images of this shape are run at once; measured on the first shape, and told from it for others."""
        most = self._per_run * self.workers
        if self._limit is None or self.provider != "cpu":
            return most
        if self._memory is None:

            def run(count: int) -> object:
                array = np.ones((count, *shape), self._dtype)  # zeros would take no memory
                return array, self._run_all(array, self._targets.read(None, count), np.full(count, PREDICTED), count)

            least = self.batch or 1
            self._memory = math.prod(shape), RunMemory.measure(run, self._limit, least, fixed=most == least)
        size, memory = self._memory
        return memory.largest_batch(self._limit, most, math.prod(shape) / size)

    def _run_all(
        self, array: npt.NDArray[Any], targets: npt.NDArray[np.int64], others: npt.NDArray[np.int64], at_once: int
    ) -> list[dict[str, npt.NDArray[Any]]]:
        """Run a batch in parts, so many images at once."""
        per_run = min(self._per_run, at_once)
        batches = Batches(len(array), per_run, self.batch or 1, workers=at_once // per_run)
        return list(batches.run(lambda chunk: self._run(array[chunk], targets[chunk], others[chunk])))

    def _run(
        self, array: npt.NDArray[Any], targets: npt.NDArray[np.int64], others: npt.NDArray[np.int64]
    ) -> dict[str, npt.NDArray[Any]]:
        """Run one batch; a model of a fixed batch gets its last one filled up with copies."""
        count = len(array)
        given = {self.input: array, TARGET: targets, AGAINST: others}
        if self.batch is not None and count < self.batch:
            fill = [*range(count), *[0] * (self.batch - count)]
            given = {name: values[fill] for name, values in given.items()}
        feeds = {**self.feeds, **given}
        wanted = (LOGITS, CHOSEN, VALUE, SALIENCY, self.method.result, GAP)
        outputs = [name for name in wanted if name in self.session.outputs]
        results = self.session.run(feeds, outputs)
        rows = {name: count if name == LOGITS else count * (self.several or 1) for name in outputs}
        return {name: result[: rows[name]] for name, result in zip(outputs, results, strict=True)}

    def _check_array(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        batch = array[None] if array.ndim == len(self._dims) - 1 else array
        fits = batch.ndim == len(self._dims) and all(
            dim is None or dim == length for dim, length in zip(self._dims[1:], batch.shape[1:], strict=True)
        )
        if not fits or not len(batch):
            wanted = ["N", *("any" if dim is None else str(dim) for dim in self._dims[1:])]
            raise ImageError(
                f"An array of shape {list(array.shape)} was given; the network takes [{', '.join(wanted)}] "
                f"({self.layout}), already in its own range. Give pictures to have them prepared."
            )
        if batch.dtype.kind not in "fiub":
            raise ImageError(f"The array holds {batch.dtype}, not real numbers.")
        with np.errstate(over="ignore", invalid="ignore"):  # judged below
            made = np.ascontiguousarray(batch, dtype=self._dtype)
        if not np.isfinite(batch).all() or not np.isfinite(made).all():
            raise ImageError(f"The array holds values that are NaN or infinite in {self._dtype}; so would the map be.")
        if made.dtype.kind in "iu" and not np.array_equal(made, batch):
            low, high = np.iinfo(made.dtype).min, np.iinfo(made.dtype).max
            raise ImageError(
                f"The network takes whole numbers from {low} to {high} ({made.dtype}); the array has others."
            )
        return made


def with_settings(model: ModelSource | Explainer, options: Mapping[str, Any]) -> tuple[ModelSource, dict[str, Any]]:
    """The model that an explainer explains, and its settings where `options` leave them at None; a model as it is."""
    if not isinstance(model, Explainer):
        return model, dict(options)
    given = {name: value for name, value in options.items() if value is not None}
    return model.source, {**model.settings, **given}


def sessions_like(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of an explainer's settings, what a `Session` of another graph of its model takes."""
    cuda = settings.get("cuda")
    return {
        "providers": settings.get("providers"),
        "threads": settings.get("threads"),
        "cuda": None if cuda is None else cuda.without_graph(),
    }


def _pictures_a_run(provider: str, threads: int | None) -> int:
    """What keeps threads at work. On the CPU more take their values out of its caches, and so take longer each."""
    if provider != "cpu":
        return 16
    threads = threads or usable_cores()
    return 1 if threads == 1 else min(16, max(4, 2 * threads))


_LISTED = 5  # names of weights in a message; a transformer has a mask per layer


def _check_finite(
    saliency: npt.NDArray[Any], logits: npt.NDArray[Any], names: Sequence[str], infinite: Sequence[str]
) -> None:
    """A score of -infinity is that of a class ruled out. Infinite weights, as of a mask, may or may not be why."""
    fits = [np.isfinite(values).all() and (row < np.inf).all() for values, row in zip(saliency, logits, strict=True)]
    if not all(fits):
        listed = ", ".join(dict.fromkeys(name for name, fit in zip(names, fits, strict=True) if not fit))
        more = f" and {len(infinite) - _LISTED} more" if len(infinite) > _LISTED else ""
        why = f" Weights with infinite values: {', '.join(infinite[:_LISTED])}{more}." if infinite else ""
        raise ModelError(
            f"The network computes NaN or infinity: the scores or the gradient of image {listed} are not finite.{why}"
        )
