"""What deletion and insertion of one picture cost, beside the forward passes that they need.

    python tools/bench_faithfulness.py
    python tools/bench_faithfulness.py net.onnx --runs 20

The picture's order is made, its 2 x 11 images are made and judged, and the areas taken; beside it the plain model
judges 2 x 11 images that are there already. Both in turn in one process; the ratio is the median of the ratios run by
run. One run to warm up is not counted.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import typer
from page import renew

import onnx_saliency as xs
from onnx_saliency.evaluation.faithfulness import PROTOCOLS, Scorer, area_under, perturbation_curve, rank_pixels
from onnx_saliency.evaluation.faithfulness.curves import fills
from onnx_saliency.evaluation.faithfulness.protocol import MODES
from onnx_saliency.exporter import score_model
from onnx_saliency.runtime import Session

sys.path += [str(Path(__file__).parents[1] / "tests" / room) for room in ("models", "reference")]
from light import light_model

NETS = ("squeezenet", "resnet50")
PROTOCOL = PROTOCOLS["plain"]


def seconds(run: Callable[[], object]) -> float:
    """What one run takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(model: Path, runs: int, threads: int | None) -> list[tuple[float, float]]:
    """Seconds of both, run by run."""
    explainer = xs.Explainer(model, threads=threads, cache=False)
    scorer, plain = Scorer(explainer), Session(score_model(model), threads=threads)
    height, width = explainer.size
    shape = (1, 3, height, width) if explainer.layout == "NCHW" else (1, height, width, 3)
    rng = np.random.default_rng(0)
    image = rng.standard_normal(shape).astype(np.float32)
    saliency = rng.random((height, width))
    filled = fills(PROTOCOL, image, explainer.preprocess, 1 if explainer.layout == "NCHW" else 3)
    counts = [len(PROTOCOL.counts(mode, height * width)) for mode in MODES]
    fits = [
        [count] if explainer.batch is None else [explainer.batch] * -(-count // explainer.batch) for count in counts
    ]
    batches = [np.repeat(image, size, axis=0) for sizes in fits for size in sizes]

    def both() -> list[float]:
        ranks = rank_pixels(saliency)
        return [area_under(perturbation_curve(scorer, image, ranks, 0, mode, PROTOCOL, filled[mode])) for mode in MODES]

    def forward() -> None:
        for batch in batches:
            plain.run({explainer.input: batch})

    both(), forward()
    return [(seconds(both), seconds(forward)) for _ in range(runs)]


def main(
    models: Annotated[
        list[Path] | None, typer.Argument(help="ONNX files; light nets of random weights without.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1)] = 10,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads within an operator.")] = 1,
    pages: Annotated[Path | None, typer.Option("--markdown", help="A page with the marks of the table.")] = None,
) -> None:
    """Measure and print the table."""
    lines = ["| net | both curves, ms | 22 forward passes, ms | ratio |", "|---|---:|---:|---:|"]
    with tempfile.TemporaryDirectory() as folder:
        files = list(models or ())
        for name in () if models else NETS:
            files.append(Path(folder) / f"{name}.onnx")
            onnx.save(light_model(name), files[-1])
        for file in files:
            found = measure(file, runs, threads)
            ours, theirs = (1e3 * statistics.median(times) for times in zip(*found, strict=True))
            ratio = statistics.median(a / b for a, b in found)
            lines.append(f"| {file.stem} | {ours:.0f} | {theirs:.0f} | {ratio:.2f} |")
    table = "\n".join(lines)
    print(table)
    if pages is not None:
        renew(pages, "bench-faithfulness", f"{table}\n")


if __name__ == "__main__":
    typer.run(main)
