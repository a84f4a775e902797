"""What CUDA is asked for, in ONNX Runtime's own words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx_saliency.errors import ProviderError


@dataclass(frozen=True)
class CudaOptions:
    """How a session uses CUDA; where it runs on another provider they mean nothing, but for `graph`, which is refused.

    Attributes:
        tf32: whether float32 products are computed with 10 bits of mantissa instead of 23, on Ampere and later: faster,
            at a relative error of about 1e-3. Off here, on in ONNX Runtime.
        graph: whether the kernels of a run are recorded once for each shape of the inputs, and replayed from then on;
            it saves the launch of each. Values stay at fixed addresses on the device. Every node must run on CUDA.
        memory_limit: bytes of the device that values and weights may take; None takes what there is. Workspaces that
            libraries take for themselves come on top.

    Raises:
        ProviderError: a memory limit below 1.
    """

    tf32: bool = False
    graph: bool = False
    memory_limit: int | None = None

    def __post_init__(self) -> None:
        if self.memory_limit is not None and self.memory_limit < 1:
            raise ProviderError(f"CUDA's memory limit is 1 byte or more, not {self.memory_limit}; None leaves it open.")

    def without_graph(self) -> CudaOptions:
        """The same for another model, of which it is not known whether all of it can be recorded."""
        return replace(self, graph=False)

    def as_provider_options(self) -> dict[str, str]:
        """Names and values as the CUDA execution provider takes them."""
        given = {"use_tf32": str(int(self.tf32)), "enable_cuda_graph": str(int(self.graph))}
        limit = {} if self.memory_limit is None else {"gpu_mem_limit": str(self.memory_limit)}
        return given | limit
