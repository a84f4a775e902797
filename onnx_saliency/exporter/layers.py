"""The layers of a network by name, and where their channels and positions lie."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnx_saliency.backward import Path, find_path
from onnx_saliency.errors import LayerError
from onnx_saliency.graph.affine import makers, replaced

_CLOSEST = 3  # names suggested for one that is not there
_FIRST = frozenset(
    {"Conv", "ConvTranspose", "QLinearConv", "MaxPool", "AveragePool", "LpPool", "BatchNormalization", "LRN"}
    | {"InstanceNormalization", "GroupNormalization", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"}
    | {"DepthToSpace", "SpaceToDepth"}
)
_KNOWN = {"LayerNormalization": 3, "MatMul": 3} | dict.fromkeys(_FIRST, 1)
"""Operators that say where the channels of an image [N, C, H, W] or [N, H, W, C] lie."""
_SHUFFLES = frozenset({"Reshape", "Expand", "Einsum", "If", "Loop", "Scan"})  # they say nothing of axes


@dataclass(frozen=True)
class Layer:
    """What a node makes: channels at positions.

    Attributes:
        value: rank 4 (images, NCHW or NHWC), 3 (tokens, [N, T, C]) or 2 (no positions, [N, C]).
        channel_axis: where its channels lie.
    """

    value: ir.Value
    channel_axis: int

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return self.value.name or ""

    @property
    def spatial_axes(self) -> list[int]:
        """The axes of its positions: two of an image, one of tokens, none behind the last pooling."""
        return [axis for axis in range(1, len(self.dims)) if axis != self.channel_axis]

    @property
    def dims(self) -> list[int | None]:
        """Its shape, None where it is open."""
        assert self.value.shape is not None  # as_layer has seen it
        return [dim if isinstance(dim, int) else None for dim in self.value.shape]


def find_layer(graph: ir.Graph, name: str, image: ir.Value) -> Layer:
    """Return the layer called `name`: by the value that a node makes, or by the node.

    Raises:
        LayerError: there is none (the closest names are listed), it holds no floats, it has no channels and
            positions, or it does not depend on `image`.
    """
    names: dict[str, ir.Value] = {}
    for node in graph:
        for value in node.outputs:
            names.setdefault(value.name or "", value)
    for node in graph:
        for maker in (node.name, *makers(node.outputs[0])):
            names.setdefault(maker or "", node.outputs[0])
    names.pop("", None)
    if name not in names:
        for value in names.values():
            if name in replaced(value):
                raise LayerError(f"{name!r} is scaled or shifted by channel, in one step with it: name {value.name!r}.")
        closest = difflib.get_close_matches(name, names, _CLOSEST, cutoff=0.3)
        hint = f"The closest are {', '.join(map(repr, closest))}. " if closest else ""
        raise LayerError(f"The model has no layer {name!r}. {hint}`inspect --layers` lists them all.")
    layer = as_layer(names[name])
    if layer is None:
        raise LayerError(f"{name!r} is no layer: floats of shape [N, C], [N, T, C] or [N, C, H, W] are.")
    if not find_path(graph, [layer.value], [image]).nodes:
        raise LayerError(f"Layer {name!r} does not depend on the image {image.name!r}.")
    return layer


def as_layer(value: ir.Value) -> Layer | None:
    """Read the shape of `value` as channels at positions, None where it cannot be."""
    if value.shape is None or len(value.shape) not in (2, 3, 4):
        return None
    if value.dtype is not None and not value.dtype.is_floating_point():
        return None
    rank = len(value.shape)
    if rank < 4:
        return Layer(value, rank - 1)
    rows, columns, last = value.shape[1:]
    square = isinstance(rows, int) and rows == columns != last  # [N, 7, 7, 768]
    return Layer(value, channel_axis(value) or (3 if square else 1))


def layers_between(path: Path) -> Iterator[Layer]:
    """The layers that the score depends on, in the graph's order."""
    for node in path.nodes:
        for value in node.outputs:
            layer = as_layer(value) if value in path.reached else None
            if layer is not None:
                yield layer


def channel_axis(value: ir.Value) -> int | None:
    """Where the nearest operators before `value` that know have its channels; None where none does."""
    perms: list[Sequence[int]] = []
    while True:
        node = value.producer()
        if node is None or node.op_type in _SHUFFLES or not is_image(value):
            return None
        axis = _KNOWN.get(node.op_type)
        if node.op_type == "MatMul" and (node.inputs[1] is None or node.inputs[1].const_value is None):
            return None  # of attention
        if axis is not None:
            break
        if node.op_type == "Transpose":
            perms.append(node.attributes.get_ints("perm") or (3, 2, 1, 0))
        before = [value for value in node.inputs if value is not None and value.const_value is None]
        value = next((each for each in before if is_image(each)), value)
        if value.producer() is node:
            return None
    for perm in reversed(perms):
        axis = list(perm).index(axis)
    return axis or None


def is_image(value: ir.Value) -> bool:
    """Whether `value` has four axes."""
    return value.shape is not None and len(value.shape) == 4
