"""The scores of a model and nothing else: one forward pass gives those of all classes or channels."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward import Tape, Tensor, op
from onnx_saliency.exporter.append import add_output, compute_type, move_into, reserve, tidy
from onnx_saliency.exporter.classifier import read_classifier
from onnx_saliency.exporter.layers import Layer, find_layer
from onnx_saliency.exporter.objective import Neuron, Score, strongest, write_scores
from onnx_saliency.graph import ModelSource, load

SCORES, POSITIONS = "scores", "positions"
_PREFIX = "scores/"  # of all names inside that are added


def score_model(
    model: ModelSource, score: Score = "logit", *, input: str | None = None, output: str | None = None
) -> ir.Model:
    """Return a model of the same inputs whose outputs are the scores; there is no backward part in it.

    Its outputs are `scores`, float [N, K], one per class or channel; and, of a `Neuron` whose position is None,
    `positions`, int64 [N, K, 2], or [N, K, 1] of tokens: where each channel is strongest, the first of equal places.
    A layer [N, K] has no positions. What the scores do not need of the model is left out.

    Args:
        model: path, bytes, onnx.ModelProto or onnx_ir.Model.
        score: as in `export`.
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.

    Raises:
        ModelError: the model cannot be read, or is no image classifier.
        LayerError: no such layer, or no such position in it.
        ExportError: no such score, or an input has a name that is added.
    """
    classifier = read_classifier(load(model), input=input, output=output)
    graph = classifier.model.graph
    tape = Tape(_PREFIX, compute_type(classifier.image))
    outputs = {SCORES: write_scores(score, tape, classifier)}
    if isinstance(score, Neuron) and score.position is None:
        layer = find_layer(graph, score.layer, classifier.image)
        if layer.spatial_axes:
            outputs[POSITIONS] = _positions(tape.read(layer.value), layer)
    graph.outputs.clear()
    reserve(graph, outputs, _PREFIX)
    for name, tensor in outputs.items():
        add_output(graph, name, tensor, None)
    move_into(graph, tape)
    tidy(classifier.model)
    return classifier.model


def _positions(values: Tensor, layer: Layer) -> Tensor:
    """(y, x), or (token,), of the strongest activation of each channel."""
    _, place = strongest(values, layer)
    if len(layer.spatial_axes) == 1:
        return op.Unsqueeze(place, [2])
    width = op.Gather(op.Shape(values), np.array(layer.spatial_axes[1]), axis=0)
    return op.Concat(op.Unsqueeze(op.Div(place, width), [2]), op.Unsqueeze(op.Mod(place, width), [2]), axis=2)
