"""A model that is run on its own results, over and over, without leaving the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnx_saliency.runtime.bound import place
from onnx_saliency.runtime.session import Session, refused


class Iteration:
    """Runs x ← f(x), with two buffers for each state that change places after every run.

    Inputs and results stay where the model runs; nothing is copied to the host until it is read.

    Args:
        session: of a model that takes each state under its name and gives the next one under `prefix` + name.
        states: their first values.
        constants: inputs that stay; those that the model does not have are left out.
        prefix: of the outputs.

    Raises:
        OutOfMemoryError: the device has no room for these values.
    """

    def __init__(
        self,
        session: Session,
        states: Mapping[str, np.ndarray],
        constants: Mapping[str, np.ndarray],
        prefix: str = "next/",
    ) -> None:
        self.session = session
        try:
            self._constants = {name: place(value, self.session.device) for name, value in constants.items()}
            first, second = (
                {name: place(value, self.session.device) for name, value in states.items()} for _ in range(2)
            )
        except Exception as error:  # the runtime's exceptions share no base class of their own
            raise refused("ONNX Runtime cannot take the values of the step", error) from error
        self._buffers = [first, second]
        self._turns = [self._bind(first, second, prefix), self._bind(second, first, prefix)]
        self.steps = 0

    def step(self) -> None:
        """Run the model once.

        Raises:
            ModelError: the runtime refuses these inputs, or fails.
            OutOfMemoryError: for want of memory.
        """
        self._run(self._turns[self.steps % 2])
        self.steps += 1

    def read(self, name: str) -> np.ndarray:
        """Copy a state to the host."""
        return np.array(self._buffers[self.steps % 2][name].numpy())

    def outputs(self, names: Sequence[str]) -> list[np.ndarray]:
        """Run the model on the present states for outputs that are no states, and copy them to the host.

        Raises:
            ModelError: as of `step`.
        """
        binding = self._bind(self._buffers[self.steps % 2], {}, "")
        for name in names:
            binding.bind_output(name, self.session.device)
        self._run(binding)
        values: list[np.ndarray] = binding.copy_outputs_to_cpu()
        return values

    def _run(self, binding: Any) -> None:
        try:
            self.session.runtime.run_with_iobinding(binding)
        except Exception as error:  # as above
            raise refused("ONNX Runtime cannot run the step", error) from error

    def _bind(self, taken: Mapping[str, Any], given: Mapping[str, Any], prefix: str) -> Any:
        binding = self.session.runtime.io_binding()
        for name, value in {**self._constants, **taken}.items():
            if name in self.session.inputs:
                binding.bind_ortvalue_input(name, value)
        for name, value in given.items():
            binding.bind_ortvalue_output(prefix + name, value)
        return binding
