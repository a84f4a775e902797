"""Layers whose positions form a picture, which class activation maps weigh: images, and tokens of a transformer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward import Path, Tensor, op, reads
from onnx_saliency.errors import LayerError
from onnx_saliency.exporter.layers import Layer, as_layer, channel_axis, is_image, layers_between
from onnx_saliency.graph.folding import constant

_PRODUCTS = frozenset({"MatMul", "QLinearMatMul", "Einsum"})
_COLOURS = (1, 3, 4)


@dataclass(frozen=True)
class Grid:
    """A layer whose positions form a picture.

    Attributes:
        layer: its values.
        like: for tokens, an image before it, of the same picture; None for images.
        factor: how many positions of `like` one token stands for, along each side.
        extra: whether tokens that are no positions, such as a class token, come first.
    """

    layer: Layer
    like: Layer | None = None
    factor: int = 1
    extra: bool = False

    @property
    def size(self) -> tuple[int | None, ...]:
        """How many positions it has down and across, None where it is open."""
        counted = self.like or self.layer
        sides = [counted.dims[axis] for axis in counted.spatial_axes]
        return tuple(None if side is None else side // self.factor for side in sides)

    def image(self, values: Tensor) -> Tensor:
        """Lay `values`, of the layer's shape, out as [N, C, h, w]."""
        if self.like is None:
            return values if self.layer.channel_axis == 1 else op.Transpose(values, perm=[0, 3, 1, 2])
        rows, columns = self.like.spatial_axes
        size = op.Shape(Tensor(values.tape, self.like.value), start=rows, end=columns + 1)
        size = op.Div(size, np.array([self.factor]))
        if self.extra:
            count = op.ReduceProd(size, [0], keepdims=1)
            values = op.Slice(values, op.Neg(count), np.array([np.iinfo(np.int64).max]), [1])
        laid = op.Reshape(values, op.Concat([0], size, [-1], axis=0))
        return op.Transpose(laid, perm=[0, 3, 1, 2])


def last_grid(path: Path, image: ir.Value) -> Grid:
    """Return the last layer that is still a picture and that every way from the image to the score passes.

    For a convolutional net that is what its last convolutions made, before the pooling; for a transformer the tokens
    of the last block whose positions the score still depends on: after the last attention it only reads the class
    token, if it has one.

    Raises:
        LayerError: there is none.
    """
    grids = list(_cut_grids(path, image))
    if not grids:
        raise LayerError(
            "No layer of the model is a picture that the whole score depends on, so there is nothing to lay a class "
            "activation map on. Name one with --layer; `inspect --layers` lists them."
        )
    return grids[-1]


def stage_grids(path: Path, image: ir.Value) -> list[Grid]:
    """Return the last layer of each size that `last_grid` chooses from, up to a quarter of the image's sides.

    It is one of them; where sizes are open, the only one. Tokens are as large as the picture they stand for.

    Raises:
        LayerError: there is none.
    """
    last, picture = last_grid(path, image), _picture(image)
    sides = Grid(picture).size if picture is not None else (0, 0)
    stages: dict[tuple[int | None, ...], Grid] = {}
    for grid in _cut_grids(path, image):
        if all(4 * (side or math.inf) <= (whole or 0) for side, whole in zip(grid.size, sides, strict=True)):
            stages[grid.size] = grid
    return list((stages | {last.size: last}).values())


def _cut_grids(path: Path, image: ir.Value) -> Iterator[Grid]:
    like = _picture(image)
    cuts = set(_cut_values(path, image))
    for index, node in enumerate(path.nodes):
        for value in node.outputs:
            layer = as_layer(value) if value in path.reached else None
            if layer is None:
                continue
            like = _picture(value) or like
            grid = as_grid(layer, like) if value in cuts else None
            if grid is not None and (not grid.extra or _mixes_tokens(path.nodes[index + 1 :], path)):
                yield grid


def grid_of(path: Path, layer: Layer, image: ir.Value) -> Grid:
    """Return `layer` as a picture.

    Raises:
        LayerError: its positions form none.
    """
    like = _picture(image)
    for other in layers_between(path):
        if other.value is layer.value:
            break
        like = _picture(other.value) or like
    grid = as_grid(layer, like)
    if grid is None:
        raise LayerError(
            f"Layer {layer.name!r} has shape {['N', *layer.dims[1:]]}, which is no picture: a class activation map "
            "needs positions. Choose an earlier layer; `inspect --layers` lists them."
        )
    return grid


def _picture(value: ir.Value) -> Layer | None:
    """`value` as what tokens are cut from: the image itself, or what convolutions make; no heads of attention."""
    if not is_image(value):
        return None
    if value.producer() is not None:
        layer = Layer(value, channel_axis(value) or 0)
    else:
        assert value.shape is not None
        layer = Layer(value, 3 if value.shape[3] in _COLOURS and value.shape[1] not in _COLOURS else 1)
    return layer if layer.channel_axis and _is_wide(layer) else None


def as_grid(layer: Layer, like: Layer | None) -> Grid | None:
    """Read positions as a picture: those of an image, or tokens that stand for squares of `like`."""
    if len(layer.dims) == 4:
        return Grid(layer) if _is_wide(layer) else None
    if len(layer.dims) != 3 or like is None:
        return None
    tokens, (height, width) = layer.dims[1], (like.dims[axis] for axis in like.spatial_axes)
    if tokens is None or height is None or width is None:  # of any size: tokens of the last picture, no class token
        return Grid(layer, like, extra=True) if tokens is None else None
    for factor in range(1, min(height, width)):
        count = (height // factor) * (width // factor)
        if height % factor == width % factor == 0 and tokens >= count > tokens // 2:
            return Grid(layer, like, factor, extra=tokens > count)
    return None


def _is_wide(layer: Layer) -> bool:
    """Whether it has more than one position, as far as one can know."""
    return all(layer.dims[axis] != 1 for axis in layer.spatial_axes)


def _cut_values(path: Path, image: ir.Value) -> Iterator[ir.Value]:
    """Values that every way from the image to the score passes: those alone alive behind their node."""
    last = {value: index for index, node in enumerate(path.nodes) for value in reads(node) if value in path.reached}
    alive = {image}
    for index, node in enumerate(path.nodes):
        alive |= {value for value in node.outputs if value in last}
        alive -= {value for value in alive if last[value] <= index}
        if len(alive) == 1:
            yield from alive


def _mixes_tokens(nodes: Sequence[ir.Node], path: Path) -> bool:
    """Whether tokens still meet: by attention, a product of two values of the path, or by an average over them."""
    return any(_is_attention(node, path) or 1 in _reduced_axes(node) for node in nodes)


def _is_attention(node: ir.Node, path: Path) -> bool:
    return node.op_type in _PRODUCTS and sum(value in path.reached for value in node.inputs) > 1


def _reduced_axes(node: ir.Node) -> list[int]:
    """The axes of tokens [N, T, C] that `node` sums over, if it does."""
    tokens = node.inputs[0] if node.op_type.startswith("Reduce") else None
    if tokens is None or tokens.shape is None or len(tokens.shape) != 3:
        return []
    given = constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] is not None else None
    axes = list(node.attributes.get_ints("axes", ())) if given is None else [int(axis) for axis in given]
    return [axis % 3 for axis in axes]
