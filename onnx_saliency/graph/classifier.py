"""Find in a graph what the paper names: the image I and the unnormalised class score S_c (section 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from onnx_saliency.errors import AmbiguousModelError, ModelError

Layout = Literal["NCHW", "NHWC"]

_ACTIVATIONS = frozenset({"Softmax", "LogSoftmax", "Sigmoid"})
_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast"})
_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Classifier:
    """A model in canonical form, with the values that an explanation needs.

    Attributes:
        model: the canonical graph; the values below belong to it.
        image: the input that holds the picture, rank 4.
        layout: where its channels lie.
        score: the class scores before any final activation; [N, classes] up to axes of length 1.
        output: the model's output that the score was found behind.
        activation: the node stepped over ("Softmax", "LogSoftmax", "Sigmoid"), None if there is none.
        classes: number of classes, None where the graph leaves it open.
        exact: the same with the score as the model computes it, where `score` is that of a quantised model without
            its rounding; else None.
    """

    model: ir.Model
    image: ir.Value
    layout: Layout
    score: ir.Value
    output: ir.Value
    activation: str | None
    classes: int | None
    exact: Classifier | None = None

    @property
    def channel_axis(self) -> int:
        """Axis of the colour channels in the image input."""
        return 1 if self.layout == "NCHW" else 3

    @property
    def channels(self) -> int | None:
        """Number of colour channels, None if open."""
        return _static(self.image, self.channel_axis)

    @property
    def spatial_axes(self) -> tuple[int, int]:
        """Axes of height and width in the image input."""
        return (2, 3) if self.layout == "NCHW" else (1, 2)

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width of the image input in pixels, None where dynamic."""
        height, width = self.spatial_axes
        return _static(self.image, height), _static(self.image, width)

    @property
    def batch(self) -> int | None:
        """The batch the model is fixed to, None where dynamic."""
        return _static(self.image, 0)


def find_classifier(model: ir.Model, *, input: str | None = None, output: str | None = None) -> Classifier:
    """Find image input, score, layout and number of classes in a canonical model.

    Args:
        model: a model in canonical form (`normalise`).
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.

    Raises:
        AmbiguousModelError: several inputs or outputs fit; lists them and names the option.
        ModelError: none fits, the name given does not exist, or there are no classes.
    """
    image = _find_image(model.graph, input)
    layout = _find_layout(image)
    result, score, activation = _find_score(model.graph, output)
    classes = _count_classes(_static(image, 0), result, score)
    if classes == 0:
        raise ModelError(
            f"The score {_show(score)} has 0 classes, so there is nothing to explain. Export the model again."
        )
    return Classifier(model, image, layout, score, result, activation, classes)


def _find_image(graph: ir.Graph, name: str | None) -> ir.Value:
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    if name is not None:
        image = _named(inputs, name, "input")
        if not _is_image(image):
            raise ModelError(f"Input {_show(image)} is not an image: four axes, one of them 1, 3 or 4 channels.")
        return image
    images = [value for value in inputs if _is_image(value)]
    if len(images) == 1:
        return images[0]
    if not images:
        raise ModelError(
            f"No image input: none of {_list(inputs)} has four axes with 1, 3 or 4 channels second (NCHW) or last "
            "(NHWC). Only models that take a picture can be explained."
        )
    raise AmbiguousModelError(
        f"Several inputs could be the image: {_list(images)}. Choose one with "
        "input=NAME, on the command line --input NAME."
    )


def _is_image(value: ir.Value) -> bool:
    if value.shape is None or value.dtype is None or len(value.shape) != 4 or value.dtype == ir.DataType.STRING:
        return False
    if list(value.shape)[1:].count(1) > 1:  # one pixel: a mean or a scale, handed in by an exporter
        return False
    return any(_fits(value, axis) for axis in (1, 3))


def _fits(value: ir.Value, axis: int) -> bool:
    """Whether `axis` can hold channels; an open axis can."""
    dim = _static(value, axis)
    return dim is None or dim in _CHANNELS


def _find_layout(image: ir.Value) -> Layout:
    first, last = _static(image, 1), _static(image, 3)
    if first in _CHANNELS and last not in _CHANNELS:
        return "NCHW"
    if last in _CHANNELS and first not in _CHANNELS:
        return "NHWC"
    # Both or neither: the first use that fixes a layout tells. ONNX convolutions read NCHW.
    used: Layout | None = _layout_of_use(image)
    if used is None:
        raise AmbiguousModelError(
            f"Channels of input {_show(image)} may be its second or last axis. Fix the channel count in the model."
        )
    return used


