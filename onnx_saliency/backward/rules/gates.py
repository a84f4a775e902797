"""x · g(x) as exporters write it out, SiLU and GELU: one formula for the whole.

The product rule would go back to x along two paths, and read what lies between, which keeps a runtime from making one
kernel of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as ir

from onnx_saliency.backward.registry import Call
from onnx_saliency.backward.rules.activation import gelu_gradient, swish_gradient
from onnx_saliency.backward.tensor import Tensor
from onnx_saliency.graph.folding import constant


def gated(n: Call, dy: Tensor) -> dict[ir.Value, Tensor] | None:
    """The gradient of x where the Mul `n` makes x σ(x), or x (1 + erf(c x)) / 2; None where it makes neither.

    Asked for one value's gradient only: another may lie inside.
    """
    if n.node.op_type != "Mul" or len(n.wrt) != 1:  # not QLinearMul, whose numbers are codes
        return None
    for x, gate in _operands(n.node):
        if _makes(gate, "Sigmoid") and _input(gate) is x and x in n.reached:
            return {x: swish_gradient(dy, n.y, n.tape.read(gate))}
    for x, inner, factor in _products(n.node):
        erf, a, b = _affine(inner)
        if not _makes(erf, "Erf") or not math.isclose(a * factor, 0.5) or not math.isclose(b * factor, 0.5):
            continue
        source, c, shift = _affine(_input(erf))
        if source is x and shift == 0 and c > 0 and x in n.reached and x.shape == n.node.outputs[0].shape:
            return {x: gelu_gradient(dy, n.tape.read(x), c)}
    return None


def _products(node: ir.Node) -> Iterator[tuple[ir.Value, ir.Value, float]]:
    """All x, g, f for which `node` makes f · x · g: itself a product, or a number times one."""
    for one, other in _operands(node):
        u, factor, shift = _affine(one)
        if shift:
            continue
        yield u, other, factor
        number, inner = _number(other), u.producer()
        if number is not None and inner is not None and _makes(u, "Mul"):
            yield from ((x, gate, number * factor * f) for x, gate, f in _products(inner))


def _operands(node: ir.Node) -> list[tuple[ir.Value, ir.Value]]:
    """Both inputs, in both orders."""
    first, second = node.inputs
    assert first is not None
    assert second is not None
    return [(first, second), (second, first)]


def _affine(value: ir.Value) -> tuple[ir.Value, float, float]:
    """u, a, b of value = a u + b, as far up as only numbers are added and multiplied."""
    a, b = 1.0, 0.0
    while (node := value.producer()) is not None and node.domain == "" and node.op_type in ("Mul", "Div", "Add"):
        steps = [(u, number) for u, other in _operands(node) if (number := _number(other)) is not None]
        if not steps or (node.op_type == "Div" and steps[0][0] is not node.inputs[0]):
            break
        value, number = steps[0]
        match node.op_type:
            case "Add":
                b += a * number
            case "Mul":
                a *= number
            case "Div":
                a /= number
    return value, a, b


def _number(value: ir.Value) -> float | None:
    known = constant(value)
    return float(known.item()) if known is not None and known.size == 1 else None


def _makes(value: ir.Value, op_type: str) -> bool:
    node = value.producer()
    return node is not None and node.domain == "" and node.op_type == op_type


def _input(value: ir.Value) -> ir.Value:
    node = value.producer()
    assert node is not None
    (x,) = node.inputs
    assert x is not None
    return x
