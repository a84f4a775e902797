"""Quantised operators by the straight-through estimate: rounding is the identity, the clip is a clip.

    q = clip(round(x / s) + z):    dx = dq / s where the code was not held back, else 0
    x = (q − z) s:                 dq = dx s

(Bengio, Léonard & Courville 2013.) Scales and zero points count as fixed. An operator on codes has the
rule of the float operator it stands for, between the two. Where a code was held back is told by the number
before it was rounded, if that is at hand; a sum of products is not computed again for it: its code at an end
of the range was held back, as Clip takes a value at its limit. So a rectifier that a quantiser folded into
the range of its codes is a rectifier here. A score is not held back: the range of its codes is that of the
pictures which the quantiser was shown, and one beyond them would have no map at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
import onnx_ir as ir

from onnx_saliency.backward.codes import along, dequantised, real, rounded, strictly_within, within
from onnx_saliency.backward.registry import Call, Gradients, rule, rule_of
from onnx_saliency.backward.relu import RECTIFIERS
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, op
from onnx_saliency.graph.quantised import CONTRIB, MICROSOFT, STANDARD, Code, form, is_result, quantiser_of

_SUMS = frozenset({"Conv", "MatMul", "Gemm", "Add", "Mul", "LeakyRelu"})
"""Float operators of operators on codes whose code tells where it was held back."""

_WITHIN_INPUTS = frozenset(
    {"AveragePool", "GlobalAveragePool", "ReduceMean", "Mean", "MaxPool", "GlobalMaxPool", "ReduceMax", "Max", "Concat"}
    | {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Split", "Slice", "Gather", "Expand", "Tile"}
    | {"DepthToSpace", "SpaceToDepth"}
)
"""Operators F in groups, with F(c x) = c F(x) for c > 0, whose results lie in the range of their inputs."""


# --- between floats and codes ------------------------------------------------------------------


@rule("QuantizeLinear", straight_through=True)
@rule("QuantizeLinear", straight_through=True, domain=MICROSOFT)
def quantize_linear(n: Call, dq: Tensor) -> Gradients:
    """q = clip(round(x / s) + z): dx = dq / s where that lies in the range of the type"""
    where = {"axis": n["axis"], "block": n["block_size"] or 0}
    s = along(real(n.input(1)), n.x, **where)
    z = None if n.optional(2) is None else along(real(n.input(2)), n.x, **where)
    dtype = n.node.outputs[0].dtype or ir.DataType.UINT8
    if is_result(n.node.outputs[0]) or not n.holds_back:
        return dq / s
    x = _before_rounding(n, s)
    passes = strictly_within(n.y_real, s, z, dtype) if x is None else within(rounded(x, s, z, dtype), dtype)
    return op.Where(passes, dq / s, 0.0)


@rule("DequantizeLinear")
@rule("DequantizeLinear", domain=MICROSOFT)
def dequantize_linear(n: Call, dx: Tensor) -> Gradients:
    """x = (q − z) s: dq = dx s"""
    return dx * along(real(n.input(1)), n.x, n["axis"], n["block_size"] or 0)


@rule("DynamicQuantizeLinear", straight_through=True)
def dynamic_quantize_linear(n: Call, dq: Tensor) -> Gradients:
    """s and z are chosen so that nothing is held back: dx = dq / s"""
    return dq / n.tape.read(n.node.outputs[1])


def _before_rounding(n: Call, s: Tensor) -> Tensor | None:
    """The number that a QuantizeLinear rounds, None where its code has to tell.

    The result of a group DequantizeLinear - F - QuantizeLinear is not read (`Call.y` says why). Where it lies in
    the range of F's inputs it is computed again, as s F(x / s), which no runtime takes for the same F(x).
    """
    value = n.node.inputs[0]
    if value is None or quantiser_of(value) is None:
        return n.x
    node = value.producer()
    if node is None or node.op_type not in _WITHIN_INPUTS or s.dims not in ((), (1,)):
        return None
    made = Call(node, n.tape, [None] * len(node.outputs), [])
    inputs = [x / s if x is not None and x.dtype.is_floating_point() else x for x in made.inputs]
    attributes = {name: made[name] for name in node.attributes}
    results = op.several(node.op_type, *inputs, outputs=len(node.outputs), **attributes)
    return (results if isinstance(results, Tensor) else results[list(node.outputs).index(value)]) * s


# --- operators on codes ------------------------------------------------------------------------


class Real(Call):
    """A node on codes, seen as the float operator F it stands for: its operands and result are real numbers."""

    def __init__(self, n: Call) -> None:
        self.code = n
        self.form = form(n.node)
        self.places = [operand.index if isinstance(operand, Code) else operand for operand in self.form.operands]
        super().__init__(n.node, n.tape, n.dys, [n.needs(place) for place in self.places])
        self.op_type = self.form.op

    @property
    def inputs(self) -> list[Tensor | None]:
        """The operands."""
        return [self.input(index) for index in range(len(self.places))]

    def input(self, index: int) -> Tensor:
        """Operand `index`."""
        operand = self.form.operands[index]
        if not isinstance(operand, Code):
            return self.code.input(operand)
        return dequantised(self.code.input(operand.index), self.scale(operand), self._zero_point(operand), operand.axis)

    def has(self, index: int) -> bool:
        """Whether there is an operand `index`."""
        return index < len(self.places)

    @property
    def y(self) -> Tensor:
        """The result."""
        if self.output_scale is None:
            return self.code.y
        if not self.is_sum:
            return self.before_rounding()
        return dequantised(self.code.y, self.output_scale, self.output_zero_point)

    @property
    def is_sum(self) -> bool:
        """Whether the code of the result has to tell where it was held back."""
        return self.op_type in _SUMS

    @property
    def output_scale(self) -> Tensor | None:
        """Scale of the result, None where it is no code."""
        s = self._optional(self.form.scale)
        return None if s is None else real(s)

    @property
    def output_zero_point(self) -> Tensor | None:
        """Zero point of the result."""
        return self._optional(self.form.zero_point)

    def scale(self, operand: Code) -> Tensor | None:
        """Scale of an operand, None where its codes are taken for the numbers."""
        return self._optional(operand.scale)

    def before_rounding(self) -> Tensor:
        """The result, computed again."""
        known = onnx.defs.get_schema(self.op_type).attributes
        attributes = {name: self[name] for name in self.node.attributes if name in known}
        result: Tensor = getattr(op, self.op_type)(*self.inputs, **attributes)
        result.value.shape = self.node.outputs[0].shape
        return result

    def _zero_point(self, operand: Code) -> Tensor | None:
        return self._optional(operand.zero_point)

    def _optional(self, index: int | None) -> Tensor | None:
        return None if index is None else self.code.optional(index)


def on_codes(n: Call, dq: Tensor) -> Gradients:
    """y = F(x): dy = dq / s_y where the code was not held back, dx by the rule of F, dx_q = dx s_x"""
    _check(n)
    f = Real(n)
    dy = _through_rounding(f, dq)
    float_rule = rule_of(f.op_type)
    if f.op_type in RECTIFIERS and n.policy is not None and n.policy.at_rectifier is not None:
        float_rule = n.policy.at_rectifier(float_rule)
    found = float_rule(f, dy)
    assert not isinstance(found, Mapping)  # control flow alone has gradients by value
    gradients: list[Tensor | None] = [None] * len(n.node.inputs)
    for operand, place, dx in zip(f.form.operands, f.places, _listed(found), strict=False):
        s = f.scale(operand) if isinstance(operand, Code) else None
        if dx is not None and s is not None and isinstance(operand, Code):
            dx = dx * along(real(s), n.input(place), operand.axis)
        gradients[place] = dx
    return gradients


def _listed(found: Tensor | Sequence[Tensor | None] | None) -> Sequence[Tensor | None]:
    return [found] if isinstance(found, Tensor) else found or ()


def _through_rounding(f: Real, dq: Tensor) -> Tensor:
    s = f.output_scale
    if s is None:
        return dq
    dtype = f.node.outputs[0].dtype or ir.DataType.UINT8
    if is_result(f.node.outputs[0]) or not f.code.holds_back:
        return dq / s
    if f.is_sum:
        passes = strictly_within(f.y, s, f.output_zero_point, dtype)
    else:
        passes = within(rounded(f.before_rounding(), s, f.output_zero_point, dtype), dtype)
    return op.Where(passes, dq / s, 0.0)


def _check(n: Call) -> None:
    if n.node.op_type == "DynamicQuantizeLSTM":
        raise NotDifferentiableError("it is only differentiated without its rounding, and not in this graph")
    if n.node.attributes.get_int("channels_last", 0):
        raise NotDifferentiableError(
            "its channels are last, as a runtime's layout optimiser wrote it; optimise to level extended at most"
        )
    if n.node.op_type == "QLinearSoftmax" and n.node.attributes.get_int("opset", 13) < _SOFTMAX_OF_ONE_AXIS:
        axis = n.node.attributes.get_int("axis", -1)
        if axis not in (-1, n.x.rank - 1):
            raise NotDifferentiableError("its Softmax is of several axes at once, as before opset 13")


_SOFTMAX_OF_ONE_AXIS = 13
_EXACT = frozenset({"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat"})  # these do not round
_STRETCHES = frozenset({"QLinearAdd", "QLinearMul", "QLinearWhere"})

for _domain, _names in (("", STANDARD), (MICROSOFT, CONTRIB - {"QuantizeLinear", "DequantizeLinear"})):
    for _name in sorted(_names):
        rule(_name, broadcasts=_name in _STRETCHES, straight_through=_name not in _EXACT, domain=_domain)(on_codes)