def _layout_of_use(value: ir.Value, depth: int = 8) -> Layout | None:
    for node in value.consumers():
        if node.op_type == "Transpose" and list(node.attributes.get_ints("perm", ())) == [0, 3, 1, 2]:
            return "NHWC"
        if node.op_type in ("Conv", "MaxPool", "AveragePool", "BatchNormalization"):
            return "NCHW"
        if depth and node.op_type in ("Cast", "Sub", "Add", "Mul", "Div", "Pad", "Clip", "Identity"):
            found = _layout_of_use(node.outputs[0], depth - 1)
            if found is not None:
                return found
    return None


def _find_score(graph: ir.Graph, name: str | None) -> tuple[ir.Value, ir.Value, str | None]:
    """Return (output, score, activation stepped over)."""
    if name is not None:
        result = _named(graph.outputs, name, "output")
        if not _is_scores(result):
            raise ModelError(f"Output {_show(result)} holds no class scores: float values of [batch, classes].")
        return result, *_step_back(result)
    candidates = [value for value in graph.outputs if _is_scores(value)]
    if not candidates:
        raise ModelError(
            f"No class scores: none of the outputs {_list(graph.outputs)} is float [batch, classes]. "
            "Only classifiers can be explained."
        )
    found = [(value, *_step_back(value)) for value in candidates]
    if len({_skip_views(score).name for _, score, _ in found}) > 1:
        raise AmbiguousModelError(
            f"Several outputs could be the class scores: {_list(candidates)}. Choose one with "
            "output=NAME, on the command line --output NAME."
        )
    return found[0]


def _is_scores(value: ir.Value) -> bool:
    if value.dtype is not None and not value.dtype.is_floating_point():
        return False
    if value.shape is None:
        return True
    return len(value.shape) >= 1 and sum(dim != 1 for dim in list(value.shape)[1:]) <= 1


def _step_back(output: ir.Value) -> tuple[ir.Value, str | None]:
    """Step over one final activation and the reshapes around it; without an activation stay at `output`."""
    value = output
    while (node := value.producer()) is not None and node.op_type in _RESHAPES and node.inputs[0] is not None:
        value = node.inputs[0]
    if node is None or node.op_type not in _ACTIVATIONS or node.inputs[0] is None:
        return output, None
    score = node.inputs[0]
    before, after = _count_per_row(score), _count_per_row(output)
    if before is not None and after is not None and before != after:
        return output, None  # its rows are not images, but the heads of several, say
    # Softmax below opset 13 flattened its input: the converter writes Flatten - Softmax - Reshape.
    return _skip_views(score), node.op_type


def _count_per_row(value: ir.Value) -> int | None:
    """How many numbers there are per entry of the first axis; None where that is open, or there is no other axis."""
    dims = list(value.shape)[1:] if value.shape is not None else []
    known = [dim for dim in dims if isinstance(dim, int)]
    return math.prod(known) if dims and len(known) == len(dims) else None


def _skip_views(score: ir.Value) -> ir.Value:
    while (before := score.producer()) is not None and before.op_type in _RESHAPES and _is_view(before):
        score = before.inputs[0]  # type: ignore[assignment]  # _is_view has seen it
    return score


def _is_view(node: ir.Node) -> bool:
    """Whether `node` only drops or adds axes of length 1 around [N, classes]."""
    x, y = node.inputs[0], node.outputs[0]
    return (
        x is not None
        and x.shape is not None
        and y.shape is not None
        and x.dtype == y.dtype
        and [d for d in list(x.shape)[1:] if d != 1] == [d for d in list(y.shape)[1:] if d != 1]
    )


def _count_classes(batch: int | None, *values: ir.Value) -> int | None:
    for value in values:
        if value.shape is not None:
            first = 0 if len(value.shape) == 1 and batch == 1 else 1  # a vector: of one image, or one per image
            wide = [dim for dim in list(value.shape)[first:] if dim != 1]
            if not wide:
                return 1
            if isinstance(wide[0], int):
                return wide[0]
    return None


def _static(value: ir.Value, axis: int) -> int | None:
    dim = value.shape[axis] if value.shape is not None else None
    return dim if isinstance(dim, int) else None


def _named(values: Sequence[ir.Value], name: str, kind: str) -> ir.Value:
    for value in values:
        if value.name == name:
            return value
    raise ModelError(f"The model has no {kind} {name!r}; it has {_list(values)}.")


def _show(value: ir.Value) -> str:
    shape = "unknown shape" if value.shape is None else "[" + ", ".join(str(dim) for dim in value.shape) + "]"
    dtype = value.dtype.name.lower() if value.dtype is not None else "unknown type"
    return f"{value.name!r} {dtype} {shape}"


def _list(values: Sequence[ir.Value]) -> str:
    return ", ".join(_show(value) for value in values) or "(none)"
