"""Pooling by the Lp norm: every entry of a window receives its share of the norm."""

from __future__ import annotations

import numpy as np

from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.separable import apply_along
from onnx_saliency.backward.tensor import Tensor, op


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
    entries, windows = (op.Range(np.array(0), op.Gather(op.Shape(t), np.array(i + 2)), np.array(1)) for t in (n.x, n.y))
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
