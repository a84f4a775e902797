"""Rows in float32, of operators that onnxruntime has no kernel in double for."""

from dataclasses import dataclass

import numpy as np

from .harness import Row


@dataclass(eq=False)
class Single(Row):
    """A row that runs in float32; one with `reference=True` beside it checks the rule in float64."""

    @property
    def dtype(self) -> type:
        return np.float32
