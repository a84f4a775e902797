"""Append the saliency subgraph to a classifier.

M_ij = max_c |∂S_k/∂I_ijc|     (paper, section 3: the maximum over colour channels)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward import (
    GRADIENT,
    PROFILES,
    Path,
    Profile,
    Tape,
    Tensor,
    find_path,
    is_rectifier,
    is_smooth,
    is_straight_through,
    nodes_on,
    op,
    shortened,
)
from onnx_saliency.classes import check_apart, check_known
from onnx_saliency.errors import ExportError, ModelError, TargetError
from onnx_saliency.exporter.append import add_input, add_output, compute_type, move_into, reserve, tidy
from onnx_saliency.exporter.double import write_out_double
from onnx_saliency.exporter.metadata import read_metadata, write_metadata
from onnx_saliency.exporter.methods import Attribution, Gradient, Method, Scene
from onnx_saliency.exporter.objective import (
    REFERENCE,
    Cosine,
    Score,
    best_classes,
    chosen_class,
    class_scores,
    count_scores,
    describe_score,
    seed,
    write_scores,
)
from onnx_saliency.exporter.several import explain_at_once, explain_in_turn
from onnx_saliency.graph import Classifier
from onnx_saliency.graph.rows import find_rows
from onnx_saliency.graph.shapes import infer_shapes
from onnx_saliency.numeric import is_integer

Target = Literal["default", "required"] | int
Precision = Literal["single", "mixed", "double"]

TARGET, SALIENCY, LOGITS, CHOSEN = "target", "saliency", "saliency/logits", "saliency/class"
AGAINST, VALUE, GAP = "saliency/against", "saliency/score", "saliency/gap"
_PREFIX = "saliency/"  # of all names that are added


@dataclass(frozen=True)
class Options:
    """What of a classifier is explained, and how the explained model is used.

    Attributes:
        method: what carries the score back.
        score: "logit" differentiates the score before the final activation, "probability" behind it; or a `Neuron`,
            a `Channel` of a layer, or `Cosine()` to a reference.
        target: "default" is an input with default -1, "required" an input without one, a number that class for good.
        against: a class whose score is subtracted; None for none.
        several: how many classes of each image are explained, from one forward pass; `target` is then [N or 1,
            several], by default the best ones, and the new outputs have `several` rows for each image. None: one.
        details: also take `saliency/against`, a class per image whose score is subtracted, and output the scores
            [N, classes], the class explained, its score and what else the method has to say, for `Explainer`.
        profile: the runtime that the new nodes are written for, where that makes a difference.
        precision: "mixed" computes the scores in float64, at a multiple of the cost, so that no rectifier and no
            maximum is decided by rounding; "double" the gradient too, and then the profile is portable.
    """

    method: Method = field(default_factory=Gradient)
    score: Score = "logit"
    target: Target = "default"
    against: int | None = None
    several: int | None = None
    details: bool = False
    profile: Profile = "portable"
    precision: Precision = "single"


DEFAULT_OPTIONS = Options()


@dataclass(frozen=True)
class Explained:
    """A classifier with its saliency outputs.

    Attributes:
        model: the graph; it has taken over the classifier's.
        original: the model as it was read, to compare with.
        classifier: the classifier's image, score and layout, values of that graph.
        options: what was asked for.
        width: how many scores there are to choose a target from: classes, or channels; None where it is open.
        changed: names of the nodes whose rule the method replaced.
        smooth: names of the activations that keep their true derivative though the method replaces rectifiers' rules.
        layer: the layer that a class activation map lies on.
    """

    model: ir.Model
    original: ir.Model
    classifier: Classifier
    options: Options
    width: int | None
    changed: tuple[str, ...]
    smooth: tuple[str, ...]
    layer: str | None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know who compares methods."""
        method = self.options.method
        if method.policy is GRADIENT:
            return ()
        if not self.changed:
            return (f"The model has no rectifier (ReLU or its like): {method.name} is the plain gradient here.",)
        if self.smooth:
            return (
                f"{len(self.changed)} rectifiers follow {method.name}; {len(self.smooth)} smooth activations "
                "(GELU, sigmoid and the like) keep their true derivative.",
            )
        return ()


