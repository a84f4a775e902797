"""An explained model must compute what the original computes: run both, refuse on a difference."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnx_saliency.errors import ExportError
from onnx_saliency.export.explained import Explained
from onnx_saliency.graph.opset import MIN_OPSET
from onnx_saliency.runtime import Session

_TOLERANCE = {"float16": 1e-2, "bfloat16": 1e-1, "double": 1e-10}
_FLOAT32 = 1e-5  # the contract: equal to float rounding


def check_outputs(explained: Explained) -> dict[str, float]:
    """Return the relative L2 difference of every original output, on one random batch.

    Raises:
        ExportError: a difference beyond rounding; names each output, both figures and the tolerance.
    """
    before = Session(explained.original, providers=["cpu"])
    after = Session(explained.model, providers=["cpu"])
    feeds = _random_inputs(before, explained.classifier.image)
    expected = before.run(feeds)
    actual = after.run(feeds, before.outputs)
    differences = {
        name: _difference(e, a) for name, e, a in zip(before.outputs, expected, actual, strict=True) if _is_float(e)
    }
    wrong = []
    for name, difference in differences.items():
        dtype = str(expected[before.outputs.index(name)].dtype)
        limit = _TOLERANCE.get(dtype, _FLOAT32)
        if not difference <= limit:
            wrong.append(f"  {name}: relative difference {difference:.2g}, allowed {limit:.0e} ({dtype})")
    if wrong:
        raise ExportError(
            "The explained model does not compute what the original computes, so it is refused:\n"
            + "\n".join(wrong)
            + "\nUsually raising the opset changed an operator: export the model at opset 18 or above."
        )
    return differences


def check_export(explained: Explained) -> None:
    """Run `check_outputs` where an operator may have changed its meaning: the opset was raised."""
    if explained.original.opset_imports.get("", 0) < MIN_OPSET:
        check_outputs(explained)


def _is_float(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating)


def _difference(expected: np.ndarray, actual: np.ndarray) -> float:
    e, a = expected.astype(np.float64), actual.astype(np.float64)
    if np.array_equal(e, a, equal_nan=True):
        return 0.0
    return float(np.linalg.norm(e - a) / max(np.linalg.norm(e), np.finfo(np.float32).tiny))


def _random_inputs(session: Session, image: ir.Value) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for name, value in session.inputs.items():
        dims = [dim if isinstance(dim, int) else None for dim in value.shape]
        if name == image.name:  # two pictures of a usual size where the model leaves it open
            dims = [dim or (2 if axis == 0 else 224) for axis, dim in enumerate(dims)]
        shape = [dim or 1 for dim in dims]
        dtype = _NUMPY[value.type]
        feeds[name] = (
            rng.standard_normal(shape).astype(dtype)
            if np.issubdtype(dtype, np.floating)
            else rng.integers(0, 2 if dtype == np.bool_ else 100, shape).astype(dtype)
        )
    return feeds


_NUMPY = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
