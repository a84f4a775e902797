"""ONNX Runtime sessions: providers, threads, errors. Knows nothing of what a model is for."""

from onnx_saliency.runtime.iteration import Iteration
from onnx_saliency.runtime.session import Session, first_provider, fits_in_one_file

__all__ = ["Iteration", "Session", "first_provider", "fits_in_one_file"]
