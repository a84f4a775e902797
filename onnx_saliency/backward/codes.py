"""Codes of quantised graphs as the real numbers they stand for.

A code q of scale s and zero point z stands for (q − z) s, and comes from x by q = clip(round(x / s) + z). The step is
flat nearly everywhere; the straight-through estimate (Bengio, Léonard & Courville 2013) takes the rounding for the
identity and keeps the clip: dq/dx = 1/s where q was not held back by the range of its type.
"""

from __future__ import annotations

import onnx_ir as ir

from onnx_saliency.backward.tensor import Tensor, op


def real(tensor: Tensor) -> Tensor:
    """A whole number as a float of the tape's type; floats stay."""
    dtype = tensor.tape.dtype
    if tensor.dtype == dtype:
        return tensor
    number = op.Cast(tensor, to=dtype)
    number.value.shape = tensor.value.shape
    return number


def dequantised(q: Tensor, s: Tensor | None, z: Tensor | None, axis: int | None = None, block: int = 0) -> Tensor:
    """x = (q − z) s"""
    x = real(q)
    if z is not None and not _is_zero(z):
        x = x - along(real(z), q, axis, block)
    if s is not None:
        x = x * along(real(s), q, axis, block)
    x.value.shape = q.value.shape
    return x


def along(s: Tensor, x: Tensor, axis: int | None, block: int = 0) -> Tensor:
    """A scale per tensor, per position of `axis` or per block of them, so that it broadcasts against `x`."""
    if axis is None or s.rank == 0 or s.dims == (1,):
        return s
    axis %= x.rank
    if s.rank == 1:
        after = x.rank - axis - 1
        return op.Reshape(s, [-1] + [1] * after) if after else s
    if not block:
        return s
    repeats = [block if i == axis + 1 else 1 for i in range(s.rank + 1)]
    copies = op.Tile(op.Unsqueeze(s, [axis + 1]), repeats)
    joined = op.Concat(op.Shape(s, start=0, end=axis), [-1], op.Shape(s, start=axis + 1), axis=0)
    whole = op.Reshape(copies, joined)
    return op.Slice(whole, [0], op.Shape(x, start=axis, end=axis + 1), [axis])  # the last block may be shorter


def rounded(x: Tensor, s: Tensor, z: Tensor | None, dtype: ir.DataType) -> Tensor:
    """round(x / s) + z, not yet held back by the range of the type; s and z broadcast."""
    r = x / s
    if not dtype.is_floating_point():
        r = op.Round(r)
    return r if z is None or _is_zero(z) else r + real(z)


def within(r: Tensor, dtype: ir.DataType) -> Tensor:
    """Whether a number to be stored as `dtype` is in its range."""
    low, high = limits(dtype)
    return (r >= low) & (r <= high)


def strictly_within(x: Tensor, s: Tensor, z: Tensor | None, dtype: ir.DataType) -> Tensor:
    """Whether the code of x is at neither end of its type's range, where sums are held back: as Clip at its limits.

    Told half a code away from the ends, so that no rounding of (q − z) s matters.
    """
    low, high = limits(dtype)
    z = None if z is None or _is_zero(z) else real(z)
    lowest, highest = (s * end if z is None else (end - z) * s for end in (low + 0.5, high - 0.5))
    return (x > lowest) & (x < highest)


def limits(dtype: ir.DataType) -> tuple[float, float]:
    """The least and the largest number of a type."""
    return float(dtype.min), float(dtype.max)


def _is_zero(z: Tensor) -> bool:
    return z.array is not None and not z.array.any()
