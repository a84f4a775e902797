"""Foreground and background by a minimum cut (Boykov & Jolly 2001), colours as Gaussian mixtures (Rother et al. 2004).

minimise  Σ_p l_p d_p + λ Σ_(p,q) |l_p − l_q| w_pq        l_p ∈ {0, 1}, 1 the foreground
d_p = log p(x_p | background) − log p(x_p | foreground)
w_pq = exp(−β ‖x_p − x_q‖²) / dist(p, q),   β = 1 / (2 ⟨‖x_p − x_q‖²⟩)
over neighbouring pixels, not both decided
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from onnx_saliency.errors import RuntimeMissingError

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Colours = npt.NDArray[np.uint8]

NEIGHBOURS = {4: ((0, 1), (1, 0)), 8: ((0, 1), (1, 0), (1, 1), (1, -1))}
"""Offsets (down, across) to half of a pixel's neighbours; to the other half it is theirs."""

_FLOOR = 1.0  # least variance of a colour: 8 bits have no finer steps
_SAMPLE = 2000  # colours that a mixture is fitted to: the time does not grow with the picture


@dataclass(frozen=True)
class Mixture:
    """A Gaussian mixture of colours.

    Attributes:
        weights: (K,), they add up to 1.
        means: (K, C).
        factors: (K, C, C), F with F Fᵀ the inverse of a component's covariance.
    """

    weights: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]
    factors: npt.NDArray[np.float64]

    def log_density(self, colours: Colours) -> Floats:
        """log Σ_k π_k N(x; μ_k, Σ_k) of colours (N, C): float32 (N,)."""
        points = colours.astype(np.float32)
        logs = np.empty((len(self.weights), len(points)), np.float32)
        for row, weight, mean, factor in zip(logs, self.weights, self.means, self.factors, strict=True):
            white = points @ factor.astype(np.float32) - (mean @ factor).astype(np.float32)
            constant = np.log(weight) + np.linalg.slogdet(factor)[1] - len(mean) / 2 * np.log(2 * np.pi)
            row[:] = constant - 0.5 * np.einsum("nc,nc->n", white, white)
        highest = logs.max(axis=0)
        density: Floats = highest + np.log(np.exp(logs - highest).sum(axis=0))
        return density


