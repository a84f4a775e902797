"""Which operator has which backward rule. Every operator is in one class.

- a rule of its own;
- zero: piecewise constant, or no floats come out;
- expanded: written out by the standard's definition first;
- refused, with the reason.

A rule is a function of the forward node and the gradient of its output,

    @rule("Tanh")
    def tanh(n: Call, dy: Tensor) -> Tensor:
        '''dx = dy (1 − y²)'''
        return dy * (1 - n.y * n.y)

that returns the gradient of each input: one Tensor for a single input, else a tuple in the order of
the inputs, None where there is none. A rule writes no broadcasting and no accumulation; the walk
does both, once for all. Control flow also reads values that are no inputs of its node; its rules
return gradients by value, in the shapes of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir

from onnx_saliency.backward.codes import dequantised, real
from onnx_saliency.backward.tensor import Tape, Tensor
from onnx_saliency.graph.quantised import MICROSOFT, dequantiser_of, quantiser_of

Gradients = Tensor | None | Sequence[Tensor | None] | Mapping[ir.Value, Tensor]
Rule = Callable[["Call", Tensor], Gradients]

_RULES: dict[str, Rule] = {}
_ZERO: set[str] = set()
_EXPANDED: set[str] = set()
_REFUSED: dict[str, str] = {}
_BROADCASTING: set[str] = set()
_CONTRIB: dict[str, Rule] = {}
_STRAIGHT_THROUGH: set[str] = set()


@dataclass(frozen=True)
class Policy:
    """What a method does at a rectifier, where methods differ, or at a sum; elsewhere the registry's rules hold.

    Attributes:
        name: the method's.
        at_rectifier: makes of a rectifier's gradient rule the rule of the method; None keeps it.
        at_sum: the same of Add and Sum.
    """

    name: str
    at_rectifier: Callable[[Rule], Rule] | None = None
    at_sum: Callable[[Rule], Rule] | None = None


class Call:
    """A forward node as its rule sees it: inputs, outputs and attributes with the schema's defaults.

    Attributes:
        node: the forward node.
        op_type: the standard operator whose schema and rule it has.
        inputs: its inputs, None for an optional one left out.
        dys: the gradients of its outputs, None for one that the score does not depend on.
        reached: all values that the walk wants the gradient of, where the node holds graphs of its own.
        policy: the walk's, for those graphs.
        wrt: what the walk differentiates for.
        holds_back: whether a quantiser stops the gradient where it held the number back; a policy can switch it off.
    """

    def __init__(
        self,
        node: ir.Node,
        tape: Tape,
        dys: Sequence[Tensor | None],
        needed: Sequence[bool],
        reached: Container[ir.Value] = (),
        policy: Policy | None = None,
        wrt: Sequence[ir.Value] = (),
    ) -> None:
        self.node = node
        self.op_type = node.op_type
        self.tape = tape
        self.dys = dys
        self.needed = needed
        self.reached = reached
        self.policy = policy
        self.wrt = wrt
        self.holds_back = True

    @property
    def inputs(self) -> list[Tensor | None]:
        """The node's inputs in order."""
        return [None if value is None else self.tape.read(value) for value in self.node.inputs]

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.input(0)

    @property
    def y(self) -> Tensor:
        """The first output; one that ends in a quantiser as the real number of its code.

        To read it before it is quantised would keep a runtime from computing the group in whole
        numbers, and so change what the model gives.
        """
        value = self.node.outputs[0]
        quantiser = quantiser_of(value)
        if quantiser is None:
            return real(self.tape.read(value)) if is_whole(value) else self.tape.read(value)
        return Call(quantiser, self.tape, [None], []).y_real

    @property
    def y_real(self) -> Tensor:
        """The real number that the code of a QuantizeLinear stands for, where the graph has it from there."""
        undone = dequantiser_of(self.node)
        if undone is not None:
            return self.tape.read(undone.outputs[0])
        q = self.tape.read(self.node.outputs[0])
        return dequantised(q, self.input(1), self.optional(2), self["axis"], self["block_size"] or 0)

    def input(self, index: int) -> Tensor:
        """Input `index`, which the operator requires; a code that carries a gradient as a real number."""
        value = self.node.inputs[index]
        assert value is not None, f"{self.node.op_type} has no input {index}"
        tensor = self.tape.read(value)
        return real(tensor) if is_whole(value) and value.dtype in self._codes() else tensor

    def _codes(self) -> set[ir.DataType | None]:
        """Types of the codes that carry a gradient here; what they are compared with is of their type."""
        inputs = zip(self.node.inputs, self.needed, strict=False)
        return {value.dtype for value, needed in inputs if needed and value is not None and is_whole(value)}

    def optional(self, index: int) -> Tensor | None:
        """Input `index`, None where it is left out."""
        return self.input(index) if self.has(index) else None

    def has(self, index: int) -> bool:
        """Whether optional input `index` is given."""
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def needs(self, index: int) -> bool:
        """Whether the walk wants the gradient of input `index`; costly ones need not be written otherwise."""
        return index < len(self.needed) and self.needed[index]

    def __getitem__(self, name: str) -> Any:
        """Attribute `name`, the schema's default where the node does not state it, None without one."""
        attribute = self.node.attributes.get(name)
        if attribute is not None:
            return attribute.as_string() if attribute.type == ir.AttributeType.STRING else attribute.value
        graph = self.node.graph
        assert graph is not None
        schema = onnx.defs.get_schema(self.op_type, graph.opset_imports[""])
        default = schema.attributes[name].default_value if name in schema.attributes else None
        if default is None or default.type == onnx.AttributeProto.UNDEFINED:
            return None
        value = onnx.helper.get_attribute_value(default)
        return value.decode() if isinstance(value, bytes) else value


