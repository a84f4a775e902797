"""`export`: a classifier in, an explained model out; file to file or ModelProto to ModelProto."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import onnx
import onnx_ir as ir

from onnx_saliency.backward import GRADIENT, Profile
from onnx_saliency.errors import MethodWarning
from onnx_saliency.exporter.check import check_outputs
from onnx_saliency.exporter.classifier import read_classifier
from onnx_saliency.exporter.explained import DEFAULT_OPTIONS, Explained, Options, Precision, Target, build_explained
from onnx_saliency.exporter.files import check_writable, save
from onnx_saliency.exporter.methods import Method, find_method
from onnx_saliency.exporter.objective import Score
from onnx_saliency.exporter.unrounded import without_rounding
from onnx_saliency.graph import ModelSource, load

Size = tuple[int | None, int | None]  # height and width of the image input, None where open


class SupportsJson(Protocol):
    """Preprocessing as it is stored: anything that can state itself in JSON."""

    def to_json(self) -> str:
        """The JSON text."""
        ...


def export(
    model: ModelSource,
    path: str | os.PathLike[str] | None = None,
    *,
    method: str | Method = "gradient",
    score: Score = "logit",
    target: Target = "default",
    against: int | None = None,
    several: int | None = None,
    input: str | None = None,
    output: str | None = None,
    preprocess: SupportsJson | Callable[[Size], SupportsJson] | None = None,
    profile: Profile = "portable",
    precision: Precision = "single",
    check: bool = True,
) -> onnx.ModelProto | None:
    """Append the saliency subgraph to a classifier, in standard ONNX operators only.

    The result has all inputs and outputs of `model`, first and under the same names, one more input
    `target` (int64 [1] or [batch], default -1: the predicted class), and the outputs `saliency`
    (float32 [N, H, W], >= 0) and, of the image's shape and signed, `input_gradient`, or `attribution` of methods
    that multiply with the image; class activation maps have `saliency` alone. Deterministic: the
    same model gives the same bytes.

    Args:
        model: path, bytes, onnx.ModelProto or onnx_ir.Model.
        path: where to write; None returns a ModelProto.
        method: a name of `METHODS`, or a `Method` with its options, such as `SmoothGrad(samples=50)`.
        score: "logit" (before a final Softmax or Sigmoid, as in the paper) or "probability"; or a `Neuron` or a
            `Channel` of a layer, of which `target` is then the channel; or `Cosine()`, to an input `reference`.
        target: "default", "required" (no default), or a class for good.
        against: a class whose score is subtracted: what speaks for the target and not for it.
        several: how many classes of each image are explained from one forward pass; `target` is then
            [1 or batch, several], by default the best ones, and the new outputs have that many rows an image.
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.
        preprocess: a `Preprocess` to record in the model, or what makes one of its height and width; None keeps
            what the model states.
        profile: what the new nodes are written for: "portable", any runtime; "cpu" or "cuda", the operators that are
            fastest in onnxruntime there. All are standard operators and give the same numbers.
        precision: "mixed" computes the scores in float64, where float32 puts a rectifier or a maximum now and then on
            its other side, at about twice the cost; "double" the gradient too, exact but for the rounding of the
            result, at more. Both store weights in float64. Inputs and outputs keep their types.
        check: run original and result on a random input and refuse on a difference.

    Raises:
        ModelError: the model cannot be read, or is no image classifier.
        UnsupportedOperatorError: operators without a backward rule, all of them.
        MethodError, LayerError, TargetError: an option that does not fit the model.
        ExportError: no such profile or precision, operators that have no form in double precision, all of them, or
            the result does not compute what the original computes.
        OutputError: `path` cannot be written; nothing is left behind.

    Warns:
        MethodWarning: the model has no rectifier, and the method differs from the gradient there only.

    Source: Simonyan, Vedaldi, Zisserman 2013, section 3; those of the methods are in their classes.
    """
    if path is not None:
        check_writable(Path(path), model)
    options = Options(find_method(method), score, target, against, several, profile=profile, precision=precision)
    explained = explain_model(model, options, input=input, output=output, preprocess=preprocess)
    warn_of_method(options.method, explained.changed, explained.notes)
    if check:
        check_outputs(explained)
    if path is None:
        return ir.to_proto(explained.model)
    save(explained.model, Path(path))
    return None


def explain_model(
    model: ModelSource,
    options: Options = DEFAULT_OPTIONS,
    *,
    input: str | None = None,
    output: str | None = None,
    preprocess: SupportsJson | Callable[[Size], SupportsJson] | None = None,
) -> Explained:
    """Load, normalise, find the classifier and append its explanation; arguments as in `export`."""
    return explain_loaded(load(model), options, input=input, output=output, preprocess=preprocess)


def explain_loaded(
    original: ir.Model,
    options: Options,
    *,
    input: str | None = None,
    output: str | None = None,
    preprocess: SupportsJson | Callable[[Size], SupportsJson] | None = None,
) -> Explained:
    """`explain_model` of what `load` returned."""
    double = options.precision != "single"
    classifier = without_rounding(read_classifier(original.clone(), input=input, output=output, double=double))
    recipe = preprocess(classifier.size) if callable(preprocess) else preprocess
    facts = {"version": version("onnx-saliency")} | ({"preprocess": recipe.to_json()} if recipe else {})
    return build_explained(classifier, original, options, facts)


def warn_of_method(method: Method, changed: Sequence[str], notes: Sequence[str]) -> None:
    """Warn the user that `method` is the plain gradient on this model: it changed none of its nodes."""
    if method.policy is not GRADIENT and not changed:
        warnings.warn(notes[0], MethodWarning, stacklevel=3)