def fit_mixture(colours: Colours, components: int, seed: int = 0) -> Mixture:
    """Fit a mixture to colours (N, C), N >= 1, by expectation maximisation from k-means.

    Args:
        colours: of which at most 2,000 are looked at, drawn at random.
        components: how many Gaussians; fewer where there are fewer different colours.
        seed: of the draw and of the start.

    Raises:
        RuntimeMissingError: scikit-learn is not installed.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise _missing(error) from error
    if len(colours) > _SAMPLE:
        colours = colours[np.random.default_rng(seed).choice(len(colours), _SAMPLE, replace=False)]
    different = len(np.unique(colours, axis=0))
    if different == 1:
        width = colours.shape[1]
        return Mixture(np.ones(1), colours[:1].astype(np.float64), np.eye(width)[None] / np.sqrt(_FLOOR))
    fit = GaussianMixture(min(components, different), reg_covar=_FLOOR, tol=1e-2, max_iter=30, random_state=seed)
    with warnings.catch_warnings(), _threads().limit(limits=1):  # more only wait for each other: the sample is small
        warnings.simplefilter("ignore", ConvergenceWarning)  # thirty rounds are near enough
        fit.fit(colours.astype(np.float64))
    return Mixture(fit.weights_, fit.means_, fit.precisions_cholesky_)


@cache
def _threads() -> Any:
    """What holds the threads of OpenMP and BLAS; looking for their libraries takes as long as a fit."""
    from threadpoolctl import ThreadpoolController  # comes with scikit-learn

    return ThreadpoolController()


def minimum_cut(
    colours: Colours, open_: Mask, cost: Floats, label: Mask, *, smoothness: float = 10.0, neighbours: int = 8
) -> Mask:
    """The labels of least energy of the pixels that are open; those of the others stand.

    Time and memory grow with the open pixels, but for a few masks.

    Args:
        colours: (H, W, C).
        open_: (H, W), the pixels to label.
        cost: d of the open pixels, in rows from the top: (number of them,).
        label: (H, W), true for foreground; not read where a pixel is open.
        smoothness: λ.
        neighbours: 4 or 8.

    Raises:
        RuntimeMissingError: PyMaxflow is not installed.
    """
    try:
        import maxflow
    except ImportError as error:
        raise _missing(error) from error
    result = label & ~open_
    count = len(cost)
    if not count:
        return result
    number = np.full(open_.size, -1, np.int32)  # of an open pixel among its like
    number[open_.reshape(-1)] = np.arange(count, dtype=np.int32)
    pull = cost.astype(np.float64)
    ends, strengths = [], []
    for a, b, weight in _links(colours, open_, neighbours):
        strength = smoothness * weight.astype(np.float64)
        inside = (number[a] >= 0) & (number[b] >= 0)
        ends.append((number[a[inside]], number[b[inside]]))
        strengths.append(strength[inside])
        for pixel, other in ((a, b), (b, a)):  # a neighbour that stands pulls towards its own label
            edge = (number[pixel] >= 0) & ~inside
            towards = np.where(result.reshape(-1)[other[edge]], -strength[edge], strength[edge])
            pull += np.bincount(number[pixel[edge]], towards, count)
    graph = maxflow.Graph[float](count, sum(map(len, strengths)))
    nodes = graph.add_grid_nodes(count)
    for (here, there), strength in zip(ends, strengths, strict=True):
        graph.add_edges(here, there, strength, strength)
    graph.add_grid_tedges(nodes, np.maximum(-pull, 0), np.maximum(pull, 0))
    graph.maxflow()
    result[open_] = ~graph.get_grid_segments(nodes)
    return result


def _links(
    colours: Colours, open_: Mask, neighbours: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]]:
    """Pairs of neighbours, at least one of them open: where both lie in the flat picture, and w."""
    height, width = open_.shape
    pairs = []
    for down, across in NEIGHBOURS[neighbours]:
        left, right = max(-across, 0), max(across, 0)
        first, second = np.s_[: height - down, left : width - right], np.s_[down:, right : width - left]
        rows, columns = np.nonzero(open_[first] | open_[second])
        a = rows * width + columns + left
        b = a + down * width + across
        difference = _at(colours, a) - _at(colours, b)
        pairs.append((a, b, np.einsum("nc,nc->n", difference, difference)))
    squares = np.concatenate([square for *_, square in pairs])
    mean = squares.mean(dtype=np.float64) if len(squares) else 0.0
    beta = 1 / (2 * mean) if mean else 0.0  # one colour: no contrast to look at
    for (down, across), (a, b, square) in zip(NEIGHBOURS[neighbours], pairs, strict=True):
        yield a, b, np.exp(square * np.float32(-beta)) / np.float32(np.hypot(down, across))


def _at(colours: Colours, places: npt.NDArray[np.int64]) -> Floats:
    found: Floats = colours.reshape(-1, colours.shape[-1])[places].astype(np.float32)
    return found


def largest_component(mask: Mask) -> Mask:
    """The largest set of connected pixels, corners touching; of equal ones the first from the top."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if count < 2:
        return mask
    largest: Mask = labels == 1 + int(np.bincount(labels.reshape(-1))[1:].argmax())
    return largest


def bounding_box(mask: Mask) -> tuple[int, int, int, int]:
    """(xmin, ymin, xmax, ymax) of what is set, in pixels, max exclusive; zeros where nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _missing(error: ImportError) -> RuntimeMissingError:
    return RuntimeMissingError(
        f"Segmentation needs PyMaxflow and scikit-learn ({error}): pip install 'onnx-saliency[segment]'. "
        "They are an extra because PyMaxflow's licence is the GPL, and this package's is not."
    )
