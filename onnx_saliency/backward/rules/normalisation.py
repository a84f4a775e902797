"""Normalisations. With x̂ = (x − μ) / σ over some axes and g the gradient of x̂:

dx = (g − mean g − x̂ mean(g x̂)) / σ
"""

from __future__ import annotations

from onnx_saliency.backward.lowering import scaled_by_channel, standardised
from onnx_saliency.backward.registry import Call, Gradients, expanded, rule
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, op


def _backward(g: Tensor, x_hat: Tensor, inverse: Tensor, axes: list[int]) -> Tensor:
    mean_g = op.ReduceMean(g, axes, keepdims=1)
    mean_gx = op.ReduceMean(g * x_hat, axes, keepdims=1)
    return (g - mean_g - x_hat * mean_gx) * inverse


@rule("BatchNormalization")
def batch_normalization(n: Call, dy: Tensor) -> Gradients:
    """In inference y = s (x − μ) / √(v + ε) + b: dx = dy s / √(v + ε)"""
    if n["training_mode"]:
        raise NotDifferentiableError("it is in training mode; export the model for inference")
    if any(n.needs(i) for i in (1, 2, 3, 4)):
        raise NotDifferentiableError("its statistics depend on the image; only fixed ones are served")
    return scaled_by_channel(dy, n.input(1) / op.Sqrt(n.input(4) + n["epsilon"]))


@rule("InstanceNormalization")
def instance_normalization(n: Call, dy: Tensor) -> Gradients:
    """x̂ over the positions of each channel, y = s x̂ + b"""
    axes = list(range(2, n.x.rank))
    x_hat, inverse = standardised(n.x, axes, n["epsilon"])
    g = scaled_by_channel(dy, n.input(1))
    if not (n.needs(1) or n.needs(2)):
        return _backward(g, x_hat, inverse, axes)
    others = [0, *axes]
    ds, db = op.ReduceSum(dy * x_hat, others, keepdims=0), op.ReduceSum(dy, others, keepdims=0)
    return _backward(g, x_hat, inverse, axes), ds, db


@rule("LayerNormalization")
def layer_normalization(n: Call, dy: Tensor) -> Gradients:
    """x̂ over the axes from `axis` on, y = s x̂ + b"""
    if any(other is not None for other in n.dys[1:]):
        raise NotDifferentiableError("the score depends on its outputs Mean or InvStdDev")
    if n.needs(1) or n.needs(2):
        raise NotDifferentiableError("its scale or bias depends on the image; only fixed ones are served")
    axes = list(range(n["axis"] % n.x.rank, n.x.rank))
    x_hat, inverse = standardised(n.x, axes, n["epsilon"])
    return _backward(dy * n.input(1), x_hat, inverse, axes)


@rule("LRN")
def lrn(n: Call, dy: Tensor) -> Gradients:
    """y = x q^−β with q = k + α/n Σ x² over n channels: dx = dy q^−β − 2 αβ/n x Σᵀ(dy y / q)"""
    size, alpha, beta, bias = n["size"], n["alpha"], n["beta"], n["bias"]
    before, after = (size - 1) // 2, size // 2
    q = _sum_over_channels(n.x * n.x, before, after) * (alpha / size) + bias
    back = _sum_over_channels(dy * n.y / q, after, before)  # transposed: the window is mirrored
    return dy * q ** (-beta) - n.x * back * (2 * alpha * beta / size)


def _sum_over_channels(v: Tensor, before: int, after: int) -> Tensor:
    """Sum over the window [c − before, c + after] of channels: a pool over [N, 1, C, positions]."""
    size = before + after + 1
    plane = op.Unsqueeze(op.Reshape(v, [0, 0, -1]), [1])
    mean = op.AveragePool(plane, kernel_shape=[size, 1], pads=[before, 0, after, 0], count_include_pad=1)
    return op.Reshape(mean * float(size), op.Shape(v))


# --- defined by other operators ----------------------------------------------------------------

expanded("GroupNormalization", "MeanVarianceNormalization", "RMSNormalization")
