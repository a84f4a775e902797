"""A max-pool's gradient without indices, in operators that stay in the blocked layout of onnxruntime's CPU kernels.

MaxPool that is asked for Indices is no blocked kernel but a slow one, and its scatter has one thread. The maximum of a
window is that of its rows' maxima, and the first of equal values is the first in the first such row: so the gradient
goes back along one axis, then along the other. Along an axis, with taps a_t of a window, t = 0 … k − 1, its maximum p,
and r_t what no tap before t took,

    r_0 = dy,  r_(t+1) = r_t · 1(a_t < p),  tap t takes r_t − r_(t+1), the last one all that is left.

Taps are read by a depthwise convolution with −1 at one place; adding p and the step, a steep HardSigmoid, are fused
into it. Milliseconds, one thread, and what the pool and its convolutions cost else: 2x2 on 64 x 224 x 224 20 with
indices and 11.5 so, 3x3 with stride 2 on 64 x 111 x 111 5.6 and 4.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward.lowering import BLOCK, STEEP, for_cpu
from onnx_saliency.backward.registry import Call
from onnx_saliency.backward.tensor import Tensor, op


def serves(n: Call) -> bool:
    """Whether the pool is one of these: for the CPU, of known size, without padding, whose windows step."""
    strides = n["strides"] or [1] * len(n["kernel_shape"])
    plain = not any(n["pads"] or ()) and not n["ceil_mode"] and set(n["dilations"] or [1]) == {1}
    if not for_cpu(n.x) or n.x.rank != 4 or not plain:
        return False
    _, channels, *lengths = _known(n.x)
    steps = all(1 < s <= k <= 3 for k, s in zip(n["kernel_shape"], strides, strict=True))
    return steps and channels > 0 and channels % BLOCK == 0 and all(lengths)


def max_pool_gradient(n: Call, dy: Tensor) -> Tensor:
    """dy at each window's first maximum, added up"""
    down, across = (
        Taps(axis, size, step) for axis, size, step in zip((2, 3), n["kernel_shape"], n["strides"], strict=True)
    )
    rows = across.maxima(n.x)  # of each window's each row
    return across.gradient(n.x, rows, down.gradient(rows, n.y, dy))


@dataclass(frozen=True)
class Taps:
    """The taps of windows along one spatial axis."""

    axis: int
    size: int
    step: int

    def maxima(self, x: Tensor) -> Tensor:
        """The maximum of each window along the axis."""
        p = op.MaxPool(x, kernel_shape=self.of(self.size, 1), strides=self.of(self.step, 1))
        _, channels, *lengths = _known(x)
        lengths[self.axis - 2] = (lengths[self.axis - 2] - self.size) // self.step + 1
        p.value.shape = ir.Shape([None, channels, *lengths])
        return p

    def gradient(self, x: Tensor, p: Tensor, dy: Tensor) -> Tensor:
        """The gradient of x, whose maxima p are."""
        _, channels, *_ = _known(x)
        left, taken = dy, []
        for t in range(self.size - 1):
            tap = np.zeros((channels, 1, *self.of(self.size, 1)), np.float32)
            tap.reshape(channels, self.size)[:, t] = -1
            behind = op.Conv(x, tap, group=channels, strides=self.of(self.step, 1)) + p
            rest = left * op.HardSigmoid(behind, alpha=STEEP, beta=0.0)
            taken.append(left - rest)
            left = rest
        return self.add_up([*taken, left], x)

    def add_up(self, taps: list[Tensor], x: Tensor) -> Tensor:
        """Tap t of window i at i · step + t, in the shape of x; Concat where windows tile it, else Col2Im."""
        _, channels, *lengths = _known(x)
        if self.size == self.step and lengths[self.axis - 2] % self.step == 0:
            beside = self.axis + 1
            side_by_side = op.Concat(*(op.Unsqueeze(tap, [beside]) for tap in taps), axis=beside)
            return op.Reshape(side_by_side, [0, channels, *lengths])
        stacked = op.Concat(*(op.Reshape(tap, [0, channels, 1, -1]) for tap in taps), axis=2)
        columns = op.Reshape(stacked, [0, channels * self.size, -1])
        return op.Col2Im(columns, lengths, self.of(self.size, 1), strides=self.of(self.step, 1))

    def of(self, along: int, across: int) -> list[int]:
        """A number for each of the two axes."""
        return [along, across] if self.axis == 2 else [across, along]


def _known(x: Tensor) -> list[int]:
    """The shape of `x`, 0 for what is open."""
    return [dim if isinstance(dim, int) else 0 for dim in x.dims or ()]
