"""Explain image classifiers where they run: saliency maps as ordinary ONNX graphs.

    import onnx_saliency as xs

    xs.export("net.onnx", "net.saliency.onnx")       # an ONNX model with a saliency output
    xs.Explainer("net.onnx").explain("dog.jpg")      # the maps themselves

After Simonyan, Vedaldi, Zisserman 2013, "Deep Inside Convolutional Networks".
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from onnx_saliency.errors import (
    AmbiguousModelError,
    ExportError,
    ImageError,
    LabelError,
    ModelError,
    OutputError,
    ProviderError,
    ProviderWarning,
    RuntimeMissingError,
    SaliencyError,
    TargetError,
    UnsupportedOperatorError,
)

if TYPE_CHECKING:
    from onnx_saliency.explain import Explainer, Explanation
    from onnx_saliency.exporter import export
    from onnx_saliency.images import Labels, Preprocess, preset

# Loaded when first used: `import onnx_saliency` and `--help` need neither onnx nor NumPy.
_LAZY = {
    "Explainer": "onnx_saliency.explain",
    "Explanation": "onnx_saliency.explain",
    "Labels": "onnx_saliency.images",
    "Preprocess": "onnx_saliency.images",
    "export": "onnx_saliency.exporter",
    "preset": "onnx_saliency.images",
}

__all__ = [
    "AmbiguousModelError",
    "Explainer",
    "Explanation",
    "ExportError",
    "ImageError",
    "LabelError",
    "Labels",
    "ModelError",
    "OutputError",
    "Preprocess",
    "ProviderError",
    "ProviderWarning",
    "RuntimeMissingError",
    "SaliencyError",
    "TargetError",
    "UnsupportedOperatorError",
    "export",
    "preset",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
