"""From the map to the object: seeds, colours, minimum cut, largest component (paper, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms
from scipy import ndimage

from onnx_saliency.errors import SaliencyError
from onnx_saliency.explain import Explainer, with_settings
from onnx_saliency.graph import ModelSource
from onnx_saliency.images import Picture, Placement, read_picture
from onnx_saliency.targets import Targets
from onnx_saliency.vision.graphcut import (
    Colours,
    Floats,
    Mask,
    Mixture,
    bounding_box,
    fit_mixture,
    largest_component,
    minimum_cut,
)
from onnx_saliency.vision.segment_recipe import PAPER, BackgroundBy, SegmentRecipe, View, find_segment_recipe

UNDECIDED, BACKGROUND, FOREGROUND = -1, 0, 1


@dataclass(frozen=True)
class Segmentation:
    """An object that a class was found by.

    Attributes:
        mask: bool (H, W), the object, in the picture's pixels.
        box: (xmin, ymin, xmax, ymax) around it, max exclusive.
        target: the class.
        label: its name, or its number where names are not known.
        score: its probability, 0 to 1.
        probabilities: float32 (classes,), of all of them: the mean over the recipe's views.
        saliency: float32 (H, W), >= 0, the map in the picture's pixels.
        seeds: int8 (H, W): 1 foreground, 0 background, -1 undecided.
        picture: what was looked at.
        notes: what had to be decided, such as what a map without seeds stands for.
    """

    mask: Mask
    box: tuple[int, int, int, int]
    target: int
    label: str
    score: float
    probabilities: Floats
    saliency: Floats
    seeds: npt.NDArray[np.int8]
    picture: Picture
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What a network says of a class in a picture.

    Attributes:
        picture: what was looked at.
        maps: a map (h, w) of each view, and where it lies in the picture.
        target: the class.
        label: its name, or its number where names are not known.
        probabilities: float32 (classes,), of all of them.
    """

    picture: Picture
    maps: Sequence[tuple[Floats, Placement]]
    target: int
    label: str
    probabilities: Floats


class Segmenter:
    """Masks and boxes by one classifier and one recipe; the model is rewritten and the session built once.

    Args:
        model: as `Explainer` takes it; or an `Explainer`, whose model and settings are taken, and not its method.
        recipe: a name of `SEGMENT_RECIPES`, or a `SegmentRecipe`.
        top: how many classes of each picture, from one forward pass.
        options: as `Explainer` takes them, but for `method` and `several`, which are the recipe's and `top`.

    Raises:
        RecipeError: a recipe that does not exist.
        SaliencyError: whatever `Explainer` raises.
    """

    def __init__(
        self,
        model: ModelSource | Explainer,
        recipe: str | SegmentRecipe = PAPER,
        *,
        top: int = 1,
        **options: Any,
    ) -> None:
        self.recipe = find_segment_recipe(recipe)
        self.top = top
        source, options = with_settings(model, options)
        self.explainer = Explainer(source, method=self.recipe.method, several=top, **options)
        if not self.explainer.explains_classes:
            raise SaliencyError("Segmentation finds the object of a class: the score is 'logit' or 'probability'.")

    def segment(self, picture: Any, target: Targets = None) -> list[Segmentation]:
        """Find the objects of a picture's `top` best classes, best first, or of the classes given.

        Args:
            picture: path, PIL image or `Picture`.
            target: a class by number or name, or a list of `top`.

        Raises:
            ImageError: the picture cannot be read.
            TargetError: a class that the model does not have.
        """
        return [cut_out(evidence, self.recipe) for evidence in self.look(picture, target)]

    def look(self, picture: Any, target: Targets = None) -> list[Evidence]:
        """Explain a picture and cut nothing out yet; arguments and errors are those of `segment`."""
        picture = picture if isinstance(picture, Picture) else read_picture(picture)
        arrays, places = zip(*(self._view(picture, view) for view in self.recipe.views), strict=True)
        views, count = np.stack(arrays), len(places)
        if self.recipe.mirror:
            views = np.concatenate([views, np.flip(views, self.explainer.layout.index("W"))])
        classes, probabilities, maps = self._explain(views, target)
        return [
            Evidence(
                picture,
                [
                    (values if number < count else values[:, ::-1], places[number % count])
                    for number, values in enumerate(of_views)
                ],
                index,
                self.explainer.label(index),
                probabilities,
            )
            for index, of_views in zip(classes, maps, strict=True)
        ]

    def _view(self, picture: Picture, view: View) -> tuple[npt.NDArray[Any], Placement]:
        preprocess = self.explainer.preprocess
        seen = replace(preprocess, resize=None) if view == "whole" else preprocess
        (array,), _, (place,) = self.explainer.prepare(picture, seen)
        return array, place

    def _explain(self, views: npt.NDArray[Any], target: Targets) -> tuple[list[int], Floats, list[list[Floats]]]:
        """Explain the same classes of all views: the classes, all probabilities, and for each class a map per view."""
        asked = _listed(target)
        self.explainer.check_target(asked)  # they are not one per view
        explanation = self.explainer.explain(views, asked)
        probability = explanation.probabilities[:: self.top].mean(axis=0)
        of_view = explanation.target.reshape(len(views), self.top)
        if asked is None:
            classes = np.argsort(-probability, kind="stable")[: self.top]
            if any(set(classes) - set(row) for row in of_view):  # a view's own best are not those of their mean
                explanation = self.explainer.explain(views, classes)
                of_view = explanation.target.reshape(len(views), self.top)
        else:
            classes = of_view[0]
        maps = explanation.saliency.reshape(len(views), self.top, *explanation.saliency.shape[1:])
        by_class = [
            [of_class[row.tolist().index(index)] for of_class, row in zip(maps, of_view, strict=True)]
            for index in classes
        ]
        return [int(index) for index in classes], probability, by_class


