"""Sampling between pixels: each point reads K entries of the picture, and hands its gradient back to them.

y[n, c, p] = Σ_k w[n, p, k] x[n, c, at[n, p, k]], where w is a product of one weight per axis, so

    dx[n, c, i] = Σ dy[n, c, p] w[n, p, k] over at[n, p, k] = i
    dw[n, p, k] = Σ_c dy[n, c, p] x[n, c, at[n, p, k]]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.rules.linear import Window
from onnx_saliency.backward.rules.movement import reshape_like
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, full_like, op

# --- entries of a picture by position ----------------------------------------------------------


def _flat(x: Tensor) -> Tensor:
    """[N, C, D1, ...] -> [N, C, positions]."""
    return op.Reshape(x, [0, 0, -1])


def entries_at(x: Tensor, at: Tensor) -> Tensor:
    """Read `x` [N, C, S] at positions [N, ...]: [N, C, ...]."""
    shape = op.Concat(op.Shape(x, end=2), op.Shape(at, start=1), axis=0)
    return op.Reshape(op.GatherElements(x, _in_each_channel(x, at), axis=2), shape)


def added_at(x: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """Zeros like `x` [N, C, S], with values added at positions `at`; both are [N, C, ...]."""
    zeros = full_like(x, 0.0)
    return op.ScatterElements(zeros, at, op.Reshape(values, [0, 0, -1]), axis=2, reduction="add")


def _in_each_channel(x: Tensor, at: Tensor) -> Tensor:
    positions = op.Unsqueeze(op.Reshape(at, [0, -1]), [1])
    return op.Expand(positions, op.Concat([1], op.Shape(x, start=1, end=2), [1], axis=0))


def count_along(x: Tensor, axis: int) -> Tensor:
    """The length of one axis, an int64 scalar: a constant where it is known, so that no runtime has to look."""
    length = None if x.dims is None else x.dims[axis]
    if isinstance(length, int):
        return x.tape.constant(np.array(length))
    return op.Gather(op.Shape(x), np.array(axis))


def length_along(x: Tensor, axis: int) -> Tensor:
    """The same in the type of `x`."""
    count = count_along(x, axis)
    return op.Cast(count, to=x.dtype) if count.array is None else x.tape.constant(count.array.astype(x.dtype.numpy()))


def range_like(count: Tensor | int, like: Tensor) -> Tensor:
    """0, 1, ... in the type of `like`."""
    if isinstance(count, int):
        return like.tape.constant(np.arange(count, dtype=like.dtype.numpy()))
    return op.Cast(op.Range(0, count, 1), to=like.dtype)


# --- interpolation along one axis --------------------------------------------------------------


@dataclass(frozen=True)
class _Kernel:
    """A point at c reads the entries at ⌊c⌋ + offsets; entry i has weight q(|c − i|), a polynomial an entry.

    Attributes:
        offsets: of the K entries.
        polynomials: [degree + 1, K], the highest degree first, at least a line.
    """

    offsets: Sequence[int]
    polynomials: Sequence[Sequence[float]]


_NEAREST = _Kernel([0], [[0], [1]])
LINEAR = _Kernel([0, 1], [[0, 0], [-1, -1], [1, 1]])
_A = -0.75  # Keys 1981, as the standard fixes it
_CUBIC = _Kernel(
    [-1, 0, 1, 2],
    np.array(
        [[_A, -5 * _A, 8 * _A, -4 * _A], *[[_A + 2, -_A - 3, 0, 1]] * 2, [_A, -5 * _A, 8 * _A, -4 * _A]]
    ).T.tolist(),
)
_KERNELS = {"nearest": _NEAREST, "linear": LINEAR, "bilinear": LINEAR, "cubic": _CUBIC, "bicubic": _CUBIC}


@dataclass(frozen=True)
class _Taps:
    """What points read along one axis: positions (int64), weights, and the weights' slopes, each [..., K]."""

    at: Tensor
    weight: Tensor
    slope: Tensor


def taps_at(c: Tensor, length: Tensor, kernel: _Kernel, padding: str, *, aligned: bool = True) -> _Taps:
    """The taps of points at `c` on an axis of `length`, whose entries continue outside as `padding` says."""
    rows = np.array(kernel.polynomials)
    at = op.Unsqueeze(op.Round(c) if kernel is _NEAREST else op.Floor(c), [-1]) + np.array(kernel.offsets)
    distance = op.Unsqueeze(c, [-1]) - at
    weight = _polynomial(rows, op.Abs(distance))
    slope = weight
    if kernel is not _NEAREST:
        powers = np.arange(len(rows) - 1, 0, -1)[:, None]
        slope = _polynomial(rows[:-1] * powers, op.Abs(distance)) * np.where(np.array(kernel.offsets) > 0, -1, 1)
    if padding == "zeros":
        inside = (at >= 0) & (at < length)
        weight, slope = op.Where(inside, weight, 0.0), op.Where(inside, slope, 0.0)
    elif padding == "reflection":
        at = _reflected(at, length, aligned)
    return _Taps(op.Cast(op.Clip(at, 0.0, length - 1), to=ir.DataType.INT64), weight, slope)


