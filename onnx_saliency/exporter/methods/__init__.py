"""The methods of attribution: one class per method, its options as fields, its source named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType

from onnx_saliency.errors import MethodError
from onnx_saliency.exporter.methods.backpropagation import DeconvNet, Gradient, Guided, InputXGradient
from onnx_saliency.exporter.methods.cam import FusedLayerCAM, GradCAM, LayerCAM
from onnx_saliency.exporter.methods.integrated_gradients import IntegratedGradients
from onnx_saliency.exporter.methods.method import Attribution, Method, Scene
from onnx_saliency.exporter.methods.smoothgrad import SmoothGrad, VarGrad
from onnx_saliency.exporter.methods.ten_crop import TenCrop

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {
        method.name: method
        for method in (
            Gradient,
            DeconvNet,
            Guided,
            InputXGradient,
            SmoothGrad,
            VarGrad,
            IntegratedGradients,
            GradCAM,
            LayerCAM,
            FusedLayerCAM,
            TenCrop,
        )
    }
)

__all__ = [
    "METHODS",
    "Attribution",
    "DeconvNet",
    "FusedLayerCAM",
    "GradCAM",
    "Gradient",
    "Guided",
    "InputXGradient",
    "IntegratedGradients",
    "LayerCAM",
    "Method",
    "Scene",
    "SmoothGrad",
    "TenCrop",
    "VarGrad",
    "find_method",
]


def find_method(method: str | Method, **options: object) -> Method:
    """Return the method with this name, with these options; a `Method` as it is.

    Raises:
        MethodError: no such method (lists them), or an option that it does not have or cannot take.
    """
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise MethodError(f"No method {method!r}; the methods are {', '.join(METHODS)}.")
    kind = METHODS[method]
    known = [field.name for field in fields(kind)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        has = f"its options are {', '.join(known)}" if known else "it has no options"
        raise MethodError(f"{method} does not take {', '.join(unknown)}; {has}.")
    return kind(**options)
