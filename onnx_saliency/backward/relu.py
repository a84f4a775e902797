"""What happens at a rectifier: the one place where the methods of the paper differ (section 4).

With y = max(x, 0), the gradient passes where the input was positive. A policy replaces rules of the
ReLU family and leaves every other rule alone.
"""

from __future__ import annotations

from onnx_saliency.backward.registry import Call, Policy, rule
from onnx_saliency.backward.tensor import Tensor, op


@rule("Relu")
def relu(n: Call, dy: Tensor) -> Tensor:
    """dx = dy · 1(y > 0), read from the output, so that a runtime can still fuse convolution and ReLU."""
    return op.Where(n.y > 0, dy, 0.0)


GRADIENT = Policy("gradient")
