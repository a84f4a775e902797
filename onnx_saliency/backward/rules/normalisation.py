"""Normalisations. With x̂ = (x − μ) / σ over some axes and g the gradient of x̂:

dx = (g − mean g − x̂ mean(g x̂)) / σ
"""

from __future__ import annotations

from onnx_saliency.backward.broadcasting import unbroadcast
from onnx_saliency.backward.lowering import scaled_by_channel, standardised
from onnx_saliency.backward.registry import Call, Gradients, expanded, rule
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, op


def _backward(g: Tensor, x_hat: Tensor, inverse: Tensor, axes: list[int]) -> Tensor:
    mean_g = op.ReduceMean(g, axes, keepdims=1)
    mean_gx = op.ReduceMean(g * x_hat, axes, keepdims=1)
    return (g - mean_g - x_hat * mean_gx) * inverse


@rule("BatchNormalization")
def batch_normalization(n: Call, dy: Tensor) -> Gradients:
    """In inference x̂ = (x − μ) r, r = 1 / √(v + ε), y = s x̂ + b: dx = dy s r

    ds = Σ dy x̂, db = Σ dy, dμ = −s r db, dv = −½ s r² ds.
    """
    if n["training_mode"]:
        raise NotDifferentiableError("it is in training mode; export the model for inference")
    s, mean, r = n.input(1), n.input(3), 1 / op.Sqrt(n.input(4) + n["epsilon"])
    dx = scaled_by_channel(dy, s * r)
    if not any(n.needs(i) for i in (1, 2, 3, 4)):
        return dx
    others = [axis for axis in range(n.x.rank) if axis != 1]
    column = [-1] + [1] * (n.x.rank - 2)
    x_hat = (n.x - op.Reshape(mean, column)) * op.Reshape(r, column)
    ds, db = op.ReduceSum(dy * x_hat, others, keepdims=0), op.ReduceSum(dy, others, keepdims=0)
    return dx, ds, db, -(s * r * db), s * r * r * ds * -0.5


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
    axes = list(range(n["axis"] % n.x.rank, n.x.rank))
    x_hat, inverse = standardised(n.x, axes, n["epsilon"])
    ds = unbroadcast(dy * x_hat, n.input(1), n.x.dims) if n.needs(1) else None
    db = unbroadcast(dy, n.input(2), n.x.dims) if n.needs(2) else None
    return _backward(dy * n.input(1), x_hat, inverse, axes), ds, db


@rule("LRN")
def lrn(n: Call, dy: Tensor) -> Gradients:
    """y = x q^−β with q = k + α/n Σ x² over n channels: dx = dy q^−β − 2 αβ/n x Σᵀ(dy y / q)"""
    size, alpha, beta, bias = int(n["size"]), float(n["alpha"]), float(n["beta"]), float(n["bias"])
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


@rule("LpNormalization")
def lp_normalization(n: Call, dy: Tensor) -> Gradients:
    """y = x / ‖x‖: dx = (dy − s Σ dy y) / ‖x‖, s = sign x for p = 1, y for p = 2; 0 where x = 0"""
    axes = [n["axis"]]
    if n["p"] == 1:
        norm, slope = op.ReduceL1(n.x, axes, keepdims=1), op.Sign(n.x)
    else:
        norm, slope = op.ReduceL2(n.x, axes, keepdims=1), n.y
    return op.Where(norm > 0, (dy - slope * op.ReduceSum(dy * n.y, axes, keepdims=1)) / norm, 0.0)


# --- defined by other operators ----------------------------------------------------------------

expanded("GroupNormalization", "MeanVarianceNormalization", "RMSNormalization")
