"""What happens at a residual sum, x + f(x), where a policy treats the branch f unlike the skip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnx_saliency.backward.registry import Call, Gradients, Rule
from onnx_saliency.backward.tensor import Tensor
from onnx_saliency.backward.walk import reads


def damped(share: float) -> Callable[[Rule], Rule]:
    """At residual sums, a policy that lets a share of the gradient into branches: dx = (1 + share f'(x)) dy.

    What comes by the skips serves other networks too (Wu et al. 2020, section 3).
    """

    def at_sum(gradient: Rule) -> Rule:
        def rule(n: Call, dy: Tensor) -> Gradients:
            found = gradient(n, dy)
            assert isinstance(found, Sequence)  # one for each summand
            return [dx * share if dx is not None and _is_branch(n, index) else dx for index, dx in enumerate(found)]

        return rule

    return at_sum


def _is_branch(n: Call, index: int) -> bool:
    """Whether a summand was computed from another one; of those that the gradient reaches, which weights are not."""
    others = {value for k, value in enumerate(n.node.inputs) if k != index and n.needed[k]}
    seen, waiting = set[ir.Node](), [n.node.inputs[index]]
    while waiting:
        value = waiting.pop()
        node = value.producer() if value is not None else None
        if node is None or node in seen:
            continue
        seen.add(node)
        before = reads(node)
        if not others.isdisjoint(before):
            return True
        waiting += before
    return False
