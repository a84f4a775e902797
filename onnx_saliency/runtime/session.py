"""One session, built once and reused, on CUDA where it is, on the CPU always; never a silent fallback."""

from __future__ import annotations

import itertools
import os
import tempfile
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_saliency.errors import (
    ModelError,
    OutOfMemoryError,
    ProviderError,
    ProviderWarning,
    RuntimeMissingError,
    SaliencyError,
)
from onnx_saliency.numeric import is_integer
from onnx_saliency.runtime.bound import Bound
from onnx_saliency.runtime.cuda import CudaOptions

_SHORT_NAMES = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
_DEFAULT = ("CUDAExecutionProvider", "CPUExecutionProvider")
_MOST_THREADS = 1024  # the runtime starts them all at once, and with very many does not come back
_PROTOBUF_LIMIT = 2**31 - 2**20


class Session:
    """An ONNX Runtime session over a model.

    Args:
        model: a path, serialised bytes, or an IR model (over 2 GB it travels through a file).
        providers: one or several in order of preference, "cuda", "cpu" or ONNX Runtime's own names; None takes
            CUDA where it works and the CPU otherwise.
        threads: threads within an operator; None leaves it to the runtime.
        optimise: whether the runtime may rewrite the graph before it runs it. It then starts later, runs faster and
            rounds otherwise: groups DequantizeLinear - F - QuantizeLinear may be computed in whole numbers.
        cuda: how CUDA is used where the model runs on it.

    Raises:
        RuntimeMissingError: no ONNX Runtime is installed.
        ProviderError: a provider that the installed runtime does not have, a number of threads below 1 or above 1024,
            or a CUDA graph where the model does not run on CUDA.
        ModelError: the runtime refuses the model.

    Warns:
        ProviderWarning: a provider was asked for by name and is not used.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | ir.Model,
        *,
        providers: Sequence[str] | str | None = None,
        threads: int | None = None,
        optimise: bool = True,
        cuda: CudaOptions | None = None,
    ) -> None:
        ort = import_runtime()
        wanted = _choose_providers(ort, providers)
        cuda = cuda or CudaOptions()
        options = ort.SessionOptions()
        options.log_severity_level = 4  # faults are raised, and a provider not used is said below
        if threads is not None:
            options.intra_op_num_threads = _checked_threads(threads)
        # Else threads that wait for more work keep the cores from what comes between runs: another session, NumPy.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if not optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if _usable(ort, wanted)[0] == "CPUExecutionProvider":
            # A plan of all values is one block beside the arena's pieces of the first run: up to twice the memory.
            options.enable_mem_pattern = False
        self.runtime = _build(ort, model, options, wanted, cuda)
        self.providers: tuple[str, ...] = tuple(self.runtime.get_providers())
        if cuda.graph and self.provider != "cuda":
            raise ProviderError(
                f"A CUDA graph was asked for, and the model runs on {self.providers[0]}. Leave it out, or run on CUDA."
            )
        self._records = cuda.graph
        self._graphs = itertools.count(1)
        self._bound: dict[Any, Bound] = {}  # by what went in and is wanted
        self._warn_unused(wanted, asked=providers is not None)
        self.inputs: dict[str, Any] = {value.name: value for value in self.runtime.get_inputs()}
        self.outputs: tuple[str, ...] = tuple(value.name for value in self.runtime.get_outputs())

    def __reduce__(self) -> NoReturn:
        raise SaliencyError(
            "A session of ONNX Runtime cannot be copied or sent to another process, and so neither can an Explainer or "
            "whatever holds one. Build one in each process, from the model's path and the same options: "
            "Explainer(path, **explainer.settings)."
        )

    @property
    def provider(self) -> str:
        """The provider that really runs the model, as "cuda", "cpu" or the runtime's own name."""
        return short_name(self.providers[0])

    @property
    def device(self) -> str:
        """Where its values lie, as the runtime calls it: "cuda" or "cpu"."""
        return "cuda" if self.provider == "cuda" else "cpu"

    def dtype(self, name: str) -> np.dtype[Any] | None:
        """NumPy's type of input `name`, None for one that NumPy has no type of."""
        found = _NUMPY.get(self.inputs[name].type)
        return None if found is None else np.dtype(found)

    def other_inputs(self, known: Collection[str], feeds: Mapping[str, npt.ArrayLike]) -> dict[str, npt.NDArray[Any]]:
        """Values of all inputs but the `known` ones, besides the image, in the types that the model states.

        Raises:
            ModelError: there are others, or not all of them, or a value is of another type.
        """
        missing = [name for name in self.inputs if name not in feeds and name not in known]
        unknown = [name for name in feeds if name not in self.inputs or name in known]
        if missing or unknown:
            wrong = [f"there is no value for input {name!r}" for name in missing]
            wrong += [f"the model has no input {name!r} besides the image" for name in unknown]
            raise ModelError(f"Inputs besides the image: {'; '.join(wrong)}. Give each one its value in feeds.")
        return {name: self._as_input(name, value) for name, value in feeds.items()}

    def _as_input(self, name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
        try:
            return np.asarray(value, dtype=self.dtype(name))
        except (TypeError, ValueError) as error:
            raise ModelError(f"The value for input {name!r} cannot be read as {self.dtype(name)}: {error}.") from error

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """Run the model once; return `outputs` (all by default) in order.

        Raises:
            ModelError: the runtime refuses these inputs, with its reason.
            OutOfMemoryError: for want of memory.
        """
        wanted = list(self.outputs if outputs is None else outputs)
        try:
            if self._records:
                return self._replay(feeds, wanted)
            result: list[np.ndarray] = self.runtime.run(wanted, dict(feeds))
        except Exception as error:  # the runtime's exceptions share no base class of their own
            shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
            raise refused(f"ONNX Runtime cannot run the model on {shapes}", error) from error
        return result

    def bind(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Bound:
        """Buffers on the device for inputs like these, for runs that copy nothing to the host and back.

        The runtime's own exceptions are raised.
        """
        return Bound(self.runtime, self.device, feeds, outputs, next(self._graphs) if self._records else None)

    def _replay(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Run through the CUDA graph of inputs like these, recorded the first time."""
        like = tuple((name, array.dtype, array.shape) for name, array in feeds.items()), tuple(outputs)
        if like not in self._bound:
            self._bound[like] = self.bind(feeds, outputs)
        return self._bound[like].run(feeds)

    def _warn_unused(self, wanted: Sequence[str], *, asked: bool) -> None:
        unused = [name for name in wanted if name not in self.providers]
        if asked and unused:
            warnings.warn(
                f"{', '.join(unused)} was asked for and cannot be used here; running on {self.providers[0]}. "
                "Check the driver and the CUDA libraries, or ask for the CPU.",
                ProviderWarning,
                stacklevel=3,
            )


def share_of_threads(threads: int | None, workers: int) -> int:
    """Threads of each of several workers at one session, of so many in all; None stands for all cores.

    Raises:
        ProviderError: a number of threads that a session does not take.
    """
    return max(1, (usable_cores() if threads is None else _checked_threads(threads)) // workers)


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _checked_threads(threads: int) -> int:
    if not is_integer(threads, 1) or threads > _MOST_THREADS:
        raise ProviderError(
            f"A session takes 1 to {_MOST_THREADS} threads, not {threads!r}; this machine has {usable_cores()} cores. "
            "None leaves it to the runtime."
        )
    return threads


def first_provider(providers: Sequence[str] | str | None = None) -> str:
    """The provider that a session tries first, as "cuda", "cpu" or the runtime's own name; arguments and errors as its.

    Whether it works shows only when it is tried.
    """
    ort = import_runtime()
    return short_name(_usable(ort, _choose_providers(ort, providers))[0])


def fits_in_one_file(model: ir.Model) -> bool:
    """Whether the model fits in one protobuf message; a larger one keeps its weights in external data."""
    tensors = (value.const_value for value in model.graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None) <= _PROTOBUF_LIMIT


def import_runtime() -> ModuleType:
    """Return onnxruntime; RuntimeMissingError where it is not installed, or broken."""
    try:
        import onnxruntime  # late: it is an extra, and costs start-up time
    except ImportError as error:
        raise RuntimeMissingError(
            "No ONNX Runtime is installed: pip install 'onnx-saliency[cpu]', or 'onnx-saliency[gpu]' for CUDA."
        ) from error
    if not hasattr(onnxruntime, "InferenceSession"):
        raise RuntimeMissingError(
            "The installed ONNX Runtime is broken: onnxruntime and onnxruntime-gpu lie over each other. "
            "Uninstall both and install one of them."
        )
    module: ModuleType = onnxruntime
    return module


def _choose_providers(ort: ModuleType, providers: Sequence[str] | str | None) -> list[str]:
    available = ort.get_available_providers()
    if providers is None:
        return [name for name in _DEFAULT if name in available]
    names = [providers] if isinstance(providers, str) else providers
    wanted = [full_name(name) for name in names]
    unknown = [name for name in wanted if name not in ort.get_all_providers()]
    if unknown or not wanted:
        raise ProviderError(
            f"No execution provider {', '.join(map(repr, unknown)) or 'was named'}; the installed ONNX Runtime has "
            f"{', '.join(available)}. Use cuda, cpu or one of these names."
        )
    return wanted


def _usable(ort: ModuleType, providers: Sequence[str]) -> list[str]:
    return [name for name in providers if name in ort.get_available_providers()] or ["CPUExecutionProvider"]


def full_name(provider: str) -> str:
    """The runtime's own name of a provider."""
    return _SHORT_NAMES.get(provider.lower(), provider)


def short_name(provider: str) -> str:
    """`cuda`, `cpu`, or the runtime's own name."""
    return next((short for short, full in _SHORT_NAMES.items() if full == provider), provider)


def _build(ort: ModuleType, model: Any, options: Any, providers: list[str], cuda: CudaOptions) -> Any:
    if "CUDAExecutionProvider" in providers and hasattr(ort, "preload_dlls"):
        ort.preload_dlls(directory="")  # CUDA libraries that pip installed lie beside the package
    given = {"CUDAExecutionProvider": cuda.as_provider_options()}
    usable = [(name, given.get(name, {})) for name in _usable(ort, providers)]
    try:
        if not isinstance(model, ir.Model):
            source = model if isinstance(model, bytes) else os.fspath(model)
            return ort.InferenceSession(source, options, providers=usable)
        if fits_in_one_file(model):
            data = ir.to_proto(model).SerializeToString()
            return ort.InferenceSession(data, options, providers=usable)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            ir.save(model, path, external_data="model.data")
            return ort.InferenceSession(str(path), options, providers=usable)
    except Exception as error:  # the runtime's exceptions share no base class of their own
        raise refused("ONNX Runtime refuses the model", error) from error


def refused(what: str, error: Exception) -> ModelError:
    """The error of what the runtime refuses; the runtime has no type for want of memory."""
    why = reason(error)
    about_memory = any(word in why.lower() for word in ("memory", "alloc"))
    return (OutOfMemoryError if about_memory else ModelError)(f"{what}: {why}")


def reason(error: Exception) -> str:
    """The first line of what the runtime says."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


_NUMPY = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
