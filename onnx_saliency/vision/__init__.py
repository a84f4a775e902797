"""What the paper does with the gradient: class models (section 2), segmentation and localisation (section 3.2)."""

from onnx_saliency.vision.class_model import ClassModel, class_model
from onnx_saliency.vision.graphcut import bounding_box, largest_component
from onnx_saliency.vision.localization import localize
from onnx_saliency.vision.segment_recipe import BEST, SEGMENT_RECIPES, SegmentRecipe, find_segment_recipe
from onnx_saliency.vision.segmentation import Evidence, Segmentation, Segmenter, cut_out, segment
from onnx_saliency.vision.step import export_step

__all__ = [
    "BEST",
    "SEGMENT_RECIPES",
    "ClassModel",
    "Evidence",
    "SegmentRecipe",
    "Segmentation",
    "Segmenter",
    "bounding_box",
    "class_model",
    "cut_out",
    "export_step",
    "find_segment_recipe",
    "largest_component",
    "localize",
    "segment",
]
