"""Does a map name the pixels that the score depends on? Deletion, insertion and their like, spelled out."""

from onnx_saliency.evaluation.faithfulness.curves import area_under, perturbation_curve
from onnx_saliency.evaluation.faithfulness.measure import (
    METRICS,
    Case,
    Contender,
    Faithfulness,
    measure_faithfulness,
)
from onnx_saliency.evaluation.faithfulness.order import BASELINES, rank_pixels
from onnx_saliency.evaluation.faithfulness.protocol import PROTOCOLS, Blur, Constant, Protocol, find_protocol
from onnx_saliency.evaluation.faithfulness.scorer import Scorer, Scores
from onnx_saliency.evaluation.faithfulness.subsets import draw_scattered, draw_squares, infidelity, sensitivity_n

__all__ = [
    "BASELINES",
    "METRICS",
    "PROTOCOLS",
    "Blur",
    "Case",
    "Constant",
    "Contender",
    "Faithfulness",
    "Protocol",
    "Scorer",
    "Scores",
    "area_under",
    "draw_scattered",
    "draw_squares",
    "find_protocol",
    "infidelity",
    "measure_faithfulness",
    "perturbation_curve",
    "rank_pixels",
    "sensitivity_n",
]
