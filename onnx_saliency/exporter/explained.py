"""Append the saliency subgraph to a classifier.

M_ij = max_c |∂S_k/∂I_ijc|     (paper, section 3: the maximum over colour channels)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from onnx_saliency.backward import Policy, Tape, Tensor, backward, find_path, is_straight_through, nodes_on, op
from onnx_saliency.errors import ExportError, ModelError, TargetError
from onnx_saliency.exporter.metadata import read_metadata, write_metadata
from onnx_saliency.exporter.score import chosen_class, class_scores, seed
from onnx_saliency.graph import Classifier
from onnx_saliency.graph.folding import fold_constants
from onnx_saliency.graph.normalise import prune
from onnx_saliency.graph.shapes import infer_shapes

Score = Literal["logit", "probability"]
Target = Literal["default", "required"] | int

TARGET, SALIENCY, GRADIENT, LOGITS, CHOSEN = "target", "saliency", "input_gradient", "saliency/logits", "saliency/class"
_PREFIX = "saliency/"  # of all names that are added
_SHAPE_BYTES = 1024  # constants of the backward part worth folding: shapes, axes, sizes


@dataclass(frozen=True)
class Explained:
    """A classifier with its saliency outputs.

    Attributes:
        model: the graph; it has taken over the classifier's.
        original: the model as it was read, to compare with.
        classifier: the classifier's image, score and layout, values of that graph.
        method: the policy's name.
        changed: names of the nodes whose rule the method replaced.
    """

    model: ir.Model
    original: ir.Model
    classifier: Classifier
    method: str
    changed: tuple[str, ...]


def build_explained(
    classifier: Classifier,
    original: ir.Model,
    policy: Policy,
    *,
    score: Score = "logit",
    target: Target = "default",
    details: bool = False,
    facts: Mapping[str, str] | None = None,
) -> Explained:
    """Append target, gradient and saliency to `classifier.model`, in place.

    Args:
        classifier: from `graph.find_classifier`.
        original: the model that the classifier was found in, before it was normalised.
        policy: the method's rules.
        score: "logit" differentiates the score before the final activation, "probability" behind it.
        target: "default" is an input with default -1, "required" an input without one, a number a class for good.
        details: also output the scores [N, classes] and the class explained [N], for `Explainer`.
        facts: further facts for the metadata.

    Raises:
        UnsupportedOperatorError: nodes on the path that cannot be differentiated.
        ExportError: the model is already explained, or has an input or output of a name the contract needs.
        TargetError: a class that the model does not have.
    """
    graph, image = classifier.model.graph, classifier.image
    _check_names(graph, classifier, details)
    _check_target(target, classifier.classes)
    if score not in get_args(Score):
        raise ExportError(f"The score is 'logit' or 'probability', not {score!r}.")
    result = classifier.output if score == "probability" else classifier.score
    if not find_path(graph, [result], [image]).nodes:
        raise ModelError(
            f"The score {result.name!r} does not depend on the input {image.name!r}: there is no gradient."
        )

    tape = Tape(_PREFIX, _compute_type(image))
    scores = class_scores(tape.read(result), classifier.batch)
    chosen = chosen_class(scores, _target(graph, tape, target))
    cotangent = op.Reshape(seed(scores, chosen), op.Shape(tape.read(result)))
    (gradient,) = backward(graph, tape, {result: cotangent}, [image], policy)
    if gradient is None:
        raise ModelError(
            f"The score {result.name!r} is piecewise constant in {image.name!r}: every way from the image to it passes "
            "an operator of zero gradient, such as Round or Sign."
        )
    saliency = op.ReduceMax(op.Abs(gradient), [classifier.channel_axis], keepdims=0)
    if saliency.dtype != ir.DataType.FLOAT:
        saliency = op.Cast(saliency, to=ir.DataType.FLOAT)

    outputs = {SALIENCY: saliency, GRADIENT: gradient}
    if details:
        logits = class_scores(tape.read(classifier.score), classifier.batch)
        outputs |= {LOGITS: logits, CHOSEN: op.Add(chosen, op.ConstantOfShape(op.Shape(scores, end=1), value=_ZERO))}
    path = tuple(nodes_on(find_path(graph, [result], [image])))
    changed = tuple(node.name or node.outputs[0].name or node.op_type for node in path if node.op_type in policy.rules)
    rounding = sum(is_straight_through(node) for node in path)
    _append(graph, tape, outputs, classifier)
    _tidy(classifier.model)
    known = {
        "method": policy.name,
        "score": score,
        "changed_nodes": ",".join(changed),
        "changed_count": str(len(changed)),
    }
    if rounding:  # a quantised model
        known["straight_through_count"] = str(rounding)
    write_metadata(classifier.model.metadata_props, {**known, **(facts or {})})
    return Explained(classifier.model, original, classifier, policy.name, changed)


_ZERO = ir.tensor(np.zeros(1, np.int64))


def _compute_type(value: ir.Value) -> ir.DataType:
    """float32, whose range the gradient needs and whose kernels every runtime has; float64 for double models."""
    return ir.DataType.DOUBLE if value.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT


def _check_names(graph: ir.Graph, classifier: Classifier, details: bool) -> None:
    if "method" in read_metadata(classifier.model.metadata_props):
        raise ExportError("The model is already an explained one (its metadata name a method). Export the original.")
    reserved = {TARGET, SALIENCY, GRADIENT} | ({LOGITS, CHOSEN} if details else set())
    taken = sorted({value.name or "" for value in (*graph.inputs, *graph.outputs) if _is_taken(value, reserved)})
    if taken:
        raise ExportError(
            f"The model has inputs or outputs named {', '.join(map(repr, taken))}, which an explained model adds. "
            "Rename them in the model."
        )
    values = _values(graph)
    names = {value.name for value in values}
    for value in values:  # names inside are nobody's contract
        if _is_taken(value, reserved):
            name = f"model/{value.name}"
            while name in names:
                name += "_"
            names.add(name)
            value.name = name


def _is_taken(value: ir.Value, reserved: set[str]) -> bool:
    return value.name in reserved or (value.name or "").startswith(_PREFIX)


def _values(graph: ir.Graph) -> list[ir.Value]:
    inside = [value for node in graph.all_nodes() for value in node.outputs]
    return [*graph.initializers.values(), *inside]


def _check_target(target: object, classes: int | None) -> None:
    if target in ("default", "required"):
        return
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise TargetError(f"The target is 'default', 'required' or a class by its number, not {target!r}.")
    if target < 0 or (classes is not None and target >= classes):
        known = f"{classes} classes, 0 to {classes - 1}" if classes is not None else "classes from 0"
        raise TargetError(f"No class {target}: the model has {known}.")


def _target(graph: ir.Graph, tape: Tape, target: Target) -> Tensor:
    if isinstance(target, int | np.integer):
        return tape.constant(np.array([target], dtype=np.int64))
    value = ir.Value(name=TARGET, shape=ir.Shape(["targets"]), type=ir.TensorType(ir.DataType.INT64))
    graph.inputs.append(value)
    if target == "default":
        value.const_value = ir.tensor(np.array([-1], dtype=np.int64), name=TARGET)
        graph.register_initializer(value)
    return Tensor(tape, value)


def _append(graph: ir.Graph, tape: Tape, outputs: Mapping[str, Tensor], classifier: Classifier) -> None:
    """Move what the tape holds into the graph and declare the new outputs."""
    image = classifier.image.shape
    assert image is not None
    shapes: dict[str, list[Any]] = {
        GRADIENT: list(image),
        SALIENCY: [dim for axis, dim in enumerate(image) if axis != classifier.channel_axis],
        LOGITS: [image[0], classifier.classes],
        CHOSEN: [image[0]],
    }
    for name, tensor in outputs.items():
        taken = tensor.value.is_graph_output() or tensor.value.graph is graph
        value = op.Identity(tensor).value if taken else tensor.value  # a value of the model keeps its name
        value.name, value.shape = name, ir.Shape(shapes[name])
        graph.outputs.append(value)
    for value in tape.constants.values():
        graph.register_initializer(value)
    graph.extend(tape.nodes)


def _tidy(model: ir.Model) -> None:
    """Shapes written by the rules become constants where they are static; what nothing reads goes."""
    prune(model)
    infer_shapes(model)
    fold_constants(model, _SHAPE_BYTES)
    passes.CommonSubexpressionEliminationPass()(model)
    prune(model)
