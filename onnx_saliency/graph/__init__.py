"""An ONNX file becomes a classifier we understand: load, normalise, find image and score.

Knows nothing of gradients or pictures.
"""

from onnx_saliency.graph.classifier import Classifier, find_classifier
from onnx_saliency.graph.load import ModelSource, load
from onnx_saliency.graph.normalise import normalise

__all__ = ["Classifier", "ModelSource", "find_classifier", "load", "normalise"]
