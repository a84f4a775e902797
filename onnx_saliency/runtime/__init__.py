"""ONNX Runtime sessions: providers, threads, memory, errors. Knows nothing of what a model is for."""

from onnx_saliency.runtime.batches import Batches
from onnx_saliency.runtime.cuda import CudaOptions
from onnx_saliency.runtime.iteration import Iteration
from onnx_saliency.runtime.memory import RunMemory, memory_limit
from onnx_saliency.runtime.session import Session, first_provider, fits_in_one_file, share_of_threads, usable_cores

__all__ = [
    "Batches",
    "CudaOptions",
    "Iteration",
    "RunMemory",
    "Session",
    "first_provider",
    "fits_in_one_file",
    "memory_limit",
    "share_of_threads",
    "usable_cores",
]
