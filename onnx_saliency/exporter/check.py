"""An explained model must compute what the original computes: run both, refuse on a difference."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnx_saliency.errors import ExportError, ModelError
from onnx_saliency.exporter.explained import TARGET, Explained
from onnx_saliency.exporter.objective import REFERENCE
from onnx_saliency.graph.opset import MIN_OPSET
from onnx_saliency.runtime import Session

_TOLERANCE = {"float16": 1e-2, "bfloat16": 1e-1, "double": 1e-10}
_FLOAT32 = 1e-5  # the contract: equal to float rounding
_OWN_ROUNDING = 10  # a chaotic net amplifies rounding: what the original itself makes of one is no fault of the copy
_USUAL = ((2, 224), (1, 224), (1, 299), (1, 256), (1, 128), (1, 64), (1, 32), (1, 28))  # batch, height and width


def check_outputs(explained: Explained) -> dict[str, float]:
    """Return the relative L2 difference of every original output, on one random batch.

    Raises:
        ExportError: a difference beyond rounding; names each output, both figures and the tolerance.
    """
    # What is compared is the graphs: what a runtime joins in one of them and not in the other is no fault of it.
    before = Session(explained.original, providers=["cpu"], fuse_quantised=False)
    after = Session(explained.model, providers=["cpu"], fuse_quantised=False)
    feeds, expected = _run_original(before, explained.classifier.image)
    required = _new_inputs(after, explained)
    actual = after.run({**feeds, **required}, before.outputs)
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
            "The explained model does not compute what the original computes, so it is refused:\n"
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
    """Run `check_outputs` where an operator may have changed its meaning: the opset was raised."""
    if explained.original.opset_imports.get("", 0) < MIN_OPSET:
        check_outputs(explained)


def _run_original(session: Session, image: ir.Value) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Return random inputs that the original runs on, and what it makes of them.

    A model can state an open batch or size and still run on one only: usual ones are tried.
    """
    refused: ModelError | None = None
    for batch, size in _USUAL:
        feeds = _random_inputs(session, image, batch, size)
        try:
            return feeds, session.run(feeds)
        except ModelError as error:
            refused = refused or error
    raise ExportError(
        f"The models cannot be compared, because the original runs on none of the sizes tried: {refused} "
        "Fix the height and width in the model, or export without the check."
    ) from refused


def _is_float(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating)


def _difference(expected: np.ndarray, actual: np.ndarray) -> float:
    e, a = expected.astype(np.float64), actual.astype(np.float64)
    if e.shape != a.shape:
        return np.inf
    same = (e == a) | (np.isnan(e) & np.isnan(a))  # infinities too, of which there is no difference
    if same.all():
        return 0.0
    e, a = e[~same | np.isfinite(e)], a[~same | np.isfinite(e)]
    return float(np.linalg.norm(e - a) / max(np.linalg.norm(e), np.finfo(np.float32).tiny))


def _random_inputs(session: Session, image: ir.Value, batch: int, size: int) -> dict[str, np.ndarray]:
    """Values for all inputs; `batch` and `size` where the model leaves those of the image open."""
    rng = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for name, value in session.inputs.items():
        dims = [dim if isinstance(dim, int) else None for dim in value.shape]
        if name == image.name:
            dims = [dim or (batch if axis == 0 else size) for axis, dim in enumerate(dims)]
        shape = [dim or 1 for dim in dims]
        dtype = session.dtype(name)
        if dtype is None:
            raise ExportError(
                f"Input {name!r} is a {value.type}, of which no random one can be made to compare the models on. "
                "Export without the check."
            )
        feeds[name] = (
            rng.standard_normal(shape).astype(dtype)
            if np.issubdtype(dtype, np.floating)
            else rng.integers(0, 2 if dtype == np.bool_ else 100, shape).astype(dtype)
        )
    return feeds
