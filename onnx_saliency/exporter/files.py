"""Models written to files: refused before the work, and never half-written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx_ir as ir

from onnx_saliency.errors import OutputError
from onnx_saliency.graph import ModelSource
from onnx_saliency.paths import are_same, destination
from onnx_saliency.runtime import fits_in_one_file


def check_writable(path: Path, source: ModelSource) -> None:
    """Refuse before the work, not after it: `path` cannot be written, or is a file of the model `source`."""
    end = destination(path)
    why = _obstacle(end) or _loss(end, source)
    if why:
        raise OutputError(f"{path}: {why}")


def _obstacle(path: Path) -> str | None:
    if path.parent.exists() and not path.parent.is_dir():
        return f"{path.parent} is a file, not a folder."
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}. Create it first."
    if _data_of(path).is_dir():
        return f"{path.name}.data, where weights over 2 GB go, is a folder. Choose another name."
    if not os.access(path.parent, os.W_OK):
        return f"the folder {path.parent} is not writable."
    return None


def _loss(path: Path, source: ModelSource) -> str | None:
    """What of the model that is read would be lost."""
    if not isinstance(source, str | os.PathLike):
        return None
    there = [each for each in (path, _data_of(path)) if each.exists()]
    if any(are_same(each, source) for each in there):
        return "is the model itself, which would be lost. Choose another name."
    if there and any(are_same(each, weights) for each in there for weights in _external_data(source)):
        return f"holds weights of {os.fspath(source)}, which would be lost. Choose another name."
    return None


def _external_data(source: str | os.PathLike[str]) -> set[str]:
    """The files of a model's weights, but for its own; none of a file that cannot be read: loading says why."""
    try:
        model = ir.load(source)
    except Exception:  # whatever protobuf makes of a file that is no model
        return set()
    tensors = (value.const_value for value in model.graph.initializers.values())
    return {str(tensor.path) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}


def _data_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def save(model: ir.Model, path: Path) -> None:
    """Write beside the goal and move: a reader never sees half a model. Over 2 GB the weights go to a second file."""
    end = destination(path)
    data = None if fits_in_one_file(model) else _data_of(end).name
    try:
        with tempfile.TemporaryDirectory(dir=end.parent, prefix=f".{end.name}.") as folder:
            ir.save(model, Path(folder) / end.name, external_data=data)
            for written in sorted(Path(folder).iterdir(), reverse=True):  # the weights first: they alone are no model
                written.replace(destination(end.parent / written.name))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}.") from error
