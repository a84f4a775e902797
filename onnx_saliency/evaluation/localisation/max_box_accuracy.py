"""How well a map's threshold could box the object: MaxBoxAcc and MaxBoxAccV2 (Choe et al. 2020).

A map says where, not how bright is bright enough; so the threshold is swept, one for the whole data set, and the best
accuracy counts. What differs from the authors' code (clovaai/wsolevaluation): the largest component is that of the most
pixels, not of the largest outline; V2 boxes components, not the outlines of their holes; and boxes are max exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation.arrays import as_boxes, as_map, min_max
from onnx_saliency.evaluation.localisation.boxes import OVERLAP, best_iou

THRESHOLDS: tuple[float, ...] = tuple(grey / 255 for grey in range(1, 256))
"""The grey levels that the authors' code tells apart; 0 is none of them, as it would box every picture whole."""

OVERLAPS = (0.3, 0.5, 0.7)
"""The IoUs that MaxBoxAccV2 averages over."""

Thresholds = Sequence[float] | npt.NDArray[np.float64]

_EIGHT_NEIGHBOURS = np.ones((3, 3), np.int8)


class Components(NamedTuple):
    """The connected parts (8 neighbours) of the pixels at or above a threshold, in reading order.

    boxes: int64 (C, 4), xmin, ymin, xmax, ymax, max exclusive.
    sizes: int64 (C,), pixels.
    """

    boxes: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


class Overlaps(NamedTuple):
    """What the boxes of one map have in common with the true ones, at each threshold; 0 where nothing is above it.

    largest: float64 (T,), IoU of the largest component's box with the true box that it meets best.
    best: float64 (T,), the highest such IoU of all components.
    """

    largest: npt.NDArray[np.float64]
    best: npt.NDArray[np.float64]


def find_components(scores: npt.ArrayLike, threshold: float) -> Components:
    """Box and size of every connected part of `scores >= threshold`; none where the map stays below.

    Args:
        scores: (H, W), real.
        threshold: on the scale of the scores.

    Raises:
        MetricError: not a map, or not finite.
    """
    return _components(as_map(scores) >= threshold)


def sweep(saliency: npt.ArrayLike, truth: npt.ArrayLike, thresholds: Thresholds = THRESHOLDS) -> Overlaps:
    """Box a map at every threshold and compare with the true boxes.

    Args:
        saliency: (H, W), real; brought to 0..1 by its own range first. A constant map has no boxes.
        truth: (B, 4), in the map's pixels.
        thresholds: ascending, above 0, at most 1.

    Raises:
        MetricError: not a map, not boxes, not finite, or thresholds that are not ascending in (0, 1].

    Source: Choe et al. 2020, "Evaluating Weakly Supervised Object Localization Methods Right", section 4.1.
    """
    cuts, boxes, scores = _check_thresholds(thresholds), as_boxes(truth), min_max(saliency)
    levels = np.searchsorted(cuts, scores, side="right")
    occurs = np.bincount(levels.ravel(), minlength=len(cuts) + 1)
    levels = levels.astype(np.min_scalar_type(len(cuts)))  # compared 255 times: small numbers are quicker
    largest, best = np.zeros(len(cuts)), np.zeros(len(cuts))
    for level in range(len(cuts), 0, -1):
        at = level - 1
        if occurs[level]:
            found = _components(levels >= level)
            iou = best_iou(found.boxes, boxes)
            largest[at], best[at] = iou[np.argmax(found.sizes)], iou.max()
        elif level < len(cuts):  # the same pixels as one threshold higher
            largest[at], best[at] = largest[level], best[level]
    return Overlaps(largest, best)


