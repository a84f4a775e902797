"""The score that is differentiated, and its seed: one unit at the class explained (paper, section 3).

S_c(I) = Σ_k e_k S_k(I),  e = one-hot(c),  so the seed of the reverse walk is e.
"""

from __future__ import annotations

import numpy as np

from onnx_saliency.backward import Tensor, op


def class_scores(score: Tensor, batch: int | None) -> Tensor:
    """The scores as [N, classes], whatever axes of length 1 the model gives them.

    A vector holds the scores of the one image, or, where the batch is open or larger, one score an image.
    """
    rank = None if score.dims is None else len(score.dims)
    if rank == 2:
        return score
    return op.Reshape(score, [1, -1] if rank == 1 and batch == 1 else [0, -1])


def chosen_class(scores: Tensor, target: Tensor) -> Tensor:
    """int64 [N]: `target` where it is a class, the predicted class where it is negative; one target serves all."""
    predicted = op.ArgMax(scores, axis=1, keepdims=0)
    return op.Where(target < 0, predicted, target)


def seed(scores: Tensor, chosen: Tensor) -> Tensor:
    """One-hot [N, classes]; the runtime refuses a class beyond the last, where OneHot would give a zero map."""
    zeros = op.Expand(np.zeros(1, scores.dtype.numpy()), op.Shape(scores))
    index = op.Unsqueeze(chosen, [1])
    ones = op.Expand(np.ones(1, scores.dtype.numpy()), op.Shape(index))
    return op.ScatterElements(zeros, index, ones, axis=1)
