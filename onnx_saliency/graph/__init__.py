"""An ONNX file becomes a classifier we understand: load, normalise, find image and score.

Knows nothing of gradients or pictures.
"""

from onnx_saliency.graph.classifier import Classifier, find_classifier
from onnx_saliency.graph.load import ModelSource, check_model, describe, infinite_weights, load, read_hashed
from onnx_saliency.graph.normalise import normalise

__all__ = [
    "Classifier",
    "ModelSource",
    "check_model",
    "describe",
    "find_classifier",
    "infinite_weights",
    "load",
    "normalise",
    "read_hashed",
]
