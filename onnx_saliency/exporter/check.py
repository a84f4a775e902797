"""What is added to a model must leave alone what it computes: run both, refuse on a difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnx_saliency.errors import ExportError, ModelError
from onnx_saliency.exporter.explained import TARGET, Explained
from onnx_saliency.exporter.objective import REFERENCE
from onnx_saliency.graph.opset import MIN_OPSET
from onnx_saliency.runtime import Session

_TOLERANCE = {"float16": 1e-2, "bfloat16": 1e-1, "float64": 1e-10}
_FLOAT32 = 1e-5  # the contract: equal to float rounding
_OWN_ROUNDING = 10  # a chaotic net amplifies rounding: what the original itself makes of one is no fault of the copy
_USUAL = ((2, 224), (1, 224), (1, 299), (1, 256), (1, 128), (1, 64), (1, 32), (1, 28))  # batch, height and width
_SMALL = ((4, 4), (2, 3), (1, 1))  # of models that take no picture
_MOST = 1 << 25  # numbers in all inputs: 128 MiB of float32
_BELOW = 100  # integers; they may be indices, into less than that

Feeds = dict[str, np.ndarray]


def check_outputs(explained: Explained) -> dict[str, float]:
    """Return the relative L2 difference of every original output, on one random batch.

    Raises:
        ExportError: a difference beyond rounding; names each output, both figures and the tolerance.
    """
    return _compare_explained(explained, explained.model)


def check_same(original: ir.Model, model: ir.Model) -> dict[str, float]:
    """Return the relative L2 difference of every float output of `original` in `model`, whose new inputs have defaults.

    Raises:
        ExportError: a difference beyond rounding; names each output, both figures and the tolerance.
    """
    return _compare(original, model, _any_inputs, lambda session: {})


def _compare_explained(explained: Explained, model: ir.Model) -> dict[str, float]:
    image = explained.classifier.image.name

    def pictures(session: Session) -> Iterator[Feeds]:
        return (_random_inputs(session, _shapes(session, batch, size, only=image)) for batch, size in _USUAL)

    return _compare(explained.original, model, pictures, lambda session: _new_inputs(session, explained))


def _compare(
    original: ir.Model,
    model: ir.Model,
    inputs: Callable[[Session], Iterable[Feeds]],
    more: Callable[[Session], Mapping[str, np.ndarray]],
) -> dict[str, float]:
    """Compare the original's outputs on the first of `inputs` that it runs on; `more` is what only `model` takes."""
    # What is compared is the graphs: what a runtime joins in one of them and not in the other is no fault of it.
    before = Session(original, providers=["cpu"], optimise=False)
    after = Session(model, providers=["cpu"], optimise=False)
    feeds, expected = _run_original(before, inputs(before))
    actual = after.run({**feeds, **more(after)}, before.outputs)
    differences = {
        name: _difference(e, a) for name, e, a in zip(before.outputs, expected, actual, strict=True) if _is_float(e)
    }
    wrong = []
    own: list[np.ndarray] | None = None
    for name, difference in differences.items():
        index = before.outputs.index(name)
        dtype = str(expected[index].dtype)
        limit = _TOLERANCE.get(dtype, _FLOAT32)
        if limit < difference < 1:
            own = own or before.run(_rounded_once_more(feeds))
            limit = max(limit, _OWN_ROUNDING * _difference(expected[index], own[index]))
        if not difference <= limit:
            wrong.append(f"  {name}: relative difference {difference:.2g}, allowed {limit:.0e} ({dtype})")
    if wrong:
        raise ExportError(
            "The new model does not compute what the original computes, so it is refused:\n"
            + "\n".join(wrong)
            + "\nUsually raising the opset changed an operator: export the model at opset 18 or above."
        )
    return differences


def _new_inputs(session: Session, explained: Explained) -> dict[str, np.ndarray]:
    """Values of what the explained model requires and the original does not have."""
    several, dtype = explained.options.several, session.dtype(REFERENCE) if REFERENCE in session.inputs else None
    values = {
        TARGET: np.array([-1]) if several is None else np.full((1, several), -1),
        REFERENCE: np.ones((1, explained.classifier.classes or 1), dtype),
    }
    return {name: values[name] for name in session.inputs if name in values}


