"""`export`: a classifier in, an explained model out; file to file or ModelProto to ModelProto."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import onnx
import onnx_ir as ir

from onnx_saliency.backward import GRADIENT, Policy, is_expanded
from onnx_saliency.errors import OutputError, SaliencyError
from onnx_saliency.export.check import check_outputs
from onnx_saliency.export.explained import Explained, Score, Target, build_explained
from onnx_saliency.graph import ModelSource, find_classifier, load, normalise

METHODS: Mapping[str, Policy] = MappingProxyType({policy.name: policy for policy in (GRADIENT,)})
_PROTOBUF_LIMIT = 2**31 - 2**20


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
    preprocess: SupportsJson | None = None,
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
        preprocess: a `Preprocess` to record in the model; what it already states is kept.
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
    preprocess: SupportsJson | None = None,
    details: bool = False,
) -> Explained:
    """Load, normalise, find the classifier and append its explanation; options as in `export`."""
    policy = find_method(method)
    original = load(model)
    classifier = find_classifier(normalise(original.clone(), expand=is_expanded), input=input, output=output)
    facts = {"version": version("onnx-saliency")} | ({"preprocess": preprocess.to_json()} if preprocess else {})
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
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}. Create it first.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} is not writable.")


def _save(model: ir.Model, path: Path) -> None:
    """Write beside the goal and move: a reader never sees half a model. Over 2 GB the weights go to a second file."""
    size = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    data = f"{path.name}.data" if size > _PROTOBUF_LIMIT else None
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            ir.save(model, Path(folder) / path.name, external_data=data)
            for written in sorted(Path(folder).iterdir()):
                written.replace(path.parent / written.name)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}.") from error
