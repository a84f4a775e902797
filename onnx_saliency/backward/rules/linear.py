"""Convolutions and matrix products: the gradient is the transposed linear map."""

from __future__ import annotations

import onnx_ir as ir

from onnx_saliency.backward.broadcasting import Dims, unbroadcast
from onnx_saliency.backward.lowering import into_blocks, spread, transposed_pads
from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.rules.movement import crop
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, op

# --- convolution -------------------------------------------------------------------------------


@rule("Conv")
def conv(n: Call, dy: Tensor) -> Gradients:
    """y = x ∗ w: dx = dy ∗ᵀ w, db = Σ dy"""
    _weight_is_fixed(n)
    dx = _conv_input_gradient(n, dy)
    db = op.ReduceSum(dy, [0, *range(2, n.x.rank)], keepdims=0) if n.needs(2) else None
    return dx, None, db


@rule("ConvTranspose")
def conv_transpose(n: Call, dy: Tensor) -> Gradients:
    """y = x ∗ᵀ w: dx = dy ∗ w, cropped where output_padding made room for one more window"""
    _weight_is_fixed(n)
    window = Window(n)
    if n["output_shape"] is not None:
        raise NotDifferentiableError("its pads follow from output_shape; export it with explicit pads")
    dx = op.Conv(dy, n.input(1), strides=window.strides, dilations=window.dilations, pads=window.pads, group=n["group"])
    extra = n["output_padding"] or [0] * window.rank
    if any(e >= s for e, s in zip(extra, window.strides, strict=True)):
        dx = crop(dx, [0] * window.rank, n.x, window.axes)
    db = op.ReduceSum(dy, [0, *window.axes], keepdims=0) if n.needs(2) else None
    return dx, None, db


class Window:
    """The geometry of a convolution: one entry per spatial axis, pads all begins then all ends."""

    def __init__(self, n: Call) -> None:
        dims = n.input(1).dims
        self.kernel: list[int] = list(n["kernel_shape"] or [k for k in (dims or ())[2:] if isinstance(k, int)])
        if not self.kernel or (dims is not None and len(self.kernel) != len(dims) - 2):
            raise NotDifferentiableError("the shape of its kernel is not known")
        self.rank = len(self.kernel)
        self.axes = list(range(2, 2 + self.rank))
        self.strides = list(n["strides"] or [1] * self.rank)
        self.dilations = list(n["dilations"] or [1] * self.rank)
        self.pads = list(n["pads"] or [0] * 2 * self.rank)
        self.begins, self.ends = self.pads[: self.rank], self.pads[self.rank :]
        self.reach = [d * (k - 1) for k, d in zip(self.kernel, self.dilations, strict=True)]


def _weight_is_fixed(n: Call) -> None:
    if n.needs(1):
        raise NotDifferentiableError("its weight is not fixed, and gradients by weights are not supported")


def _conv_input_gradient(n: Call, dy: Tensor) -> Tensor:
    w, window, group = n.input(1), Window(n), n["group"]
    outer = [r - p for r, p in zip(window.reach * 2, window.pads, strict=True)]
    if set(window.strides) == {1} and min(outer) >= 0:
        # At stride 1 the transposed convolution is a convolution with the mirrored kernel, whose
        # kernels are the fast ones, and whose size is right for any H and W.
        mirrored = _mirror(_swap_channels(w, group, window), window)
        return op.Conv(dy, mirrored, dilations=window.dilations, pads=outer, group=group)
    kept = {"strides": window.strides, "dilations": window.dilations, "group": group}
    lengths, made = _static(n.x, window), _static(n.y, window)
    if lengths is not None and made is not None and w.dims is not None and w.dims[:2] == (group, 1):
        apart = _depthwise_apart(dy, w, window, lengths, made)
        if apart is not None:
            return apart
    if lengths is not None and made is not None:
        # H = (H' − 1) s + d (k − 1) + 1 − pads + output_padding
        full = [(m - 1) * s + r + 1 for m, s, r in zip(made, window.strides, window.reach, strict=True)]
        begins, ends = transposed_pads(dy, window.begins, window.ends)
        rest = [max(0, h - f + b + e) for h, f, b, e in zip(lengths, full, window.begins, ends, strict=True)]
        dx = op.ConvTranspose(dy, w, pads=begins + ends, output_padding=rest, **kept)
        if (begins, ends) != (window.begins, window.ends):
            dx = crop(dx, [b - done for b, done in zip(window.begins, begins, strict=True)], n.x, window.axes)
        return into_blocks(dx, n.x)
    # Open H and W: all of it, room for the rows that no window reached, then cut to the size of x.
    room = [s - 1 for s in window.strides]
    whole = op.ConvTranspose(dy, w, **kept)
    padded = op.Pad(whole, [0] * (window.rank + 4) + room)
    return crop(padded, window.begins, n.x, window.axes)


