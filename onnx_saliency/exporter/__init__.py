"""The explained model: the classifier plus the subgraph that carries the score back to the image."""

from onnx_saliency.exporter.check import check_outputs, check_same
from onnx_saliency.exporter.explained import Explained, Options, Precision, build_explained
from onnx_saliency.exporter.exporter import explain_model, export, warn_of_method
from onnx_saliency.exporter.metadata import read_metadata
from onnx_saliency.exporter.methods import METHODS, Method, find_method
from onnx_saliency.exporter.objective import Channel, Cosine, Neuron, Score, Whole
from onnx_saliency.exporter.rewriting import Facts, rewrite
from onnx_saliency.exporter.scores import score_model
from onnx_saliency.exporter.vjp import vjp

__all__ = [
    "METHODS",
    "Channel",
    "Cosine",
    "Explained",
    "Facts",
    "Method",
    "Neuron",
    "Options",
    "Precision",
    "Score",
    "Whole",
    "build_explained",
    "check_outputs",
    "check_same",
    "explain_model",
    "export",
    "find_method",
    "read_metadata",
    "rewrite",
    "score_model",
    "vjp",
    "warn_of_method",
]
