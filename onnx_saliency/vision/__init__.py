"""What the paper does with the gradient: class models (section 2)."""

from onnx_saliency.vision.class_model import ClassModel, class_model
from onnx_saliency.vision.step import export_step

__all__ = ["ClassModel", "class_model", "export_step"]
