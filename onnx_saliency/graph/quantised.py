"""Quantised operators, and the float operators they stand for.

    y_q = quantise(F(dequantise(a_q), dequantise(b_q), ...))

Codes are the whole numbers that a quantised graph computes with; a code q stands for (q − z) s. The table says for
each operator what F is and where its codes, scales and zero points lie among the inputs, so that shapes and gradients
of these operators are those of F. ONNX has four of them; onnxruntime's quantiser writes the rest in its own domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Code:
    """Indices of a quantised input, its scale and its zero point; `axis` is where a scale per channel applies."""

    index: int
    scale: int | None
    zero_point: int | None
    axis: int | None = None


@dataclass(frozen=True)
class Form:
    """An operator as `quantise(op(operands))`.

    Attributes:
        op: the float operator F.
        operands: inputs of F: codes, or the index of an input that is none.
        scale, zero_point: indices of those of the output; None where it is no code.
        bias: index of what is added: whole numbers of the scale of products of codes, or floats; None if F has none.
    """

    op: str
    operands: tuple[Code | int, ...]
    scale: int | None = None
    zero_point: int | None = None
    bias: int | None = None


_ONE = (Code(0, 1, 2),)
_TWO = (Code(0, 1, 2), Code(3, 4, 5))

FORMS = {
    "QLinearConv": Form("Conv", (Code(0, 1, 2), Code(3, 4, 5, axis=0)), 6, 7, bias=8),
    "QLinearMatMul": Form("MatMul", (Code(0, 1, 2, axis=-2), Code(3, 4, 5)), 6, 7),
    "ConvInteger": Form("Conv", (Code(0, None, 2), Code(1, None, 3, axis=0))),
    "MatMulInteger": Form("MatMul", (Code(0, None, 2, axis=-2), Code(1, None, 3))),
    "MatMulIntegerToFloat": Form("MatMul", (Code(0, 2, 4), Code(1, 3, 5)), bias=6),
    "DynamicQuantizeMatMul": Form("MatMul", (0, Code(1, 2, 3)), bias=4),
    "DynamicQuantizeLSTM": Form("LSTM", (0, Code(1, 8, 9), Code(2, 10, 11), 3, 4, 5, 6, 7)),
    "QLinearAdd": Form("Add", _TWO, 6, 7),
    "QLinearMul": Form("Mul", _TWO, 6, 7),
    "QLinearWhere": Form("Where", (0, Code(1, 2, 3), Code(4, 5, 6)), 7, 8),
    "QLinearGlobalAveragePool": Form("GlobalAveragePool", _ONE, 3, 4),
    "QLinearAveragePool": Form("AveragePool", _ONE, 3, 4),
    "QLinearLeakyRelu": Form("LeakyRelu", _ONE, 3, 4),
    "QLinearSigmoid": Form("Sigmoid", _ONE, 3, 4),
    "QLinearSoftmax": Form("Softmax", _ONE, 3, 4),
}
"""Operators that are F of dequantised inputs; `form` knows those whose form depends on the node."""

STANDARD = frozenset({"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"})
CONTRIB = (FORMS.keys() - STANDARD) | {"QGemm", "QLinearConcat", "QLinearConv", "QuantizeLinear", "DequantizeLinear"}
"""Those of domain com.microsoft. It has QuantizeLinear and its like too, for types that ONNX had not yet."""


def form(node: ir.Node) -> Form:
    """Return what `node` stands for, by the number of its inputs where that is open."""
    if node.op_type == "QGemm":  # scales of B are those of its columns, once transposed
        columns = 0 if node.attributes.get_int("transB", 0) else 1
        return Form("Gemm", (Code(0, 1, 2), Code(3, 4, 5, axis=columns)), 7, 8, bias=6)
    if node.op_type == "QLinearConcat":
        return Form("Concat", tuple(Code(i, i + 1, i + 2) for i in range(2, len(node.inputs), 3)), 0, 1)
    if node.op_type == "QuantizeLinear":
        return Form("Identity", (0,), 1, 2)
    if node.op_type == "DequantizeLinear":
        return Form("Identity", _ONE)
    return FORMS[node.op_type]


def is_on_codes(node: ir.Node) -> bool:
    """Whether the table knows `node`."""
    return node.domain in ("", MICROSOFT) and node.op_type in CONTRIB | STANDARD


def float_operator(node: ir.Node) -> tuple[str, Sequence[ir.Value | None]]:
    """Return the name of F and its operands, codes as they are; those of `node` itself where it is not on codes."""
    if not is_on_codes(node):
        return node.op_type, node.inputs
    meaning = form(node)
    return meaning.op, [node.inputs[o.index if isinstance(o, Code) else o] for o in meaning.operands]


def codes_of(node: ir.Node) -> list[ir.Value | None]:
    """Return the inputs of `node` that are codes."""
    if not is_on_codes(node):
        return []
    return [node.inputs[operand.index] for operand in form(node).operands if isinstance(operand, Code)]


def quantiser_of(value: ir.Value) -> ir.Node | None:
    """Return the QuantizeLinear that ends a group DequantizeLinear - F - QuantizeLinear, where `value` is F's result.

    A runtime computes such a group in whole numbers, unless anything else reads what is inside it.
    """
    node = _reader(value)
    return node if node is not None and node.op_type == "QuantizeLinear" and _reads_codes(value) else None


def dequantiser_of(quantiser: ir.Node) -> ir.Node | None:
    """Return a DequantizeLinear that undoes `quantiser`."""
    for use in quantiser.outputs[0].uses():
        node = use.node
        if node.op_type == "DequantizeLinear" and list(node.inputs[1:]) == list(quantiser.inputs[1:]):
            return node
    return None


def _reader(value: ir.Value) -> ir.Node | None:
    """Return the only node of the graph that reads `value`; nodes still to be added do not count."""
    nodes = {use.node for use in value.uses() if use.node.graph is not None}
    return nodes.pop() if len(nodes) == 1 and not value.is_graph_output() else None


_AFTER_A_RESULT = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast"}
    | {"Softmax", "LogSoftmax", "Sigmoid", "QLinearSoftmax", "QLinearSigmoid", "Add", "QLinearAdd"}
)


def is_result(value: ir.Value) -> bool:
    """Whether `value` only feeds an output of the model, through views, a bias or the final activation."""
    while not value.is_graph_output():
        node = _reader(value)
        if node is None or node.op_type not in _AFTER_A_RESULT or _joins(node, value):
            return False
        value = node.outputs[0]
    return True


def _joins(node: ir.Node, value: ir.Value) -> bool:
    """Whether another computed value than a dequantised weight comes in."""
    others = [x for x in node.inputs if x is not None and x is not value and x.producer() is not None]
    return any(not (_is_dequantised(x) and x.producer().inputs[0].producer() is None) for x in others)  # type: ignore[union-attr]


def _reads_codes(value: ir.Value) -> bool:
    node = value.producer()
    if node is None:
        return False
    x = node.inputs[0]
    if node.op_type in ("Relu", "Clip") and x is not None and _reader(x) is node and _reads_codes(x):
        return True  # folded into the group before it
    return any(_is_dequantised(x) for x in node.inputs)


def _is_dequantised(value: ir.Value | None) -> bool:
    node = value.producer() if value is not None else None
    return node is not None and node.op_type == "DequantizeLinear"


def float_twin(model: ir.Model) -> ir.Model | None:
    """Return a copy with F in place of quantised operators that ONNX does not know, None where there are none.

    It has the same values of the same shapes and types, and serves shape inference only.
    """
    if not any(_is_foreign(node) for node in model.graph):
        return None
    twin = model.clone()
    for node in [node for node in twin.graph if _is_foreign(node)]:
        _replace(twin.graph, node)
    return twin


def _is_foreign(node: ir.Node) -> bool:
    return node.domain == MICROSOFT and node.op_type in CONTRIB


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    meaning = form(node)
    reals: list[ir.Value | None] = []
    written = []
    for operand in meaning.operands:
        value = node.inputs[operand.index if isinstance(operand, Code) else operand]
        if isinstance(operand, Code):
            written.append(_cast(value, ir.DataType.FLOAT))
            value = written[-1].outputs[0]
        reals.append(value)
    known = {"channels_last", "opset"}  # what these operators have and F has not
    attributes = [attribute for name, attribute in node.attributes.items() if name not in known]
    made = ir.Node("", meaning.op, reals, attributes, num_outputs=len(node.outputs))
    typed = [_cast(value, _output_type(node, meaning)) for value in made.outputs]
    graph.insert_before(node, [*written, made, *typed])
    for y, cast in zip(node.outputs, typed, strict=True):
        (value,) = cast.outputs
        value.name, y.name = y.name, f"{y.name}/code"
        y.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _output_type(node: ir.Node, meaning: Form) -> ir.DataType:
    if meaning.scale is None or not _given(node, meaning.scale):
        return ir.DataType.FLOAT
    if meaning.zero_point is not None and _given(node, meaning.zero_point):
        zero_point = node.inputs[meaning.zero_point]
        if zero_point is not None and zero_point.dtype is not None:
            return zero_point.dtype
    return ir.DataType.UINT8


def _given(node: ir.Node, index: int) -> bool:
    return index < len(node.inputs) and node.inputs[index] is not None


def _cast(value: ir.Value | None, dtype: ir.DataType) -> ir.Node:
    return ir.Node("", "Cast", [value], [ir.AttrInt64("to", dtype.value)], num_outputs=1)
