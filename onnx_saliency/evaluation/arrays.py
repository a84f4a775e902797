"""What a measure is taken of, checked once: boxes, maps, masks; and the correlation that several are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.errors import MetricError


def as_boxes(boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Boxes as float64 (B, 4); an empty list is no boxes. MetricError when they are not, or not finite."""
    array = np.asarray(boxes, np.float64)
    if array.shape == (0,):
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise MetricError(f"boxes are rows (xmin, ymin, xmax, ymax), an array (B, 4); found {array.shape}")
    if not np.isfinite(array).all():
        raise MetricError(f"{np.count_nonzero(~np.isfinite(array).all(axis=1))} boxes are not finite")
    return array


def as_map(saliency: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """A map as float64 (H, W). MetricError when it has another rank, no pixels, or is not finite."""
    values = np.asarray(saliency, np.float64)
    if values.ndim != 2 or not values.size:
        raise MetricError(f"a map is an array (H, W) of one picture; found {values.shape}")
    if not np.isfinite(values).all():
        raise MetricError(f"{np.count_nonzero(~np.isfinite(values))} of the map's {values.size} pixels are not finite")
    return values


def min_max(saliency: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """A map brought to 0..1 by its own least and largest value, float64 (H, W); a constant map is 0 everywhere.

    Raises:
        MetricError: not a map, or not finite.

    Source: Choe et al. 2020, whose thresholds are taken of the map after this.
    """
    values = as_map(saliency)
    low, high = values.min(), values.max()
    if low == high:
        return np.zeros_like(values)
    with np.errstate(over="ignore", invalid="ignore"):
        scores: npt.NDArray[np.float64] = (values - low) / (high - low)
    if not np.isfinite(scores).all():  # the range itself overflows
        scores = (values / 4 - low / 4) / (high / 4 - low / 4)
    return scores


def as_mask(mask: npt.NDArray[Any], shape: tuple[int, ...], what: str) -> npt.NDArray[np.bool_]:
    """A mask as bool of `shape`. MetricError when it is of another shape or not made of 0 and 1."""
    array = np.asarray(mask)
    if array.shape != shape:
        raise MetricError(f"{what} is {array.shape}, what it is compared with {shape}")
    if array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
        raise MetricError(f"{what} is neither bool nor made of 0 and 1 ({array.dtype})")
    return array.astype(bool)


def pearson(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Pearson's correlation of the numbers of two arrays of one shape, -1..1; NaN where one of the two is constant."""
    x, y = a.ravel() - a.mean(), b.ravel() - b.mean()
    length = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / length) if length > 0 else np.nan
