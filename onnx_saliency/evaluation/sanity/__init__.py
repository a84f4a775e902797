"""Sanity checks of saliency maps: does a map change when the network forgets what it learnt? (Adebayo et al. 2018)"""

from onnx_saliency.evaluation.sanity.check import METHODS, Mapper, check_sanity
from onnx_saliency.evaluation.sanity.randomisation import DRAWS, STAGES, Forgetful, Stage, Weight
from onnx_saliency.evaluation.sanity.result import Checked, Sanity
from onnx_saliency.evaluation.sanity.similarity import (
    MEASURES,
    Similarity,
    Traits,
    compare,
    hog_correlation,
    spearman,
    ssim,
)
from onnx_saliency.evaluation.sanity.verdict import THRESHOLD, Verdict

__all__ = [
    "DRAWS",
    "MEASURES",
    "METHODS",
    "STAGES",
    "THRESHOLD",
    "Checked",
    "Forgetful",
    "Mapper",
    "Sanity",
    "Similarity",
    "Stage",
    "Traits",
    "Verdict",
    "Weight",
    "check_sanity",
    "compare",
    "hog_correlation",
    "spearman",
    "ssim",
]
