"""Deletion and insertion: the score of a class while the pixels that a map names go, or come."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation.faithfulness.protocol import MODES, Mode, Protocol
from onnx_saliency.evaluation.faithfulness.scorer import Scorer
from onnx_saliency.images import Preprocess

Floats = npt.NDArray[np.float64]


def area_under(curve: npt.ArrayLike) -> float:
    """The area under equally spaced points from 0 to 1, by trapezoids: a curve that is 1 throughout has 1.

    Raises:
        MetricError: fewer than two points, or some that are not finite.
    """
    points = np.asarray(curve, np.float64)
    if points.ndim != 1 or points.size < 2 or not np.isfinite(points).all():
        raise MetricError(f"a curve has two or more finite points, (T,); found {points.shape}")
    return float((points[:-1] + points[1:]).mean() / 2)


def perturbation_curve(
    scorer: Scorer,
    image: npt.NDArray[Any],
    ranks: npt.NDArray[np.int32],
    target: int,
    mode: Mode,
    protocol: Protocol,
    fill: npt.NDArray[Any],
) -> Floats:
    """The score at each point of the curve, float64 (T,): from the image to the fill, or the other way round.

    Args:
        scorer: of the model.
        image: [1, ...], in the network's own form.
        ranks: int32 (H, W), of `rank_pixels`.
        target: the class.
        mode: "deletion" replaces the most salient pixels first, "insertion" brings them back first.
        protocol: steps and score.
        fill: [1, ...], of `protocol.fill(mode)`.
    """
    start, end = (image, fill) if mode == "deletion" else (fill, image)
    counts = protocol.counts(mode, ranks.size)
    return scorer.score(start, end, ranks, counts).of(target, protocol.score)


def fills(
    protocol: Protocol, image: npt.NDArray[Any], preprocess: Preprocess, channel_axis: int
) -> dict[Mode, npt.NDArray[Any]]:
    """What stands in the place of an image's pixels, in either mode."""
    return {mode: protocol.fill(mode).of(image, preprocess, channel_axis) for mode in MODES}