def _polynomial(rows: np.ndarray, t: Tensor) -> Tensor:
    value: Tensor = t * rows[0] + rows[1]
    for row in rows[2:]:
        value = value * t + row
    return value


def _reflected(at: Tensor, length: Tensor, aligned: bool) -> Tensor:
    """Mirror positions at the centres of the outer entries (`aligned`), or at their outer edges."""
    period = op.Max(2 * (length - 1), 1.0) if aligned else 2 * length
    phase = at - period * op.Floor(at / period)
    return op.Min(phase, period - phase if aligned else period - 1 - phase)


class _Sampling:
    """Points [N, P] of the picture x, their taps joined from all axes: positions and weights are [N, P, K]."""

    def __init__(self, x: Tensor, taps: Sequence[_Taps]) -> None:
        self.x = x
        self.taps = taps
        at = self._aligned([axis.at for axis in taps])
        position = at[0]
        for i, axis in enumerate(at[1:], start=3):
            position = position * count_along(x, i) + axis
        self.at = op.Reshape(position, [0, 0, -1])
        self.weight = self._product([axis.weight for axis in taps])

    def _aligned(self, each: Sequence[Tensor]) -> list[Tensor]:
        """[N, P, K] of axis i -> [N, P, 1, .., K, .., 1], so that the axes multiply out."""
        rank = len(each)
        return [op.Unsqueeze(t, [2 + j for j in range(rank) if j != i]) if rank > 1 else t for i, t in enumerate(each)]

    def _product(self, each: Sequence[Tensor]) -> Tensor:
        first, *others = self._aligned(each)
        for other in others:
            first = first * other
        return op.Reshape(first, [0, 0, -1])

    def transposed(self, dy: Tensor) -> Tensor:
        """Return dx = Σ dy w, for dy [N, C, P]."""
        spread = op.Unsqueeze(dy, [3]) * op.Unsqueeze(self.weight, [1])
        x = _flat(self.x)
        return op.Reshape(added_at(x, _in_each_channel(x, self.at), spread), op.Shape(self.x))

    def weight_gradient(self, dy: Tensor) -> Tensor:
        """Return dw = Σ_c dy x, [N, P, K]."""
        return op.ReduceSum(op.Unsqueeze(dy, [3]) * entries_at(_flat(self.x), self.at), [1], keepdims=0)

    def point_gradient(self, dw: Tensor, axis: int) -> Tensor:
        """Return the gradient of the points' coordinate along one axis, [N, P]: Σ_k dw ∂w/∂c."""
        slopes = [taps.slope if i == axis else taps.weight for i, taps in enumerate(self.taps)]
        return op.ReduceSum(dw * self._product(slopes), [2], keepdims=0)


# --- grids -------------------------------------------------------------------------------------


@rule("GridSample")
def grid_sample(n: Call, dy: Tensor) -> Gradients:
    """Sampling at c = (g + 1)/2 (L − 1) with corners aligned, else ((g + 1) L − 1)/2: dg = dc ∂c/∂g"""
    x, grid, rank = n.x, n.input(1), n.x.rank - 2
    kernel, aligned = _KERNELS[n["mode"]], bool(n["align_corners"])
    taps, scales = [], []
    for axis in range(rank):
        length = length_along(x, axis + 2)
        g = op.Reshape(op.Gather(grid, np.array(rank - 1 - axis), axis=rank + 1), [0, -1])  # innermost first
        c = (g + 1) / 2 * (length - 1) if aligned else ((g + 1) * length - 1) / 2
        taps.append(taps_at(c, length, kernel, n["padding_mode"], aligned=aligned))
        scales.append((length - 1) / 2 if aligned else length / 2)
    sampling, flat = _Sampling(x, taps), _flat(dy)
    dx = sampling.transposed(flat) if n.needs(0) else None
    if not n.needs(1) or kernel is _NEAREST:  # nearest is constant between its steps
        return dx, None
    dw = sampling.weight_gradient(flat)
    dg = [op.Unsqueeze(sampling.point_gradient(dw, axis) * scales[axis], [2]) for axis in reversed(range(rank))]
    return dx, op.Reshape(op.Concat(*dg, axis=2), op.Shape(grid))


@rule("AffineGrid")
def affine_grid(n: Call, dy: Tensor) -> Gradients:
    """y[p] = θ [b(p), 1]ᵀ: dθ = Σ_p dy[p] [b(p), 1], and b is what the node makes of the identity"""
    size = n.input(1)
    rank = n.y.rank - 2
    identity = np.eye(rank, rank + 1, dtype=n.tape.dtype.numpy())[None]
    one = op.Concat([1], op.Slice(size, [1], [rank + 2], [0]), axis=0)
    b = op.Reshape(op.AffineGrid(identity, one, align_corners=n["align_corners"]), [-1, rank])
    homogeneous = op.Pad(b, [0, 0, 0, 1], 1.0)
    return op.Transpose(op.Reshape(dy, [0, -1, rank]), perm=[0, 2, 1]) @ homogeneous


