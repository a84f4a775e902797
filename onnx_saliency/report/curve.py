"""A few curves over the number of steps, drawn with Pillow: enough to see whether an ascent arrived."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from onnx_saliency.report.sheet import PAPER

_INK, _FAINT, _RULE = (28, 30, 36), (112, 116, 126), (222, 222, 218)
_LINES = ((203, 75, 22), (38, 110, 180), (60, 140, 60), (150, 80, 160))
_SHARP = 3  # drawn larger, then made smaller: smooth lines


def curve(
    series: Sequence[npt.NDArray[np.floating]], title: str = "", *, size: tuple[int, int] = (480, 260)
) -> npt.NDArray[np.uint8]:
    """Draw series over their index in one frame, uint8 (H, W, 3).

    NaN ends a series. The vertical axis spans all values; its ends and the last index are written beside it.
    """
    width, height = size
    canvas = Image.new("RGB", (width * _SHARP, height * _SHARP), PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=12 * _SHARP)
    left, top, right, bottom = (edge * _SHARP for edge in (56, 30, width - 14, height - 28))
    values = np.concatenate([np.asarray(line, np.float64).ravel() for line in series] or [np.zeros(1)])
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    high = high if high > low else low + 1.0
    length = max((len(line) for line in series), default=1)
    for share in (0.0, 0.5, 1.0):
        y = bottom + (top - bottom) * share
        draw.line([(left, y), (right, y)], _RULE, _SHARP)
        draw.text((left - 6 * _SHARP, y), f"{low + (high - low) * share:.3g}", _FAINT, font, anchor="rm")
    draw.text((left, bottom + 6 * _SHARP), "1", _FAINT, font, anchor="ma")
    draw.text((right, bottom + 6 * _SHARP), f"{length}", _FAINT, font, anchor="ra")
    draw.text((left, 8 * _SHARP), title, _INK, font)
    for number, line in enumerate(series):
        seen = np.asarray(line, np.float64)
        seen = seen[np.isfinite(seen)]
        across = left + (right - left) * np.arange(len(seen)) / max(length - 1, 1)
        up = bottom + (top - bottom) * (seen - low) / (high - low)
        points = [(float(x), float(y)) for x, y in zip(across, up, strict=True)]
        if len(points) > 1:
            draw.line(points, _LINES[number % len(_LINES)], 2 * _SHARP, joint="curve")
        elif points:
            (x, y), r = points[0], 2 * _SHARP
            draw.ellipse([x - r, y - r, x + r, y + r], _LINES[number % len(_LINES)])
    small = canvas.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.uint8)
