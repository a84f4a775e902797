"""How a map becomes a mask: the paper's recipe, the best one that was measured, and every part of them as a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from onnx_saliency.errors import MethodError, RecipeError
from onnx_saliency.exporter.methods import Method, find_method
from onnx_saliency.numeric import is_integer, is_number, make_plain
from onnx_saliency.vision.graphcut import NEIGHBOURS

View = Literal["crop", "whole"]
BackgroundBy = Literal["quantile", "mean"]


@dataclass(frozen=True)
class SegmentRecipe:
    """How a map becomes a mask; the paper's numbers where it gives them, measured ones where it is silent.

    Attributes:
        name: what it is called in results.
        method: of the map, as `Explainer` takes it.
        views: what the network sees, and the map is the mean of, each over its maximum: "crop", the picture as its
            preprocessing crops it, and "whole", the picture squashed to the shape of its input.
        mirror: it sees the mirror image of each view too.
        blur: standard deviation of a Gaussian over the map, as a fraction of the picture's longer side; 0 for none.
        foreground: quantile of the map; pixels from it up are seeds of the object (paper: 0.95).
        background: pixels up to it are seeds of what is not the object (paper: 0.30).
        background_by: of what it is a share: "quantile", of the pixels, or "mean", of the map's mean. The mean leaves a
            large object more of the picture than a small one; a quantile leaves both the same.
        components: Gaussians of each colour model.
        colours: "rgb", or "lab" (CIE L*a*b*).
        smoothness: λ, weight of the contrast between neighbours.
        neighbours: 4 or 8.
        refits: how often the colour models are fitted again to the mask, and the cut made again.
        size: longer side, in pixels, at which the cut is made; larger pictures are then refined along its edge.
        seed: of the colour models.

    Raises:
        RecipeError: values that make no sense, all of them named.
    """

    name: str = "mine"
    method: str | Method = "gradient"
    views: tuple[View, ...] = ("crop",)
    mirror: bool = True
    blur: float = 0.0
    foreground: float = 0.95
    background: float = 0.30
    background_by: BackgroundBy = "quantile"
    components: int = 2
    colours: Literal["rgb", "lab"] = "rgb"
    smoothness: float = 10.0
    neighbours: int = 8
    refits: int = 1
    size: int = 192
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = []
        try:
            find_method(self.method)
        except MethodError as error:
            wrong.append(str(error).rstrip("."))
        wrong += [
            f"{name} is {range_}, not {getattr(self, name)!r}"
            for name, (fits, range_) in _RANGES.items()
            if not fits(getattr(self, name))
        ]
        if not wrong and self.background_by == "quantile" and self.background >= self.foreground:
            wrong = [f"background ({self.background}) is below foreground ({self.foreground})"]
        if wrong:
            raise RecipeError(f"A recipe for segmentation: {'; '.join(wrong)}.")
        make_plain(self)


_RANGES: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {
        "views": (
            lambda views: isinstance(views, tuple) and views and all(view in ("crop", "whole") for view in views),
            "one or both of 'crop' and 'whole', in a tuple",
        ),
        "mirror": (lambda value: isinstance(value, bool), "True or False"),
        "blur": (partial(is_number, low=0, high=1), "a fraction of the picture's side"),
        "foreground": (partial(is_number, low=0, high=1), "a quantile, 0 to 1"),
        "background": (partial(is_number, low=0, high=1), "a share, 0 to 1"),
        "background_by": (("quantile", "mean").__contains__, "'quantile' or 'mean'"),
        "components": (partial(is_integer, low=1), "1 or more"),
        "colours": (("rgb", "lab").__contains__, "'rgb' or 'lab'"),
        "smoothness": (partial(is_number, low=0, high=1e6), "0 to 1,000,000"),
        "neighbours": (tuple(NEIGHBOURS).__contains__, "4 or 8"),
        "refits": (partial(is_integer, low=0), "0 or more"),
        "size": (partial(is_integer, low=16), "16 pixels or more"),
        "seed": (partial(is_integer, low=0), "0 or more"),
    }
)

PAPER = SegmentRecipe("paper")
BEST = SegmentRecipe(
    "best",
    method="layercam_fused",
    views=("whole", "crop"),
    blur=0.01,
    foreground=0.93,
    background=0.45,
    background_by="mean",
)
SEGMENT_RECIPES: Mapping[str, SegmentRecipe] = MappingProxyType({each.name: each for each in (PAPER, BEST)})


def find_segment_recipe(recipe: str | SegmentRecipe, **changes: object) -> SegmentRecipe:
    """Return the recipe with this name, with some fields changed; a `SegmentRecipe` likewise.

    Raises:
        RecipeError: no such recipe, no such field, or a value that makes no sense.
    """
    if not isinstance(recipe, SegmentRecipe):
        if not isinstance(recipe, str) or recipe not in SEGMENT_RECIPES:
            raise RecipeError(f"No recipe {recipe!r} for segmentation: there are {', '.join(SEGMENT_RECIPES)}.")
        recipe = SEGMENT_RECIPES[recipe]
    unknown = sorted(set(changes) - {field.name for field in fields(recipe)})
    if unknown:
        raise RecipeError(f"A recipe for segmentation has no {', '.join(unknown)}.")
    return replace(recipe, **changes)  # type: ignore[arg-type]  # names checked, values by the recipe
