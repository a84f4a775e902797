"""What happens at a rectifier: the one place where the methods of the paper differ (section 4).

With y = max(x, 0), the gradient passes where the input was positive. A policy replaces rules of the
ReLU family and leaves every other rule alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx_saliency.backward.registry import Call, Rule, rule
from onnx_saliency.backward.tensor import Tensor, op


@dataclass(frozen=True)
class Policy:
    """A method's own rules for some operators; the registry's hold for all others."""

    name: str
    rules: Mapping[str, Rule] = field(default_factory=dict)


@rule("Relu")
def relu(n: Call, dy: Tensor) -> Tensor:
    """dx = dy · 1(y > 0), read from the output, so that a runtime can still fuse convolution and ReLU."""
    return op.Where(n.y > 0, dy, 0.0)


GRADIENT = Policy("gradient")