class MaxBoxAccuracy:
    """MaxBoxAcc and MaxBoxAccV2 of a data set, picture by picture; of each only which thresholds were right is kept.

    Args:
        thresholds: ascending, above 0, at most 1.
        overlaps: the IoUs that V2 averages over.

    Raises:
        MetricError: thresholds or overlaps out of range.
    """

    def __init__(self, thresholds: Thresholds = THRESHOLDS, overlaps: Sequence[float] = OVERLAPS) -> None:
        self.thresholds = _check_thresholds(thresholds)
        self.overlaps = tuple(overlaps)
        if not self.overlaps or not all(0 < overlap <= 1 for overlap in self.overlaps):
            raise MetricError(f"overlaps are above 0 and at most 1; found {self.overlaps}")
        self._packed: list[npt.NDArray[np.uint8]] = []

    def __len__(self) -> int:
        return len(self._packed)

    def add(self, saliency: npt.ArrayLike, truth: npt.ArrayLike) -> Overlaps:
        """Take one more picture; arguments, result and errors are those of `sweep`."""
        found = sweep(saliency, truth, self.thresholds)
        # Rows: the largest component at IoU 0.5 (V1), then any component at each overlap (V2).
        self._packed.append(
            np.packbits([found.largest >= OVERLAP, *(found.best >= overlap for overlap in self.overlaps)])
        )
        return found

    @property
    def max_box_acc(self) -> float:
        """MaxBoxAcc: the highest accuracy over thresholds of the largest component's box at IoU 0.5, 0..1.

        MetricError when no picture was added. Source: Choe et al. 2020, section 4.1.
        """
        return float(self._accuracy()[0].max())

    @property
    def max_box_acc_v2(self) -> float:
        """MaxBoxAccV2: the mean of `by_overlap`, 0..1. MetricError when no picture was added.

        Source: Choe et al. 2020b, "Evaluation for Weakly Supervised Object Localization: Protocol, Metrics, and
        Datasets" (arXiv 2007.04178).
        """
        return float(np.mean(list(self.by_overlap.values())))

    @property
    def by_overlap(self) -> dict[float, float]:
        """For each IoU the highest accuracy over thresholds, each with its own threshold, of the best component's box.

        MetricError when no picture was added.
        """
        best = self._accuracy()[1:].max(axis=1)
        return {overlap: float(value) for overlap, value in zip(self.overlaps, best, strict=True)}

    @property
    def threshold(self) -> float:
        """The threshold of `max_box_acc`, the lowest of several. MetricError when no picture was added."""
        return float(self.thresholds[np.argmax(self._accuracy()[0])])

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which pictures `max_box_acc` counts as right: bool (N,), in the order they were added."""
        return self._unpacked()[:, 0, int(np.argmax(self._accuracy()[0]))]

    def _accuracy(self) -> npt.NDArray[np.float64]:
        """(1 + overlaps, thresholds)."""
        accuracy: npt.NDArray[np.float64] = self._unpacked().mean(axis=0)
        return accuracy

    def _unpacked(self) -> npt.NDArray[np.bool_]:
        """(pictures, 1 + overlaps, thresholds)."""
        if not self._packed:
            raise MetricError("the accuracy of no pictures is not defined: add some first")
        shape = (1 + len(self.overlaps), len(self.thresholds))
        bits = np.unpackbits(np.array(self._packed), axis=1, count=shape[0] * shape[1])
        return bits.reshape(-1, *shape).astype(bool)


def _components(region: npt.NDArray[np.bool_]) -> Components:
    numbered, count = ndimage.label(region, _EIGHT_NEIGHBOURS)
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(numbered)]
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    return Components(np.array(boxes, np.int64).reshape(count, 4), sizes)


def _check_thresholds(thresholds: Thresholds) -> npt.NDArray[np.float64]:
    cuts = np.asarray(thresholds, np.float64)
    if cuts.ndim != 1 or not cuts.size or not (cuts[0] > 0 and cuts[-1] <= 1 and (np.diff(cuts) > 0).all()):
        raise MetricError(f"thresholds are ascending, above 0 and at most 1; found {thresholds}")
    return cuts
