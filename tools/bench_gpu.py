"""What a gradient costs on CUDA beside the forward pass there, and its error beside float32 on the CPU.

For a machine with a GPU, from a checkout:

    pip install '.[gpu,bench]'
    python tools/bench_gpu.py --models nets --json gpu.json --markdown docs/benchmarks.md
    python tools/bench_gpu.py squeezenet resnet50 --batch 1      # these need nothing of the extra bench

It measures as tools/bench.py does: a process for every engine, all in turn, medians of runs and of ratios. `gradient`
has inputs and outputs on the device; `copied` has them on the host, there and back; `tf32`, `fp16` and `graph` are
`gradient` with products in TF32, all of it in half precision, and recorded as a CUDA graph. An engine that does not
run a net is refused, with the reason. Without CUDA the script says so and ends with exit code 2.
"""

from __future__ import annotations

import math
import subprocess
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import onnx
import typer
from bench import OURS, Cell, Setting, by_setting, conditions
from bench_engines import CUDA, Task
from bench_nets import NETS, image_input, net_file
from page import renew, table

from onnx_saliency.embedded import default_model
from onnx_saliency.report import write_json
from onnx_saliency.runtime import Session

ENGINES = (OURS, *CUDA)  # the gradient on the CPU is what all are compared with
BASE = "cuda/forward"


def reason_without() -> str | None:
    """Why nothing can be measured here; None where CUDA runs a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is said below
        session = Session(default_model(), providers=["cuda"])
    if session.provider == "cuda":
        return None
    return (
        f"CUDA cannot be used here: onnxruntime runs on {session.providers[0]}. This needs a GPU, its driver and "
        "pip install '.[gpu,bench]'."
    )


def device() -> str:
    """What the driver calls the first GPU, and itself."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "a GPU that nvidia-smi does not name"
    name, driver = (part.strip() for part in said.splitlines()[0].rsplit(",", 1))
    return f"{name}, driver {driver}"


def markdown(cells: list[Cell], about: str) -> str:
    """The tables for the docs: times, then errors."""
    rows = [(net, batch, row) for (net, batch, _), row in by_setting(cells).items()]
    times = [[net, batch, *(row[engine].time() for engine in ENGINES)] for net, batch, row in rows]
    errors = [[net, batch, *(error(row[engine]) for engine in CUDA if engine != BASE)] for net, batch, row in rows]
    first, second = ("net", "batch", "cpu", *CUDA), ("net", "batch", *(engine for engine in CUDA if engine != BASE))
    legend = "Milliseconds; beside the forward pass on CUDA, the ratio to it and its quartiles, run by run:"
    wrong = "Relative L2 error of the gradient to that of float32 on the CPU:"
    return f"{about}.\n\n{legend}\n\n{table(first, times)}\n{wrong}\n\n{table(second, errors)}"


def error(cell: Cell) -> str:
    """Of a gradient, as the table shows it."""
    return "" if cell.error is None else f"{cell.error:.0e}"


def main(
    nets: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(NETS)}, or ONNX files; these without.")] = None,
    batch: Annotated[list[int], typer.Option(min=1, help="Batch sizes, repeatable.")] = [1, 16],  # noqa: B006
    runs: Annotated[int, typer.Option(min=2, help="Counted runs of each.")] = 11,
    limit: Annotated[float, typer.Option(help="Seconds for an engine to be built, or to run once.")] = 600,
    models: Annotated[Path | None, typer.Option(help="Keep the nets' files in this folder.")] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
    to_markdown: Annotated[Path | None, typer.Option("--markdown", help="Renew the tables in this page.")] = None,
) -> None:
    """Print what each way costs on each net, or say that there is no CUDA."""
    if (reason := reason_without()) is not None:
        typer.echo(reason, err=True)
        raise typer.Exit(2)
    about = f"{device()}; {conditions()}; medians of {runs} runs in turn"
    print(about)
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = models or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for net in nets or NETS:
            for size in batch:
                try:
                    path = net_file(net, size, folder)
                    image, shape = image_input(onnx.load(path), size)
                except (ImportError, ValueError) as why:
                    print(f"{net}, batch {size}, is left out: {why}")
                    continue
                task = Task(path, image, shape, 1)
                found = Setting(Path(net).stem, task, ENGINES, BASE, different=math.inf).measure(runs, limit)
                print(f"{Path(net).stem}, batch {size}", *(cell.line() for cell in found), sep="\n")
                cells += found
    if json is not None:
        write_json(json, {"about": about, "cells": [asdict(cell) for cell in cells]})
    if to_markdown is not None:
        renew(to_markdown, "bench-gpu", markdown(cells, about))


if __name__ == "__main__":
    typer.run(main)
