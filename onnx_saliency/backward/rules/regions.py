"""Regions of a picture, cut into cells: RoiAlign averages samples or takes the largest, MaxRoiPool takes entries."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.rules.sampling import (
    LINEAR,
    added_at,
    count_along,
    entries_at,
    length_along,
    range_like,
    taps_at,
)
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, op


@dataclass(frozen=True)
class _Cells:
    """What the cells of each region read along one axis: positions, weights, and which exist, each [R, out, K]."""

    at: Tensor
    weight: Tensor
    exists: Tensor


@rule("RoiAlign")
def roi_align(n: Call, dy: Tensor) -> Gradients:
    """y[r] = A_h x[b(r)] A_wᵀ with mean weights, so dx[i] = Σ A_hᵀ dy[r] A_w over b(r) = i; or at the arg-max"""
    if n.needs(1):
        raise NotDifferentiableError("its regions are not fixed, and gradients by regions are not supported")
    images = n.input(2)
    down, right = (_samples(n, axis, n[f"output_{side}"]) for axis, side in ((0, "height"), (1, "width")))
    if n["mode"] == "max":
        # The standard's test data and onnxruntime take the largest of w · x over the corners of all samples.
        return _at_maximum(n, dy, images, *(_corners(n, axis, s) for axis, s in ((0, down), (1, right))))
    rows, columns = (_mean_weights(n, axis, s) for axis, s in ((0, down), (1, right)))
    regions = op.Transpose(rows, perm=[0, 1, 3, 2]) @ dy @ columns  # [R, C, H, W]
    number = range_like(count_along(n.x, 0), dy)
    belongs = op.Unsqueeze(number, [1]).equals(op.Cast(images, to=dy.dtype)).cast(like=dy)  # [N, R]
    return op.Reshape(belongs @ op.Reshape(regions, [0, -1]), n.x.shape)


@dataclass(frozen=True)
class _Samples:
    """The sample points of RoiAlign along one axis: coordinates [R, out, K], of which `count` [R, 1, 1] exist."""

    c: Tensor
    count: Tensor
    exists: Tensor


def _samples(n: Call, axis: int, out: int) -> _Samples:
    rois, scale = n.input(1), n["spatial_scale"] or 1.0
    half = n["coordinate_transformation_mode"] == "half_pixel"
    start, end = (op.Gather(rois, [corner], axis=1) * scale for corner in (1 - axis, 3 - axis))
    size = end - start if half else op.Max(end - start, 1.0)
    cell = op.Unsqueeze(size / out, [2])  # [R, 1, 1]
    count = op.Ceil(cell) if n["sampling_ratio"] == 0 else cell * 0 + n["sampling_ratio"]
    k = range_like(op.Cast(op.Max(op.ReduceMax(count, keepdims=0), 1.0), to=ir.DataType.INT64), rois)
    o = op.Unsqueeze(range_like(out, rois), [1])
    c = op.Unsqueeze(start - 0.5 * half, [2]) + cell * o + (k + 0.5) * cell / op.Max(count, 1.0)
    return _Samples(c, count, k < count)


def _inside(c: Tensor, length: Tensor) -> Tensor:
    return (c >= -1) & (c <= length)


def _mean_weights(n: Call, axis: int, samples: _Samples) -> Tensor:
    """[R, 1, out, L]: the hat functions of a cell's samples, averaged."""
    length, c = length_along(n.x, axis + 2), samples.c
    clamped = op.Unsqueeze(op.Clip(c, 0.0, length - 1), [3])
    hats = op.Relu(1 - op.Abs(clamped - range_like(count_along(n.x, axis + 2), c)))
    read = op.Unsqueeze(_inside(c, length) & samples.exists, [3])
    total = op.ReduceSum(op.Where(read, hats, 0.0), [2], keepdims=0)
    return op.Unsqueeze(total / op.Max(samples.count, 1.0), [1])


def _corners(n: Call, axis: int, samples: _Samples) -> _Cells:
    """The two entries beside each sample."""
    length, c = length_along(n.x, axis + 2), samples.c
    taps = taps_at(op.Clip(c, 0.0, length - 1), length, LINEAR, "border")
    weight = op.Where(op.Unsqueeze(_inside(c, length), [3]), taps.weight, 0.0)
    exists = op.Expand(op.Unsqueeze(samples.exists, [3]), op.Shape(taps.at))
    at, weight, exists = (op.Reshape(t, [0, 0, -1]) for t in (taps.at, weight, exists))
    return _Cells(at, weight, exists)


