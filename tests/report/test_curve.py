"""Curves that are told apart."""

import numpy as np

from onnx_saliency.report.curve import curve


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


def test_dashes_follow_a_line_that_stands_still():
    drawn = curve([np.ones(2), np.ones(1), np.full(3, np.nan)], baselines=3)
    assert drawn.shape == (260, 480, 3)
