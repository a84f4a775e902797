"""Inputs and outputs that stay on the device, at the same addresses, run after run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Bound:
    """The runs of one model on inputs of one shape, with buffers of their own.

    Args:
        runtime: the runtime's session.
        device: "cuda" or "cpu".
        feeds: the first inputs.
        outputs: names of what is wanted.
        graph: the number under which CUDA records the run; None records nothing.
    """

    def __init__(
        self,
        runtime: Any,
        device: str,
        feeds: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        graph: int | None = None,
    ) -> None:
        self._runtime = runtime
        self._graph = graph
        self._inputs = {name: place(value, device) for name, value in feeds.items()}
        self._binding = runtime.io_binding()
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name in outputs:
            self._binding.bind_output(name, device)
        runtime.run_with_iobinding(self._binding, _recorded_as(None))  # tells the shapes of the outputs
        self._outputs = list(self._binding.get_outputs())
        for name, value in zip(outputs, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(name, value)

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Copy the inputs to the device, run the model, and copy the outputs back."""
        self.fill(feeds)
        self.step()
        return self.read()

    def fill(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Copy the inputs to the device."""
        for name, value in feeds.items():
            self._inputs[name].update_inplace(np.ascontiguousarray(value))

    def step(self) -> None:
        """Run the model on what lies on the device."""
        self._runtime.run_with_iobinding(self._binding, _recorded_as(self._graph))

    def read(self) -> list[np.ndarray]:
        """Copy the outputs to the host."""
        return [np.array(value.numpy()) for value in self._outputs]


def place(value: np.ndarray, device: str) -> Any:
    """A copy of `value` on the device, as the runtime's own kind of value."""
    from onnxruntime import OrtValue  # late, as everywhere

    # On the CPU the runtime works in the array's own memory: each buffer needs its own, and the caller keeps his.
    return OrtValue.ortvalue_from_numpy(np.array(value, order="C"), device, 0)


def _recorded_as(graph: int | None) -> Any:
    """Options of a run: CUDA records it, or replays what it recorded, under this number; -1 stands for neither."""
    from onnxruntime import RunOptions  # as above

    options = RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(-1 if graph is None else graph))
    return options