@rule("MaxRoiPool")
def max_roi_pool(n: Call, dy: Tensor) -> Gradients:
    """dx = dy at the first arg-max of each cell; the regions are rounded, so nothing flows to them"""
    images = op.Cast(op.Reshape(op.Gather(n.input(1), [0], axis=1), [-1]), to=ir.DataType.INT64)
    cells = [_cells(n, axis, out) for axis, out in enumerate(n["pooled_shape"])]
    return _at_maximum(n, dy, images, *cells), None


def _cells(n: Call, axis: int, out: int) -> _Cells:
    """The entries from ⌊o · size/out⌋ to ⌈(o + 1) · size/out⌉ of a region, as far as they lie in the picture."""
    rois, scale = n.input(1), n["spatial_scale"] or 1.0
    length = length_along(n.x, axis + 2)
    start, end = (_round_half_up(op.Gather(rois, [corner], axis=1) * scale) for corner in (2 - axis, 4 - axis))
    cell = op.Max(end - start + 1, 1.0) / out  # [R, 1]
    o = range_like(out, rois)
    first = op.Unsqueeze(op.Clip(op.Floor(o * cell) + start, 0.0, length), [2])
    last = op.Unsqueeze(op.Clip(op.Ceil((o + 1) * cell) + start, 0.0, length), [2])
    k = range_like(op.Cast(op.Max(op.ReduceMax(last - first, keepdims=0), 1.0), to=ir.DataType.INT64), rois)
    at = op.Cast(op.Min(first + k, length - 1), to=ir.DataType.INT64)
    exists = first + k < last
    return _Cells(at, exists.cast(like=rois), exists)


def _round_half_up(c: Tensor) -> Tensor:
    """Halves away from zero, as C does; Round takes the even one."""
    return op.Sign(c) * op.Floor(op.Abs(c) + 0.5)


def _at_maximum(n: Call, dy: Tensor, images: Tensor, down: _Cells, right: _Cells) -> Tensor:
    """dx = w dy at the entry whose w x is largest in its cell, of equal ones the first; zero for an empty cell."""
    height, width = (count_along(n.x, axis) for axis in (2, 3))
    row = op.Reshape(images, [-1, 1, 1]) * height + down.at  # of all pictures, one below the other
    at = _joined(_along(row, 0) * width + _along(right.at, 1))
    exists = _joined(_along(down.exists, 0) & _along(right.exists, 1))
    weight = op.Where(exists, _joined(_along(down.weight, 0) * _along(right.weight, 1)), 0.0)  # [1, R cells, K]
    below = op.Transpose(n.x, perm=[1, 0, 2, 3])
    x = op.Reshape(below, op.Concat([1], op.Shape(below, end=1), [-1], axis=0))  # [1, C, N H W]
    read = op.Where(op.Unsqueeze(exists, [1]), entries_at(x, at) * op.Unsqueeze(weight, [1]), float("-inf"))
    switch = op.ArgMax(read, axis=3, keepdims=1)  # [1, C, R cells, 1]
    chosen_at, chosen_weight = (
        op.GatherElements(op.Expand(op.Unsqueeze(t, [1]), op.Shape(read)), switch, axis=3) for t in (at, weight)
    )
    dy = op.Reshape(op.Transpose(dy, perm=[1, 0, 2, 3]), op.Shape(switch))
    dx = added_at(x, op.Squeeze(chosen_at, [3]), dy * chosen_weight)
    return op.Transpose(op.Reshape(dx, op.Shape(below)), perm=[1, 0, 2, 3])


def _along(t: Tensor, axis: int) -> Tensor:
    """[R, out, K] of one axis -> its place in [R, out_h, out_w, K_h, K_w]."""
    return op.Unsqueeze(t, [1, 3] if axis else [2, 4])


def _joined(t: Tensor) -> Tensor:
    """[R, out_h, out_w, K_h, K_w] -> [1, R cells, K]."""
    shape = op.Shape(t)
    return op.Reshape(t, op.Concat([1, -1], op.ReduceProd(op.Slice(shape, [3], [5], [0])), axis=0))