def build_explained(
    classifier: Classifier,
    original: ir.Model,
    options: Options = DEFAULT_OPTIONS,
    facts: Mapping[str, str] | None = None,
) -> Explained:
    """Append target, gradient and saliency to `classifier.model`, in place.

    Args:
        classifier: from `graph.find_classifier`.
        original: the model that the classifier was found in, before it was normalised.
        options: what is explained.
        facts: further facts for the metadata.

    Raises:
        UnsupportedOperatorError: nodes on the path that cannot be differentiated.
        ExportError: no such profile; or the model is already explained, or has an input or output of a name the
            contract needs.
        TargetError: a class that the model does not have, or one against itself.
        LayerError: a layer that the model does not have, or that does not serve.
        MethodError: options of the method that the model cannot serve.
    """
    graph, image, method = classifier.model.graph, classifier.image, options.method
    _check_choices(options)
    _check_names(graph, classifier, options)
    tape = Tape(_PREFIX, *_types(image, options))
    scores = write_scores(options.score, tape, classifier)
    exact = classifier.exact or classifier
    of_classes = isinstance(options.score, str)
    stated = write_scores(options.score, tape, exact) if classifier.exact and of_classes else scores
    width = count_scores(options.score, classifier)
    if tape.nodes:
        move_into(graph, tape)  # they are differentiated like the model's own
        infer_shapes(classifier.model)
    _check_target(options.target, width, of_classes=of_classes)
    _check_target("default" if options.against is None else options.against, width, of_classes=of_classes)
    if options.against is not None and options.target not in ("default", "required"):
        check_apart(options.target, options.against, of_classes=of_classes)
    _check_several(options, width)
    path = find_path(graph, [scores.value], [image])
    if not path.nodes:
        raise ModelError(
            f"The score {scores.value.name!r} does not depend on the input {image.name!r}: there is no gradient."
        )
    layer = method.check(classifier, scores.value)

    target = _target(graph, tape, options)
    against = _against(graph, tape, options)
    chosen = chosen_class(stated, target) if options.several is None else best_classes(stated, target)

    def attribute(inner: Tape, chosen: Tensor) -> dict[str, Tensor]:
        other = None if against is None else against.on(inner)
        scene = Scene(classifier, scores.value, inner, seed(scores.on(inner), chosen, other))
        found = method.write(scene)
        outputs = _outputs(found, classifier, method)
        if options.details:
            outputs[VALUE] = op.ReduceSum(stated.on(inner) * scene.seed, [1], keepdims=0)
            outputs |= {GAP: found.gap} if found.gap is not None else {}
        return outputs

    if options.several is None:
        outputs = attribute(tape, chosen)
    else:
        if against is not None:
            against = op.Expand(against, op.Shape(scores, end=1))  # one per image
        outputs = _for_each(tape, chosen, classifier, options, [] if against is None else [against.value], attribute)
    if options.details:
        batch = op.ConstantOfShape(op.Shape(scores, end=1), value=_ZERO)
        outputs[LOGITS] = class_scores(tape.read(exact.score), classifier.batch)
        outputs[CHOSEN] = op.Reshape(chosen, [-1]) if options.several is not None else chosen + batch
    promised = compute_type(image)  # callers and runtimes know the types of the model
    outputs = {name: shortened(value, promised) for name, value in outputs.items()}
    changed, smooth = _changed(path, method)
    known = _describe(options, changed, smooth, layer, find_path(graph, [exact.score], [image]))
    _append(graph, tape, outputs, classifier, options, width)
    tidy(classifier.model)
    if options.precision != "single":
        write_out_double(classifier.model)
        tidy(classifier.model)
    write_metadata(classifier.model.metadata_props, {**known, **(facts or {})})
    return Explained(classifier.model, original, classifier, options, width, changed, smooth, layer)


def _describe(
    options: Options, changed: Sequence[str], smooth: Sequence[str], layer: str | None, path: Path
) -> dict[str, str]:
    """What the metadata say of the explanation."""
    method = options.method
    known = {
        "method": method.name,
        "score": describe_score(options.score),
        "changed_nodes": ",".join(changed),
        "changed_count": str(len(changed)),
    }
    known |= {f"method.{name}": str(value) for name, value in vars(method).items() if value is not None}
    if smooth:
        known["smooth_count"] = str(len(smooth))
    if layer:
        known["layer"] = layer
    if rounding := sum(is_straight_through(node) for node in nodes_on(path)):  # a quantised model
        known["straight_through_count"] = str(rounding)
    return known


def _outputs(found: Attribution, classifier: Classifier, method: Method) -> dict[str, Tensor]:
    """What the method found, as the outputs of the contract."""
    saliency = found.saliency
    if saliency is None:
        assert found.values is not None  # a method gives one of the two
        saliency = op.ReduceMax(op.Abs(found.values), [classifier.channel_axis], keepdims=0)
    if saliency.dtype != ir.DataType.FLOAT:
        saliency = op.Cast(saliency, to=ir.DataType.FLOAT)
    outputs = {SALIENCY: saliency}
    if found.values is not None:
        outputs[method.result] = found.values
    return outputs


