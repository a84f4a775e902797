"""Linear maps that act on each spatial axis alone: dx = Aᵀ dy along every axis in turn.

The matrix A of an axis is whatever the operator makes of an identity matrix, so every mode of the
operator is served by one formula.
"""

from __future__ import annotations

import onnx_ir as ir

from onnx_saliency.backward.lowering import may_stand_left
from onnx_saliency.backward.tensor import Tensor, op


def identity_along(x: Tensor, axis: int, dtype: ir.DataType | None = None) -> Tensor:
    """[L, L]: for each position along `axis` of `x` a row that is 1 there, in `dtype` or the type of `x`."""
    length = op.Shape(x, start=axis, end=axis + 1)
    square = op.ConstantOfShape(op.Concat(length, length, axis=0))
    return op.EyeLike(square, dtype=dtype or x.dtype)


def apply_along(rows: Tensor, dy: Tensor, axis: int, rank: int) -> Tensor:
    """Multiply `dy` along `axis` by `rows` [L, L'] = Aᵀ: from L' entries back to L."""
    if axis == rank - 2 and may_stand_left(rows):
        return rows @ dy
    turned = op.Transpose(rows, perm=[1, 0])
    if axis == rank - 1:
        return dy @ turned
    perm = [*(i for i in range(rank) if i != axis), axis]
    moved = op.Transpose(dy, perm=perm) @ turned
    return op.Transpose(moved, perm=[perm.index(i) for i in range(rank)])
