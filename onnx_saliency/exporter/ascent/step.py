"""One step of the ascent as one graph: image, network, gradient, penalties and the optimiser's update.

arg max_I S_c(I) − λ ‖I‖²     (paper, section 2)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward import Policy, Profile, Tape, Tensor, backward, damped, leaky, op
from onnx_saliency.errors import ModelError
from onnx_saliency.exporter.append import add_input, add_output, compute_type, move_into, reserve, tidy
from onnx_saliency.exporter.ascent.image import Range, write_image, write_input, write_view
from onnx_saliency.exporter.ascent.recipe import Recipe
from onnx_saliency.exporter.layers import Layer, find_layer
from onnx_saliency.exporter.objective import Channel, Neuron, Score, Whole, count_scores, one_hot, write_scores
from onnx_saliency.exporter.objective import seed as choose
from onnx_saliency.graph import Classifier
from onnx_saliency.graph.shapes import infer_shapes

PARAMETERS, TARGET, KEY, STEP, SCORES, IMAGE, SLOPE = "parameters", "target", "key", "step", "scores", "image", "slope"
NEXT = "next/"
_PREFIX = "ascent/"
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # Kingma & Ba 2015


@dataclass(frozen=True)
class Step:
    """The step's model and what it carries.

    Attributes:
        model: inputs `parameters`, `target`, `key`, `step` and the states; outputs `next/...` of each state, and
            `scores`, `image`, `slope`.
        states: name and shape of what one step hands to the next, K standing for the number of images; `step` is
            int64 [1], all else float32, or float64 for double models. `scores` [K, steps] holds the score at each step
            taken.
        width: how many scores there are to choose `target` from: classes, or channels; None where it is open.
    """

    model: ir.Model
    states: dict[str, tuple[int | str, ...]]
    width: int | None


def build_step(
    classifier: Classifier,
    recipe: Recipe,
    range_: Range,
    size: tuple[int, int],
    *,
    score: Score = "logit",
    against: int | None = None,
    seed: int = 0,
    profile: Profile = "portable",
) -> Step:
    """Turn `classifier.model`, in place, into one step of the ascent.

    Args:
        classifier: from `graph.find_classifier`.
        recipe: what is maximised, and how.
        range_: how pixels lie in the network's input.
        size: height and width of the image, where the network leaves them open.
        score: of which the input `target` picks one for each image: a class, or a neuron or channel of a layer.
        against: a class whose score is subtracted.
        seed: of the random views.
        profile: the runtime that the new nodes are written for.

    Raises:
        UnsupportedOperatorError: nodes on the path that cannot be differentiated.
        LayerError: a layer that the model does not have.
        ModelError: the score does not depend on the image, or that holds integers.
    """
    model, graph, image = classifier.model, classifier.model.graph, classifier.image
    if image.dtype is not None and not image.dtype.is_floating_point():
        raise ModelError(
            f"The image input {image.name!r} holds {image.dtype.name.lower()}, and steps are smaller than 1: class "
            "models need an input of floats. Export the model from behind its cast to float."
        )
    count = classifier.batch or "K"
    channels = len(range_.mean)
    dtype, width = compute_type(image), count_scores(score, classifier)
    graph.outputs.clear()  # first, so that nothing outside holds a name that is needed
    graph.inputs.remove(image)
    carried = {PARAMETERS, "mean", "square", STEP, SCORES}
    reserve(graph, {*carried, *(NEXT + name for name in carried), TARGET, KEY, IMAGE, SLOPE}, _PREFIX)
    tape = Tape(_PREFIX, dtype, profile)
    parameters = add_input(graph, PARAMETERS, [count, channels, *size], dtype)
    target, key = (add_input(graph, name, [count], ir.DataType.INT64) for name in (TARGET, KEY))
    step = add_input(graph, STEP, [1], ir.DataType.INT64)
    p, t = Tensor(tape, parameters), Tensor(tape, step)

    j = write_image(p, recipe, range_.reverse)
    j.value.shape = parameters.shape
    view = write_view(j, recipe, t, Tensor(tape, key), seed, graph.opset_imports[""])
    seen, shown = (_in_layout(write_input(each, recipe, range_), classifier, size) for each in (view, j))
    image.replace_all_uses_with(seen.value)
    penalty = _penalty(j, recipe)
    move_into(graph, tape, first=True)
    infer_shapes(model)

    classifier = replace(classifier, image=seen.value)  # what the network sees now
    scores = write_scores(score, tape, classifier)
    if score == "probability" and classifier.activation is None:  # the network leaves the soft-max to others
        scores = op.Softmax(scores, axis=1)
    likeness = None
    if recipe.diversity and isinstance(score, Neuron | Channel | Whole):
        layer = find_layer(graph, score.layer, seen.value)
        likeness = _likeness(tape.read(layer.value), layer) * recipe.diversity
    move_into(graph, tape)
    infer_shapes(model)
    chosen = Tensor(tape, target)
    other = None if against is None else tape.constant(np.array([against]))
    picked = choose(scores, chosen, other)
    climbed = picked
    if recipe.hinge and isinstance(score, str):  # S_c − hinge (max_k S_k − S_c), nothing where c leads by the margin
        own = one_hot(scores, chosen)
        first = op.ArgMax(scores - op.Abs(scores) * own * recipe.margin, axis=1, keepdims=0)
        climbed = picked + (own - one_hot(scores, first)) * recipe.hinge
    (gradient,) = backward(graph, tape, {scores.value: climbed, **_less(likeness)}, [parameters], _policy(recipe))
    if gradient is None:
        raise ModelError(
            f"The score {scores.value.name!r} does not change with the image, so nothing can be maximised."
        )
    reached = op.ReduceSum(scores * picked, [1], keepdims=1)
    slope = op.ReduceMax(op.Abs(gradient), [1, 2, 3], keepdims=0)  # of the score: a penalty alone makes no class model
    if penalty is not None:
        (down,) = backward(graph, tape, _less(penalty), [parameters])
        gradient = gradient if down is None else gradient + down

    shape = (count, channels, *size)
    states: dict[str, tuple[int | str, ...]] = {PARAMETERS: shape}
    rate = _rate(recipe, t, dtype)
    update, moments = _update(gradient, rate, recipe, graph, t, shape)
    kept = p * (1.0 - rate * recipe.weight_decay) if recipe.weight_decay else p
    history = Tensor(tape, add_input(graph, SCORES, [count, recipe.steps], dtype))
    column = op.Expand(op.Unsqueeze(op.Min(t, np.array([recipe.steps - 1])), [1]), op.Shape(reached))
    results = {
        NEXT + PARAMETERS: kept + update,
        **moments,
        NEXT + STEP: t + 1,
        NEXT + SCORES: op.ScatterElements(history, column, reached, axis=1),
        IMAGE: shown.on(tape),
        SLOPE: slope,
    }
    states |= dict.fromkeys((name.removeprefix(NEXT) for name in moments), shape)
    states |= {STEP: (1,), SCORES: (count, recipe.steps)}
    for name, tensor in results.items():
        add_output(graph, name, tensor, None)
    move_into(graph, tape)
    tidy(model)
    return Step(model, states, width)


def _update(
    gradient: Tensor,
    rate: Tensor | float,
    recipe: Recipe,
    graph: ir.Graph,
    step: Tensor,
    shape: tuple[int | str, ...],
) -> tuple[Tensor, dict[str, Tensor]]:
    """The step that the optimiser takes, and its states after it."""
    tape = gradient.tape
    if recipe.optimiser == "normalised":  # each image by its own rms, in units of its maximum: squares must not vanish
        tiny = np.array(np.finfo(np.float32).tiny, gradient.dtype.numpy())
        unit = gradient / op.Max(op.ReduceMax(op.Abs(gradient), [1, 2, 3], keepdims=1), tiny)
        size = op.Sqrt(op.ReduceMean(unit * unit, [1, 2, 3], keepdims=1))
        return unit * rate / op.Max(size, tiny), {}
    first, second = (Tensor(tape, add_input(graph, name, shape, gradient.dtype)) for name in ("mean", "square"))
    mean = first * _BETAS[0] + gradient * (1 - _BETAS[0])
    square = second * _BETAS[1] + gradient * gradient * (1 - _BETAS[1])
    taken = op.Cast(step + 1, to=gradient.dtype)
    unbiased = [
        each / (1 - op.Pow(np.array(beta, gradient.dtype.numpy()), taken))
        for each, beta in zip((mean, square), _BETAS, strict=True)
    ]
    update = unbiased[0] * rate / (op.Sqrt(unbiased[1]) + _EPSILON)
    return update, {NEXT + "mean": mean, NEXT + "square": square}


def _policy(recipe: Recipe) -> Policy:
    return Policy(
        recipe.name,
        at_rectifier=leaky(recipe.leak) if recipe.leak else None,
        at_sum=damped(recipe.residual) if recipe.residual != 1 else None,
    )


def _rate(recipe: Recipe, step: Tensor, dtype: ir.DataType) -> Tensor | float:
    """The length of this step: what the recipe says, and in the last of its steps ever less, down to 0 after them."""
    if not recipe.cool:
        return recipe.rate
    left = 1.0 - op.Cast(step, to=dtype) * (1 / recipe.steps)
    share = op.Clip(left * (1 / recipe.cool), np.array(0, dtype.numpy()), np.array(1, dtype.numpy()))
    return share * recipe.rate


def _penalty(j: Tensor, recipe: Recipe) -> Tensor | None:
    """λ ‖J‖² + tv Σ |∇J|, [K]"""
    terms = []
    if recipe.l2:
        terms.append(op.ReduceSum(j * j, [1, 2, 3], keepdims=0) * recipe.l2)
    for axis in (2, 3) if recipe.tv else ():
        slopes = op.Slice(j, [1], [np.iinfo(np.int64).max], [axis]) - op.Slice(j, [0], [-1], [axis])
        terms.append(op.ReduceSum(op.Abs(slopes), [1, 2, 3], keepdims=0) * recipe.tv)
    return op.Sum(*terms) if terms else None


def _less(term: Tensor | None) -> dict[ir.Value, Tensor]:
    """The seed of a term [K] that is subtracted."""
    return {} if term is None else {term.value: op.Expand(np.array(-1.0, term.dtype.numpy()), op.Shape(term))}


def _likeness(values: Tensor, layer: Layer) -> Tensor:
    """Σ_{j ≠ k} cos(G_j, G_k) / (K − 1), G_k = A_k A_kᵀ the Gram matrix of an image's channels: [K]."""
    order = [0, layer.channel_axis, *layer.spatial_axes]
    rows = op.Reshape(op.Transpose(values, perm=order), [0, 0, -1] if layer.spatial_axes else [0, 0, 1])
    gram = op.Reshape(op.MatMul(rows, op.Transpose(rows, perm=[0, 2, 1])), [0, -1])
    tiny = np.array(1e-12, values.dtype.numpy())
    unit = gram / op.Sqrt(op.Max(op.ReduceSum(gram * gram, [1], keepdims=1), tiny))  # a layer may be all 0
    cosines = op.MatMul(unit, op.Transpose(unit, perm=[1, 0]))
    others = op.Cast(op.Max(op.Shape(values, end=1) - 1, np.array([1])), to=values.dtype)
    return (op.ReduceSum(cosines, [1], keepdims=0) - 1.0) / others


def _in_layout(image: Tensor, classifier: Classifier, size: tuple[int, int]) -> Tensor:
    """[K, C, H, W] in the layout and type of the network's input."""
    like = classifier.image
    if classifier.channel_axis == 3:
        image = op.Transpose(image, perm=[0, 2, 3, 1])
    made = op.Cast(image, to=like.dtype) if like.dtype != image.dtype else op.Identity(image)
    assert like.shape is not None
    dims = list(like.shape)
    for axis, side in zip(classifier.spatial_axes, size, strict=True):
        dims[axis] = side
    made.value.shape = ir.Shape(dims)
    return made
