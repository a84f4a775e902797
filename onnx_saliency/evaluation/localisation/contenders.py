"""Ways to find an object without GraphCut, to measure it against: each from the same map and the same seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from onnx_saliency.vision import Segmentation, largest_component

Mask = npt.NDArray[np.bool_]
Numbers = tuple[float, ...]

SHARES = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
"""Of the picture's sides, that a centred box spans."""
LEVELS = (0.03, 0.05, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
"""Of the map's maximum, above which it is taken for the object."""
BLUR = 0.03
"""Standard deviation of the Gaussian over a blurred map, as a fraction of the picture's longer side."""
ITERATIONS = 5


@dataclass(frozen=True)
class Baseline:
    """A simple way to a mask.

    Attributes:
        name: in tables.
        numbers: what its one free number may be; the best is chosen on the data set that it is measured on, for each
            measure again, which flatters it.
        masks: takes a segmentation, of which it may read picture, map and seeds, and the numbers; a mask for each.
        of_map: whether it reads the map, so that there is one for each recipe's.
    """

    name: str
    numbers: Numbers
    masks: Callable[[Segmentation, Numbers], Iterator[Mask]]
    of_map: bool = False


def centred_boxes(found: Segmentation, shares: Numbers) -> Iterator[Mask]:
    """The middle of the picture, as wide and as high as a share of it."""
    height, width = found.mask.shape
    for share in shares:
        mask = np.zeros((height, width), bool)
        top, left = round(height * (1 - share) / 2), round(width * (1 - share) / 2)
        mask[top : height - top, left : width - left] = True
        yield mask


def thresholded(found: Segmentation, levels: Numbers, blur: float = 0.0) -> Iterator[Mask]:
    """The largest component of the map above a level of its maximum, perhaps blurred first."""
    saliency = found.saliency
    if blur:
        saliency = ndimage.gaussian_filter(saliency, blur * max(saliency.shape))
    for level in levels:
        yield largest_component(saliency >= level * saliency.max())


def grab_cut(found: Segmentation, iterations: Numbers) -> Iterator[Mask]:
    """The largest component of OpenCV's GrabCut from the same seeds (Rother et al. 2004); undecided is background."""
    import cv2

    cv2.setNumThreads(1)
    cv2.setRNGSeed(0)  # of its k-means
    labels = np.full(found.seeds.shape, cv2.GC_PR_BGD, np.uint8)
    labels[found.seeds == 1], labels[found.seeds == 0] = cv2.GC_FGD, cv2.GC_BGD
    if not (found.seeds == 1).any() or not (found.seeds == 0).any():
        yield np.ones(labels.shape, bool)
        return
    pixels = np.ascontiguousarray(found.picture.pixels[..., ::-1])
    models = [np.zeros((1, 65)) for _ in range(2)]
    cv2.grabCut(pixels, labels, (0, 0, 0, 0), models[0], models[1], int(*iterations), cv2.GC_INIT_WITH_MASK)
    yield largest_component((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))


def baselines() -> list[Baseline]:
    """All of them; GrabCut where OpenCV is installed."""
    known = [
        Baseline("whole picture", (1.0,), centred_boxes),
        Baseline("centred box", SHARES, centred_boxes),
        Baseline("threshold", LEVELS, thresholded, of_map=True),
        Baseline("threshold, blurred", LEVELS, partial(thresholded, blur=BLUR), of_map=True),
    ]
    if find_spec("cv2"):
        known.append(Baseline("OpenCV GrabCut", (float(ITERATIONS),), grab_cut))
    return known