def segment(
    model: ModelSource | Explainer,
    image: Any,
    target: Targets = None,
    *,
    recipe: str | SegmentRecipe = PAPER,
    **options: Any,
) -> Segmentation:
    """Cut the object out that a class was found by (paper, section 3.2).

    Args:
        model: as `Explainer` takes it, or an `Explainer`.
        image: path, PIL image or `Picture`.
        target: the class by number or name; None for the predicted one.
        recipe: a name of `SEGMENT_RECIPES`, or a `SegmentRecipe`.
        options: of `Explainer`, but for `method` and `several`.

    Raises:
        SaliencyError: whatever `Explainer` raises, and for a recipe or class that does not exist.
    """
    (found,) = Segmenter(model, recipe, **options).segment(image, target)
    return found


def _listed(target: Targets) -> list[Any] | None:
    if target is None:
        return None
    return list(target) if np.iterable(target) and not isinstance(target, str) else [target]


# --- from map to mask ----------------------------------------------------------------------------


def cut_out(evidence: Evidence, recipe: SegmentRecipe) -> Segmentation:
    """Segment one picture by the maps of one class."""
    picture, maps = evidence.picture, evidence.maps
    height, width = picture.pixels.shape[:2]
    shrink = min(1.0, recipe.size / max(height, width))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    colours = _in_space(_resized(picture.pixels, size), recipe)
    saliency = _together([(values, place.scaled(size)) for values, place in maps], recipe)
    if any(_varies(values) for values, _ in maps):
        seeds = find_seeds(saliency, recipe.foreground, recipe.background, recipe.background_by)
    else:  # else the edge of what was seen would be the object's
        seeds = np.full(size, UNDECIDED, np.int8)
    parts, mixtures = _cut(colours, seeds, recipe)
    mask = largest_component(parts)
    notes = [] if mixtures else [_NO_SEEDS]
    if mixtures and (colours == colours[0, 0]).all():
        notes.append(_ONE_COLOUR)
    left_out = (parts.sum() - mask.sum()) / mask.sum()
    if left_out >= _SIZEABLE:
        notes.append(f"The largest part is taken for the object; what was left out is {left_out:.0%} of its size.")
    if size != (height, width):
        refined = _refined(picture.pixels, mask, mixtures, recipe)
        if not refined.any():
            notes.append(_TOO_THIN)
            refined = _resized(mask, (height, width))
        mask = refined
        saliency, seeds = _resized(saliency, (height, width), smooth=True), _resized(seeds, (height, width))
    return Segmentation(
        mask,
        bounding_box(mask),
        evidence.target,
        evidence.label,
        float(evidence.probabilities[evidence.target]),
        evidence.probabilities,
        saliency,
        seeds,
        picture,
        tuple(notes),
    )


_NO_SEEDS = "The map is the same everywhere, so there are no seeds: the whole picture is taken for the object."
_ONE_COLOUR = "The picture is of one colour, so the object's outline is only the shortest between the seeds."
_TOO_THIN = "The object is too thin to be refined: its outline is that of a smaller picture."
_SIZEABLE = 0.25  # of the largest part


def _together(maps: Sequence[tuple[Floats, Placement]], recipe: SegmentRecipe) -> Floats:
    """The mean of a class's maps, in the pixels that are cut, smoothed; a single map keeps its scale."""
    tops = [float(values.max()) or 1.0 for values, _ in maps] if len(maps) > 1 else [1.0]
    restored: Floats = np.mean(
        [place.restore(values / top) for (values, place), top in zip(maps, tops, strict=True)], axis=0
    )
    if recipe.blur:
        restored = ndimage.gaussian_filter(restored, recipe.blur * max(restored.shape), mode="nearest")
    return restored


