"""How good a map is, measured: data sets, with boxes and masks where they have them, and what is measured on them.

A measure takes arrays (boxes, maps, masks), so that a table of methods and measures is made of one row per picture;
those that sweep a threshold over a whole data set take it picture by picture.
"""

from onnx_saliency.evaluation.arrays import min_max
from onnx_saliency.evaluation.bootstrap import Interval, bootstrap_difference, bootstrap_mean
from onnx_saliency.evaluation.localisation import (
    Components,
    Curve,
    MaxBoxAccuracy,
    Overlaps,
    PixelPrecision,
    average_precision,
    best_iou,
    box_iou,
    find_components,
    localisation_error,
    mask_iou,
    peak,
    pointing_game,
    right_boxes,
    right_guesses,
    sweep,
)

__all__ = [
    "Components",
    "Curve",
    "Interval",
    "MaxBoxAccuracy",
    "Overlaps",
    "PixelPrecision",
    "average_precision",
    "best_iou",
    "bootstrap_difference",
    "bootstrap_mean",
    "box_iou",
    "find_components",
    "localisation_error",
    "mask_iou",
    "min_max",
    "peak",
    "pointing_game",
    "right_boxes",
    "right_guesses",
    "sweep",
]
