"""Reductions over axes: dy is stretched back over what was reduced."""

from __future__ import annotations

import math

from onnx_saliency.backward.lowering import stretched
from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, op

Axes = list[int] | Tensor | None


def count(x: Tensor, axes: Axes) -> float | Tensor:
    """Number of entries of `x` along `axes`: a number where it is static, else computed when run."""
    if isinstance(axes, list) and x.dims is not None and all(isinstance(x.dims[axis], int) for axis in axes):
        return float(math.prod(x.dims[axis] for axis in axes))  # type: ignore[misc]  # all are integers
    lengths = op.Shape(x) if axes is None else op.Gather(op.Shape(x), axes)
    return op.Cast(op.ReduceProd(lengths, keepdims=0), to=x.dtype)


def _axes(n: Call) -> Axes:
    """The reduced axes: numbers where they are known, all of them where none is given, a tensor otherwise."""
    given = n.optional(1)
    if given is None:
        return list(range(n.x.rank))
    if given.array is None:
        if given.dims is None or given.dims[0] == 0 or not isinstance(given.dims[0], int):
            raise NotDifferentiableError("its axes are an input of open length, and none would mean all of them")
        return given
    axes = [int(axis) % n.x.rank for axis in given.array]
    return axes or list(range(n.x.rank))


def _is_identity(n: Call) -> bool:
    """Whether no axis is reduced, by `noop_with_empty_axes`."""
    given = n.optional(1)
    return bool(n["noop_with_empty_axes"]) and (given is None or (given.array is not None and not given.array.size))


def _kept(n: Call, value: Tensor, axes: Axes) -> Tensor:
    """`value`, in the shape of y, with the reduced axes kept as ones, so that it broadcasts against x."""
    return value if n["keepdims"] else op.Unsqueeze(value, axes)


def _stretch(n: Call, value: Tensor, axes: Axes) -> Tensor:
    return stretched(_kept(n, value, axes), n.x, axes)


@rule("ReduceSum")
def reduce_sum(n: Call, dy: Tensor) -> Gradients:
    """dx = dy for every summand"""
    return dy if _is_identity(n) else _stretch(n, dy, _axes(n))


@rule("ReduceMean")
def reduce_mean(n: Call, dy: Tensor) -> Gradients:
    """dx = dy / count"""
    return dy if _is_identity(n) else _stretch(n, dy / count(n.x, _axes(n)), _axes(n))


@rule("ReduceMax", "ReduceMin")
def reduce_extremum(n: Call, dy: Tensor) -> Gradients:
    """dx = dy 1(x = y) / number of equal entries: ties share evenly"""
    if _is_identity(n):
        return dy
    axes = _axes(n)
    chosen = n.x.equals(_kept(n, n.y, axes)).cast(like=dy)
    return chosen * (_kept(n, dy, axes) / op.ReduceSum(chosen, axes, keepdims=1))


@rule("ReduceProd")
def reduce_prod(n: Call, dy: Tensor) -> Gradients:
    """dx_i = dy Π_{j≠i} x_j: y / x_i without zeros, the product of the others at a lone zero, else 0"""
    if _is_identity(n):
        return dy
    axes = _axes(n)
    is_zero = n.x.equals(0)
    zeros = op.ReduceSum(is_zero.cast(like=dy), axes, keepdims=1)
    safe = op.Where(is_zero, 1.0, n.x)
    others = op.ReduceProd(safe, axes, keepdims=1)
    lone = op.Where(zeros.equals(1), others, 0.0)
    return _kept(n, dy, axes) * op.Where(is_zero, lone, op.Where(zeros.equals(0), others, 0.0) / safe)


@rule("ReduceL1")
def reduce_l1(n: Call, dy: Tensor) -> Gradients:
    """dx = dy sign(x)"""
    return dy * op.Sign(n.x) if _is_identity(n) else _kept(n, dy, _axes(n)) * op.Sign(n.x)


@rule("ReduceL2")
def reduce_l2(n: Call, dy: Tensor) -> Gradients:
    """dx = dy x / y, and 0 at y = 0"""
    if _is_identity(n):
        return dy * op.Sign(n.x)
    axes = _axes(n)
    y = _kept(n, n.y, axes)
    return _kept(n, dy, axes) * n.x / op.Where(y > 0, y, 1.0)


@rule("ReduceSumSquare")
def reduce_sum_square(n: Call, dy: Tensor) -> Gradients:
    """dx = 2 dy x"""
    return (dy if _is_identity(n) else _kept(n, dy, _axes(n))) * 2 * n.x


@rule("ReduceLogSum")
def reduce_log_sum(n: Call, dy: Tensor) -> Gradients:
    """y = log Σ x: dx = dy / e^y"""
    if _is_identity(n):
        return dy / n.x
    return _stretch(n, dy / op.Exp(n.y), _axes(n))


@rule("ReduceLogSumExp")
def reduce_log_sum_exp(n: Call, dy: Tensor) -> Gradients:
    """y = log Σ e^x: dx = dy e^(x − y)"""
    if _is_identity(n):
        return dy
    axes = _axes(n)
    return _kept(n, dy, axes) * op.Exp(n.x - _kept(n, n.y, axes))