def _for_each(
    tape: Tape,
    chosen: Tensor,
    classifier: Classifier,
    options: Options,
    per_image: Sequence[ir.Value],
    attribute: Callable[[Tape, Tensor], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Explain the columns of `chosen` [N, several], all from the one forward pass; rows [N·several].

    At once where the model is known to keep images apart; but methods of many passes fill a device as they are.
    """
    assert options.several is not None
    rows = find_rows(classifier.model.graph, classifier.image) if options.method.passes == "1" else None
    if rows is not None:
        rows = replace(rows, each=rows.each.union(per_image))
        outputs = explain_at_once(tape, chosen, options.several, attribute, rows)
        if outputs:
            return outputs
    return explain_in_turn(tape, chosen, options.several, attribute, {SALIENCY: 3, VALUE: 1, GAP: 1})


def _changed(path: Path, method: Method) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the rectifiers that the method changes, and of the smooth activations that it leaves alone."""
    if method.policy is GRADIENT:
        return (), ()
    nodes = tuple(nodes_on(path))
    rectifiers, smooth = (
        tuple(node.name or node.outputs[0].name or node.op_type for node in nodes if kind(node))
        for kind in (is_rectifier, is_smooth)
    )
    return rectifiers, smooth


_ZERO = ir.tensor(np.zeros(1, np.int64))


def _check_choices(options: Options) -> None:
    known: Mapping[str, Sequence[str]] = {"profile": PROFILES, "precision": get_args(Precision)}
    for name, values in known.items():
        if (value := getattr(options, name)) not in values:
            raise ExportError(f"A {name} is one of {', '.join(values)}, not {value!r}.")


def _check_names(graph: ir.Graph, classifier: Classifier, options: Options) -> None:
    if "method" in read_metadata(classifier.model.metadata_props):
        raise ExportError("The model is already an explained one (its metadata name a method). Export the original.")
    reserved = {TARGET, SALIENCY, options.method.result} | (
        {LOGITS, CHOSEN, AGAINST, VALUE, GAP} if options.details else set()
    )
    reserved |= {REFERENCE} if isinstance(options.score, Cosine) else set()
    reserve(graph, reserved, _PREFIX)


def _types(image: ir.Value, options: Options) -> tuple[ir.DataType, Profile]:
    """What is computed in, and what for: the operators that are fastest in float32 are not in float64."""
    return (ir.DataType.DOUBLE, "portable") if options.precision == "double" else (compute_type(image), options.profile)


def _check_target(target: object, classes: int | None, *, of_classes: bool) -> None:
    if target in ("default", "required"):
        return
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise TargetError(f"The target is 'default', 'required' or a class by its number, not {target!r}.")
    check_known([int(target)], classes, of_classes=of_classes)


def _check_several(options: Options, width: int | None) -> None:
    if options.several is None:
        return
    if not is_integer(options.several, 1) or (width is not None and options.several > width):
        known = "" if width is None else f"; the model has {width}"
        raise TargetError(f"Several classes are 1 or more{known}, not {options.several!r}.")
    if options.target not in ("default", "required"):
        raise TargetError("A fixed target and several classes per image exclude each other.")


def _target(graph: ir.Graph, tape: Tape, options: Options) -> Tensor:
    if isinstance(options.target, int | np.integer):
        return tape.constant(np.array([options.target], dtype=np.int64))
    columns = [] if options.several is None else [options.several]
    best = np.array([-1]) if options.several is None else -1 - np.arange(options.several)[None]
    return _optional_input(graph, tape, TARGET, ["targets", *columns], best if options.target == "default" else None)


def _against(graph: ir.Graph, tape: Tape, options: Options) -> Tensor | None:
    if options.details:
        default = -1 if options.against is None else options.against
        return _optional_input(graph, tape, AGAINST, ["againsts"], np.array([default], np.int64))
    return None if options.against is None else tape.constant(np.array([options.against], np.int64))


def _optional_input(
    graph: ir.Graph, tape: Tape, name: str, shape: Sequence[int | str], default: np.ndarray | None
) -> Tensor:
    """An int64 input; with a default, it may be left out: an initializer of its name."""
    return Tensor(tape, add_input(graph, name, shape, ir.DataType.INT64, default))


def _append(
    graph: ir.Graph,
    tape: Tape,
    outputs: Mapping[str, Tensor],
    classifier: Classifier,
    options: Options,
    width: int | None,
) -> None:
    """Move what the tape holds into the graph and declare the new outputs."""
    image = classifier.image.shape
    assert image is not None
    rows = [image[0]] if options.several is None else [_rows(image[0], options.several)]
    shapes: dict[str, list[Any]] = {
        SALIENCY: [*rows, *(dim for axis, dim in enumerate(image) if axis not in (0, classifier.channel_axis))],
        LOGITS: [image[0], width],
        CHOSEN: rows,
        VALUE: rows,
        GAP: rows,
    }
    for name, tensor in outputs.items():
        add_output(graph, name, tensor, shapes.get(name, [*rows, *list(image)[1:]]))
    move_into(graph, tape)


def _rows(batch: int | ir.SymbolicDim, several: int) -> int | str:
    return batch * several if isinstance(batch, int) else f"{batch.value or 'N'}*{several}"
