"""One convention for boxes: xmin, ymin, xmax, ymax, 0-based, max exclusive, in the pixels of the upright picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnx_saliency.images import Header

Boxes = npt.NDArray[np.float64]

NO_BOXES: Boxes = np.zeros((0, 4))
"""Of a picture of which only the class is known."""

SLACK = 1.0
"""Pixels of the annotation by which a box may lie outside its picture: rounding, and conventions that were mixed."""


def from_inclusive(boxes: npt.ArrayLike) -> Boxes:
    """From 1-based, max inclusive (VOC, ILSVRC): the first pixel alone is (1, 1, 1, 1) there, (0, 0, 1, 1) here."""
    array: Boxes = np.asarray(boxes, np.float64).reshape(-1, 4) - np.array([1.0, 1.0, 0.0, 0.0])
    return array


def from_size(boxes: npt.ArrayLike) -> Boxes:
    """From x, y, width, height, 0-based (COCO, CUB)."""
    array = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1)


def fit(boxes: Boxes, header: Header, annotated: tuple[int, int] | None) -> tuple[Boxes, list[str]]:
    """Boxes on the picture as it is stored and turned, clipped to it, and what is wrong with them.

    The annotation may be of the picture in another size. It is of the pixels as they are stored, as the tools of these
    data sets show them, unless its proportions are those of the picture turned upright.

    Args:
        boxes: (B, 4), in the annotation's pixels.
        header: of the picture's file.
        annotated: (width, height) that the boxes were drawn on; None: the stored size.
    """
    height, width = header.size
    is_upright = (
        header.orientation >= 5 and annotated is not None and (annotated[0] - annotated[1]) * (width - height) < 0
    )
    if is_upright:
        width, height = height, width
    across, down = annotated or (width, height)
    faults = [f"box {_text(box)} {reason}" for box in boxes if (reason := _fault(box, across, down))]
    edges = np.array([width, height, width, height])
    fitted = np.clip(boxes * edges / np.array([across, down, across, down]), 0, edges)
    return fitted if is_upright else _turn(fitted, header), faults


def _fault(box: Boxes, across: int, down: int) -> str:
    xmin, ymin, xmax, ymax = box
    if not (xmax > xmin and ymax > ymin):
        return "has no area"
    beyond = xmin < -SLACK or ymin < -SLACK or xmax > across + SLACK or ymax > down + SLACK
    if beyond or xmin >= across or ymin >= down or xmax <= 0 or ymax <= 0:
        return f"is outside its picture of {across} x {down}"
    return ""


def _turn(boxes: Boxes, header: Header) -> Boxes:
    """Boxes of the stored pixels in those of the upright picture, by the EXIF orientation."""
    (height, width), orientation = header
    x, y = boxes[:, [0, 2]], boxes[:, [1, 3]]
    if orientation in (2, 3, 7, 8):
        x = width - x[:, ::-1]
    if orientation in (3, 4, 6, 7):
        y = height - y[:, ::-1]
    if orientation >= 5:
        x, y = y, x
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def _text(box: Boxes) -> str:
    return f"({', '.join(f'{edge:g}' for edge in box)})"
