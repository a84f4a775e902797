"""Pooling: the maximum hands its gradient to the position it came from, averages and Lp norms to the whole window."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward import switches
from onnx_saliency.backward.lowering import into_blocks, stretched
from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.rules.reduction import count
from onnx_saliency.backward.separable import apply_along, identity_along
from onnx_saliency.backward.tensor import Tensor, full_like, op


@rule("MaxPool")
def max_pool(n: Call, dy: Tensor) -> Gradients:
    """dx = dy added up at each window's arg-max, its "switch" (paper, section 4); of equal values the first

    MaxUnpool would overwrite where windows overlap; the indices count over the whole tensor.
    """
    if switches.serves(n):
        return switches.max_pool_gradient(n, dy)
    attributes = {name: n[name] for name in n.node.attributes if name != "storage_order"}
    _, indices = op.several("MaxPool", n.x, outputs=2, **attributes)
    zeros = op.Expand(0.0, op.Reshape(op.Size(n.x), [1]))
    flat = op.ScatterElements(zeros, op.Reshape(indices, [-1]), op.Reshape(dy, [-1]), axis=0, reduction="add")
    return op.Reshape(flat, n.x.shape)


@rule("AveragePool")
def average_pool(n: Call, dy: Tensor) -> Gradients:
    """y = A_h x A_wᵀ, one matrix per axis, so dx = A_hᵀ dy A_w

    A window's mean is the product of its means along each axis, divisor included. Each matrix is
    what this very pool makes of an identity matrix, so ceil_mode, dilations and count_include_pad
    need no case of their own.
    """
    for i in range(n.x.rank - 2):
        dy = apply_along(pooled_identity(n, i, n.x.dtype), dy, i + 2, n.x.rank)
    return into_blocks(dy, n.x)


def pooled_identity(n: Call, i: int, dtype: ir.DataType) -> Tensor:
    """Aᵀ [L, L'] of an AveragePool along spatial axis `i`: what it makes of an identity matrix."""
    window = {name: [n[name][i], 1] for name in ("kernel_shape", "strides", "dilations") if n[name]}
    rank = len(n["kernel_shape"])  # of the positions; no shape is inferred of what stands in a loop's body
    pads = n["pads"] or [0] * 2 * rank
    modes = {name: n[name] for name in ("ceil_mode", "count_include_pad") if n[name]}
    identity = identity_along(n.x, i + 2, dtype)
    columns = op.Unsqueeze(identity, [0, 3])  # [1, L, L, 1]: L pictures of one column
    pooled = op.AveragePool(columns, pads=[pads[i], 0, pads[rank + i], 0], **window, **modes)
    return op.Squeeze(pooled, [0, 3])


@rule("GlobalAveragePool")
def global_average_pool(n: Call, dy: Tensor) -> Gradients:
    """dx = dy / number of positions"""
    axes = list(range(2, n.x.rank))
    return stretched(dy / count(n.x, axes), n.x, axes)


@rule("GlobalMaxPool")
def global_max_pool(n: Call, dy: Tensor) -> Gradients:
    """dx = dy at the arg-max of each channel, of equal values the first"""
    flat = op.Reshape(n.x, [0, 0, -1])
    switch = op.ArgMax(flat, axis=2, keepdims=1)
    zeros = full_like(flat, 0.0)
    return op.Reshape(op.ScatterElements(zeros, switch, op.Reshape(dy, [0, 0, 1]), axis=2), n.x.shape)


@rule("LpPool")
def lp_pool(n: Call, dy: Tensor) -> Gradients:
    """y = (A_h |x|^p A_wᵀ)^(1/p): dx = sign(x) |x|^(p − 1) A_hᵀ(dy / y^(p − 1)) A_w, 0 where y = 0"""
    p, rank = n["p"], n.x.rank - 2
    if p > 1:
        slope = n.y ** (p - 1)
        dy = op.Where(slope > 0, dy / slope, 0.0)
    for i in range(rank):
        dy = apply_along(_windows(n, i, rank, dy), dy, i + 2, n.x.rank)
    return dy * _signed_power(n.x, p)


def _windows(n: Call, i: int, rank: int, dy: Tensor) -> Tensor:
    """[L, L'] = Aᵀ: 1 where entry l lies in window o, l = stride · o − pad + dilation · k for one of its k."""
    stride, dilation = (n[name][i] if n[name] else 1 for name in ("strides", "dilations"))
    before = n["pads"][i] if n["pads"] else 0
    entries, windows = (op.Range(0, op.Gather(op.Shape(t), np.array(i + 2)), 1) for t in (n.x, n.y))
    read = op.Unsqueeze(windows, [1]) * stride + (np.arange(n["kernel_shape"][i]) * dilation - before)  # [L', k]
    return op.ReduceSum(op.Unsqueeze(entries, [1, 2]).equals(read).cast(like=dy), [2], keepdims=0)


@rule("GlobalLpPool")
def global_lp_pool(n: Call, dy: Tensor) -> Gradients:
    """y = (Σ |x|^p)^(1/p) over all positions: dx = dy sign(x) (|x| / y)^(p − 1), 0 where y = 0"""
    return dy * _signed_power(n.x / op.Where(n.y > 0, n.y, 1.0), n["p"])


def _signed_power(x: Tensor, p: int) -> Tensor:
    """sign(x) |x|^(p − 1)"""
    if p == 1:
        return op.Sign(x)
    return x if p == 2 else op.Sign(x) * op.Abs(x) ** (p - 1)