def find_seeds(
    saliency: Floats, foreground: float = 0.95, background: float = 0.30, background_by: BackgroundBy = "quantile"
) -> npt.NDArray[np.int8]:
    """Seeds by the quantiles of a map (paper, section 3.2): 1 foreground, 0 background, -1 undecided.

    `background` may be a share of the map's mean instead. Where both limits fall on one value, what differs from it is
    told from it, so that a map that is zero nearly everywhere has seeds of both kinds. One that is the same everywhere,
    to 1e-5 of its values, has none.
    """
    seeds = np.full(saliency.shape, UNDECIDED, np.int8)
    if not _varies(saliency):
        return seeds
    lowest, high, highest = np.quantile(saliency, [0, foreground, 1])
    if background_by == "mean":
        low = np.clip(background * saliency.mean(dtype=np.float64), lowest, high)
    else:
        low = np.quantile(saliency, background)
    at_top = low == high == highest
    seeds[saliency < low if at_top else saliency <= low] = BACKGROUND
    seeds[saliency > high if low == high and not at_top else saliency >= high] = FOREGROUND
    return seeds


def _varies(saliency: Floats) -> bool:
    """More than by rounding: a constant laid on other pixels is hardly one."""
    return bool(np.ptp(saliency) > 1e-5 * saliency.max())


def _cut(colours: Colours, seeds: npt.NDArray[np.int8], recipe: SegmentRecipe) -> tuple[Mask, tuple[Mixture, ...]]:
    """The mask and the colour models, foreground first; no models where there are no seeds."""
    foreground, background, open_ = seeds == FOREGROUND, seeds == BACKGROUND, seeds == UNDECIDED
    if not foreground.any() or not background.any():
        return np.ones(seeds.shape, bool), ()
    mask = foreground
    for _ in range(recipe.refits + 1):
        outside = background if mask is foreground else ~mask
        mixtures = tuple(fit_mixture(colours[each], recipe.components, recipe.seed) for each in (mask, outside))
        before, mask = mask, _least(colours, open_, foreground, mixtures, recipe)
        if np.array_equal(before, mask):
            break
    return mask, mixtures


def _least(colours: Colours, open_: Mask, label: Mask, mixtures: tuple[Mixture, ...], recipe: SegmentRecipe) -> Mask:
    cost = mixtures[1].log_density(colours[open_]) - mixtures[0].log_density(colours[open_])
    return minimum_cut(colours, open_, cost, label, smoothness=recipe.smoothness, neighbours=recipe.neighbours)


def _refined(pixels: Colours, mask: Mask, mixtures: tuple[Mixture, ...], recipe: SegmentRecipe) -> Mask:
    """A mask of fewer pixels laid on more and more, up to the picture's own; each time its edge is cut again.

    What is labelled is a band two of the fewer pixels wide, so the finer, the closer to the edge that is known already
    (Lombaert et al. 2005): a jagged outline at once on all pixels is most of a picture.
    """
    square = np.ones((3, 3), bool)
    for size in _finer(mask.shape, pixels.shape[:2]):
        band = ndimage.binary_dilation(mask, square) & ~ndimage.binary_erosion(mask, square, border_value=1)
        mask, open_ = (_resized(each, size) for each in (mask, band))
        if open_.any():
            mask = _least(_in_space(_resized(pixels, size), recipe), open_, mask, mixtures, recipe)
    return largest_component(mask)


def _finer(size: tuple[int, ...], last: tuple[int, ...]) -> list[tuple[int, int]]:
    """Heights and widths from one to another, without the first, in equal steps that at most quadruple them."""
    steps = max(1, math.ceil(math.log(max(last) / max(size), 4)))
    height, width = ((end / start) ** (1 / steps) for start, end in zip(size, last, strict=True))
    return [
        *((round(size[0] * height**step), round(size[1] * width**step)) for step in range(1, steps)),
        (last[0], last[1]),
    ]


def _in_space(pixels: Colours, recipe: SegmentRecipe) -> Colours:
    """RGB as it is, or as CIE L*a*b*, 8 bits of each, a* and b* about 128."""
    if recipe.colours == "rgb":
        return pixels
    lab = np.array(ImageCms.applyTransform(Image.fromarray(pixels), _to_lab()))
    lab[..., 1:] ^= 128  # Pillow keeps a* and b* as signed bytes
    return lab


@cache
def _to_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")


def _resized(values: npt.NDArray[Any], size: tuple[int, int], smooth: bool = False) -> npt.NDArray[Any]:
    """Pixels averaged where there are to be fewer; where more, the nearest one, or interpolated linearly."""
    if values.shape[:2] == size:
        return values
    fewer = size[0] * size[1] < values.shape[0] * values.shape[1]
    kind = Image.Resampling.BILINEAR if smooth else Image.Resampling.BOX if fewer else Image.Resampling.NEAREST
    stored = values.view(np.uint8) if values.dtype in (np.bool_, np.int8) else values
    resized = np.asarray(Image.fromarray(stored).resize(size[::-1], kind))
    return resized.view(values.dtype)
