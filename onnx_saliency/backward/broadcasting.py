"""Broadcasting undone: the gradient of a stretched tensor is the sum over what it was stretched to.

If y has shape s_y and x of shape s_x was broadcast to it, dx sums dy over the axes that x lacks and
over those where x has length 1. Where shape inference knows enough, these axes are constants; else
they are found when the model runs.
"""

from __future__ import annotations

import onnx_ir as ir

from onnx_saliency.backward.lowering import summed
from onnx_saliency.backward.tensor import Tensor, op

Dims = tuple[int | str | None, ...]


def unbroadcast(dx: Tensor, x: Tensor, dims: Dims | None) -> Tensor:
    """Sum `dx`, whose shape is `dims` as far as it is known, to the shape of `x`."""
    if x.dims is None or dims is None:
        return _unbroadcast_when_run(dx, x)
    missing = len(dims) - len(x.dims)
    stretched = []
    for axis, (here, there) in enumerate(zip(x.dims, dims[missing:], strict=True), start=missing):
        if here == 1 and there != 1:
            stretched.append(axis)
        elif here is None or (here != there and not isinstance(here, int)):
            return _unbroadcast_when_run(dx, x)  # an open dimension may turn out to be 1
    if stretched:
        dx.value.shape = ir.Shape(dims)
        dx = summed(dx, stretched)
    return op.ReduceSum(dx, list(range(missing)), keepdims=0) if missing else dx


def _unbroadcast_when_run(dx: Tensor, x: Tensor) -> Tensor:
    """The same by the shapes at run time: sum where they differ, then drop the leading ones."""
    shape = op.Shape(x)
    padded = op.Expand(1, op.Sub(op.Shape(op.Shape(dx)), op.Shape(shape)))
    aligned = op.Concat(padded, shape, axis=0)
    differ = op.Not(op.Equal(aligned, op.Shape(dx)))
    axes = op.Reshape(op.NonZero(differ), [-1])
    return op.Reshape(op.ReduceSum(dx, axes, keepdims=1, noop_with_empty_axes=1), shape)
