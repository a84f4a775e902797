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
    CacheError,
    DatasetError,
    ExportError,
    ImageError,
    LabelError,
    LayerError,
    MethodError,
    MethodWarning,
    MetricError,
    ModelError,
    OutOfMemoryError,
    OutputError,
    ProviderError,
    ProviderWarning,
    RecipeError,
    RuntimeMissingError,
    SaliencyError,
    TargetError,
    UnsupportedOperatorError,
)

if TYPE_CHECKING:
    from onnx_saliency.activations import Activation, ChannelTop, TopActivations, top_activations
    from onnx_saliency.explain import Explainer, Explanation
    from onnx_saliency.exporter import Channel, Cosine, Neuron, Whole, export, vjp
    from onnx_saliency.exporter.ascent import Recipe
    from onnx_saliency.exporter.methods import (
        DeconvNet,
        FusedLayerCAM,
        GradCAM,
        Gradient,
        Guided,
        InputXGradient,
        IntegratedGradients,
        LayerCAM,
        SmoothGrad,
        TenCrop,
        VarGrad,
    )
    from onnx_saliency.images import Labels, Preprocess, preset
    from onnx_saliency.runtime import CudaOptions
    from onnx_saliency.vision import (
        ClassModel,
        Segmentation,
        Segmenter,
        SegmentRecipe,
        class_model,
        export_step,
        localize,
        segment,
    )

# Loaded when first used: `import onnx_saliency` and `--help` need neither onnx nor NumPy.
_LAZY = {
    "Activation": "onnx_saliency.activations",
    "Channel": "onnx_saliency.exporter",
    "ChannelTop": "onnx_saliency.activations",
    "ClassModel": "onnx_saliency.vision",
    "Cosine": "onnx_saliency.exporter",
    "CudaOptions": "onnx_saliency.runtime",
    "DeconvNet": "onnx_saliency.exporter.methods",
    "Explainer": "onnx_saliency.explain",
    "Explanation": "onnx_saliency.explain",
    "FusedLayerCAM": "onnx_saliency.exporter.methods",
    "GradCAM": "onnx_saliency.exporter.methods",
    "Gradient": "onnx_saliency.exporter.methods",
    "Guided": "onnx_saliency.exporter.methods",
    "InputXGradient": "onnx_saliency.exporter.methods",
    "IntegratedGradients": "onnx_saliency.exporter.methods",
    "Labels": "onnx_saliency.images",
    "LayerCAM": "onnx_saliency.exporter.methods",
    "Neuron": "onnx_saliency.exporter",
    "Preprocess": "onnx_saliency.images",
    "Recipe": "onnx_saliency.exporter.ascent",
    "SegmentRecipe": "onnx_saliency.vision",
    "Segmentation": "onnx_saliency.vision",
    "Segmenter": "onnx_saliency.vision",
    "SmoothGrad": "onnx_saliency.exporter.methods",
    "TenCrop": "onnx_saliency.exporter.methods",
    "TopActivations": "onnx_saliency.activations",
    "VarGrad": "onnx_saliency.exporter.methods",
    "Whole": "onnx_saliency.exporter",
    "class_model": "onnx_saliency.vision",
    "export": "onnx_saliency.exporter",
    "export_step": "onnx_saliency.vision",
    "localize": "onnx_saliency.vision",
    "preset": "onnx_saliency.images",
    "segment": "onnx_saliency.vision",
    "top_activations": "onnx_saliency.activations",
    "vjp": "onnx_saliency.exporter",
}

__all__ = [
    "Activation",
    "AmbiguousModelError",
    "CacheError",
    "Channel",
    "ChannelTop",
    "ClassModel",
    "Cosine",
    "CudaOptions",
    "DatasetError",
    "DeconvNet",
    "Explainer",
    "Explanation",
    "ExportError",
    "FusedLayerCAM",
    "GradCAM",
    "Gradient",
    "Guided",
    "ImageError",
    "InputXGradient",
    "IntegratedGradients",
    "LabelError",
    "Labels",
    "LayerCAM",
    "LayerError",
    "MethodError",
    "MethodWarning",
    "MetricError",
    "ModelError",
    "Neuron",
    "OutOfMemoryError",
    "OutputError",
    "Preprocess",
    "ProviderError",
    "ProviderWarning",
    "Recipe",
    "RecipeError",
    "RuntimeMissingError",
    "SaliencyError",
    "SegmentRecipe",
    "Segmentation",
    "Segmenter",
    "SmoothGrad",
    "TargetError",
    "TenCrop",
    "TopActivations",
    "UnsupportedOperatorError",
    "VarGrad",
    "Whole",
    "class_model",
    "export",
    "export_step",
    "localize",
    "preset",
    "segment",
    "top_activations",
    "vjp",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
