"""What goes between host and device in a run on CUDA whose values lie there; shown without a GPU.

    pip install '.[gpu]'
    python tools/traffic.py                                        # the model that ships with the package
    python tools/traffic.py net.onnx --batch 16 --markdown docs/benchmarks.md

The provider for CUDA decides on the host what is copied. It is onnxruntime-gpu's own, on libraries that stand in for
CUDA's (stand_in.py): they count the bytes of every copy, by direction, and compute nothing. A line is the sum of five
runs after the first two, of a gradient and of steps of class models.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from bench_ascent import step_of
from page import renew, table
from stand_in import copied, run_again, stands_in

from onnx_saliency.embedded import default_model
from onnx_saliency.exporter import Options, explain_model
from onnx_saliency.exporter.ascent import MODERN, PAPER, Recipe
from onnx_saliency.exporter.explained import SALIENCY, TARGET
from onnx_saliency.graph import ModelSource
from onnx_saliency.images.choice import DEFAULT_SIZE
from onnx_saliency.runtime import Iteration, Session

RUNS = 5
RECIPES = {
    "paper": PAPER,
    "modern": MODERN,
    "modern, rotated": replace(MODERN, rotate=8.0),
    "modern, blurred, l2 and tv": replace(MODERN, blur=2.0, l2=1e-4, tv=1e-4),
    "modern, with grain": replace(MODERN, grain=0.05),
}
COLUMNS = ("model", "run", "bytes to the device", "to the host", "from place to place on it")


def gradient(model: ModelSource, batch: int) -> Callable[[], None]:
    """One gradient of a batch that lies on the device, and stays there."""
    explained = explain_model(model, Options(profile="cuda"))
    image = explained.classifier.image
    assert image.shape is not None
    sides = [side if isinstance(side, int) else DEFAULT_SIZE[0] for side in image.shape[1:]]
    feeds = {image.name or "": np.zeros((batch, *sides), np.float32), TARGET: np.zeros(batch, np.int64)}
    return Session(explained.model, providers=["cuda"]).bind(feeds, [SALIENCY]).step


def step(model: ModelSource, recipe: Recipe, batch: int) -> Callable[[], None]:
    """One step of a class model."""
    prepared = step_of(model, recipe, "cuda").step
    session = Session(prepared.model, providers=["cuda"])
    states = {
        name: np.zeros([batch if isinstance(side, str) else side for side in sides], session.dtype(name))
        for name, sides in prepared.states.items()
    }
    return Iteration(session, states, dict.fromkeys(("target", "key"), np.arange(batch))).step


def rows(model: Path | None, batch: int) -> Iterator[tuple[object, ...]]:
    """What each kind of run copies."""
    source = default_model() if model is None else model
    kinds = {"gradient": gradient(source, batch)}
    kinds |= {f"step, {name}": step(source, recipe, batch) for name, recipe in RECIPES.items()}
    for kind, run in kinds.items():
        for _ in range(2):  # each of two buffers once, as a run of a new shape takes memory
            run()
        before = copied()
        for _ in range(RUNS):
            run()
        found = copied()
        found.subtract(before)
        yield (
            "embedded" if model is None else model.stem,
            kind,
            found["to device"],
            found["to host"],
            found["on device"],
        )


def main(
    models: Annotated[list[Path] | None, typer.Argument(help="ONNX files; without any, the embedded model.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 4,
    markdown: Annotated[Path | None, typer.Option(help="Renew the table in this page.")] = None,
) -> None:
    """Count what is copied."""
    if not stands_in():
        raise typer.Exit(run_again(sys.argv))
    text = table(COLUMNS, [row for model in models or [None] for row in rows(model, batch)])
    print(text)
    if markdown is not None:
        renew(markdown, "traffic", text)


if __name__ == "__main__":
    typer.run(main)
