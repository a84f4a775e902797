"""How a class model is made: the recipe of the paper, a modern one, and every part of them as a number."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from onnx_saliency.errors import RecipeError
from onnx_saliency.numeric import is_integer, is_number, make_plain

_POSITIVE = sys.float_info.min
_SHARE = (partial(is_number, low=0, high=1), "a share, 0 to 1")
_NOT_NEGATIVE = (partial(is_number, low=0), "0 or more")
_SWITCH = (lambda value: isinstance(value, bool), "True or False")
_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = MappingProxyType(
    {
        "steps": (partial(is_integer, low=1), "1 or more, an integer"),
        "rate": (partial(is_number, low=_POSITIVE), "above 0"),
        "optimiser": (("adam", "normalised").__contains__, "'adam' or 'normalised'"),
        "cool": _SHARE,
        "l2": _NOT_NEGATIVE,
        "weight_decay": _NOT_NEGATIVE,
        "tv": _NOT_NEGATIVE,
        "score": (("logit", "probability").__contains__, "'logit' or 'probability'"),
        "hinge": _NOT_NEGATIVE,
        "margin": _NOT_NEGATIVE,
        "leak": _SHARE,
        "residual": _SHARE,
        "fourier": _SWITCH,
        "decay": _NOT_NEGATIVE,
        "decorrelate": _SWITCH,
        "jitter": (partial(is_number, low=0, high=1), "a fraction of the side, 0 to 1"),
        "scale": (partial(is_number, low=1, high=4), "a factor from 1 to 4"),
        "rotate": _NOT_NEGATIVE,
        "mirror": _SWITCH,
        "colour": (partial(is_number, low=0, high=4), "the exponent of a gain, 0 to 4"),
        "blur": _NOT_NEGATIVE,
        "blur_end": _NOT_NEGATIVE,
        "grain": _NOT_NEGATIVE,
        "diversity": _NOT_NEGATIVE,
        "noise": _NOT_NEGATIVE,
    }
)


@dataclass(frozen=True)
class Recipe:
    """What is maximised, over which images, by which steps.

    With J the image in units of the half range of the network's input (pixels 0..255 span [-1, 1] about their middle):

        maximise  S_c(view(I)) − l2 ‖J‖² − tv Σ |∇J|,  with  P ← (1 − rate · weight_decay) P + the optimiser's step

    P are the parameters of J: its pixels, or the amplitudes of waves.

    Attributes:
        name: what it is called in results.
        steps: how many.
        rate: length of a step: of Adam, or the rms of a normalised gradient; in units of J, or of amplitudes of waves.
        optimiser: "adam" (Kingma & Ba 2015) or "normalised", a step along g / rms(g).
        cool: over this share of the steps, the last ones, the rate falls evenly to 0.
        l2: the paper's λ, for J.
        weight_decay: the same penalty beside the optimiser and not through it (Loshchilov & Hutter 2019), so that it
            keeps its weight whatever the scale of the network's scores: a λ of weight_decay / 2 times the rms of each
            parameter's gradient.
        tv: weight of total variation (Mahendran & Vedaldi 2015), for J.
        score: "logit", as in the paper, or "probability", to see why not: the network's own, or where it ends in
            logits, their soft-max.
        hinge: of classes, how much of what the highest score is ahead by is subtracted, so that where another class
            would be predicted, its evidence is taken away as well (Crammer & Singer 2001).
        margin: by what share of its own score a class has to lead for the hinge to let go.
        leak: this share of the gradient passes rectifiers that are off: what one network switches off, another does
            not (Guo et al. 2020). Those with a slope of their own, such as LeakyRelu, keep it.
        residual: at a sum x + f(x), this share of the gradient goes into the branch f, all of it by the skip (Wu et
            al. 2020).
        fourier: the image is a sum of sines and cosines, through a sigmoid, so that it stays within 0..255 (Olah et al.
            2017); else its pixels themselves.
        decay: their amplitudes are 1 / frequency to this power: the higher, the smoother the image.
        decorrelate: colours are mixed as natural images mix them (Olah et al. 2017).
        jitter: views are moved by up to this fraction of the side.
        scale: views are enlarged by up to this factor, or made smaller by as much.
        rotate: views are turned by up to this many degrees.
        mirror: half of the views are mirrored, left for right.
        colour: views are recoloured: each channel times a factor of up to e to this power, or divided by as much, and
            shifted by up to this.
        blur: standard deviation in pixels of a Gaussian on what the network sees, at the first step.
        blur_end: the same at the last step; between them it changes evenly.
        grain: standard deviation of normal noise on what the network sees, other noise at each step (Smilkov et al.
            2017).
        diversity: of images of one layer, how much they are kept apart: the mean cosine between Gram matrices of
            the layer is subtracted, times this (Olah et al. 2017).
        noise: standard deviation of the start, of the parameters; 0 starts from the zero image, as in the paper.

    Raises:
        RecipeError: values that make no sense, all of them.
    """

    name: str
    steps: int
    rate: float
    optimiser: Literal["adam", "normalised"] = "adam"
    cool: float = 0.0
    l2: float = 0.0
    weight_decay: float = 0.0
    tv: float = 0.0
    score: Literal["logit", "probability"] = "logit"
    hinge: float = 0.0
    margin: float = 0.0
    leak: float = 0.0
    residual: float = 1.0
    fourier: bool = False
    decay: float = 1.0
    decorrelate: bool = False
    jitter: float = 0.0
    scale: float = 1.0
    rotate: float = 0.0
    mirror: bool = False
    colour: float = 0.0
    blur: float = 0.0
    blur_end: float = 0.0
    grain: float = 0.0
    diversity: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {range_}, not {getattr(self, name)!r}"
            for name, (fits, range_) in _RANGES.items()
            if not fits(getattr(self, name))
        ]
        if not wrong and self.rate * self.weight_decay > 1:
            wrong = [f"weight_decay times rate is at most 1, not {self.rate * self.weight_decay:g}"]
        if self.decorrelate is True and self.fourier is False:
            wrong.append("decorrelate is for fourier images")
        if wrong:
            raise RecipeError(f"Recipe {self.name!r}: {'; '.join(wrong)}.")
        make_plain(self)

    @property
    def is_moved(self) -> bool:
        """Whether views are moved, enlarged, turned or mirrored."""
        return self.jitter > 0 or self.scale > 1 or self.rotate > 0 or self.mirror


PAPER = Recipe("paper", steps=128, rate=0.04, cool=1.0, weight_decay=0.15)
"""Simonyan, Vedaldi, Zisserman 2013, section 2; what it leaves open is ours."""

MODERN = Recipe(
    "modern",
    steps=400,
    rate=0.12,
    cool=1.0,
    hinge=1.0,
    margin=0.05,
    leak=0.08,
    residual=0.5,
    fourier=True,
    decay=1.4,
    decorrelate=True,
    jitter=0.1,
    scale=1.2,
    mirror=True,
    colour=0.4,
    noise=0.01,
)
"""Olah, Mordvintsev, Schubert 2017; transformations after Mordvintsev et al. 2018, the gradient at rectifiers after Guo
et al. 2020 and at residual sums after Wu et al. 2020."""

RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in (PAPER, MODERN)})


def find_recipe(recipe: str | Recipe) -> Recipe:
    """Return the recipe called so; a `Recipe` as it is.

    Raises:
        RecipeError: there is none; lists them.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise RecipeError(f"No recipe {recipe!r}; the recipes are {', '.join(RECIPES)}.")
    return RECIPES[recipe]
