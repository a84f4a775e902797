"""Trigonometric and hyperbolic functions, and their inverses.

Where an inverse ends its slope is infinite; the gradient is 0 there, because 0 · ∞ would turn the map into NaN.
"""

from __future__ import annotations

from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.tensor import Tensor, op

# --- circular ----------------------------------------------------------------------------------


@rule("Sin")
def sin(n: Call, dy: Tensor) -> Gradients:
    """dx = dy cos x"""
    return dy * op.Cos(n.x)


@rule("Cos")
def cos(n: Call, dy: Tensor) -> Gradients:
    """dx = −dy sin x"""
    return -dy * op.Sin(n.x)


@rule("Tan")
def tan(n: Call, dy: Tensor) -> Gradients:
    """dx = dy (1 + y²)"""
    return dy * (1 + n.y * n.y)


@rule("Asin")
def asin(n: Call, dy: Tensor) -> Gradients:
    """dx = dy / √(1 − x²), and 0 at |x| = 1"""
    return op.Where(op.Abs(n.x) < 1, dy / op.Sqrt((1 - n.x) * (1 + n.x)), 0.0)


@rule("Acos")
def acos(n: Call, dy: Tensor) -> Gradients:
    """dx = −dy / √(1 − x²), and 0 at |x| = 1"""
    return op.Where(op.Abs(n.x) < 1, -dy / op.Sqrt((1 - n.x) * (1 + n.x)), 0.0)


@rule("Atan")
def atan(n: Call, dy: Tensor) -> Gradients:
    """dx = dy / (1 + x²)"""
    return dy / (1 + n.x * n.x)


# --- hyperbolic --------------------------------------------------------------------------------


@rule("Sinh")
def sinh(n: Call, dy: Tensor) -> Gradients:
    """dx = dy cosh x"""
    return dy * op.Cosh(n.x)


@rule("Cosh")
def cosh(n: Call, dy: Tensor) -> Gradients:
    """dx = dy sinh x"""
    return dy * op.Sinh(n.x)


@rule("Asinh")
def asinh(n: Call, dy: Tensor) -> Gradients:
    """dx = dy / √(x² + 1)"""
    return dy / op.Sqrt(n.x * n.x + 1)


@rule("Acosh")
def acosh(n: Call, dy: Tensor) -> Gradients:
    """dx = dy / √(x² − 1), and 0 at x = 1"""
    return op.Where(n.x > 1, dy / op.Sqrt((n.x - 1) * (n.x + 1)), 0.0)


@rule("Atanh")
def atanh(n: Call, dy: Tensor) -> Gradients:
    """dx = dy / (1 − x²), and 0 at |x| = 1"""
    return op.Where(op.Abs(n.x) < 1, dy / ((1 - n.x) * (1 + n.x)), 0.0)
