"""A classifier behind its perturbations: one image, more and more of its pixels replaced where it runs.

x_k = end where rank < k, else start     (Petsiuk et al. 2018, section 4.2: deletion, and insertion the other way round)
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnx_saliency.backward import Tape, Tensor, op
from onnx_saliency.exporter.append import add_input, add_output, compute_type, move_into, reserve, tidy
from onnx_saliency.exporter.classifier import read_classifier
from onnx_saliency.exporter.objective import class_scores
from onnx_saliency.graph import ModelSource, load
from onnx_saliency.graph.shapes import infer_shapes

START, END, RANK, COUNT = "start", "end", "rank", "count"
LOGITS, ANSWERS = "logits", "answers"
_PREFIX = "perturbed/"  # of all names inside that are added


@dataclass(frozen=True)
class Perturbed:
    """The model of `perturb_model`, and what of the classifier its reader needs.

    Attributes:
        model: inputs `start`, `end` [1, ...] of the image's shape and type, `rank` int32 [1 or K, H, W], `count` int32
            [K], and the model's inputs besides the image; outputs `logits` and `answers`, float [K, classes].
        activation: what `answers` have passed and `logits` have not: "Softmax", "LogSoftmax", "Sigmoid", or None.
        batch: the number K that the model is fixed to, None where it is open.
    """

    model: ir.Model
    activation: str | None
    batch: int | None


def perturb_model(source: ModelSource, *, input: str | None = None, output: str | None = None) -> Perturbed:
    """Put a model behind what makes K perturbed images of one: the `count` pixels of lowest `rank` are those of `end`.

    All colour channels of a pixel are replaced together. The model's own answers come with the scores before any final
    activation.

    Args:
        source: path, bytes, onnx.ModelProto or onnx_ir.Model; it is not changed.
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.

    Raises:
        ModelError: the model cannot be read, or is no image classifier.
        ExportError: an input has a name that is added.
    """
    classifier = read_classifier(load(source), input=input, output=output)
    model, graph, image = classifier.model, classifier.model.graph, classifier.image
    assert image.shape is not None  # an image input has four axes
    assert image.dtype is not None
    graph.outputs.clear()  # first, so that nothing outside holds a name that is needed
    graph.inputs.remove(image)
    reserve(graph, {START, END, RANK, COUNT, LOGITS, ANSWERS}, _PREFIX)
    tape = Tape(_PREFIX, compute_type(image))
    count = classifier.batch or "K"
    sides = [side if isinstance(side, int) else side.value for side in image.shape]
    start, end = (Tensor(tape, add_input(graph, name, [1, *sides[1:]], image.dtype)) for name in (START, END))
    rank = add_input(graph, RANK, ["R", *(sides[axis] for axis in classifier.spatial_axes)], ir.DataType.INT32)
    counts = add_input(graph, COUNT, [count], ir.DataType.INT32)
    of_pixel = op.Unsqueeze(Tensor(tape, rank), [classifier.channel_axis])
    replaced = op.Less(of_pixel, op.Unsqueeze(Tensor(tape, counts), [1, 2, 3]))
    seen = op.Where(replaced, end, start).value
    seen.shape, seen.type = ir.Shape([count, *sides[1:]]), image.type
    image.replace_all_uses_with(seen)
    move_into(graph, tape, first=True)
    infer_shapes(model)
    for name, value in ((LOGITS, classifier.score), (ANSWERS, classifier.output)):
        add_output(graph, name, class_scores(tape.read(value), classifier.batch), [count, classifier.classes])
    move_into(graph, tape)
    tidy(model)
    return Perturbed(model, classifier.activation, classifier.batch)
