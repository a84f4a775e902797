"""Gradient ascent on the image as a graph: recipes, the image and its views, one step."""

from onnx_saliency.exporter.ascent.image import Range
from onnx_saliency.exporter.ascent.recipe import MODERN, PAPER, RECIPES, Recipe, find_recipe
from onnx_saliency.exporter.ascent.step import Step, build_step

__all__ = ["MODERN", "PAPER", "RECIPES", "Range", "Recipe", "Step", "build_step", "find_recipe"]
