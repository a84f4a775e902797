"""Values picked, put and moved by index: the gradient takes the same way back."""

from __future__ import annotations

from collections.abc import Callable

from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.rules.movement import scatter_back
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, full_like, op

# --- put by index ------------------------------------------------------------------------------

Put = Callable[[Tensor, Tensor, str], Tensor]  # (base, values, reduction)
Take = Callable[[Tensor], Tensor]


@rule("ScatterElements")
def scatter_elements(n: Call, dy: Tensor) -> Gradients:
    """y = x with u put at the indices along an axis: see `_scattered`"""
    indices, axis = n.input(1), n["axis"]
    return _scattered(
        n,
        dy,
        lambda base, u, reduction: op.ScatterElements(base, indices, u, axis=axis, reduction=reduction),
        lambda v: op.GatherElements(v, indices, axis=axis),
    )


@rule("ScatterND")
def scatter_nd(n: Call, dy: Tensor) -> Gradients:
    """y = x with the blocks u put at the indices: see `_scattered`"""
    indices = n.input(1)
    return _scattered(
        n,
        dy,
        lambda base, u, reduction: op.ScatterND(base, indices, u, reduction=reduction),
        lambda v: op.GatherND(v, indices),
    )


def _scattered(n: Call, dy: Tensor, put: Put, take: Take) -> Gradients:
    """Write S u for u put into zeros at the indices, v[i] for what is taken there. By reduction:

    none: dx = dy where nothing was put, du = dy[i]; the standard allows no index twice
    add: dx = dy, du = dy[i]
    mul: dx = dy Π u, du = (dy x)[i] times the product of the other factors put there, safe at zeros
    max, min: dx and du share dy between those equal to y, evenly, as Max and ReduceMax do
    """
    x, u, reduction = n.input(0), n.input(2), n["reduction"]
    if reduction == "none":
        return put(dy, full_like(u, 0.0), "none"), None, take(dy)
    if reduction == "add":
        return dy, None, take(dy)
    if reduction == "mul":
        ones = full_like(x, 1.0)
        is_zero = u.equals(0)
        zeros = take(put(full_like(x, 0.0), is_zero.cast(like=dy), "add"))
        safe = op.Where(is_zero, 1.0, u)
        others = take(put(ones, safe, "mul") * x * dy)
        lone = op.Where(zeros.equals(1), others, 0.0)
        return dy * put(ones, u, "mul"), None, op.Where(is_zero, lone, op.Where(zeros.equals(0), others, 0.0) / safe)
    x_chosen, u_chosen = x.equals(n.y).cast(like=dy), u.equals(take(n.y)).cast(like=dy)
    share = dy / put(x_chosen, u_chosen, "add")
    return share * x_chosen, None, take(share) * u_chosen


@rule("TensorScatter")
def tensor_scatter(n: Call, dy: Tensor) -> Gradients:
    """y = x with u put from a position of each sample on: dx = dy where nothing was put, du = dy there"""
    u, start = n.input(1), n.optional(2)
    mode, axis, rank = n["mode"], n["axis"] % n.x.rank, n.x.rank
    dx = op.TensorScatter(dy, full_like(u, 0.0), start, mode=mode, axis=n["axis"])
    count = op.Squeeze(op.Shape(u, start=axis, end=axis + 1))
    along = op.Unsqueeze(op.Range(0, count, 1), [0])  # [1 or samples, positions]
    if start is not None:
        along = op.Unsqueeze(start, [1]) + along
    if mode == "circular":
        along = op.Mod(along, op.Shape(n.x, start=axis, end=axis + 1))
    others = [i for i in range(1, rank) if i != axis]
    return dx, op.GatherElements(dy, op.Expand(op.Unsqueeze(along, others), u.shape), axis=axis), None


@rule("MaxUnpool")
def max_unpool(n: Call, dy: Tensor) -> Gradients:
    """y[I] = x, I counted over the whole tensor: dx = dy[I]; of a position put twice either value may stand"""
    if n.has(2):
        raise NotDifferentiableError(
            "with output_shape, runtimes disagree over which tensor its indices count in; export it without"
        )
    flat = op.GatherElements(op.Reshape(dy, [-1]), op.Reshape(n.input(1), [-1]), axis=0)
    return op.Reshape(flat, n.x.shape), None


# --- picked by index ---------------------------------------------------------------------------


@rule("TopK")
def top_k(n: Call, dy: Tensor) -> Gradients:
    """dx = dy at the positions that were picked"""
    indices = n.tape.read(n.node.outputs[1])
    return op.ScatterElements(full_like(n.x, 0.0), indices, dy, axis=n["axis"]), None


@rule("Compress")
def compress(n: Call, dy: Tensor) -> Gradients:
    """dx = dy at the positions that were kept"""
    return scatter_back(n, dy)


@rule("Unique")
def unique(n: Call, dy: Tensor) -> Gradients:
    """dx = dy at the first occurrence of each value"""
    x, axis, rank = (op.Reshape(n.x, [-1]), 0, 1) if n["axis"] is None else (n.x, n["axis"] % n.x.rank, n.x.rank)
    _, first = op.several("Unique", x, outputs=2, axis=axis, sorted=n["sorted"])
    along = op.Unsqueeze(first, [i for i in range(rank) if i != axis])
    dx = op.ScatterElements(full_like(x, 0.0), op.Expand(along, op.Shape(dy)), dy, axis=axis)
    return op.Reshape(dx, n.x.shape)


# --- moved -------------------------------------------------------------------------------------


@rule("ReverseSequence")
def reverse_sequence(n: Call, dy: Tensor) -> Gradients:
    """dx = dy reversed again"""
    return op.ReverseSequence(dy, n.input(1), batch_axis=n["batch_axis"], time_axis=n["time_axis"]), None


@rule("CenterCropPad")
def center_crop_pad(n: Call, dy: Tensor) -> Gradients:
    """dx = dy cropped and padded back to the shape of x: what was cut gets zeros, what was added is cut"""
    axes = n["axes"]
    shape = n.x.shape if axes is None else op.Gather(n.x.shape, list(axes))
    return op.CenterCropPad(dy, shape, axes=axes), None