def _rounded_once_more(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same inputs, each float moved to its neighbour: as far as one rounding goes."""
    return {
        name: np.nextafter(array, array.dtype.type(np.inf)) if _is_float(array) else array
        for name, array in feeds.items()
    }


def check_export(explained: Explained) -> None:
    """Compare as `check_outputs` does where an operator may have changed its meaning: the opset was raised.

    What was added is not run: it may take many passes.
    """
    if explained.original.opset_imports.get("", 0) < MIN_OPSET:
        _compare_explained(explained, _without_additions(explained))


def _without_additions(explained: Explained) -> ir.Model:
    """The rewritten model with the inputs and outputs of the original alone."""
    model, original = explained.model.clone(), explained.original.graph
    for ours, theirs in ((model.graph.inputs, original.inputs), (model.graph.outputs, original.outputs)):
        names = {value.name for value in theirs}
        ours[:] = [value for value in ours if value.name in names]
    RemoveUnusedNodesPass()(model)  # it keeps what a loop read that is gone: little
    return model


def _run_original(session: Session, inputs: Iterable[Feeds]) -> tuple[Feeds, list[np.ndarray]]:
    """Return the first of `inputs` that the original runs on, and what it makes of them.

    A model can state an open batch or size and still run on one only.
    """
    refused: ModelError | None = None
    for feeds in inputs:
        try:
            return feeds, session.run(feeds)
        except ModelError as error:
            refused = refused or error
    raise ExportError(
        f"The models cannot be compared, because the original runs on none of the sizes tried: {refused} "
        "Fix the height and width, or what else is open, in the model, or export without the check."
    ) from refused


def _is_float(value: np.ndarray | list[np.ndarray]) -> bool:
    """A sequence is none."""
    return isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)


def _difference(expected: np.ndarray, actual: np.ndarray) -> float:
    e, a = expected.astype(np.float64), actual.astype(np.float64)
    if e.shape != a.shape:
        return np.inf
    same = (e == a) | (np.isnan(e) & np.isnan(a))  # infinities too, of which there is no difference
    if same.all():
        return 0.0
    e, a = e[~same | np.isfinite(e)], a[~same | np.isfinite(e)]
    return float(np.linalg.norm(e - a) / max(np.linalg.norm(e), np.finfo(np.float32).tiny))


def _any_inputs(session: Session) -> Iterator[Feeds]:
    """Usual sizes for every open dimension; where indices reach too far, they are 0 or 1."""
    for by_name in (True, False):  # some exporters give all open dimensions the same name
        for below in (_BELOW, 2):
            for batch, size in (*_USUAL, *_SMALL):
                shapes = _shapes(session, batch, size, by_name=by_name)
                if sum(map(math.prod, shapes.values())) <= _MOST:
                    yield _random_inputs(session, shapes, below)


def _shapes(
    session: Session, batch: int, size: int, *, only: str | None = None, by_name: bool = False
) -> dict[str, list[int]]:
    """Shapes of all inputs.

    Args:
        session: the original's.
        batch: length of open first dimensions.
        size: length of the other open ones.
        only: the input that these hold for, 1 for all others; None: they hold for all.
        by_name: dimensions of one name have one length, that of the first of them.

    Raises:
        ExportError: an input that is no tensor.
    """
    lengths: dict[str, int] = {}
    shapes: dict[str, list[int]] = {}
    for name, value in session.inputs.items():
        if session.dtype(name) is None:
            raise ExportError(
                f"Input {name!r} is a {value.type}, of which no random one can be made to compare the models on. "
                "Export without the check."
            )
        shapes[name] = []
        for axis, dim in enumerate(value.shape):
            length = (batch if axis == 0 else size) if only in (None, name) else 1
            if isinstance(dim, int):
                length = dim or length
            elif dim and by_name:
                length = lengths.setdefault(dim, length)
            shapes[name].append(length)
    return shapes


def _random_inputs(session: Session, shapes: Mapping[str, Sequence[int]], below: int = _BELOW) -> Feeds:
    """Values in these shapes: normal ones, and integers below `below`."""
    rng = np.random.default_rng(0)
    feeds: Feeds = {}
    for name, shape in shapes.items():
        dtype = session.dtype(name)
        feeds[name] = (
            rng.standard_normal(shape).astype(dtype)
            if np.issubdtype(dtype, np.floating)
            else rng.integers(0, 2 if dtype == np.bool_ else below, shape).astype(dtype)
        )
    return feeds
