"""Is the object where the box, or the brightest pixel, says it is.

Boxes are rows (xmin, ymin, xmax, ymax) in pixels, 0-based, max exclusive: a box of one pixel is (x, y, x + 1, y + 1).
All of a picture's boxes of the class count, and meeting any of them is enough (ILSVRC: Russakovsky et al. 2015, section
4.2). A row without area, such as (0, 0, 0, 0), says "no box" and meets nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation.arrays import as_boxes, as_map

OVERLAP = 0.5
"""The least IoU of a right box, in PASCAL VOC and ILSVRC."""

TOLERANCE = 15
"""Pixels by which the pointing game forgives a miss (Zhang et al. 2016)."""


def box_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Intersection over union of every box of one set with every box of another: float64 (A, B), 0..1.

    A box without area has IoU 0 with every box, with itself too.

    Args:
        first: (A, 4).
        second: (B, 4).

    Raises:
        MetricError: not boxes, or not finite.

    Source: Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", section 4.2.
    """
    a, b = as_boxes(first)[:, None], as_boxes(second)[None]
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared: npt.NDArray[np.float64] = np.maximum(high - low, 0.0).prod(axis=-1)
    either = _areas(a) + _areas(b) - shared
    return np.divide(shared, either, out=np.zeros(shared.shape), where=shared > 0)


def best_iou(boxes: npt.ArrayLike, truth: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The IoU of each box with the true box that it meets best: float64 (A,), 0 where there is no true box.

    Its mean over pictures is the mean best-box IoU.

    Args:
        boxes: (A, 4).
        truth: (B, 4), the picture's boxes.

    Raises:
        MetricError: not boxes, or not finite.
    """
    best: npt.NDArray[np.float64] = box_iou(boxes, truth).max(axis=1, initial=0.0)
    return best


def right_boxes(boxes: npt.ArrayLike, truth: npt.ArrayLike, overlap: float = OVERLAP) -> npt.NDArray[np.bool_]:
    """Which boxes have an IoU of at least `overlap` with any true box: bool (A,).

    Of the box made for the true class, this is localisation with the class known ("GT-known" accuracy): Choe et al.
    2020, "Evaluating Weakly Supervised Object Localization Methods Right", section 4.1.

    Args:
        boxes: (A, 4).
        truth: (B, 4).
        overlap: above 0, at most 1.

    Raises:
        MetricError: not boxes, not finite, or an overlap out of range.
    """
    if not 0 < overlap <= 1:
        raise MetricError(f"an overlap is above 0 and at most 1; found {overlap}")
    return best_iou(boxes, truth) >= overlap


def right_guesses(
    classes: npt.ArrayLike,
    boxes: npt.ArrayLike,
    accepted: Collection[int],
    truth: npt.ArrayLike,
    overlap: float = OVERLAP,
) -> npt.NDArray[np.bool_]:
    """Which guesses, each a class and its box, have both right: bool (K,), in the order of the guesses.

    Args:
        classes: integers (K,), the likeliest first.
        boxes: (K, 4), the box of each; without area where there is none.
        accepted: the classes that are right for the picture.
        truth: (B, 4).
        overlap: the least IoU, above 0 and at most 1.

    Raises:
        MetricError: not as many classes as boxes, or what `right_boxes` refuses.

    Source: ILSVRC's localisation task: Russakovsky et al. 2015, section 4.2.
    """
    named = np.asarray(classes)
    localised = right_boxes(boxes, truth, overlap)
    if named.shape != localised.shape or (named.size and named.dtype.kind not in "iu"):
        raise MetricError(
            f"a guess is a class and a box: found classes {named.dtype} {named.shape} for {len(localised)} boxes"
        )
    return np.isin(named, list(accepted)) & localised


def localisation_error(right: Iterable[npt.ArrayLike], top: int) -> float:
    """The fraction of pictures of which none of the first `top` guesses is right, 0..1.

    Args:
        right: of each picture what `right_guesses` made of its guesses, bool (K,); K may be less than `top`.
        top: 1 or 5, as is usual.

    Raises:
        MetricError: no pictures, or `top` below 1.

    Source: ILSVRC's localisation task: Russakovsky et al. 2015, section 4.2.
    """
    if top < 1:
        raise MetricError(f"the error is of the first 1 or more guesses; found {top}")
    wrong = [not np.asarray(guesses, bool)[:top].any() for guesses in right]
    if not wrong:
        raise MetricError("the error of no pictures is not defined")
    return float(np.mean(wrong))


def peak(saliency: npt.NDArray[Any]) -> tuple[int, int] | None:
    """The brightest pixel of a map (H, W) as (x, y), the first in reading order of several; None of a constant map.

    Raises:
        MetricError: not a map, or not finite.
    """
    values = as_map(saliency)
    if values.min() == values.max():
        return None
    y, x = np.unravel_index(np.argmax(values), values.shape)
    return int(x), int(y)


def pointing_game(saliency: npt.NDArray[Any], truth: npt.ArrayLike, tolerance: float = 0.0) -> bool:
    """Whether the map's brightest pixel lies in a true box, or within `tolerance` pixels of one.

    A pixel is in a box when its middle is; a box between two middles is the pixel that its own middle is in. The
    distance is that of pixel to pixel, in a straight line. A constant map points nowhere and misses.

    Args:
        saliency: (H, W), real, in the pixels of the boxes.
        truth: (B, 4).
        tolerance: 0 or more; `TOLERANCE` (15) is that of the source.

    Raises:
        MetricError: not a map, not boxes, not finite, or a negative tolerance.

    Source: Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", section 4.1.
    """
    if not tolerance >= 0:
        raise MetricError(f"a tolerance is 0 or more pixels; found {tolerance}")
    boxes, point = as_boxes(truth), peak(saliency)
    boxes = boxes[_areas(boxes) > 0]
    if point is None or not len(boxes):
        return False
    # First and last pixel whose middle lies in the box; a sliver between two middles is the pixel of its own middle.
    first, last = np.ceil(boxes[:, :2] - 0.5), np.ceil(boxes[:, 2:] - 0.5) - 1
    own = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2)
    first, last = np.where(first > last, own, first), np.where(first > last, own, last)
    away = np.maximum(np.maximum(first - point, point - last), 0.0)
    return bool(((away**2).sum(axis=1) <= tolerance**2).any())


def _areas(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    areas: npt.NDArray[np.float64] = np.maximum(boxes[..., 2:] - boxes[..., :2], 0.0).prod(axis=-1)
    return areas
