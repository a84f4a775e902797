"""A mask and a box for each of a picture's best classes, by a net that was never shown one (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx_saliency.explain import Explainer
from onnx_saliency.graph import ModelSource
from onnx_saliency.vision.segment_recipe import PAPER, SegmentRecipe
from onnx_saliency.vision.segmentation import Segmentation, Segmenter

TOP = 5


def localize(
    model: ModelSource | Explainer,
    images: Any,
    *,
    top: int = TOP,
    recipe: str | SegmentRecipe = PAPER,
    **options: Any,
) -> list[list[Segmentation]]:
    """Find the objects of each picture's best classes, from one forward pass: one map, one mask and one box per class.

    Args:
        model: as `Explainer` takes it, or an `Explainer`.
        images: a path, PIL image or `Picture`, or a list of them.
        top: how many classes of each picture.
        recipe: a name of `SEGMENT_RECIPES`, or a `SegmentRecipe`.
        options: of `Explainer`, but for `method` and `several`.

    Returns:
        A list a picture, of `top` detections, the most probable class first.

    Raises:
        SaliencyError: whatever `segment` raises; TargetError where the model has fewer classes than `top`.
    """
    segmenter = Segmenter(model, recipe, top=top, **options)
    pictures: Sequence[Any] = images if isinstance(images, list | tuple) else [images]
    return [segmenter.segment(picture) for picture in pictures]
