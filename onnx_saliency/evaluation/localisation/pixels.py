"""How well a mask, or a map, tells the object's pixels from the others.

Pixels that the data set's annotators left open (`counted` False: an animal's outline, VOC's border) are left out of all
sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation.arrays import as_map, as_mask

THRESHOLDS: tuple[float, ...] = tuple(step / 1000 for step in range(1001))
"""Where the precision-recall curve is taken: the interval of the authors' code."""

Mask = npt.NDArray[Any]


class Curve(NamedTuple):
    """Precision and recall of `score >= threshold`, the highest threshold first: recall ascends.

    thresholds, precision, recall: float64 (T,). Precision is 1 where no pixel is above the threshold.
    """

    thresholds: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]

    @property
    def area(self) -> float:
        """Average precision: the sum of precision times the growth of recall, 0..1."""
        return float((self.precision * np.diff(self.recall, prepend=0.0)).sum())


def mask_iou(predicted: Mask, truth: Mask, counted: Mask | None = None) -> float:
    """Intersection over union of two masks, 0..1; two empty masks are the same mask: 1.

    Args:
        predicted: bool (H, W), or 0 and 1.
        truth: bool (H, W), the object's pixels.
        counted: bool (H, W), False where a pixel is left out; None counts all.

    Raises:
        MetricError: not masks of one shape.

    Source: Everingham et al. 2015, "The PASCAL Visual Object Classes Challenge: A Retrospective".
    """
    shape = np.shape(predicted)
    judged = _counted(counted, shape)
    mine, theirs = as_mask(predicted, shape, "the predicted mask")[judged], as_mask(truth, shape, "the mask")[judged]
    either = np.count_nonzero(mine | theirs)
    return np.count_nonzero(mine & theirs) / either if either else 1.0


def average_precision(scores: npt.ArrayLike, truth: Mask, counted: Mask | None = None) -> float:
    """Average precision of one picture's pixels, 0..1, every value that occurs a threshold.

    The mean over pictures weighs pictures alike; PxAP (`PixelPrecision`) weighs pixels alike.

    Args:
        scores: (H, W), real, on any scale.
        truth: bool (H, W), the object's pixels.
        counted: bool (H, W), False where a pixel is left out; None counts all.

    Raises:
        MetricError: shapes that differ, scores that are not finite, or no pixel of the object.
    """
    values = as_map(scores)
    judged = _counted(counted, values.shape)
    levels, level = np.unique(values[judged], return_inverse=True)
    object_at = as_mask(truth, values.shape, "the mask")[judged]
    hits = np.bincount(level[object_at], minlength=len(levels))
    return _curve(levels, hits, np.bincount(level[~object_at], minlength=len(levels))).area


class PixelPrecision:
    """Precision and recall of a data set's pixels, picture by picture, and their area, PxAP.

    Args:
        thresholds: ascending from 0, at most 1.

    Raises:
        MetricError: thresholds that are not so.

    Source: Choe et al. 2020, "Evaluating Weakly Supervised Object Localization Methods Right", section 4.1.
    """

    def __init__(self, thresholds: Sequence[float] = THRESHOLDS) -> None:
        self.thresholds = np.asarray(thresholds, np.float64)
        edges = self.thresholds
        if edges.ndim != 1 or not edges.size or edges[0] != 0 or edges[-1] > 1 or not (np.diff(edges) > 0).all():
            raise MetricError(f"thresholds are ascending from 0, at most 1; found {thresholds}")
        self._hits, self._misses = np.zeros(edges.size, np.int64), np.zeros(edges.size, np.int64)

    def add(self, scores: npt.ArrayLike, truth: Mask, counted: Mask | None = None) -> None:
        """Take one more picture.

        Args:
            scores: (H, W), 0..1, such as `min_max` of a map.
            truth: bool (H, W), the object's pixels; a picture may have none.
            counted: bool (H, W), False where a pixel is left out; None counts all.

        Raises:
            MetricError: shapes that differ, or scores outside 0..1.
        """
        values = as_map(scores)
        if values.min() < 0 or values.max() > 1:
            raise MetricError(f"scores are 0..1, found {values.min():g}..{values.max():g}; min_max brings them there")
        judged = _counted(counted, values.shape)
        object_at = as_mask(truth, values.shape, "the mask")[judged]
        level = np.searchsorted(self.thresholds, values[judged], side="right") - 1
        self._hits += np.bincount(level[object_at], minlength=self.thresholds.size)
        self._misses += np.bincount(level[~object_at], minlength=self.thresholds.size)

    @property
    def curve(self) -> Curve:
        """The curve so far. MetricError when no pixel of an object was seen."""
        return _curve(self.thresholds, self._hits, self._misses)

    @property
    def pxap(self) -> float:
        """PxAP, the area under the curve, 0..1. MetricError when no pixel of an object was seen."""
        return self.curve.area


def _counted(counted: Mask | None, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.ones(shape, bool) if counted is None else as_mask(counted, shape, "the mask of counted pixels")


def _curve(thresholds: npt.NDArray[np.float64], hits: npt.NDArray[np.int64], misses: npt.NDArray[np.int64]) -> Curve:
    """From pixels of the object, and other pixels, between each threshold and the next."""
    right, wrong = hits[::-1].cumsum(), misses[::-1].cumsum()
    if not hits.sum():
        raise MetricError("recall is not defined: no counted pixel is the object's")
    named = right + wrong
    precision = np.divide(right, named, out=np.ones(len(named)), where=named > 0)
    return Curve(thresholds[::-1], precision, right / right[-1])
