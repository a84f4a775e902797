"""What is differentiated: a score for each class, channel or comparison, and the seed that picks one of them.

S_c(I) = Σ_k e_k S_k(I),  e = one-hot(c),  so the seed of the reverse walk is e (paper, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnx_saliency.backward import Tape, Tensor, full_like, op
from onnx_saliency.errors import ExportError, LayerError
from onnx_saliency.exporter.append import add_input
from onnx_saliency.exporter.layers import Layer, find_layer
from onnx_saliency.graph import Classifier

REFERENCE = "reference"


@dataclass(frozen=True)
class Neuron:
    """One activation of each channel of a layer; the target is the channel.

    Attributes:
        layer: its name (`inspect --layers`).
        position: where, as (y, x), or (token,); None takes the channel's strongest position in each picture, as
            DeconvNet does (Zeiler & Fergus 2013, section 4.1).
    """

    layer: str
    position: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.position is not None and any(at < 0 for at in self.position):
            raise LayerError(f"A position counts from 0, so there is none at {self.position}.")


@dataclass(frozen=True)
class Channel:
    """The mean of each channel of a layer; the target is the channel (Olah et al. 2017)."""

    layer: str


@dataclass(frozen=True)
class Whole:
    """The mean square of a whole layer, one score: whatever the layer responds to (Mordvintsev et al. 2015)."""

    layer: str


@dataclass(frozen=True)
class Cosine:
    """The cosine between the model's output and an input `reference`, float [1 or N, D]: what makes two alike.

    For models that end in an embedding. There is one score, so the target is 0.
    """


Score = Literal["logit", "probability"] | Neuron | Channel | Whole | Cosine


def describe_score(score: Score) -> str:
    """The score in one word or two, for the metadata."""
    if isinstance(score, Neuron):
        at = "" if score.position is None else f" at {','.join(map(str, score.position))}"
        return f"neuron of {score.layer}{at}"
    if isinstance(score, Channel | Whole):
        return f"{'channel' if isinstance(score, Channel) else 'all'} of {score.layer}"
    return "cosine" if isinstance(score, Cosine) else score


def write_scores(score: Score, tape: Tape, classifier: Classifier) -> Tensor:
    """The scores as [N, K], written behind the model: K classes, or channels, or one comparison.

    Raises:
        ExportError: no such score.
        LayerError: no such layer, or no such position in it.
    """
    if isinstance(score, Cosine):
        return _cosine(tape, classifier)
    if isinstance(score, Neuron | Channel | Whole):
        layer = find_layer(classifier.model.graph, score.layer, classifier.image)
        return _channels(tape.read(layer.value), layer, score)
    if score not in ("logit", "probability"):
        raise ExportError(
            f"The score is 'logit', 'probability', a Neuron, a Channel, Whole(layer) or Cosine(), not {score!r}."
        )
    return class_scores(tape.read(classifier.output if score == "probability" else classifier.score), classifier.batch)


def count_scores(score: Score, classifier: Classifier) -> int | None:
    """How many scores there are to choose from: classes, channels, one comparison; None where it is open."""
    if isinstance(score, str):
        return classifier.classes
    if isinstance(score, Cosine | Whole):
        return 1
    layer = find_layer(classifier.model.graph, score.layer, classifier.image)
    return layer.dims[layer.channel_axis]


def class_scores(score: Tensor, batch: int | None) -> Tensor:
    """The scores as [N, classes], whatever axes of length 1 the model gives them.

    A vector holds the scores of the one image, or, where the batch is open or larger, one score per image.
    """
    rank = None if score.dims is None else len(score.dims)
    if rank == 2:
        return score
    return op.Reshape(score, [1, -1] if rank == 1 and batch == 1 else [0, -1])


def strongest(values: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """The strongest activation of each channel, [N, K], and its place in the rows of positions, int64 [N, K].

    Of equal ones the first: rectifiers with a ceiling make many, and a maximum would share the gradient among them.
    """
    order = [0, layer.channel_axis, *layer.spatial_axes]
    laid = values if order == sorted(order) else op.Transpose(values, perm=order)
    rows = op.Reshape(laid, [0, 0, -1])
    place = op.ArgMax(rows, axis=2, keepdims=1)
    return op.Squeeze(op.GatherElements(rows, place, axis=2), [2]), op.Squeeze(place, [2])


def _channels(values: Tensor, layer: Layer, score: Neuron | Channel | Whole) -> Tensor:
    axes = layer.spatial_axes
    if isinstance(score, Whole):
        flat = op.Reshape(values, [0, -1])
        return op.ReduceMean(flat * flat, [1], keepdims=1)
    if isinstance(score, Channel):
        return op.ReduceMean(values, axes, keepdims=0) if axes else values
    if score.position is None:
        return strongest(values, layer)[0] if axes else values
    sizes = [layer.dims[axis] for axis in axes]
    fits = len(score.position) == len(axes) and all(
        size is None or at < size for at, size in zip(score.position, sizes, strict=True)
    )
    if not fits:
        wanted = " x ".join("any" if size is None else str(size) for size in sizes) or "no"
        raise LayerError(
            f"Layer {layer.name!r} has {wanted} positions, counted from 0; there is none at "
            f"{','.join(map(str, score.position))}."
        )
    for axis, at in sorted(zip(axes, score.position, strict=True), reverse=True):  # the last first: axes are dropped
        values = op.Gather(values, np.array(at), axis=axis)
    return values


def _cosine(tape: Tape, classifier: Classifier) -> Tensor:
    """a · r / (|a| |r|)"""
    graph = classifier.model.graph
    a = class_scores(tape.read(classifier.output), classifier.batch)
    r = Tensor(tape, add_input(graph, REFERENCE, ["references", classifier.classes], a.dtype))
    lengths = op.Mul(op.ReduceL2(a, [1], keepdims=1), op.ReduceL2(r, [1], keepdims=1))
    tiny = float(np.finfo(np.float32).tiny)
    return op.ReduceSum(a * r, [1], keepdims=1) / op.Max(lengths, np.array(tiny, a.dtype.numpy()))


def chosen_class(scores: Tensor, target: Tensor) -> Tensor:
    """int64 [N]: `target` where it is a class, the predicted class where it is negative; one target serves all."""
    predicted = op.ArgMax(scores, axis=1, keepdims=0)
    return op.Where(target < 0, predicted, target)


def best_classes(scores: Tensor, target: Tensor) -> Tensor:
    """int64 [N, K]: `target` where it is a class; -1 is the best class of an image, -2 the second best, and so on."""
    _, order = op.several("TopK", scores, op.Shape(scores, start=1), axis=1, outputs=2)
    rank = op.Where(target < 0, op.Neg(target) - 1, 0)
    rows = op.Expand(rank, op.Concat(op.Shape(scores, end=1), op.Shape(target, start=1), axis=0))
    return op.Where(target < 0, op.GatherElements(order, rows, axis=1), target)


def seed(scores: Tensor, chosen: Tensor, against: Tensor | None = None) -> Tensor:
    """One-hot [N, K] at the class `chosen`, less one at the class `against` where that is no less than 0."""
    found = one_hot(scores, chosen)
    if against is None:
        return found
    other = one_hot(scores, op.Where(against < 0, 0, op.Expand(against, op.Shape(chosen))))
    return found - op.Where(op.Unsqueeze(against, [1]) < 0, 0.0, other)


def one_hot(scores: Tensor, index: Tensor) -> Tensor:
    """[N, K] of 0 but for 1 at `index` int64 [N].

    The runtime refuses an index beyond the last, where OneHot would give a zero map.
    """
    zeros = full_like(scores, 0.0)
    column = op.Unsqueeze(index, [1])
    ones = op.Expand(np.ones(1, scores.dtype.numpy()), op.Shape(column))
    return op.ScatterElements(zeros, column, ones, axis=1)
