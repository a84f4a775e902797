"""Running sums and products along an axis."""

from __future__ import annotations

from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.tensor import Tensor, op


def _sum_of_later(n: Call, v: Tensor) -> Tensor:
    """Σ v_i over the outputs i that entry k has a part in: the running sum the other way round."""
    return op.CumSum(v, n.input(1), exclusive=n["exclusive"], reverse=1 - n["reverse"])


@rule("CumSum")
def cum_sum(n: Call, dy: Tensor) -> Gradients:
    """y_i = Σ_{j≤i} x_j: dx_k = Σ_{i≥k} dy_i; exclusive with < and >, reverse the other way"""
    return _sum_of_later(n, dy)


@rule("CumProd")
def cum_prod(n: Call, dy: Tensor) -> Gradients:
    """y_i = Π_{j≤i} x_j: dx_k = Σ_{i≥k} dy_i y_i / x_k before the first zero, nothing behind it

    At the first zero itself dx_k = Σ_{i≥k} dy_i z_i, z the running product that leaves it out.
    """
    is_zero = n.x.equals(0)
    zeros = op.CumSum(is_zero.cast(like=dy), n.input(1), reverse=n["reverse"])
    first = is_zero & zeros.equals(1)
    x = op.Where(first, 1.0, n.x)
    z = op.CumProd(x, n.input(1), exclusive=n["exclusive"], reverse=n["reverse"])
    before = _sum_of_later(n, dy * n.y) / op.Where(is_zero, 1.0, n.x)
    return op.Where(zeros.equals(0), before, op.Where(first, _sum_of_later(n, dy * z), 0.0))
