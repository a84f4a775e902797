"""A map drawn over its picture, so that a person sees at once where the class comes from.

Everything here is for looking: the numbers of a map are never changed by how it is drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.errors import ImageError
from onnx_saliency.images import Placement
from onnx_saliency.report.colour import heat

SMOOTHING = 0.015
"""Default sigma as a share of the map's short side: joins the grain of a gradient, keeps the outline."""

_BAND = 256  # rows blended at a time
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_NEUTRAL = np.array([26.0, 28.0, 36.0], np.float32)
"""What a receded picture fades to: the cool dark of the ramp's lowest colour."""
_LIGHT, _LINES = 235.0, 250  # the grey of a frame, and how many of its lines the picture's short side would hold


def normalise(
    values: npt.NDArray[np.floating[Any]], quantile: float = 0.995, smooth: float | None = None
) -> npt.NDArray[np.float32]:
    """A map (H, W) for display: smoothed, then stretched so that its minimum is 0 and its `quantile` is 1.

    Best done on the network's own grid, before `Placement.restore`: smoothing there does not bleed over the crop's
    edge, and costs the same for a large photograph as for a small one.

    smooth: sigma of the Gaussian in pixels; None is SMOOTHING of the short side, 0 leaves the grain.
    Returns float32 (H, W) in 0..1; NaN and infinity count as 0, and a map of one value everywhere is all 0.
    Raises ValueError for a quantile outside 0..1.
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile={quantile}: want a number above 0, at most 1")
    finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
    if finite.size == 0 or np.ptp(finite) == 0:  # before smoothing, which leaves rounding noise to be stretched
        return np.zeros(finite.shape, np.float32)
    sigma = SMOOTHING * min(finite.shape) if smooth is None else smooth
    if sigma > 0:
        from scipy.ndimage import gaussian_filter  # half a second to import; only drawing needs it

        finite = gaussian_filter(finite, sigma)
    low, high, top = finite.min(), np.quantile(finite, quantile), finite.max()
    if high - low < 1e-6 * (top - low):  # so few cells are bright that the quantile misses them all
        high = top
    stretched: npt.NDArray[np.float32] = np.clip((finite - low) / (high - low), 0, 1).astype(np.float32)
    return stretched


def overlay(
    pixels: npt.NDArray[np.uint8],
    values: npt.NDArray[np.floating[Any]],
    *,
    dim: float = 0.68,
    tint: float = 0.6,
) -> npt.NDArray[np.uint8]:
    """The picture, dark and grey where the map is low, clear and warm where it is high.

    pixels: uint8 (H, W, 3).
    values: (H, W) in 0..1, as `normalise` gives it, laid on the picture by `Placement.restore`.
    dim: how far the picture recedes where the map is 0, from 0 (not at all) to 1 (gone).
    tint: how much of the heat's colour lies over the picture where the map is 1.
    Returns uint8 (H, W, 3). Raises ImageError when picture and map differ in size.
    """
    if values.shape != pixels.shape[:2]:
        raise ImageError(f"a map of {values.shape} does not lie on a picture of {pixels.shape[:2]} pixels")
    shown = np.empty_like(pixels)
    for top in range(0, len(pixels), _BAND):  # a 100-megapixel photograph in floats would take gigabytes
        band = slice(top, top + _BAND)
        shown[band] = _blended(pixels[band], values[band], dim, tint)
    return shown


def framed(drawn: npt.NDArray[np.uint8], place: Placement) -> npt.NDArray[np.uint8]:
    """A thin light line around what the network saw of the picture, since its map ends there; none if it saw all.

    drawn: uint8 (H, W, 3), of the picture's size.
    Returns uint8 (H, W, 3).
    """
    height, width = place.picture_size
    left, top, right, bottom = (round(edge) for edge in place.box)
    rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    line = max(1, round(min(height, width) / _LINES))
    around = np.zeros((height, width), bool)
    around[rows, columns] = True
    around[
        rows.start + line * (rows.start > 0) : rows.stop - line * (rows.stop < height),
        columns.start + line * (columns.start > 0) : columns.stop - line * (columns.stop < width),
    ] = False
    shown = drawn.copy()
    shown[around] = np.rint(0.5 * drawn[around] + 0.5 * _LIGHT)
    return shown


def _blended(
    pixels: npt.NDArray[np.uint8], values: npt.NDArray[np.floating[Any]], dim: float, tint: float
) -> npt.NDArray[np.uint8]:
    strength = np.clip(np.nan_to_num(values.astype(np.float32)), 0, 1)[:, :, None]
    picture = pixels.astype(np.float32)
    grey = (picture @ _LUMINANCE)[:, :, None]
    receded = (1 - dim) * (0.25 * picture + 0.75 * grey) + dim * _NEUTRAL
    # The picture comes back early in the map, the colour late: outlines stay legible under the tint, and the noise
    # floor that every gradient has stays in the dark.
    clear = _smoothstep(strength, 0.12, 0.62)
    colour = tint * _smoothstep(strength, 0.2, 1.0)
    seen = clear * picture + (1 - clear) * receded
    blended = (1 - colour) * seen + colour * heat(strength[:, :, 0])
    rounded: npt.NDArray[np.uint8] = np.rint(blended).astype(np.uint8)
    return rounded


def _smoothstep(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.float32]:
    """0 up to `low`, 1 from `high`, without a corner between: Hermite's 3t² - 2t³."""
    t: npt.NDArray[np.float32] = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
