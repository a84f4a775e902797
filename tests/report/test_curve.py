"""Curves that are told apart."""

import numpy as np
import pytest

from onnx_saliency.report.curve import curve, ticks


def test_eleven_series_have_eleven_looks():
    """Eight methods and three baselines: a method must not look like its baseline."""
    series = [np.array([i, i], np.float64) for i in range(11)]
    pixels = curve(series, baselines=3, size=(400, 600)).astype(int)
    looks = []
    for i in range(11):
        y = round(600 - 28 + (30 - (600 - 28)) * i / 10)
        row = pixels[y, 60:380]
        drawn = np.abs(row - row.mean(axis=0)).max(axis=1) > 30
        looks.append((tuple(int(v) // 8 for v in row[(row.sum(axis=1)).argmin()]), bool(drawn.mean() > 0.2)))
    assert len(set(looks)) == 11
    assert [dashed for _, dashed in looks] == [False] * 8 + [True] * 3


@pytest.mark.parametrize("value", [0, 1, -3, 1e17, 1e-300, 5e-324])
def test_values_that_are_alike_or_nearly(value):
    """They are drawn as one value, but for a fraction of a pixel."""
    drawn, alike = curve([np.array([value, np.nextafter(value, 1e18)])]), curve([np.full(2, value)])
    assert np.abs(drawn.astype(int) - alike).mean() < 0.5


def test_dashes_follow_a_line_that_stands_still():
    drawn = curve([np.ones(2), np.ones(1), np.full(3, np.nan)], baselines=3)
    assert drawn.shape == (260, 480, 3)


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0, 10, [0, 5, 10]),
        (5.83e-7, 0.575, [0, 0.2, 0.4, 0.6]),
        (-0.31, 1, [-0.5, 0, 0.5, 1]),
        (2, 44.6, [0, 20, 40, 60]),
        (100.2, 100.9, [100.2, 100.4, 100.6, 100.8, 101]),
        (1e-9, 4e-9, [1e-9, 2e-9, 3e-9, 4e-9]),
    ],
)
def test_ticks_are_round(low, high, marks):
    assert ticks(low, high) == pytest.approx(marks)


def test_ticks_span_everything_and_are_few():
    rng = np.random.default_rng(0)
    for low, span in zip(rng.normal(size=500) * 100, 10 ** rng.uniform(-6, 6, 500), strict=True):
        marks = ticks(low, low + span)
        assert marks[0] <= low + 1e-9 * abs(low)
        assert marks[-1] >= low + span - 1e-9 * abs(low)
        assert 3 <= len(marks) <= 6
