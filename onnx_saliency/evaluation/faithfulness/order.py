"""In which order a map takes the pixels; and maps that know nothing of the model, to measure others against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation.arrays import as_map

Ties = Literal["random", "first", "last"]
Map = npt.NDArray[np.float64]


def rank_pixels(saliency: npt.ArrayLike, ties: Ties = "random", seed: int | tuple[int, ...] = 0) -> npt.NDArray[Any]:
    """The place of each pixel in the order of the map, int32 (H, W): 0 the most salient.

    Args:
        saliency: (H, W), real, on any scale.
        ties: of equal pixels, which goes first: "random" draws, so that a map that says nothing scores as a random
            order does; "first" and "last" go by place, row by row.
        seed: of the draw.

    Raises:
        MetricError: not a map, not finite, or no such way.
    """
    values = as_map(saliency).ravel()
    if ties not in get_args(Ties):
        raise MetricError(f"ties are {', '.join(get_args(Ties))}; found {ties!r}")
    if ties == "last":
        order = np.argsort(values, kind="stable")[::-1]
    elif ties == "first":
        order = np.argsort(-values, kind="stable")
    else:
        shuffled = np.random.default_rng(seed).permutation(values.size)
        order = shuffled[np.argsort(-values[shuffled], kind="stable")]
    ranks = np.empty(values.size, np.int32)
    ranks[order] = np.arange(values.size, dtype=np.int32)
    return ranks.reshape(np.shape(saliency))


def random_order(image: npt.NDArray[Any], seed: int | tuple[int, ...]) -> Map:
    """Pixels in an order drawn anew for each picture; `image` (C, H, W)."""
    height, width = image.shape[1:]
    return np.random.default_rng(seed).permutation(height * width).astype(np.float64).reshape(height, width)


def centre_first(image: npt.NDArray[Any], seed: int | tuple[int, ...]) -> Map:
    """The nearer to the middle, the earlier: where photographers put things; `image` (C, H, W)."""
    height, width = image.shape[1:]
    rows, columns = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    distance: Map = np.hypot(rows[:, None], columns)
    nearness: Map = distance.max() - distance
    return nearness


def sobel_edges(image: npt.NDArray[Any], seed: int | tuple[int, ...]) -> Map:
    """The strength of edges, by Sobel's filter of the mean over the channels; `image` (C, H, W)."""
    grey = image.astype(np.float64).mean(axis=0)
    edges: Map = np.hypot(ndimage.sobel(grey, axis=0), ndimage.sobel(grey, axis=1))
    return edges


BASELINES: dict[str, Callable[[npt.NDArray[Any], int | tuple[int, ...]], Map]] = {
    "random order": random_order,
    "centre first": centre_first,
    "Sobel edges": sobel_edges,
}
"""Maps of an image (C, H, W) in the network's range, and a seed."""
