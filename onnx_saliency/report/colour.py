"""The colour ramp of a map: from night blue through magenta and orange to cream, in equal steps of lightness."""

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


def heat(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """The colour of each value in 0..1 (clipped; NaN counts as 0): (H, W) to uint8 RGB (H, W, 3)."""
    steps = np.clip(np.nan_to_num(values), 0.0, 1.0) * 255
    colours: npt.NDArray[np.uint8] = _ramp()[np.rint(steps).astype(np.intp)]
    return colours


@cache
def _ramp() -> npt.NDArray[np.uint8]:
    """uint8 (256, 3), linear between the anchors."""
    anchors = np.asarray(_ANCHORS, dtype=np.float64)
    at = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(at, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    ramp: npt.NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return ramp
