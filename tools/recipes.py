"""The table of recipes in docs/class-models.md, made from the recipes themselves.

python tools/recipes.py --markdown docs/class-models.md
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from methods import renew

from onnx_saliency.exporter.ascent import RECIPES, Recipe

WHAT = {
    "steps": "steps",
    "rate": "length of a step",
    "optimiser": "along the gradient of each image divided by its rms, or Adam",
    "l2": "λ, weight of the squared norm (`--lambda`)",
    "tv": "weight of total variation",
    "score": "what is maximised",
    "fourier": "the image is a sum of waves, through a sigmoid; else its pixels",
    "decay": "their amplitudes are 1 / frequency to this power",
    "decorrelate": "colours mixed as photographs mix them",
    "jitter": "views moved by up to this fraction of the side",
    "scale": "views enlarged or made smaller by up to this factor",
    "rotate": "views turned by up to this many degrees",
    "blur": "Gaussian on what is seen, first step, pixels",
    "blur_end": "the same, last step",
    "grain": "standard deviation of noise on what is seen",
    "diversity": "how much images of one layer are kept apart",
    "noise": "standard deviation of the start; 0 is the zero image",
}


def table() -> str:
    """One row a number; those that only count together with waves are left out where there are none."""
    lines = [f"| | {' | '.join(f'`{name}`' for name in RECIPES)} | |", "|---|" + "---|" * (len(RECIPES) + 1)]
    for field in fields(Recipe)[1:]:
        values = (_cell(recipe, field.name) for recipe in RECIPES.values())
        lines.append(f"| `{field.name}` | {' | '.join(values)} | {WHAT[field.name]} |")
    return "\n".join(lines) + "\n"


def _cell(recipe: Recipe, name: str) -> str:
    value: Any = getattr(recipe, name)
    if name == "decay" and not recipe.fourier:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:g}"


def main(to_markdown: Annotated[Path | None, typer.Option("--markdown", help="Renew it in this page.")] = None) -> None:
    """Print the table, or put it in its place on a page."""
    if to_markdown is None:
        print(table())
    else:
        renew(to_markdown, "recipes", table())


if __name__ == "__main__":
    typer.run(main)