def _depthwise_apart(dy: Tensor, w: Tensor, window: Window, lengths: list[int], made: list[int]) -> Tensor | None:
    """A stride undone by zeros between the entries of dy, then stride 1, where the runtime is quicker so."""
    before = [r - b for r, b in zip(window.reach, window.begins, strict=True)]
    after = [
        h - m * s - o + r for h, m, s, o, r in zip(lengths, made, window.strides, before, window.reach, strict=True)
    ]
    apart = spread(dy, made, window.strides) if min(before + after) >= 0 else None
    if apart is None:
        return None
    channels = w.dims[0] if w.dims is not None else None
    return op.Conv(apart, _mirror(w, window), dilations=window.dilations, pads=before + after, group=channels)


def _static(x: Tensor, window: Window) -> list[int] | None:
    """The spatial lengths of `x`, None where one is open."""
    lengths = [dim for dim in (x.dims or ())[2:] if isinstance(dim, int)]
    return lengths if len(lengths) == window.rank else None


def _swap_channels(w: Tensor, group: int, window: Window) -> Tensor:
    """[M, C/g, k...] -> [C, M/g, k...], within each group."""
    spatial = list(range(2, 2 + window.rank))
    if group == 1:
        swapped = op.Transpose(w, perm=[1, 0, *spatial])
        if w.dims is not None:  # inside a loop, inference would not see the weight outside
            swapped.value.shape = ir.Shape([w.dims[1], w.dims[0], *w.dims[2:]])
        return swapped
    assert w.dims is not None
    m, c = w.dims[:2]
    if not isinstance(m, int) or not isinstance(c, int):
        raise NotDifferentiableError("the shape of its weight is not known")
    if c == 1 and m == group:  # depthwise: nothing to swap
        return w
    grouped = op.Reshape(w, [group, m // group, c, *window.kernel])
    swapped = op.Transpose(grouped, perm=[0, 2, 1, *(axis + 1 for axis in spatial)])
    swapped = op.Reshape(swapped, [group * c, m // group, *window.kernel])
    swapped.value.shape = ir.Shape([group * c, m // group, *window.kernel])
    return swapped


def _mirror(w: Tensor, window: Window) -> Tensor:
    axes = [axis for axis, k in zip(window.axes, window.kernel, strict=True) if k > 1]
    if not axes:
        return w
    mirrored = op.Slice(w, [-1] * len(axes), [-(2**31)] * len(axes), axes, [-1] * len(axes))
    mirrored.value.shape = w.value.shape
    return mirrored


# --- matrix products ---------------------------------------------------------------------------


@rule("Gemm")
def gemm(n: Call, dy: Tensor) -> Gradients:
    """y = α A B + β C: dA = α dy Bᵀ, dB = α Aᵀ dy, dC = β dy"""
    a, b, alpha = n.input(0), n.input(1), n["alpha"]
    ta, tb = n["transA"], n["transB"]
    da = op.Gemm(b, dy, alpha=alpha, transA=tb, transB=1) if ta else op.Gemm(dy, b, alpha=alpha, transB=1 - tb)
    if not (n.needs(1) or n.needs(2)):
        return da
    db = op.Gemm(dy, a, alpha=alpha, transA=1, transB=ta) if tb else op.Gemm(a, dy, alpha=alpha, transA=1 - ta)
    dc = unbroadcast(dy * n["beta"], n.input(2), n.y.dims) if n.needs(2) else None
    return da, db, dc


@rule("MatMul")
def matmul(n: Call, dy: Tensor) -> Gradients:
    """y = A B: dA = dy Bᵀ, dB = Aᵀ dy, each summed over the batch axes it was stretched along"""
    a, b = n.input(0), n.input(1)
    if a.rank == 1:  # a vector is a matrix of one row on the left, of one column on the right
        dy = op.Unsqueeze(dy, [-1 if b.rank == 1 else -2])
    if b.rank == 1:
        dy = op.Unsqueeze(dy, [-1])
    row = op.Unsqueeze(a, [0]) if a.rank == 1 else a
    column = op.Unsqueeze(b, [1]) if b.rank == 1 else b
    y_dims = n.y.dims
    da = _to_shape(dy @ _transposed(column, b.rank), a, b, y_dims) if n.needs(0) else None
    db = _to_shape(_transposed(row, a.rank) @ dy, b, a, y_dims) if n.needs(1) else None
    return da, db


def _transposed(m: Tensor, rank: int) -> Tensor:
    rank = max(rank, 2)
    return op.Transpose(m, perm=[*range(rank - 2), rank - 1, rank - 2])


def _to_shape(dx: Tensor, x: Tensor, other: Tensor, y_dims: Dims | None) -> Tensor:
    """Sum over the batch axes that `x` was stretched along to meet `other`."""
    if x.rank == 1:
        vector = op.ReduceSum(dx, list(range(other.rank - 2)), keepdims=0) if other.rank > 2 else dx
        return op.Reshape(vector, x.shape)
    if other.rank <= 2 or x.dims is None or y_dims is None:
        return dx if other.rank <= 2 else unbroadcast(dx, x, None)
    return unbroadcast(dx, x, (*y_dims[:-2], *x.dims[-2:]))
