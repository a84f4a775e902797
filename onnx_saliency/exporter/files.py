"""Models written to files: refused before the work, and never half-written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx_ir as ir

from onnx_saliency.errors import OutputError
from onnx_saliency.runtime import fits_in_one_file


def check_writable(path: Path) -> None:
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


def save(model: ir.Model, path: Path) -> None:
    """Write beside the goal and move: a reader never sees half a model. Over 2 GB the weights go to a second file."""
    data = None if fits_in_one_file(model) else f"{path.name}.data"
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            ir.save(model, Path(folder) / path.name, external_data=data)
            for written in sorted(Path(folder).iterdir(), reverse=True):  # the weights first: they alone are no model
                written.replace(path.parent / written.name)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}.") from error
