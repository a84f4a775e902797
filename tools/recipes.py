"""The table of recipes in docs/class-models.md, made from the recipes themselves; with --segment, docs/segmentation.md.

python tools/recipes.py --markdown docs/class-models.md
python tools/recipes.py --segment --markdown docs/segmentation.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any

import typer
from page import renew

from onnx_saliency.exporter.ascent import RECIPES
from onnx_saliency.vision import SEGMENT_RECIPES, SegmentRecipe

WHAT = {
    "steps": "steps",
    "rate": "length of a step",
    "optimiser": "along the gradient of each image divided by its rms, or Adam",
    "cool": "share of the steps, the last ones, over which the rate falls to 0",
    "l2": "λ, weight of the squared norm (`--lambda`)",
    "weight_decay": "the same as a share of the image that each step takes off, times `rate` (`--weight-decay`)",
    "tv": "weight of total variation",
    "score": "what is maximised",
    "hinge": "how much of what another class is ahead by is subtracted",
    "margin": "by what share of its own score a class leads where the hinge lets go",
    "leak": "share of the gradient that passes rectifiers that are off",
    "residual": "share of the gradient that goes into f where a network adds x + f(x)",
    "fourier": "the image is a sum of waves, through a sigmoid; else its pixels",
    "decay": "their amplitudes are 1 / frequency to this power",
    "decorrelate": "colours mixed as photographs mix them",
    "jitter": "views moved by up to this fraction of the side",
    "scale": "views enlarged or made smaller by up to this factor",
    "rotate": "views turned by up to this many degrees",
    "mirror": "half of the views mirrored",
    "colour": "channels of the views with gains of up to e to this power, and shifts of up to this",
    "blur": "Gaussian on what is seen, first step, pixels",
    "blur_end": "the same, last step",
    "grain": "standard deviation of noise on what is seen",
    "diversity": "how much images of one layer are kept apart",
    "noise": "standard deviation of the start; 0 is the zero image",
}


_ATTRIBUTES = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)\.$", cleandoc(SegmentRecipe.__doc__ or ""), flags=re.MULTILINE)
SEGMENT_WHAT = {name: " ".join(text.split()) for name, text in _ATTRIBUTES}


def table(recipes: Mapping[str, Any], what: Mapping[str, str]) -> str:
    """One row a number; those that only count together with waves are left out where there are none."""
    names = [field.name for field in fields(next(iter(recipes.values())))[1:]]
    lines = [f"| | {' | '.join(f'`{name}`' for name in recipes)} | |", "|---|" + "---|" * (len(recipes) + 1)]
    for name in names:
        values = (_cell(recipe, name) for recipe in recipes.values())
        lines.append(f"| `{name}` | {' | '.join(values)} | {what[name]} |")
    return "\n".join(lines) + "\n"


def _cell(recipe: Any, name: str) -> str:
    value: Any = getattr(recipe, name)
    if name == "decay" and not recipe.fourier:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    return value if isinstance(value, str) else f"{value:g}"


def main(
    segment: Annotated[bool, typer.Option("--segment", help="Of segmentation, and not of class models.")] = False,
    to_markdown: Annotated[Path | None, typer.Option("--markdown", help="Renew it in this page.")] = None,
) -> None:
    """Print the table, or put it in its place on a page."""
    made = table(SEGMENT_RECIPES, SEGMENT_WHAT) if segment else table(RECIPES, WHAT)
    if to_markdown is None:
        print(made)
    else:
        renew(to_markdown, "recipes", made)


if __name__ == "__main__":
    typer.run(main)
