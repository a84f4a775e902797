"""Elementwise arithmetic. The walk sums the gradients of stretched operands back to their shapes."""

from __future__ import annotations

import math

import numpy as np

from onnx_saliency.backward.lowering import factor
from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.rules.gates import gated
from onnx_saliency.backward.tensor import Tensor, op

# --- sums and products -------------------------------------------------------------------------


@rule("Add", broadcasts=True)
def add(n: Call, dy: Tensor) -> Gradients:
    """da = dy, db = dy"""
    return dy, dy


@rule("Sub", broadcasts=True)
def sub(n: Call, dy: Tensor) -> Gradients:
    """da = dy, db = −dy"""
    return dy, -dy


@rule("Mul", broadcasts=True)
def mul(n: Call, dy: Tensor) -> Gradients:
    """da = dy b, db = dy a"""
    whole = gated(n, dy)
    if whole is not None:
        return whole
    a, b = n.input(0), n.input(1)
    return dy * factor(b, dy), dy * factor(a, dy)


@rule("Div", broadcasts=True)
def div(n: Call, dy: Tensor) -> Gradients:
    """y = a / b: da = dy / b, db = −dy y / b"""
    b = n.input(1)
    return dy / b, -dy * n.y / b


@rule("Sum", broadcasts=True)
def sum_(n: Call, dy: Tensor) -> Gradients:
    """dx_i = dy"""
    return [dy] * len(n.node.inputs)


@rule("Mean", broadcasts=True)
def mean(n: Call, dy: Tensor) -> Gradients:
    """dx_i = dy / n"""
    count = len(n.node.inputs)
    return [dy / count] * count


# --- one operand -------------------------------------------------------------------------------


@rule("Neg")
def neg(n: Call, dy: Tensor) -> Gradients:
    """dx = −dy"""
    return -dy


@rule("Abs")
def abs_(n: Call, dy: Tensor) -> Gradients:
    """dx = dy sign(x)"""
    return dy * op.Sign(n.x)


@rule("Reciprocal")
def reciprocal(n: Call, dy: Tensor) -> Gradients:
    """dx = −dy y²"""
    return -dy * n.y * n.y


@rule("Exp")
def exp(n: Call, dy: Tensor) -> Gradients:
    """dx = dy y"""
    return dy * n.y


@rule("Log")
def log(n: Call, dy: Tensor) -> Gradients:
    """dx = dy / x, and 0 at x = 0, where 0 · ∞ would turn the map into NaN"""
    return op.Where(n.x.equals(0), 0.0, dy / n.x)


@rule("Sqrt")
def sqrt(n: Call, dy: Tensor) -> Gradients:
    """dx = dy / 2y, and 0 at y = 0, where 0 · ∞ would turn the map into NaN"""
    return op.Where(n.y > 0, dy / (2 * n.y), 0.0)


@rule("Erf")
def erf(n: Call, dy: Tensor) -> Gradients:
    """dx = dy 2/√π e^(−x²)"""
    return dy * (2 / math.sqrt(math.pi)) * op.Exp(-n.x * n.x)


# --- powers, choices ---------------------------------------------------------------------------


@rule("Pow", broadcasts=True)
def pow_(n: Call, dy: Tensor) -> Gradients:
    """y = x^p: dx = dy p x^(p−1), 0 where p = 0 or that is infinite; dp = dy y log x, 0 where x ≤ 0"""
    x, p = n.x, n.input(1).cast(like=n.x)
    flat = op.Or(p.equals(0), x.equals(0) & (p < 1))
    dx = dy * op.Where(flat, 0.0, p * x ** (p - 1))
    if not n.needs(1):
        return dx, None
    return dx, dy * n.y * op.Log(op.Where(x > 0, x, 1.0))


@rule("Max", "Min", broadcasts=True)
def extremum(n: Call, dy: Tensor) -> Gradients:
    """dx_i = dy 1(x_i = y) / number of equal x_j: ties share evenly"""
    chosen = [n.input(i).equals(n.y) for i in range(len(n.node.inputs))]
    if len(chosen) == 1:
        return dy
    weights = [mask.cast(like=dy) for mask in chosen]
    share = dy / op.Sum(*weights)
    return [share * weight for weight in weights]


@rule("Mod", broadcasts=True)
def mod(n: Call, dy: Tensor) -> Gradients:
    """y = a − q b, q the quotient a / b cut (fmod) or rounded down: da = dy, db = −dy q = dy (y − a) / b"""
    return dy, dy * (n.y - n.input(0)) / n.input(1) if n.needs(1) else None


@rule("Where", broadcasts=True)
def where(n: Call, dy: Tensor) -> Gradients:
    """y = a where c, else b: da = dy where c, db = dy where not"""
    c = n.input(0)
    return None, op.Where(c, dy, 0.0), op.Where(c, 0.0, dy)


# --- floats out of indices ---------------------------------------------------------------------


@rule("OneHot")
def one_hot(n: Call, dy: Tensor) -> Gradients:
    """y = off + (on − off) h, h the hot places: doff = Σ dy (1 − h), don = Σ dy h"""
    if not n.needs(2):
        return None
    h = op.OneHot(n.input(0), n.input(1), np.array([0, 1], dy.dtype.numpy()), axis=n["axis"])
    sums = [op.ReduceSum(part, keepdims=0) for part in (dy * (1 - h), dy * h)]
    return None, None, op.Concat(*(op.Reshape(each, [1]) for each in sums), axis=0)


@rule("Range")
def range_(n: Call, dy: Tensor) -> Gradients:
    """y_i = start + i δ: dstart = Σ dy, dδ = Σ i dy; the limit only tells how many"""
    i = op.CumSum(op.Expand(1.0, n.y.shape), np.array(0), exclusive=1)
    return op.ReduceSum(dy, keepdims=0), None, op.ReduceSum(dy * i, keepdims=0)
