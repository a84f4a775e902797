"""The classifier and the pictures that come with the package (`models/` in the repository)."""

from __future__ import annotations

from pathlib import Path

from onnx_saliency.errors import ModelError


def default_model() -> Path:
    """Path of the embedded classifier."""
    return _folder() / "default.onnx"


def default_pictures() -> list[Path]:
    """Paths of the pictures composed for it, sorted."""
    return sorted((_folder() / "pictures").glob("*.jpg"))


def _folder() -> Path:
    package = Path(__file__).parent
    for folder in (package / "_models", package.parent / "models"):  # installed; a checkout
        if (folder / "default.onnx").is_file():
            return folder
    raise ModelError("The embedded model is missing from this installation: install onnx-saliency again.")
