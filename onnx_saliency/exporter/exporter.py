"""`export`: a classifier in, an explained model out; file to file or ModelProto to ModelProto."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import onnx
import onnx_ir as ir

from onnx_saliency.backward import GRADIENT, Policy, is_expanded
from onnx_saliency.errors import OutputError, SaliencyError
from onnx_saliency.exporter.check import check_outputs
from onnx_saliency.exporter.explained import Explained, Score, Target, build_explained
from onnx_saliency.graph import ModelSource, find_classifier, load, normalise
from onnx_saliency.runtime import fits_in_one_file

METHODS: Mapping[str, Policy] = MappingProxyType({policy.name: policy for policy in (GRADIENT,)})


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
    method: str = "gradient",
    score: Score = "logit",
    target: Target = "default",
    input: str | None = None,
    output: str | None = None,
    preprocess: SupportsJson | Callable[[Size], SupportsJson] | None = None,
    check: bool = True,
) -> onnx.ModelProto | None:
    """Append the saliency subgraph to a classifier, in standard ONNX operators only.

    The result has all inputs and outputs of `model`, first and under the same names, one more input
    `target` (int64 [1] or [batch], default -1: the predicted class), and the outputs `saliency`
    (float32 [N, H, W], >= 0) and `input_gradient` (the image's shape, signed). Deterministic: the
    same model gives the same bytes.

    Args:
        model: path, bytes, onnx.ModelProto or onnx_ir.Model.
        path: where to write; None returns a ModelProto.
        method: a name of `METHODS`.
        score: "logit" (before a final Softmax or Sigmoid, as in the paper) or "probability".
        target: "default", "required" (no default), or a class for good.
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.
        preprocess: a `Preprocess` to record in the model, or what makes one of its height and width; None keeps
            what the model states.
        check: run original and result on a random input and refuse on a difference.

    Raises:
        ModelError: the model cannot be read, or is no image classifier.
        UnsupportedOperatorError: operators without a backward rule, all of them.
        ExportError: the result does not compute what the original computes.
        OutputError: `path` cannot be written; nothing is left behind.

    Source: Simonyan, Vedaldi, Zisserman 2013, section 3.
    """
    if path is not None:
        _check_writable(Path(path))
    explained = explain_model(
        model, method=method, score=score, target=target, input=input, output=output, preprocess=preprocess
    )
    if check:
        check_outputs(explained)
    if path is None:
        return ir.to_proto(explained.model)
    _save(explained.model, Path(path))
    return None


def explain_model(
    model: ModelSource,
    *,
    method: str = "gradient",
    score: Score = "logit",
    target: Target = "default",
    input: str | None = None,
    output: str | None = None,
    preprocess: SupportsJson | Callable[[Size], SupportsJson] | None = None,
    details: bool = False,
) -> Explained:
    """Load, normalise, find the classifier and append its explanation; options as in `export`."""
    policy = find_method(method)
    original = load(model)
    classifier = find_classifier(normalise(original.clone(), expand=is_expanded), input=input, output=output)
    recipe = preprocess(classifier.size) if callable(preprocess) else preprocess
    facts = {"version": version("onnx-saliency")} | ({"preprocess": recipe.to_json()} if recipe else {})
    return build_explained(classifier, original, policy, score=score, target=target, details=details, facts=facts)


def find_method(name: str) -> Policy:
    """Return the policy called `name`.

    Raises:
        SaliencyError: there is none; lists the methods.
    """
    if name not in METHODS:
        raise SaliencyError(f"No method {name!r}; the methods are {', '.join(METHODS)}.")
    return METHODS[name]


def _check_writable(path: Path) -> None:
    """Refuse before the work, not after it."""
    try:
        why = _obstacle(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = f"cannot be written: {getattr(error, 'strerror', None) or error}."
    if why:
        raise OutputError(f"{path}: {why}")


def _obstacle(path: Path) -> str | None:
    if path.is_dir():
        return "is a folder; give the name of a file."
    if path.parent.exists() and not path.parent.is_dir():
        return f"{path.parent} is a file, not a folder."
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}. Create it first."
    if path.with_name(f"{path.name}.data").is_dir():
        return f"{path.name}.data, where weights over 2 GB go, is a folder. Choose another name."
    if not os.access(path.parent, os.W_OK):
        return f"the folder {path.parent} is not writable."
    return None


def _save(model: ir.Model, path: Path) -> None:
    """Write beside the goal and move: a reader never sees half a model. Over 2 GB the weights go to a second file."""
    data = None if fits_in_one_file(model) else f"{path.name}.data"
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            ir.save(model, Path(folder) / path.name, external_data=data)
            for written in sorted(Path(folder).iterdir(), reverse=True):  # the weights first: they alone are no model
                written.replace(path.parent / written.name)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}.") from error
