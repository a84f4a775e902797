"""ONNX Runtime sessions: providers, threads, errors. Knows nothing of what a model is for."""

from onnx_saliency.runtime.session import Session

__all__ = ["Session"]
