"""What happens at a rectifier: the one place where the methods of the paper differ (section 4).

| method    | at a rectifier y = f(x)          | source                                                     |
|-----------|----------------------------------|------------------------------------------------------------|
| gradient  | dx = f'(x) dy                    | Simonyan, Vedaldi, Zisserman 2013, section 3               |
| deconvnet | dx = max(dy, 0)                  | Zeiler & Fergus 2013, section 2.1                          |
| guided    | dx = f'(x) max(dy, 0)            | Springenberg et al. 2014, figure 1                         |

f is whatever is zero or bent below a threshold and straight above it: Relu, and its relatives of `RECTIFIERS`, for
which f' is that of the gradient: 1 or the slope for LeakyRelu and PRelu, 1(low < x < high) for Clip, the exponential's
own for Elu, Selu and Celu. Smooth activations have no threshold: they keep the true derivative in every method, and
are counted (`SMOOTH`), so that nobody takes one method for another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward.lowering import between
from onnx_saliency.backward.registry import Call, Gradients, Policy, Rule, rule
from onnx_saliency.backward.tensor import Tensor, op
from onnx_saliency.graph.folding import constant
from onnx_saliency.graph.quantised import float_operator, form, is_on_codes

_SLOPED = frozenset({"LeakyRelu", "PRelu", "Elu", "Selu", "Celu"})  # below their threshold as well
RECTIFIERS = frozenset({"Relu", "ThresholdedRelu"}) | _SLOPED
SMOOTH = frozenset(
    {"Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Mish", "Gelu", "Tanh", "Softplus", "Softsign", "Erf"}
)
_SIGNED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sum", "Sub"})


@rule("Relu")
def relu(n: Call, dy: Tensor) -> Tensor:
    """dx = dy · 1(y > 0), read from the output, so that a runtime can still fuse convolution and ReLU."""
    return between(dy, n.y, low=0.0)


def _deconvnet(gradient: Rule) -> Rule:
    def changed(n: Call, dy: Tensor) -> Gradients:
        passed = op.Relu(dy)
        if n.op_type in RECTIFIERS | {"Clip", "Max"}:
            return [passed if needed else None for needed in n.needed]  # Max(0, x) has it second
        n.holds_back = False  # a quantiser, or an operator that ends in one: its rule, without its mask
        return gradient(n, passed)

    return changed


def _guided(gradient: Rule) -> Rule:
    def changed(n: Call, dy: Tensor) -> Gradients:
        return gradient(n, op.Relu(dy))

    return changed


def leaky(share: float) -> Callable[[Rule], Rule]:
    """At rectifiers, a policy that lets a share of dy pass those that are off: dx = (share + (1 − share) f'(x)) dy.

    Guo, Li, Chen 2020 let all of it pass, in some layers, for gradients that serve other networks too. Rectifiers that
    have a slope of their own below the threshold keep it.
    """

    def at_rectifier(gradient: Rule) -> Rule:
        def changed(n: Call, dy: Tensor) -> Gradients:
            if float_operator(n.node)[0] in _SLOPED:
                return gradient(n, dy)
            passed = dy * share
            found = gradient(n, dy - passed)
            assert not isinstance(found, Mapping)  # a rectifier is one node
            each = found if isinstance(found, Sequence) else [found]
            return [None if dx is None else dx + passed for dx in each]

        return changed

    return at_rectifier


GRADIENT = Policy("gradient")
DECONVNET = Policy("deconvnet", _deconvnet)
GUIDED = Policy("guided", _guided)


def is_rectifier(node: ir.Node) -> bool:
    """Whether `node` is a rectifier, by its name or by what its constants make of it.

    Clip from 0 on (ReLU6 and its like), Max with 0, and a quantiser whose lowest code is 0 behind, or at the end of, an
    operator that gives both signs: quantisers of models swallow the Relu before them. An operator on codes is one where
    the float operator is.
    """
    if node.domain == "" and node.op_type == "Clip":
        return _is(node, 1, 0.0)
    if node.domain == "" and node.op_type == "Max":
        return len(node.inputs) == 2 and (_is(node, 0, 0.0) or _is(node, 1, 0.0))
    if swallowed_relu(node):
        return True
    return float_operator(node)[0] in RECTIFIERS and (node.domain == "" or is_on_codes(node))


def swallowed_relu(node: ir.Node) -> bool:
    """Whether `node` is a quantiser, or an operator that ends in one, and has taken a Relu in."""
    if not is_on_codes(node) and node.op_type != "QuantizeLinear":
        return False
    zero_point = form(node).zero_point
    before = node.inputs[0].producer() if node.inputs[0] is not None else None
    behind = before.op_type if before is not None else ""
    ends = behind if node.op_type == "QuantizeLinear" else form(node).op
    lowest = _lowest_code(node.outputs[0])
    return ends in _SIGNED and zero_point is not None and _is(node, zero_point, lowest, absent=lowest == 0)


def is_smooth(node: ir.Node) -> bool:
    """Whether `node` is an activation that every method gives its true derivative."""
    return node.domain == "" and node.op_type in SMOOTH


def _is(node: ir.Node, index: int, wanted: float, *, absent: bool = False) -> bool:
    """Whether input `index` is `wanted` in all its elements; `absent` if it is left out."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return absent
    known = constant(value)
    return known is not None and bool(np.all(known == wanted))


def _lowest_code(value: ir.Value) -> int:
    if value.dtype is None or not value.dtype.is_signed():
        return 0
    return -(1 << value.dtype.bitwidth - 1)
