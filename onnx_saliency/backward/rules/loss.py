"""Losses, and division by a norm."""

from __future__ import annotations

from onnx_saliency.backward.registry import Call, Gradients, expanded, rule
from onnx_saliency.backward.tensor import Tensor, op


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

expanded("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
