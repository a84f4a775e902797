"""The explained model: the classifier plus the subgraph that carries the score back to the image."""

from onnx_saliency.exporter.check import check_export, check_outputs
from onnx_saliency.exporter.explained import Explained, Options, build_explained
from onnx_saliency.exporter.exporter import explain_model, export
from onnx_saliency.exporter.metadata import read_metadata
from onnx_saliency.exporter.methods import METHODS, Method, find_method
from onnx_saliency.exporter.objective import Channel, Cosine, Neuron, Score

__all__ = [
    "METHODS",
    "Channel",
    "Cosine",
    "Explained",
    "Method",
    "Neuron",
    "Options",
    "Score",
    "build_explained",
    "check_export",
    "check_outputs",
    "explain_model",
    "export",
    "find_method",
    "read_metadata",
]
