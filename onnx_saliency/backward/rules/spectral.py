"""Fourier transforms: y = F x is linear, so the gradient is Fᴴ dy, the conjugate of F conj(dy).

Complex numbers are pairs on the last axis; the gradient of a real input is the real part. The
forward transform serves for the inverse too: onnxruntime computes its own inverse in single precision.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.rules.movement import padded, reshape_like
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, full_like, op

_FIRST_WITH_AXIS_INPUT = 20  # before, the axis was an attribute


@rule("DFT")
def dft(n: Call, dy: Tensor) -> Gradients:
    """dx = Fᴴ dy; of the inverse F dy / n; of the inverse to reals c F dy / n. Cut or padded to the length of x"""
    axis = _axis(n)
    if n["inverse"] and n["onesided"]:
        length = op.Gather(op.Shape(n.y), axis)
        dx = _weights(n, dy, axis, length) * _transform(n, dy, axis, length, onesided=1)
        return _to_length(dx, n.x, axis)
    _length_is_told(n, axis)
    length = _vector(n.input(1)) if n.has(1) else op.Gather(op.Shape(n.x), axis)
    if n["inverse"]:
        dx = _transform(n, dy, axis, length) / op.Cast(length, to=dy.dtype)
    else:
        dx = _conjugate(_transform(n, _conjugate(dy), axis, length))  # pads what a one-sided y left out with zeros
    dx = _parts_of(dx, n.x)
    return _to_length(dx, n.x, axis) if n.has(1) else dx


def _length_is_told(n: Call, axis: Tensor) -> None:
    """onnx's shape inference gives half a spectrum the open length of the whole; runtimes then mix up their buffers."""
    if n["onesided"] and not n.has(1) and axis.array is not None and n.x.dims is not None:
        length = n.x.dims[int(axis.array[0])]
        if not isinstance(length, int):
            raise NotDifferentiableError(f"it is one-sided along an axis of open length {length}; export a dft_length")


def _weights(n: Call, dy: Tensor, axis: Tensor, length: Tensor) -> Tensor:
    """y = Σ_k c_k Re(x_k e^(2πi km/n)): c is 1/n for k = 0 and k = n/2, which stand alone, and 2/n for the others."""
    last = op.Div(length, [2])
    k = op.Range(0, op.Squeeze(last, [0]) + np.array(1), 1)
    alone = op.Or(k.equals(0), op.Equal(k + k, length))
    rank = n.x.rank
    here = op.Equal(np.arange(rank), op.Mod(axis + rank, np.array([rank])))
    along = op.Where(here, np.array(-1), np.array(1))
    return op.Reshape(op.Where(alone, 1.0, 2.0) / op.Cast(length, to=dy.dtype), along)


@rule("STFT")
def stft(n: Call, dy: Tensor) -> Gradients:
    """y[f] = F(w ∘ x[f s : f s + n]): dx adds up w ∘ Fᴴ dy[f] at f s"""
    if n.needs(2):
        raise NotDifferentiableError("its window is not fixed, and gradients by windows are not supported")
    x = n.x if n.x.rank == 3 else op.Unsqueeze(n.x, [2])  # onnxruntime takes a real signal without its last axis too
    window = n.optional(2)
    if window is not None:
        length = op.Shape(window)
    else:
        length = _vector(n.input(3)) if n.has(3) else op.Shape(x, start=1, end=2)
    axis = dy.tape.constant(np.array([2]))
    frames = _parts_of(_conjugate(_transform(n, _conjugate(dy), axis, length)), x)  # [B, frames, n, parts]
    if window is not None:
        frames = frames * op.Unsqueeze(window, [1])
    step = _vector(n.input(1))
    starts = op.Unsqueeze(_range(op.Shape(dy, start=1, end=2)) * step, [1])
    at = op.Reshape(starts + _range(length), [1, -1, 1])
    flat = op.Reshape(frames, op.Concat([0, -1], op.Shape(x, start=2), axis=0))
    zeros = full_like(x, 0.0)
    dx = op.ScatterElements(zeros, op.Expand(at, op.Shape(flat)), flat, axis=1, reduction="add")
    return dx if n.x.rank == 3 else reshape_like(dx, n.x)


def _axis(n: Call) -> Tensor:
    """The transformed axis, a vector of one."""
    if _opset(n) < _FIRST_WITH_AXIS_INPUT:
        return n.tape.constant(np.array([n["axis"]]))
    axis = n.input(2).array if n.has(2) else np.array(-2)
    return _vector(n.input(2)) if axis is None else n.tape.constant(axis.reshape(1).astype(np.int64))


def _vector(scalar: Tensor) -> Tensor:
    return op.Cast(op.Reshape(scalar, [1]), to=ir.DataType.INT64)


def _range(count: Tensor) -> Tensor:
    return op.Range(0, op.Squeeze(count, [0]), 1)


def _opset(n: Call) -> int:
    assert n.node.graph is not None
    return n.node.graph.opset_imports[""]


def _transform(n: Call, x: Tensor, axis: Tensor, length: Tensor, *, onesided: int = 0) -> Tensor:
    """F x along `axis`, padded to `length`, both vectors of one."""
    count = op.Squeeze(length, [0])
    if _opset(n) >= _FIRST_WITH_AXIS_INPUT:
        return op.DFT(x, count, op.Squeeze(axis, [0]), onesided=onesided)
    assert axis.array is not None
    return op.DFT(x, count, axis=int(axis.array[0]), onesided=onesided)


def _conjugate(z: Tensor) -> Tensor:
    return z * np.array([1, -1])


def _parts_of(dx: Tensor, x: Tensor) -> Tensor:
    """The real part where `x` is real, both where it is complex."""
    return op.Slice(dx, [0], op.Shape(x, start=-1), [-1])


def _to_length(dx: Tensor, x: Tensor, axis: Tensor) -> Tensor:
    """Cut or pad `dx` to the length of `x` along `axis`."""
    length = op.Gather(op.Shape(x), axis)
    longer = padded(dx, op.Concat([0], length, axis=0), axis, x.rank)
    return op.Slice(longer, [0], length, axis)
