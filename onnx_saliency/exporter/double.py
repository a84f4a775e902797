"""Double precision where the runtime's kernels are single: convolutions and pools as products, Erf by a polynomial.

On the CPU, ONNX Runtime multiplies matrices of float64, and has no such kernel for a convolution or an average pool.
Both are sums over windows, and so

    Conv           y[m, o] = Σ_{c, i} w[m, c, i] x[c, o s + i d − p]       x gathered at o s + i d, times w
    ConvTranspose  y[m, q] = Σ_{c, i, o} w[c, m, i] x[c, o] 1(q = o s + i d − p)   wᵀ x, times 0 or 1 along each axis
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np
import onnx_ir as ir
from numpy.polynomial.chebyshev import cheb2poly, chebfit, chebpts1

from onnx_saliency.backward import Tape, Tensor, op
from onnx_saliency.backward.lowering import standardised
from onnx_saliency.backward.registry import Call
from onnx_saliency.backward.rules.linear import Window
from onnx_saliency.backward.rules.movement import padded
from onnx_saliency.backward.rules.pooling import pooled_identity
from onnx_saliency.backward.separable import apply_along
from onnx_saliency.backward.tensor import NotDifferentiableError
from onnx_saliency.backward.walk import describe
from onnx_saliency.errors import ExportError
from onnx_saliency.graph.functions import expand_functions
from onnx_saliency.graph.shapes import infer_shapes
from onnx_saliency.graph.writer import label, replace
from onnx_saliency.runtime.kernels import has_kernel

_DOUBLE = ir.DataType.DOUBLE


def write_out_double(model: ir.Model) -> None:
    """Write nodes of float64 that ONNX Runtime has no kernel for on the CPU by others that it has, in place.

    Raises:
        ExportError: nodes for which there is no such form; lists them all.
    """
    opset = model.graph.opset_imports[""]

    def is_missing(node: ir.Node) -> bool:
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        return any(value.dtype == _DOUBLE for value in values) and not has_kernel(node, opset, "cpu")

    expand_functions(model, lambda node: node.op_type not in LOWERINGS and is_missing(node))
    for graph in (model.graph, *model.graph.subgraphs()):
        graph.opset_imports.update(model.graph.opset_imports)  # which graphs inside others need not state
        for node in list(graph):
            if node.op_type in LOWERINGS and is_missing(node):
                with suppress(NotDifferentiableError):  # geometry that is not known: left as it is, and named below
                    _write_out(graph, node)
    infer_shapes(model)
    if left := [describe(node) for node in model.graph.all_nodes() if is_missing(node)]:
        raise ExportError(
            f"{len(left)} node(s) have no form in double precision that ONNX Runtime computes on the CPU:\n"
            + "\n".join(f"  {node}" for node in left)
            + "\nLeave the precision single."
        )


def _write_out(graph: ir.Graph, node: ir.Node) -> None:
    tape = Tape(f"{label(node)}/", _DOUBLE)
    y = LOWERINGS[node.op_type](Call(node, tape, [None], []))
    y.value.shape, y.value.type = node.outputs[0].shape, node.outputs[0].type
    for value in tape.constants.values():
        graph.register_initializer(value)
    graph.insert_before(node, tape.nodes)
    replace(node, [y.value])


# --- windows ------------------------------------------------------------------------------------


def _length(x: Tensor, axis: int) -> Tensor:
    return op.Shape(x, start=axis, end=axis + 1)


def _places(count: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """o · stride + i · dilation, [kernel, count]"""
    offsets = np.arange(kernel)[:, None] * dilation
    return op.Range(0, op.Squeeze(count), 1) * stride + offsets


def _windows(x: Tensor, axis: int, kernel: int, stride: int = 1, dilation: int = 1) -> Tensor:
    """[..., L, ...] -> [..., kernel, windows, ...]: the entries at their places."""
    count = (_length(x, axis) - dilation * (kernel - 1) - 1) / stride + 1
    return op.Gather(x, _places(count, kernel, stride, dilation), axis=axis)


def _shifted(x: Tensor, axis: int, kernel: int, stride: int, dilation: int) -> Tensor:
    """[N, C, ..., L, ...] -> [N, C, kernel, ..., windows, ...]: x from each offset on."""
    shifts = [op.Slice(x, [start], [end], [axis], [stride]) for start, end in _ranges(kernel, dilation)]
    return op.Concat(*(op.Unsqueeze(shift, [2]) for shift in shifts), axis=2)


def _ranges(kernel: int, dilation: int) -> list[tuple[int, int]]:
    """What each offset of a window meets: from where, and to where."""
    starts = [i * dilation for i in range(kernel)]
    return [(start, start - starts[-1] or _ALL) for start in starts]


_ALL = 2**63 - 1  # beyond the end of every axis


# --- convolutions -------------------------------------------------------------------------------


def _conv(n: Call) -> Tensor:
    """Along the last spatial axes x is shifted; along the first, the products of rows are added up, or rows gathered.

    Gathered where a stride would leave most of the products out, but for those by channel, which cost next to nothing:
    there gathering takes longer, for 7x7 three times as long. Numbers gathered one by one, along all axes, and then
    brought in order took 1.3 to 2.6 times as long, 3x3 with its products.
    """
    w, group, window = n.input(1), n["group"], Window(n)
    rank, (m, c) = window.rank, _channels(w)
    x = padded(n.x, window.pads, window.axes, rank + 2) if any(window.pads) else n.x
    (kernel, stride, dilation), *others = zip(window.kernel, window.strides, window.dilations, strict=True)
    axis = 2  # of the first; offsets come before it
    for i, other in reversed(list(enumerate(others, 1))):
        if other[:2] != (1, 1):
            x = _shifted(x, axis + i, *other)
            axis += 1
    adds_up = kernel > 1 and (stride == 1 or c == 1)
    if not adds_up and (kernel, stride) != (1, 1):
        x = _windows(x, axis, kernel, stride, dilation)
    sides = op.Shape(x, start=-rank)
    taps = op.Reshape(w, [group, m // group, c, kernel, -1])
    across = c * math.prod(window.kernel[1:])
    if adds_up:
        rows = op.Reshape(op.Transpose(taps, perm=[0, 3, 1, 2, 4]), [group, kernel * m // group, across])
        products = rows @ op.Reshape(x, [0, group, across, -1])
        apart = op.Reshape(products, op.Concat(_length(x, 0), [group, kernel, m // group], sides, axis=0))
        ranges = enumerate(_ranges(kernel, dilation))
        y = op.Sum(*(op.Slice(apart, [i, start], [i + 1, end], [2, 4], [1, stride]) for i, (start, end) in ranges))
    else:
        rows = op.Reshape(op.Transpose(taps, perm=[0, 1, 2, 4, 3]), [group, m // group, across * kernel])
        y = rows @ op.Reshape(x, [0, group, across * kernel, -1])
    shape = op.Concat(_length(x, 0), [m, -1], op.Slice(sides, [1], [_ALL]), axis=0)
    return _biased(n, op.Reshape(y, shape), rank)


def _conv_transpose(n: Call) -> Tensor:
    x, w, group, window = n.x, n.input(1), n["group"], Window(n)
    if n["output_shape"] is not None:
        raise NotDifferentiableError("its pads follow from output_shape")
    rank, (c, m) = window.rank, _channels(w)
    sides = op.Shape(x, start=2)
    rows = op.Transpose(op.Reshape(w, [group, c // group, -1]), perm=[0, 2, 1])
    y = rows @ op.Reshape(x, [0, group, c // group, -1])
    y = op.Reshape(y, op.Concat(_length(x, 0), [group * m, *window.kernel], sides, axis=0))
    pairs = [axis for i in range(rank) for axis in (2 + i, 2 + rank + i)]  # an offset and a position
    merged = op.Concat(_length(x, 0), [group * m], sides * window.kernel, axis=0)
    y = op.Reshape(op.Transpose(y, perm=[0, 1, *pairs]), merged)
    extra = n["output_padding"] or [0] * rank
    for i, (kernel, stride, dilation) in enumerate(zip(window.kernel, window.strides, window.dilations, strict=True)):
        count, begin = _length(x, 2 + i), window.begins[i]
        length = (count - 1) * stride + (window.reach[i] + 1 + extra[i] - begin - window.ends[i])
        goals = op.Reshape(_places(count, kernel, stride, dilation) - begin, [1, -1])
        hits = op.Unsqueeze(op.Range(0, op.Squeeze(length), 1), [1]).equals(goals)
        y = apply_along(op.Cast(hits, to=_DOUBLE), y, 2 + i, 2 + rank)
    return _biased(n, y, rank)


def _channels(w: Tensor) -> tuple[int, int]:
    """The first two lengths of a weight."""
    match w.dims:
        case (int(first), int(second), *_):
            return first, second
    raise NotDifferentiableError("the shape of its weight is not known")


def _biased(n: Call, y: Tensor, rank: int) -> Tensor:
    b = n.optional(2)
    return y if b is None else y + op.Reshape(b, [-1] + [1] * rank)


# --- pools and norms ----------------------------------------------------------------------------


def _average_pool(n: Call) -> Tensor:
    """y = A_h x A_wᵀ, one matrix per axis, as in the pool's rule.

    The runtime has them in float32, where entries are 1 / divisor with an error; the divisor is a whole number.
    """
    x, kernel = n.x, n["kernel_shape"]
    rank = len(kernel) + 2
    for i, size in enumerate(zip(kernel, n["strides"] or [1] * len(kernel), strict=True)):
        if size != (1, 1):
            rounded = pooled_identity(n, i, ir.DataType.FLOAT)
            divisor = op.Round(1 / op.Max(rounded, np.array(np.finfo(np.float32).tiny, np.float32)))
            matrix = op.Cast(rounded > 0, to=_DOUBLE) / op.Cast(divisor, to=_DOUBLE)
            x = apply_along(op.Transpose(matrix, perm=[1, 0]), x, i + 2, rank)
    return x


def _lrn(n: Call) -> Tensor:
    """y = x (k + α/n Σ x²)^−β over n channels"""
    size = int(n["size"])
    squares = padded(n.x * n.x, [(size - 1) // 2, size // 2], [1], n.x.rank)
    sums = op.ReduceSum(_windows(squares, 1, size), [1], keepdims=0)
    q = sums * (float(n["alpha"]) / size) + float(n["bias"])
    return n.x * q ** -float(n["beta"])


def _instance_normalization(n: Call) -> Tensor:
    x_hat, _inverse = standardised(n.x, list(range(2, n.x.rank)), n["epsilon"])
    scale, b = (op.Reshape(n.input(i), [-1] + [1] * (n.x.rank - 2)) for i in (1, 2))
    return x_hat * scale + b


# --- functions ----------------------------------------------------------------------------------


def _erf(n: Call) -> Tensor:
    """y = sign(x) (1 − t e^(p(u) − x²)), t = 2 / (2 + |x|) = 5/8 + 3/8 u, and p a polynomial; ±1 from ±6 on

    Source: Press et al., "Numerical Recipes", section 6.2.
    """
    x = op.Min(op.Abs(n.x), np.array(6.0))
    t = 2 / (x + 2)
    u = (t - 5 / 8) / (3 / 8)
    *rest, first = _exponent_of_erfc(degree=20)
    p = u * first + rest.pop()
    for coefficient in reversed(rest):
        p = p * u + coefficient
    return op.Sign(n.x) * (1 - t * op.Exp(p - x * x))


def _exponent_of_erfc(degree: int) -> list[float]:
    """The polynomial p(u) = log(erfc(x) / t) + x² through its values at the Chebyshev points, lowest power first."""
    u = chebpts1(degree + 1)
    t = 5 / 8 + 3 / 8 * u
    x = 2 / t - 2
    coefficients: list[float] = cheb2poly(chebfit(u, np.log(np.vectorize(math.erfc)(x) / t) + x**2, degree)).tolist()
    return coefficients


LOWERINGS: Mapping[str, Callable[[Call], Tensor]] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Erf": _erf,
    "GlobalAveragePool": lambda n: op.ReduceMean(n.x, list(range(2, n.x.rank)), keepdims=1),
    "GlobalMaxPool": lambda n: op.ReduceMax(n.x, list(range(2, n.x.rank)), keepdims=1),
    "InstanceNormalization": _instance_normalization,
    "LRN": _lrn,
    "Mean": lambda n: op.Sum(*n.inputs) / len(n.inputs),
}
