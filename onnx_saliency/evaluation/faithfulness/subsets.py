"""Do a map's sums over parts of a picture foretell what the score loses without them? Infidelity and sensitivity-n.

The parts are drawn from the picture alone, so that one set of perturbed images serves all maps of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_saliency.evaluation.arrays import as_map, pearson

Floats = npt.NDArray[np.float64]

GRID = 14
"""Cells across and down; a small picture has one per pixel."""
SHARES = (0.05, 0.1, 0.2, 0.4)
"""Of the cells, that are removed at once, wherever they lie."""
DRAWS = 12
"""Parts of each share."""
SQUARES = 32
"""Squares, of half the grid's side at most."""


@dataclass(frozen=True, eq=False)
class Subsets:
    """Parts of a picture.

    Attributes:
        cell: int64 (H, W), the cell that a pixel is in.
        removed: bool (K, cells), which cells are removed.
        size: int64 (K,), how many.
    """

    cell: npt.NDArray[np.int64]
    removed: npt.NDArray[np.bool_]
    size: npt.NDArray[np.int64]

    @property
    def ranks(self) -> npt.NDArray[np.int32]:
        """int32 (K, H, W): 0 where a pixel is removed, else 1; a count of 1 then removes just these."""
        kept: npt.NDArray[np.int32] = (~self.removed[:, self.cell]).astype(np.int32)
        return kept

    def sums(self, saliency: npt.ArrayLike) -> Floats:
        """The sum of a map over the removed pixels of each part, float64 (K,). MetricError when it is no map."""
        values = as_map(saliency)
        sums: Floats = self.removed.astype(np.float64) @ np.bincount(self.cell.ravel(), values.ravel())
        return sums


def draw_scattered(
    height: int,
    width: int,
    *,
    grid: int = GRID,
    shares: tuple[float, ...] = SHARES,
    draws: int = DRAWS,
    seed: int | tuple[int, ...] = 0,
) -> Subsets:
    """Draw cells of the grid without replacement, of each share so often; a part has at least one cell."""
    cell, (down, across) = _grid(height, width, grid)
    rng = np.random.default_rng(seed)
    size = np.repeat([max(1, round(share * down * across)) for share in shares], draws)
    order = rng.permuted(np.broadcast_to(np.arange(down * across), (len(size), down * across)), axis=1)
    return Subsets(cell, order < size[:, None], size)


def draw_squares(
    height: int, width: int, *, grid: int = GRID, draws: int = SQUARES, seed: int | tuple[int, ...] = 0
) -> Subsets:
    """Draw squares of 1 to half as many cells as the grid has on its shorter side, each within the picture."""
    cell, (down, across) = _grid(height, width, grid)
    rng = np.random.default_rng(seed)
    side = rng.integers(1, max(1, min(down, across) // 2), draws, endpoint=True)
    top, left = rng.integers(0, down - side, endpoint=True), rng.integers(0, across - side, endpoint=True)
    row, column = np.divmod(np.arange(down * across), across)
    inside = (row >= top[:, None]) & (row < (top + side)[:, None])
    inside &= (column >= left[:, None]) & (column < (left + side)[:, None])
    return Subsets(cell, inside, side**2)


def _grid(height: int, width: int, grid: int) -> tuple[npt.NDArray[np.int64], tuple[int, int]]:
    """The cell of each pixel, and how many there are down and across."""
    down, across = min(grid, height), min(grid, width)
    row, column = np.arange(height) * down // height, np.arange(width) * across // width
    return row[:, None] * across + column, (down, across)


def sensitivity_n(subsets: Subsets, saliency: npt.ArrayLike, drops: Floats) -> float:
    """Correlation of a map's sums with the score's drops, for each size of part, and the mean over sizes: -1..1.

    0 for a size whose sums, or drops, are all alike.

    Args:
        subsets: the parts.
        saliency: (H, W).
        drops: float64 (K,), what the score loses without each part.

    Source: Ancona et al. 2018, "Towards better understanding of gradient-based attribution methods", section 4; of
    cells, not pixels: single pixels move the score of a photograph by less than it rounds.
    """
    sums = subsets.sums(saliency)
    sizes = [subsets.size == size for size in np.unique(subsets.size)]
    return float(np.nan_to_num([pearson(sums[each], drops[each]) for each in sizes]).mean())


def infidelity(subsets: Subsets, saliency: npt.ArrayLike, drops: Floats) -> float:
    """min over β of E[(β Σ_S m - drop)²] / E[drop²]: 0 where sums foretell the drops, 1 where they say nothing.

    The least square β makes maps of any scale alike, as the authors do; dividing by the drops' own square makes
    pictures alike. 0 where nothing drops. Parts are squares, as the authors have them. Arguments and errors are those
    of `sensitivity_n`.

    Source: Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations", definition 2.1 and section 5.
    """
    sums = subsets.sums(saliency)
    square, own = float(drops @ drops), float(sums @ sums)
    if not square:
        return 0.0
    explained = float(sums @ drops) ** 2 / own if own else 0.0
    return max(0.0, 1 - explained / square)
