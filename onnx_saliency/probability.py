"""What the scores of a classifier stand for as probabilities: by the activation that the network ends in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def probabilities(logits: npt.NDArray[np.floating[Any]], activation: str | None) -> npt.NDArray[Any]:
    """Probabilities (N, classes) of logits, in their type.

    Args:
        logits: float (N, classes), before any final activation.
        activation: what the network ends in. Behind "Sigmoid" classes do not exclude each other, and each has its own
            probability; else, also where nothing is said, they share 1, a softmax.
    """
    if activation == "Sigmoid":
        found: npt.NDArray[Any] = np.exp(-np.logaddexp(0, -logits))  # 1 / (1 + exp(-x)), which would overflow
    else:
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        found = shifted / shifted.sum(axis=1, keepdims=True)
    return found
