"""How alike two maps of one picture are: in the order of their pixels, in structure, and in the edges they draw.

Each is 1 of a map and itself, about 0 of maps that have nothing to do with each other, and NaN where a map is constant,
which says nothing. None depends on the unit that a map is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation.arrays import as_map, pearson

Floats = npt.NDArray[np.float64]

_SHOWN = 0.99  # quantile of |values| that is shown as 1
_SIGMA, _TRUNCATE = 1.5, 3.5  # a window of 11 x 11
_K1, _K2 = 0.01, 0.03
_BINS, _BLOCK, _CLIPPED = 9, 3, 0.2
_CELLS = 14  # along the shorter side, as of cells of 16 pixels in 224


class Similarity(NamedTuple):
    """All measures of two maps: as they are explained, without sign, and with it, where the method has one."""

    spearman: float
    ssim: float
    hog: float
    spearman_signed: float
    ssim_signed: float
    hog_signed: float


MEASURES = Similarity._fields


@dataclass(frozen=True, eq=False)
class Traits:
    """What is compared of a map (H, W), each made when it is first asked for: one map is compared with many."""

    values: Floats

    @cached_property
    def is_constant(self) -> bool:
        """Whether all values are one."""
        return bool(self.values.min() == self.values.max())

    @cached_property
    def ranks(self) -> Floats:
        """Of the pixels, (H W); of those of one value the mean rank."""
        ranks: Floats = stats.rankdata(self.values)
        return ranks

    @cached_property
    def shown(self) -> Floats:
        """The map as it is shown, (H, W), 0..1, or -1..1 with its sign: what Adebayo et al. compare."""
        low = max(float(self.values.min()), 0.0)
        size = np.abs(self.values - low)
        largest = float(np.quantile(size, _SHOWN)) or float(size.max())
        return np.clip((self.values - low) / largest, -1.0, 1.0)

    @cached_property
    def gradients(self) -> Floats:
        """`oriented_gradients` of the map as it is shown."""
        return oriented_gradients(self.shown)


def compare(first: Traits, second: Traits, signed: tuple[Traits, Traits] | None = None) -> Similarity:
    """Take all measures of two maps of one shape, and of their signed twins; NaN without them."""
    values = (_spearman(first, second), _ssim(first, second), _hog_correlation(first, second))
    if signed is None:
        return Similarity(*values, np.nan, np.nan, np.nan)
    return Similarity(*values, _spearman(*signed), _ssim(*signed), _hog_correlation(*signed))


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Spearman's rank correlation of the pixels, -1..1; of pixels of one value the mean rank.

    Raises:
        MetricError: not two maps of one shape, or not finite.

    Source: Spearman 1904, "The Proof and Measurement of Association between Two Things".
    """
    return _spearman(*_pair(first, second))


def ssim(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Mean structural similarity of two maps as they are shown, -1..1.

    Shown: a map without negative values from its least value, else from 0, to the 99th percentile of its absolute
    values, which is 1; what is beyond is clipped. The window is a Gaussian of σ 1.5 over 11 x 11 pixels; windows that
    reach over the edge are left out. NaN of maps smaller than the window, too.

    Raises:
        MetricError: not two maps of one shape, or not finite.

    Source: Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", section III-B.
    """
    return _ssim(*_pair(first, second))


def hog_correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Pearson's correlation of the histograms of oriented gradients of two maps, as they are shown (`ssim`): -1..1.

    Raises:
        MetricError: not two maps of one shape, or not finite.

    Source: Adebayo et al. 2018, section 3; Dalal & Triggs 2005, "Histograms of Oriented Gradients for Human Detection".
    """
    return _hog_correlation(*_pair(first, second))


def _spearman(a: Traits, b: Traits) -> float:
    return pearson(a.ranks, b.ranks)


def _ssim(a: Traits, b: Traits) -> float:
    rim = int(_TRUNCATE * _SIGMA + 0.5)
    if min(a.values.shape) <= 2 * rim or a.is_constant or b.is_constant:
        return np.nan
    span = 2.0 if min(a.values.min(), b.values.min()) < 0 else 1.0
    x, y = a.shown, b.shown
    mean = partial(ndimage.gaussian_filter, sigma=_SIGMA, truncate=_TRUNCATE)
    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (_K1 * span) ** 2, (_K2 * span) ** 2
    local = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(local[rim:-rim, rim:-rim].mean())


def _hog_correlation(a: Traits, b: Traits) -> float:
    return np.nan if a.is_constant or b.is_constant else pearson(a.gradients, b.gradients)


def oriented_gradients(values: Floats, cell: int | None = None) -> Floats:
    """Histograms of oriented gradients of (H, W): float64 (blocks down, blocks across, cells down, cells across, 9).

    Nine unsigned orientations, blocks of 3 x 3 cells (fewer where there are fewer), each normalised by its length,
    clipped at 0.2 and normalised again. `cell` is its side in pixels; None makes 14 cells along the shorter side.
    """
    height, width = values.shape
    side = cell or max(1, min(height, width) // _CELLS)
    down, across = np.zeros_like(values), np.zeros_like(values)
    down[1:-1] = values[2:] - values[:-2]
    across[:, 1:-1] = values[:, 2:] - values[:, :-2]
    strength, angle = np.hypot(down, across), np.rad2deg(np.arctan2(down, across)) % 180
    bins = np.minimum((angle * _BINS / 180).astype(np.intp), _BINS - 1)
    rows, columns = height // side, width // side
    place = (np.arange(height) // side)[:, None] * columns + np.arange(width) // side
    whole = (slice(rows * side), slice(columns * side))
    votes = np.bincount(
        (place * _BINS + bins)[whole].ravel(), strength[whole].ravel(), minlength=rows * columns * _BINS
    )
    cells = votes.reshape(rows, columns, _BINS) / side**2
    tall, wide = min(_BLOCK, rows), min(_BLOCK, columns)
    blocks = np.lib.stride_tricks.sliding_window_view(cells, (tall, wide), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    clipped = np.minimum(_unit(blocks), _CLIPPED)
    return _unit(clipped)


def _unit(blocks: Floats) -> Floats:
    """Each block by its length; the constant keeps an empty one at 0."""
    lengths: Floats = np.sqrt((blocks**2).sum(axis=(2, 3, 4), keepdims=True) + 1e-10)
    return blocks / lengths


def _pair(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Traits, Traits]:
    a, b = as_map(first), as_map(second)
    if a.shape != b.shape:
        raise MetricError(f"maps of one picture are compared; found {a.shape} and {b.shape}")
    return Traits(a), Traits(b)
