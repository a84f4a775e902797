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

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward.lowering import STEEP
from onnx_saliency.backward.registry import Call
from onnx_saliency.backward.tensor import Tensor, op

_BLOCK = 16  # channels; the layout has 8 or 16 together


def serves(n: Call) -> bool:
    """Whether the pool is one of these: for the CPU, of known size, without padding, with windows that step."""
    strides = n["strides"] or [1] * len(n["kernel_shape"])
    plain = not any(n["pads"] or ()) and not n["ceil_mode"] and set(n["dilations"] or [1]) == {1}
    if n.tape.profile != "cpu" or n.x.dtype != ir.DataType.FLOAT or n.x.rank != 4 or not plain:
        return False
    _, channels, *lengths = _known(n.x)
    steps = all(1 < s <= k <= 3 for k, s in zip(n["kernel_shape"], strides, strict=True))
    return steps and channels > 0 and channels % _BLOCK == 0 and all(lengths)


def max_pool_gradient(n: Call, dy: Tensor) -> Tensor:
    """dy at each window's first maximum, added up"""
    (height, width), (down, across) = n["kernel_shape"], n["strides"]
    rows = op.MaxPool(n.x, kernel_shape=[1, width], strides=[1, across])  # the maximum of each window's each row
    _, channels, high, wide = _known(n.x)
    rows.value.shape = ir.Shape([None, channels, high, (wide - width) // across + 1])
    d_rows = _along(rows, n.y, dy, axis=2, size=height, step=down)
    return _along(n.x, rows, d_rows, axis=3, size=width, step=across)


def _along(x: Tensor, p: Tensor, dy: Tensor, axis: int, size: int, step: int) -> Tensor:
    """The gradient of x, of which p holds the maxima of windows along `axis`."""
    _, channels, *_ = _known(x)
    left, taken = dy, []
    for t in range(size - 1):
        tap = np.zeros((channels, 1, *(size if each == axis else 1 for each in (2, 3))), np.float32)
        tap.reshape(channels, size)[:, t] = -1
        behind = op.Conv(x, tap, group=channels, strides=[step if each == axis else 1 for each in (2, 3)]) + p
        rest = left * op.HardSigmoid(behind, alpha=STEEP, beta=0.0)
        taken.append(left - rest)
        left = rest
    return _add_up([*taken, left], x, axis, step)


def _add_up(taps: list[Tensor], x: Tensor, axis: int, step: int) -> Tensor:
    """Tap t of window i at i · step + t along `axis`, in the shape of x; Concat where windows tile it, else Col2Im."""
    _, channels, *lengths = _known(x)
    if len(taps) == step and lengths[axis - 2] % step == 0:
        side_by_side = op.Concat(*(op.Unsqueeze(tap, [axis + 1]) for tap in taps), axis=axis + 1)
        return op.Reshape(side_by_side, [0, channels, *lengths])
    size, step_2d = ([each if along == axis else 1 for along in (2, 3)] for each in (len(taps), step))
    stacked = op.Concat(*(op.Reshape(tap, [0, channels, 1, -1]) for tap in taps), axis=2)
    columns = op.Reshape(stacked, [0, channels * len(taps), -1])
    return op.Col2Im(columns, lengths, size, strides=step_2d)


def _known(x: Tensor) -> list[int]:
    """The shape of `x`, 0 for what is open."""
    return [dim if isinstance(dim, int) else 0 for dim in x.dims or ()]
