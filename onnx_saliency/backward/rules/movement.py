"""Data movement: nothing is computed, so the gradient moves back the way the values came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_saliency.backward.lowering import parted
from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, full_like, op

# --- helpers of this and other families --------------------------------------------------------


def reshape_like(dy: Tensor, x: Tensor) -> Tensor:
    """Give `dy` the shape of `x`; one open dimension is left to Reshape, so nothing is computed when run."""
    dims = x.dims
    if dims is not None and sum(not isinstance(dim, int) for dim in dims) == 1 and 0 not in dims:
        return op.Reshape(dy, [dim if isinstance(dim, int) else -1 for dim in dims])
    return op.Reshape(dy, x.shape)


def padded(x: Tensor, pads: Tensor | list[int], axes: Tensor | list[int], rank: int) -> Tensor:
    """Zeros around x along `axes`: all begins, then all ends, less than 0 where something is cut off

    All axes are written, as onnxruntime takes `pads` for those of all axes when it moves a Transpose behind a Pad.
    """
    pads, axes = (x.tape.constant(np.array(each)) if isinstance(each, list) else each for each in (pads, axes))
    everywhere = np.zeros(2 * rank, np.int64)
    if pads.array is not None and axes.array is not None:  # so that shape inference can read them
        everywhere[np.concatenate([axes.array % rank, axes.array % rank + rank])] = pads.array
        return op.Pad(x, everywhere)
    places = op.Mod(axes + np.array(rank), np.array(rank))
    return op.Pad(x, op.ScatterElements(everywhere, op.Concat(places, places + rank, axis=0), pads, axis=0))


def crop(dy: Tensor, begins: Sequence[int], x: Tensor, axes: Sequence[int]) -> Tensor:
    """Cut `dy`, from `begins` on, to the lengths that `x` has along `axes`."""
    lengths = op.Gather(x.shape, list(axes))
    starts = dy.tape.constant(np.array(begins, dtype=np.int64))
    return op.Slice(dy, starts, starts + lengths, list(axes))


def scatter_back(n: Call, dy: Tensor) -> Tensor:
    """For any operator that only picks and repeats values of x: run it on positions, add dy up by position."""
    x = n.x
    count = op.Size(x)
    positions = op.Reshape(op.Range(0, count, 1), x.shape)
    others = [None if t is None or t.dtype.is_floating_point() else t for t in n.inputs[1:]]  # Pad's fill is unused
    moved = getattr(op, n.node.op_type)(positions, *others, **{name: n[name] for name in n.node.attributes})
    zeros = op.Expand(0.0, op.Reshape(count, [1]))
    flat = op.ScatterElements(zeros, op.Reshape(moved, [-1]), op.Reshape(dy, [-1]), axis=0, reduction="add")
    return op.Reshape(flat, x.shape)


# --- the same values in another shape ----------------------------------------------------------


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(n: Call, dy: Tensor) -> Gradients:
    """dx = dy in the shape of x"""
    return reshape_like(dy, n.x)


@rule("Identity", "Cast")
def identity(n: Call, dy: Tensor) -> Gradients:
    """dx = dy; rules compute in one floating type, and an image of integers is differentiated as of reals"""
    return dy


@rule("CastLike")
def cast_like(n: Call, dy: Tensor) -> Gradients:
    """dx = dy; rules compute in one floating type"""
    return dy, None


@rule("Dropout")
def dropout(n: Call, dy: Tensor) -> Gradients:
    """dx = dy, in inference"""
    training = n.optional(2)
    if training is not None and (training.array is None or training.array.item()):
        raise NotDifferentiableError("it is in training mode, or an input decides; export the model for inference")
    return dy


@rule("Transpose")
def transpose(n: Call, dy: Tensor) -> Gradients:
    """dx = dy with the inverse permutation"""
    perm = n["perm"]
    return op.Transpose(dy, perm=None if perm is None else np.argsort(perm).tolist())


@rule("DepthToSpace")
def depth_to_space(n: Call, dy: Tensor) -> Gradients:
    """dx = SpaceToDepth(dy); in mode CRD the channels of a block come after the depth, not before"""
    block = n["blocksize"]
    dx = op.SpaceToDepth(dy, blocksize=block)
    if n["mode"] == "DCR":
        return dx
    depth = op.Shape(n.y, start=1, end=2)
    blocks = op.Reshape(dx, op.Concat([0, block * block], depth, [-1], axis=0))
    return op.Reshape(op.Transpose(blocks, perm=[0, 2, 1, 3]), n.x.shape)


@rule("SpaceToDepth")
def space_to_depth(n: Call, dy: Tensor) -> Gradients:
    """dx = DepthToSpace(dy)"""
    return op.DepthToSpace(dy, blocksize=n["blocksize"])


# --- joining and cutting -----------------------------------------------------------------------


@rule("Concat")
def concat(n: Call, dy: Tensor) -> Gradients:
    """dx_i = the part of dy that came from x_i"""
    axis = n["axis"] % n.y.rank
    inputs = [n.input(i) for i in range(len(n.inputs))]
    if len(inputs) == 1:
        return dy
    if (apart := parted(dy, inputs, axis)) is not None:
        return apart
    lengths = op.Concat(*(op.Shape(x, start=axis, end=axis + 1) for x in inputs), axis=0)
    return op.several("Split", dy, lengths, axis=axis, outputs=len(inputs))


@rule("Split")
def split(n: Call, dy: Tensor) -> Gradients:
    """dx = the parts joined again, zeros for a part that nothing depends on"""
    outputs = [n.tape.read(value) for value in n.node.outputs]
    parts = [full_like(y, 0.0) if part is None else part for part, y in zip(n.dys, outputs, strict=True)]
    return op.Concat(*parts, axis=n["axis"]) if len(parts) > 1 else parts[0]


@rule("Slice")
def slice_(n: Call, dy: Tensor) -> Gradients:
    """dx = dy where it was cut out, zeros elsewhere"""
    cuts = _cuts(n)
    if cuts is None:
        return scatter_back(n, dy)
    if not all(positions for _, positions, _ in cuts):  # nothing was cut out
        return full_like(n.x, 0.0)
    for axis, positions, length in cuts:
        dy = _spread(dy, axis, n.x.rank, positions, length)
    return dy


def _cuts(n: Call) -> list[tuple[int, range, int]] | None:
    """(axis, positions taken, length) for each axis cut; None where they are not known or run backwards."""
    starts, ends, axes, steps = ((*(None if t is None else t.array for t in n.inputs[1:]), None, None))[:4]
    dims = n.x.dims
    if (
        starts is None
        or ends is None
        or dims is None
        or n.has(3) != (axes is not None)
        or n.has(4) != (steps is not None)
    ):
        return None
    along = range(len(starts)) if axes is None else [int(axis) % len(dims) for axis in axes]
    strides = [1] * len(starts) if steps is None else steps.tolist()
    cuts = []
    for axis, start, end, step in zip(along, starts.tolist(), ends.tolist(), strides, strict=True):
        length = dims[axis]
        if not isinstance(length, int) or step < 1:
            return None
        cuts.append((axis, range(*slice(start, end, step).indices(length)), length))
    return cuts


def _spread(dy: Tensor, axis: int, rank: int, positions: range, length: int) -> Tensor:
    """Put the entries of `dy` at `positions` of an axis of `length`, zeros between and around."""
    kept, step = len(positions), positions.step
    if step > 1:  # [.., n, ..] -> [.., n, step, ..] with zeros behind each entry -> [.., n step, ..]
        spaced = op.Pad(op.Unsqueeze(dy, [axis + 1]), _pads(rank + 1, axis + 1, 0, step - 1))
        head = op.Shape(spaced, start=0, end=axis)
        tail = op.Shape(spaced, start=axis + 2)
        dy = op.Reshape(spaced, op.Concat(head, [kept * step], tail, axis=0))
        kept = min(kept * step, length - positions.start)
        dy = op.Slice(dy, [0], [kept], [axis])
    before, after = positions.start, length - positions.start - kept
    return op.Pad(dy, _pads(rank, axis, before, after)) if before or after else dy


def _pads(rank: int, axis: int, before: int, after: int) -> list[int]:
    pads = [0] * (2 * rank)
    pads[axis], pads[rank + axis] = before, after
    return pads


@rule("Pad")
def pad(n: Call, dy: Tensor) -> Gradients:
    """dx = dy without the border; a border copied from x (reflect, edge, wrap) is added back to its source

    Of a constant border dy adds up to the gradient of its value.
    """
    if n["mode"] != "constant":
        return scatter_back(n, dy)
    dx = _unpadded(n, dy)
    if not n.needs(_FILL):
        return dx
    border = op.ReduceSum(dy, keepdims=0) - op.ReduceSum(dx, keepdims=0)
    return dx, None, op.Reshape(border, n.input(_FILL).shape)


_FILL = 2  # the input of Pad that a constant border is filled with


def _unpadded(n: Call, dy: Tensor) -> Tensor:
    pads = n.input(1)
    amounts, rank = pads.array, n.x.rank
    axes = n.optional(3) or n.tape.constant(np.arange(rank))
    if amounts is None or amounts.min() < 0:  # a negative pad cut; the opposite amount restores zeros
        return padded(dy, -pads, axes, rank)
    starts = amounts[: len(amounts) // 2]
    return op.Slice(dy, starts, op.Gather(n.x.shape, axes) + starts, axes)


# --- picking and repeating ---------------------------------------------------------------------


@rule("Gather", "GatherElements", "GatherND")
def gather(n: Call, dy: Tensor) -> Gradients:
    """dx = dy added up at the positions it was taken from"""
    return scatter_back(n, dy)


@rule("Expand", broadcasts=True)
def expand(n: Call, dy: Tensor) -> Gradients:
    """dx = Σ dy over the copies, which is broadcasting undone"""
    return dy


@rule("Tile")
def tile(n: Call, dy: Tensor) -> Gradients:
    """dx = Σ dy over the copies: [r d, ...] seen as [r, d, ...], summed over the r"""
    rank = n.x.rank
    pairs = op.Concat(op.Unsqueeze(n.input(1), [1]), op.Unsqueeze(n.x.shape, [1]), axis=1)
    return op.ReduceSum(op.Reshape(dy, op.Reshape(pairs, [-1])), list(range(0, 2 * rank, 2)), keepdims=0)


@rule("Trilu")
def trilu(n: Call, dy: Tensor) -> Gradients:
    """dx = dy in the same triangle, zeros outside"""
    return op.Trilu(dy, n.optional(1), upper=n["upper"])
