"""A few curves in one frame, drawn with Pillow: enough to see whether an ascent arrived, or which method is ahead."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from onnx_saliency.report.sheet import PAPER

Colour = tuple[int, int, int]
Point = tuple[float, float]

_INK, _FAINT, _RULE = (28, 30, 36), (112, 116, 126), (222, 222, 218)
_LINES = (
    (203, 75, 22),
    (38, 110, 180),
    (60, 140, 60),
    (150, 80, 160),
    (200, 150, 20),
    (20, 150, 150),
    (190, 70, 110),
    (120, 95, 70),
    (90, 90, 210),
    (140, 165, 40),
    (235, 120, 165),
)
_BASELINES = ((60, 63, 70), (120, 124, 134), (175, 178, 186))  # dashed, and no colour
_DASH, _BREAK = 7, 4  # pixels along a line
_SHARP = 3  # drawn larger, then made smaller: smooth lines
_LINE_HEIGHT = 18  # pixels, of the legend
_LEAST = 1e-12  # values that are nearer to each other are one, as far as an axis tells


def curve(
    series: Sequence[npt.NDArray[np.floating]],
    title: str = "",
    *,
    at: npt.NDArray[np.floating] | None = None,
    names: Sequence[str] = (),
    baselines: int = 0,
    size: tuple[int, int] = (480, 260),
) -> npt.NDArray[np.uint8]:
    """Draw series in one frame, uint8 (H, W, 3).

    NaN ends a series. The vertical axis spans all values, from one round number to another; round numbers between, and
    the ends of the horizontal one, are written beside it.

    Args:
        series: each (T,), drawn in the order given, in colours that come again after eleven.
        title: above the frame.
        at: (T,), where the values are, ascending; None counts them from 1.
        names: of the series, listed to the right of the frame.
        baselines: how many of the series, the last ones, are what the others are held against: dashed, in grey.
        size: width and height of the picture in pixels.
    """
    width, height = size
    canvas = Image.new("RGB", (width * _SHARP, height * _SHARP), PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=12 * _SHARP)
    legend = 34 + int(max((font.getlength(name) for name in names), default=0.0) / _SHARP) if names else 0
    left, top, right, bottom = (edge * _SHARP for edge in (56, 30, width - 14 - legend, height - 28))
    length = max((len(line) for line in series), default=1) or 1
    places = np.arange(1, length + 1) if at is None else np.asarray(at, np.float64)
    start, span = float(places[0]), max(float(places[-1] - places[0]), 1e-300)
    values = np.concatenate([np.asarray(line, np.float64).ravel() for line in series] or [np.zeros(1)])
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    marks = ticks(low, high if high - low > _LEAST * max(1.0, abs(low)) else low + max(1.0, abs(low)))
    low, high = marks[0], marks[-1]
    for mark in marks:
        y = bottom + (top - bottom) * (mark - low) / (high - low)
        draw.line([(left, y), (right, y)], _RULE, _SHARP)
        draw.text((left - 6 * _SHARP, y), f"{mark:.6g}", _FAINT, font, anchor="rm")
    draw.text((left, bottom + 6 * _SHARP), f"{places[0]:g}", _FAINT, font, anchor="ma")
    draw.text((right, bottom + 6 * _SHARP), f"{places[-1]:g}", _FAINT, font, anchor="ra")
    draw.text((left, 8 * _SHARP), title, _INK, font)
    for number, line in enumerate(series):
        seen = np.asarray(line, np.float64)
        known = np.isfinite(seen)
        across = left + (right - left) * (places[: len(seen)][known] - start) / span
        up = bottom + (top - bottom) * (seen[known] - low) / (high - low)
        points = [(float(x), float(y)) for x, y in zip(across, up, strict=True)]
        dashed, colour = _look(number, len(series) - baselines)
        if len(points) > 1:
            _stroke(draw, points, colour, dashed=dashed)
        elif points:
            (x, y), r = points[0], 2 * _SHARP
            draw.ellipse([x - r, y - r, x + r, y + r], colour)
    for number, name in enumerate(names):
        x, y = right + 10.0 * _SHARP, top + (number + 0.5) * _LINE_HEIGHT * _SHARP
        dashed, colour = _look(number, len(series) - baselines)
        _stroke(draw, [(x, y), (x + 14.0 * _SHARP, y)], colour, dashed=dashed)
        draw.text((x + 20 * _SHARP, y), name, _INK, font, anchor="lm")
    small = canvas.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.uint8)


def ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, from `low` or below it to `high` or above, three to six of them."""
    least = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(least))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= least)
    return [number * step for number in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _stroke(draw: ImageDraw.ImageDraw, points: Sequence[Point], colour: Colour, *, dashed: bool) -> None:
    for part in _dashes(points) if dashed else [points]:
        draw.line(part, colour, 2 * _SHARP, joint="curve")


def _look(number: int, coloured: int) -> tuple[bool, Colour]:
    """Whether a series is dashed, and its colour; the first `coloured` are not."""
    if number < coloured:
        return False, _LINES[number % len(_LINES)]
    return True, _BASELINES[(number - coloured) % len(_BASELINES)]


def _dashes(points: Sequence[Point]) -> list[list[Point]]:
    """The parts of a line that are drawn, each `_DASH` long, the breaks between them `_BREAK`."""
    line = np.asarray(points, np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    dash, period = _DASH * _SHARP, (_DASH + _BREAK) * _SHARP
    parts = []
    for start in np.arange(0.0, max(along[-1], 1e-9), period):
        end = min(start + dash, along[-1])
        at = np.concatenate([[start], along[(along > start) & (along < end)], [end]])
        parts.append([(float(np.interp(t, along, line[:, 0])), float(np.interp(t, along, line[:, 1]))) for t in at])
    return parts