def rule(
    *op_types: str, broadcasts: bool = False, straight_through: bool = False, domain: str = ""
) -> Callable[[Rule], Rule]:
    """Declare the backward rule of these operators.

    Args:
        op_types: operators of one domain.
        broadcasts: the operator stretches its inputs to a common shape; the walk sums the
            gradients back to the inputs' own shapes.
        straight_through: the operator rounds, and its rule takes the rounding for the identity; its
            outputs carry a gradient, but for the scale and the zero point that it finds.
        domain: the standard one, or the one of onnxruntime's own operators.
    """
    rules = _CONTRIB if domain == MICROSOFT else _RULES

    def register(function: Rule) -> Rule:
        for op_type in op_types:
            assert op_type not in rules, f"two rules for {op_type}"
            rules[op_type] = function
            if broadcasts:
                _BROADCASTING.add(op_type)
            if straight_through:
                _STRAIGHT_THROUGH.add(op_type)
        return function

    return register


def zero(*op_types: str) -> None:
    """Declare operators that are piecewise constant or yield no floats: nothing flows back through them."""

    def nothing(n: Call, dy: Tensor) -> Gradients:
        return [None] * len(n.node.inputs)

    rule(*op_types)(nothing)
    _ZERO.update(op_types)


def expanded(*op_types: str) -> None:
    """Declare operators that are differentiated by the standard's own definition of them in other operators."""
    _EXPANDED.update(op_types)


def refused(reason: str, *op_types: str) -> None:
    """Declare operators through which there is no gradient, and why."""
    _REFUSED.update(dict.fromkeys(op_types, reason))


def classify(op_type: str) -> str | None:
    """Return "rule", "zero", "expanded" or "refused", None for an operator that is in no class."""
    classes = [
        name
        for name, members in (
            ("zero", _ZERO),
            ("rule", _RULES.keys() - _ZERO),
            ("expanded", _EXPANDED),
            ("refused", _REFUSED),
        )
        if op_type in members
    ]
    assert len(classes) <= 1, f"{op_type} is in several classes: {classes}"
    return classes[0] if classes else None


def is_expanded(node: ir.Node) -> bool:
    """Whether `node` is to be written out before it is differentiated."""
    return node.domain == "" and node.op_type in _EXPANDED


def refusal(node: ir.Node) -> str | None:
    """Return why there is no gradient through `node`, None where nothing is declared."""
    return _REFUSED.get(node.op_type) if node.domain == "" else None


def refusal_of(op_type: str) -> str | None:
    """Return why there is no gradient through a standard operator, None where nothing is declared."""
    return _REFUSED.get(op_type)


def find_rule(node: ir.Node) -> Rule | None:
    """Return the rule of `node`, None where there is none."""
    rules = {"": _RULES, MICROSOFT: _CONTRIB}.get(node.domain, {})
    return rules.get(node.op_type)


def rule_of(op_type: str) -> Rule:
    """Return the rule of a standard operator that has one."""
    return _RULES[op_type]


def broadcasts(node: ir.Node) -> bool:
    """Whether gradients of this node's inputs may have to be summed back to the inputs' shapes."""
    return node.op_type in _BROADCASTING


def is_straight_through(node: ir.Node) -> bool:
    """Whether `node` rounds, and its rule takes the rounding for the identity."""
    return node.op_type in _STRAIGHT_THROUGH and find_rule(node) is not None


def carries(node: ir.Node, reached: Container[ir.Value]) -> Sequence[ir.Value]:
    """Outputs of `node` that carry a gradient, where those among its inputs do that are `reached`.

    Floats do; whole numbers do where they are codes: those that a straight-through operator makes,
    and what other operators make of codes, as far as they are not piecewise constant.
    """
    if is_straight_through(node):
        return node.outputs[:1] if node.op_type == "DynamicQuantizeLinear" else node.outputs  # scale and zero point
    of_codes = any(value is not None and value in reached and is_whole(value) for value in node.inputs)
    codes = {node.outputs[0].dtype} if of_codes and node.op_type not in _ZERO else set()
    return [value for value in node.outputs if not is_whole(value) or value.dtype in codes]


def is_whole(value: ir.Value) -> bool:
    """Whether the elements are known to be no floats."""
    return value.dtype is not None and not value.dtype.is_floating_point()


def supported() -> list[str]:
    """Names of all standard operators that gradients pass through or stop at by rule, sorted."""
    return sorted(_RULES)
