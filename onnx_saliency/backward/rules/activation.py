"""Activations other than the rectifier itself (`backward.relu`).

Masks are read from the output where it tells, so that a runtime can still fuse the activation with
the convolution before it.
"""

from __future__ import annotations

import math

from onnx_saliency.backward.lowering import bent, between, fraction
from onnx_saliency.backward.registry import Call, Gradients, expanded, rule
from onnx_saliency.backward.tensor import Tensor, op

# --- piecewise linear --------------------------------------------------------------------------


@rule("LeakyRelu")
def leaky_relu(n: Call, dy: Tensor) -> Gradients:
    """dx = dy where x > 0, else α dy"""
    alpha = float(n["alpha"])
    return bent(dy, n.y if alpha >= 0 else n.x, alpha)  # y keeps the sign of x only for α ≥ 0


@rule("PRelu", broadcasts=True)
def prelu(n: Call, dy: Tensor) -> Gradients:
    """dx = dy where x > 0, else s dy; ds = x dy where x ≤ 0"""
    positive = n.x > 0
    return op.Where(positive, dy, dy * n.input(1)), op.Where(positive, 0.0, dy * n.x)


@rule("Clip", broadcasts=True)
def clip(n: Call, dy: Tensor) -> Gradients:
    """dx = dy where min < y < max; each limit receives what it held back"""
    low, high = n.optional(1), n.optional(2)
    dlow = op.Where(n.y > low, 0.0, dy) if low is not None and n.needs(1) else None
    dhigh = op.Where(n.y < high, 0.0, dy) if high is not None and n.needs(2) else None
    return between(dy, n.y, low, high), dlow, dhigh


@rule("ThresholdedRelu")
def thresholded_relu(n: Call, dy: Tensor) -> Gradients:
    """y = x where x > α, else 0: dx = dy where x > α"""
    return between(dy, n.x, low=n["alpha"])


@rule("Shrink")
def shrink(n: Call, dy: Tensor) -> Gradients:
    """y = x + β where x < −λ, x − β where x > λ, else 0: dx = dy where |x| > λ"""
    return between(dy, op.Abs(n.x), low=n["lambd"])


@rule("HardSigmoid")
def hard_sigmoid(n: Call, dy: Tensor) -> Gradients:
    """y = clip(α x + β, 0, 1): dx = α dy where 0 < y < 1"""
    return between(dy * n["alpha"], n.y, 0.0, 1.0)


@rule("HardSwish")
def hard_swish(n: Call, dy: Tensor) -> Gradients:
    """y = x clip(x/6 + 1/2, 0, 1): dx = dy (x/3 + 1/2) where |x| < 3, else dy 1(x > 0)"""
    bent = op.Abs(n.x) < 3
    return dy * op.Where(bent, n.x / 3 + 0.5, (n.x > 0).cast(like=dy))


# --- exponential -------------------------------------------------------------------------------


@rule("Elu")
def elu(n: Call, dy: Tensor) -> Gradients:
    """y = α (e^x − 1) where x ≤ 0: dx = dy where x > 0, else dy (y + α)"""
    return dy * op.Where(n.x > 0, 1.0, n.y + n["alpha"])


@rule("Selu")
def selu(n: Call, dy: Tensor) -> Gradients:
    """y = γ x, or γ α (e^x − 1): dx = γ dy where x > 0, else dy (y + γ α)"""
    gamma, alpha = n["gamma"], n["alpha"]
    return dy * op.Where(n.x > 0, float(gamma), n.y + gamma * alpha)


@rule("Celu")
def celu(n: Call, dy: Tensor) -> Gradients:
    """y = α (e^(x/α) − 1) where x ≤ 0: dx = dy where x > 0, else dy (y / α + 1)"""
    return dy * op.Where(n.x > 0, 1.0, n.y / n["alpha"] + 1)


@rule("Sigmoid")
def sigmoid(n: Call, dy: Tensor) -> Gradients:
    """dx = dy y (1 − y)"""
    return dy * n.y * fraction(n.y, -1, 1)


@rule("Tanh")
def tanh(n: Call, dy: Tensor) -> Gradients:
    """dx = dy (1 − y²)"""
    return dy * fraction(n.y * n.y, -1, 1)


@rule("Softplus")
def softplus(n: Call, dy: Tensor) -> Gradients:
    """dx = dy σ(x)"""
    return dy * op.Sigmoid(n.x)


@rule("Gelu")
def gelu(n: Call, dy: Tensor) -> Gradients:
    """y = x Φ(x): dx = dy (Φ(x) + x φ(x)); or its tanh approximation (Hendrycks & Gimpel 2016)"""
    x = n.x
    if n["approximate"] == "tanh":  # y = x (1 + t) / 2, t = tanh(c (x + a x³))
        c, a = math.sqrt(2 / math.pi), 0.044715
        t = op.Tanh((x + x * x * x * a) * c)
        return dy * 0.5 * (1 + t + x * (1 - t * t) * (1 + x * x * (3 * a)) * c)
    return gelu_gradient(dy, x, math.sqrt(0.5))


def gelu_gradient(dy: Tensor, x: Tensor, c: float) -> Tensor:
    """y = x (1 + erf u) / 2, u = c x: dx = dy ((1 + erf u) / 2 + u e^(−u²) / √π)"""
    u = x * c
    bell = op.Exp(math.log(1 / math.sqrt(math.pi)) - u * u)  # the factor in the exponent costs nothing
    return dy * (fraction(op.Erf(u), 0.5, 0.5) + u * bell)


@rule("Softsign")
def softsign(n: Call, dy: Tensor) -> Gradients:
    """y = x / (1 + |x|): dx = dy / (1 + |x|)²"""
    scale = 1 + op.Abs(n.x)
    return dy / (scale * scale)


@rule("Swish")
def swish(n: Call, dy: Tensor) -> Gradients:
    """y = x σ(α x): dx = dy (σ + α y (1 − σ))"""
    alpha = n["alpha"]
    return swish_gradient(dy, n.y if alpha == 1 else n.y * alpha, op.Sigmoid(n.x * alpha))


def swish_gradient(dy: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    """dx = dy (σ + y (1 − σ)), y times α where x is"""
    return dy * (gate + y * fraction(gate, -1, 1))


@rule("Mish")
def mish(n: Call, dy: Tensor) -> Gradients:
    """y = x t, t = tanh(softplus(x)): dx = dy (t + x (1 − t²) σ(x))"""
    t = op.Tanh(op.Softplus(n.x))
    return dy * (t + n.x * (1 - t * t) * op.Sigmoid(n.x))


# --- over an axis ------------------------------------------------------------------------------


@rule("Softmax")
def softmax(n: Call, dy: Tensor) -> Gradients:
    """dx = y (dy − Σ dy y)"""
    return n.y * (dy - op.ReduceSum(dy * n.y, [n["axis"]], keepdims=1))


@rule("LogSoftmax")
def log_softmax(n: Call, dy: Tensor) -> Gradients:
    """dx = dy − e^y Σ dy"""
    return dy - op.Exp(n.y) * op.ReduceSum(dy, [n["axis"]], keepdims=1)


# --- defined by other operators ----------------------------------------------------------------

expanded("SwiGLU")
