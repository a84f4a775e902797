"""Is the object where the mask, the box or the map says? Measures on a data set's boxes and masks, beside baselines."""

from onnx_saliency.evaluation.localisation.boxes import (
    best_iou,
    box_iou,
    localisation_error,
    peak,
    pointing_game,
    right_boxes,
    right_guesses,
)
from onnx_saliency.evaluation.localisation.contenders import Baseline, baselines
from onnx_saliency.evaluation.localisation.max_box_accuracy import (
    Components,
    MaxBoxAccuracy,
    Overlaps,
    find_components,
    sweep,
)
from onnx_saliency.evaluation.localisation.measure import Contender, Localisation, measure_localisation, summary
from onnx_saliency.evaluation.localisation.pixels import Curve, PixelPrecision, average_precision, mask_iou

__all__ = [
    "Baseline",
    "Components",
    "Contender",
    "Curve",
    "Localisation",
    "MaxBoxAccuracy",
    "Overlaps",
    "PixelPrecision",
    "average_precision",
    "baselines",
    "best_iou",
    "box_iou",
    "find_components",
    "localisation_error",
    "mask_iou",
    "measure_localisation",
    "peak",
    "pointing_game",
    "right_boxes",
    "right_guesses",
    "summary",
    "sweep",
]
