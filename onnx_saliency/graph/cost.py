"""What a forward pass costs: multiply-accumulates of the linear operators, as far as shapes are known."""

from __future__ import annotations

import math

import onnx_ir as ir


def multiply_accumulates(graph: ir.Graph) -> int:
    """Count them for one batch; open dimensions count as 1."""
    return sum(_COUNTS[node.op_type](node) for node in graph if node.op_type in _COUNTS)


def parameters(graph: ir.Graph) -> int:
    """Number of floating-point weights."""
    tensors = (value.const_value for value in graph.initializers.values())
    return sum(tensor.size for tensor in tensors if tensor is not None and tensor.dtype.is_floating_point())


def _dims(value: ir.Value | None) -> list[int]:
    if value is None or value.shape is None:
        return []
    return [dim if isinstance(dim, int) else 1 for dim in value.shape]


def _convolution(node: ir.Node) -> int:
    """Each output takes C/g · k products."""
    return math.prod(_dims(node.outputs[0])) * math.prod(_dims(node.inputs[1])[1:])


def _transposed_convolution(node: ir.Node) -> int:
    """Each input gives M/g · k products."""
    return math.prod(_dims(node.inputs[0])) * math.prod(_dims(node.inputs[1])[1:])


def _product(node: ir.Node) -> int:
    """Each output takes K products, the length of the summed axis of the first factor."""
    a = _dims(node.inputs[0])
    summed = a[0 if node.attributes.get_int("transA", 0) else -1] if a else 0
    return math.prod(_dims(node.outputs[0])) * summed


_COUNTS = {"Conv": _convolution, "ConvTranspose": _transposed_convolution, "Gemm": _product, "MatMul": _product}
