"""The explained model: the classifier plus the subgraph that carries the score back to the image."""

from onnx_saliency.exporter.check import check_export, check_outputs
from onnx_saliency.exporter.explained import Explained, build_explained
from onnx_saliency.exporter.exporter import METHODS, explain_model, export
from onnx_saliency.exporter.metadata import read_metadata

__all__ = [
    "METHODS",
    "Explained",
    "build_explained",
    "check_export",
    "check_outputs",
    "explain_model",
    "export",
    "read_metadata",
]
