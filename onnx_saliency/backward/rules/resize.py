"""Resize in every mode: linear and separable, so dX = A_hᵀ dY A_w with A from resizing an identity matrix."""

from __future__ import annotations

import numpy as np

from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.separable import apply_along, identity_along
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, op

_X, _ROI, _SCALES, _SIZES = range(4)
_SAMPLING = (
    *("mode", "coordinate_transformation_mode", "nearest_mode"),
    *("cubic_coeff_a", "exclude_outside", "antialias"),
)


@rule("Resize")
def resize(n: Call, dy: Tensor) -> Gradients:
    """y = A_h x A_wᵀ: dx = A_hᵀ dy A_w"""
    if n.has(_SIZES) and n["keep_aspect_ratio_policy"] not in (None, "stretch"):
        raise NotDifferentiableError("its scale follows from keep_aspect_ratio_policy; export it with sizes")
    if n.needs(_ROI) or n.needs(_SCALES):
        raise NotDifferentiableError("its region or its scales are computed from what is differentiated")
    rank = n.x.rank
    resized = [axis % rank for axis in n["axes"]] if n["axes"] else list(range(rank))
    for axis in resized:
        if _is_kept(n, axis, resized):
            continue
        # Runtimes interpolate pictures [N, C, H, W] only, so the identity travels as one.
        picture = op.Unsqueeze(identity_along(n.x, axis), [0, 1])
        widened = _resize_width(n, picture, resized.index(axis), len(resized))
        dy = apply_along(op.Squeeze(widened, [0, 1]), dy, axis, rank)
    return dy


def _is_kept(n: Call, axis: int, resized: list[int]) -> bool:
    """Whether this axis keeps its length and its sampling."""
    x_dims, y_dims = n.x.dims, n.y.dims
    scales = n.input(_SCALES).array if n.has(_SCALES) else None
    if scales is not None and scales.size:
        return float(scales[resized.index(axis)]) == 1.0
    here, there = (None if dims is None else dims[axis] for dims in (x_dims, y_dims))
    if here is None or there is None:
        return axis < 2  # where nothing is known, batch and channels are taken to keep their length
    return here == there


def _resize_width(n: Call, picture: Tensor, index: int, count: int) -> Tensor:
    """Resize the last axis of `picture` [1, 1, L, L] as the node resizes its axis number `index`."""
    pick = [index]
    kept = {name: n[name] for name in _SAMPLING if name in n.node.attributes}
    roi = None
    if n["coordinate_transformation_mode"] == "tf_crop_and_resize":
        ends = op.Gather(n.input(_ROI), [index, index + count])
        begin, end = op.several("Split", ends, [1, 1], axis=0, outputs=2)
        roi = op.Concat([0.0, 0.0, 0.0], begin, [1.0, 1.0, 1.0], end, axis=0)
    scales = n.optional(_SCALES)
    if scales is not None and (scales.array is None or scales.array.size):
        ones = n.tape.constant(np.ones(3, np.float32))
        return op.Resize(picture, roi, op.Concat(ones, op.Gather(scales, pick), axis=0), None, **kept)
    sizes = op.Concat(op.Shape(picture, start=0, end=3), op.Gather(n.input(_SIZES), pick), axis=0)
    return op.Resize(picture, roi, None, sizes, **kept)