# --- deformable convolution --------------------------------------------------------------------


@rule("DeformConv")
def deform_conv(n: Call, dy: Tensor) -> Gradients:
    """y = w · (mask ∘ samples of x at the kernel's points + offset): samples in columns [N G, C/G, points]"""
    if n.needs(1):
        raise NotDifferentiableError("its weight is not fixed, and gradients by weights are not supported")
    window, groups = Window(n), n["offset_group"]
    count = int(np.prod(window.kernel))
    grouped = op.Concat([-1], op.Div(op.Shape(n.x, start=1, end=2), [groups]), op.Shape(n.x, start=2), axis=0)
    x = op.Reshape(n.x, grouped)
    taps = [
        taps_at(c, length_along(x, axis), LINEAR, "zeros")
        for axis, c in zip(window.axes, _deformed(n, window, dy), strict=True)
    ]
    sampling = _Sampling(x, taps)
    columns = op.Reshape(_columns(n, dy, count), op.Concat(op.Shape(x, end=2), [-1], axis=0))
    mask = op.Reshape(n.input(4), op.Concat(op.Shape(x, end=1), [1, -1], axis=0)) if n.has(4) else None
    masked = columns if mask is None else columns * mask
    dx = op.Reshape(sampling.transposed(masked), op.Shape(n.x)) if n.needs(0) else None
    doffset = dmask = None
    if n.needs(2):
        dw = sampling.weight_gradient(masked)
        parts = [sampling.point_gradient(dw, i) for i in range(window.rank)]  # each [N G, count · positions]
        doffset = op.Concat(*(op.Reshape(part, [0, count, 1, -1]) for part in parts), axis=2)
        doffset = op.Reshape(doffset, op.Shape(n.input(2)))
    if n.needs(4) and mask is not None:
        seen = op.ReduceSum(sampling.weight_gradient(columns) * sampling.weight, [2], keepdims=0)
        dmask = op.Reshape(seen, op.Shape(n.input(4)))
    db = op.ReduceSum(dy, [0, *window.axes], keepdims=0) if n.needs(3) else None
    return dx, None, doffset, db, dmask


def _columns(n: Call, dy: Tensor, count: int) -> Tensor:
    """wᵀ dy within each group of channels: [N, C, count, positions], flattened."""
    group = n["group"]
    rows = op.Concat([group], op.Div(op.Shape(n.input(1), end=1), [group]), [-1], axis=0)
    w = op.Transpose(op.Reshape(n.input(1), rows), perm=[0, 2, 1])  # [g, C/g · count, M/g]
    outputs = op.Concat([0, group], op.Div(op.Shape(dy, start=1, end=2), [group]), [-1], axis=0)
    return w @ op.Reshape(dy, outputs)


def _deformed(n: Call, window: Window, dy: Tensor) -> list[Tensor]:
    """The coordinates along each axis of all points: stride · output − pad + dilation · kernel + offset."""
    rank, count = window.rank, int(np.prod(window.kernel))
    shape = op.Concat([-1, count, rank], op.Shape(dy, start=2), axis=0)
    offset = op.Reshape(n.input(2), shape)  # [N G, count, rank, O1, ...]
    coordinates = []
    for axis in range(rank):
        across = [1] * rank
        across[axis] = -1
        output = op.Reshape(range_like(count_along(dy, axis + 2), dy), across) * window.strides[axis]
        kernel = np.indices(window.kernel)[axis].reshape(count, *[1] * rank) * window.dilations[axis]
        point = output + (kernel - window.begins[axis]) + op.Gather(offset, np.array(axis), axis=2)
        coordinates.append(op.Reshape(point, [0, -1]))
    return coordinates


# --- columns to pictures -----------------------------------------------------------------------


@rule("Col2Im")
def col2im(n: Call, dy: Tensor) -> Gradients:
    """y adds up blocks, so dx cuts them out: a convolution whose kernels are the one-hot blocks"""
    block = n.input(2)
    rank = n.y.rank - 2
    size = op.ReduceProd(block, keepdims=1)
    one_hot = op.EyeLike(op.ConstantOfShape(op.Concat(size, size, axis=0)), dtype=dy.dtype)
    kernel = op.Reshape(one_hot, op.Concat(size, [1], block, axis=0))
    single = op.Reshape(dy, op.Concat([-1, 1], op.Shape(dy, start=2), axis=0))
    pads, strides, dilations = n["pads"], n["strides"] or [1] * rank, n["dilations"] or [1] * rank
    return reshape_like(op.Conv(single, kernel, pads=pads, strides=strides, dilations=dilations), n.x)
