"""What a forward pass costs: multiply-accumulates of the linear operators, as far as shapes are known."""

from __future__ import annotations

import math

import onnx_ir as ir

from onnx_saliency.graph.quantised import codes_of, float_operator


def multiply_accumulates(graph: ir.Graph) -> int:
    """Count them for one batch; open dimensions count as 1."""
    counted = ((node, *float_operator(node)) for node in graph)
    return sum(_COUNTS[op_type](node, *factors[:2]) for node, op_type, factors in counted if op_type in _COUNTS)


def parameters(graph: ir.Graph) -> int:
    """Number of weights: floats, and codes of a quantised graph."""
    codes = {value for node in graph for value in codes_of(node)}
    tensors = [(value.const_value, value in codes) for value in graph.initializers.values()]
    return sum(t.size for t, is_code in tensors if t is not None and (is_code or t.dtype.is_floating_point()))


def _dims(value: ir.Value | None) -> list[int]:
    if value is None or value.shape is None:
        return []
    return [dim if isinstance(dim, int) else 1 for dim in value.shape]


def _convolution(node: ir.Node, x: ir.Value | None, w: ir.Value | None) -> int:
    """Each output takes C/g · k products."""
    return math.prod(_dims(node.outputs[0])) * math.prod(_dims(w)[1:])


def _transposed_convolution(node: ir.Node, x: ir.Value | None, w: ir.Value | None) -> int:
    """Each input gives M/g · k products."""
    return math.prod(_dims(x)) * math.prod(_dims(w)[1:])


def _product(node: ir.Node, a: ir.Value | None, b: ir.Value | None) -> int:
    """Each output takes K products, the length of the summed axis of the first factor."""
    dims = _dims(a)
    summed = dims[0 if node.attributes.get_int("transA", 0) else -1] if dims else 0
    return math.prod(_dims(node.outputs[0])) * summed


_COUNTS = {"Conv": _convolution, "ConvTranspose": _transposed_convolution, "Gemm": _product, "MatMul": _product}
