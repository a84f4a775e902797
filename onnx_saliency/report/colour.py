"""The colours of a map: a ramp in equal steps of lightness for what is 0 or more, grey as 0 for what has a sign."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

_ANCHORS = (
    (9, 12, 36),
    (8, 25, 105),
    (81, 6, 158),
    (151, 15, 129),
    (206, 25, 100),
    (249, 57, 72),
    (251, 124, 72),
    (252, 171, 77),
    (254, 213, 100),
    (254, 247, 212),
)
"""sRGB at equal steps of CIE L* from 4 to 97: twice the value looks twice as bright, also in print and to the
colour-blind. The hue only travels one way, violet to yellow."""


_GREY = 127.5
_QUANTILE = 0.99  # of what is not 0: a few large values would leave the others grey


def heat(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """The colour of each value in 0..1 (clipped; NaN counts as 0): (H, W) to uint8 RGB (H, W, 3).

    From night blue through magenta and orange to cream.
    """
    steps = np.clip(np.nan_to_num(values), 0.0, 1.0) * 255
    colours: npt.NDArray[np.uint8] = _ramp()[np.rint(steps).astype(np.intp)]
    return colours


def signed(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """A signed picture with grey as 0, its contrast stretched to its own values but for few: uint8 RGB (H, W, 3).

    values: (H, W, 3), a sign for each colour, or (H, W, 1) or (H, W); NaN counts as 0.
    Source: the projections of Zeiler & Fergus 2013, figure 2.
    """
    finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    colours = finite[:, :, None] if finite.ndim == 2 else finite
    sizes = np.abs(colours[colours != 0])
    largest = float(np.quantile(sizes, _QUANTILE)) if sizes.size else 1.0
    shown = _GREY + _GREY * np.clip(colours / largest, -1, 1)
    pixels: npt.NDArray[np.uint8] = np.rint(np.broadcast_to(shown, (*shown.shape[:2], 3))).astype(np.uint8)
    return pixels


@cache
def _ramp() -> npt.NDArray[np.uint8]:
    """uint8 (256, 3), linear between the anchors."""
    anchors = np.asarray(_ANCHORS, dtype=np.float64)
    at = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(at, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    ramp: npt.NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return ramp
