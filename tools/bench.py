"""What an explanation costs, beside the forward pass alone and beside other engines, on one machine at one time.

    pip install '.[bench]'                                       # the peers; those not installed are left out
    python tools/bench.py --models nets --json bench.json        # eight nets, batch 1 and 16, one and two threads
    python tools/bench.py squeezenet --engine captum --batch 1   # some of it; forward and ours are always there
    python tools/bench.py net.onnx --threads 1

Settings that the JSON file has already are not measured again: a long measurement can be done in parts.

Every engine has a process of its own, and all of a setting live at once: the engines run in turn, run by run, so that
a machine whose speed drifts slows all alike. A figure is the median of the runs, a ratio the median of the ratios to
the forward pass of the same run. Memory is the most that a process held resident while it ran, weights and all, less
what it held when its libraries were imported and the net was not yet read. Every gradient is compared with ours: an
engine that computes something else is refused.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import json
import os
import platform
import re
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from bench_engines import ENGINES, Task
from bench_nets import NETS, image_input, net_file
from bench_process import RefusedError, Worker
from page import renew, table
from rich.console import Console

from onnx_saliency.report import write_json

BASE, OURS = "forward", "onnx_saliency"
DIFFERENT = 0.1  # relative L2 error; in a random net, rectifiers within rounding of their kinks cost a hundredth


@dataclass
class Cell:
    """One engine on one net: milliseconds of every run, their median, and the rest beside the forward pass.

    ratio, low, high: median and quartiles of the ratios, run by run.
    peak: MiB, None where it says nothing.
    error: of the gradient, relative to ours.
    refused: why there are no figures.
    """

    net: str
    batch: int
    threads: int
    engine: str
    runs: list[float] = field(default_factory=list)
    median: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    peak: float | None = None
    error: float | None = None
    refused: str | None = None

    def fill(self, base: list[float]) -> None:
        """Work out the figures."""
        self.median = statistics.median(self.runs)
        ratios = [own / other for own, other in zip(self.runs, base, strict=True)]
        self.ratio = statistics.median(ratios)
        self.low, _, self.high = statistics.quantiles(ratios, n=4, method="inclusive")

    def time(self) -> str:
        """What the table shows."""
        if self.median is None or self.ratio is None:
            return f"refused: {str(self.refused).split(':')[0]}"
        if self.engine.endswith(BASE):
            return f"{self.median:.1f}"
        digits = 2 if self.ratio < 100 else 0
        ratio, low, high = (f"{figure:.{digits}f}" for figure in (self.ratio, self.low, self.high))
        return f"{self.median:.1f} · {ratio} ({low} – {high})"

    def memory(self) -> str:
        """What the table of memory shows."""
        return "" if self.peak is None else f"{self.peak:.0f}"

    def line(self) -> str:
        """Everything, for the terminal."""
        if self.refused is not None:
            return f"  {self.engine:<14} refused: {self.refused}"
        peak = f"{self.memory()} MiB" if self.peak is not None else ""
        error = f"error {self.error:.0e}" if self.error is not None else ""
        return f"  {self.engine:<14} {self.time():<28} {peak:>10}  {error}"


# --- one net, batch and number of threads ------------------------------------------------------


class Setting:
    """All engines on one net, each in its process, and what they did.

    Args:
        net: its name.
        task: what all engines are given.
        engines: their names.
        base: the one that the others' times are divided by.
        different: an error of a gradient, relative to ours, that is another gradient's.
    """

    def __init__(
        self, net: str, task: Task, engines: Sequence[str], base: str = BASE, different: float = DIFFERENT
    ) -> None:
        self.task, self.base, self.different = task, base, different
        self.cells = {engine: Cell(net, task.shape[0], task.threads, engine) for engine in engines}
        self.workers: dict[str, Worker] = {}

    def measure(self, runs: int, limit: float) -> list[Cell]:
        """Build the engines, run them in turn, then ask for memory and gradients."""
        with ExitStack() as stack:
            for engine in self.cells:
                self.workers[engine] = Worker(engine, self.task, limit)
                stack.callback(self.workers[engine].close)
                self.hear(engine)
            for run in range(runs + 1):
                for engine, seconds in self.ask("turn"):
                    if run > 0:  # the first warms up
                        self.cells[engine].runs.append(seconds * 1e3)
            for engine, peak in self.ask("peak"):
                self.cells[engine].peak = peak
            self.compare({engine: gradient for engine, gradient in self.ask("gradient") if gradient is not None})
        base = self.cells[self.base]
        for cell in self.cells.values():
            if cell.refused is None and base.refused is not None:
                cell.refused = f"no forward pass: {base.refused}"
            if cell.refused is None:
                cell.fill(base.runs)
        return list(self.cells.values())

    def hear(self, engine: str, order: str | None = None) -> Any:
        """What a worker says, after an order to it; one that refuses is out."""
        try:
            return self.workers[engine].answer(order)
        except RefusedError as refused:
            self.cells[engine].refused = str(refused)
            self.workers.pop(engine).close()
            return None

    def ask(self, order: str) -> Iterator[tuple[str, Any]]:
        """Give every engine the order, one after another."""
        for engine in list(self.workers):
            said = self.hear(engine, order)
            if engine in self.workers:
                yield engine, said

    def compare(self, gradients: dict[str, np.ndarray]) -> None:
        """Find the error of each gradient relative to ours, and refuse one that is another."""
        if OURS not in gradients:
            return
        ours = gradients.pop(OURS)
        for engine, gradient in gradients.items():
            cell = self.cells[engine]
            cell.error = float(np.linalg.norm(gradient - ours) / np.linalg.norm(ours))
            if not cell.error < self.different:
                cell.refused = f"another gradient, by {cell.error:.0e}"


# --- the tables --------------------------------------------------------------------------------


def markdown(cells: list[Cell], engines: list[str], about: str) -> str:
    """The tables for the docs: times, then memory; nothing where an engine was not asked for."""
    place = {net: i for i, net in enumerate(NETS)}
    rows = sorted(by_setting(cells).items(), key=lambda row: (place.get(row[0][0], -1), row[0]))
    times = [[*key, *(row[engine].time() if engine in row else "" for engine in engines)] for key, row in rows]
    memory = [[*key, *(row[engine].memory() if engine in row else "" for engine in engines)] for key, row in rows]
    columns = ("net", "batch", "threads", *engines)
    legend = "Milliseconds; beside the forward pass, the ratio to it and its quartiles, run by run:"
    return f"{about}.\n\n{legend}\n\n{table(columns, times)}\nPeak memory, MiB:\n\n{table(columns, memory)}"


def by_setting(cells: Sequence[Cell]) -> dict[tuple[str, int, int], dict[str, Cell]]:
    """What the engines did, by net, batch and threads."""
    rows: dict[tuple[str, int, int], dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.net, cell.batch, cell.threads), {})[cell.engine] = cell
    return rows


def conditions(engines: Sequence[str] = ()) -> str:
    """Versions and machine, in a line."""
    packages = ["onnxruntime", *(name for engine in engines for name in ENGINES[engine].packages)]
    known = importlib.metadata.packages_distributions()
    names = dict.fromkeys(known[root][0] for root in (name.split(".")[0] for name in packages) if root in known)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    account = Path("/proc/cpuinfo")
    said = account.read_text() if account.exists() else ""
    model = re.search(r"model name\s*: (.*)", said)
    widest = next((f" with {name}" for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in said), "")
    return f"{versions}; {model.group(1) if model else platform.machine()}{widest}, {os.cpu_count()} cores"


def absent(engine: str) -> str | None:
    """The package that an engine lacks."""
    roots = [name.split(".")[0] for name in ENGINES[engine].packages]
    return next((root for root in roots if importlib.util.find_spec(root) is None), None)


def main(
    nets: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(NETS)}, or ONNX files; these without.")] = None,
    engine: Annotated[list[str], typer.Option(help="Beside forward, repeatable.")] = list(ENGINES),  # noqa: B006
    threads: Annotated[list[int], typer.Option(min=1, help="Threads of each engine, repeatable.")] = [1, 2],  # noqa: B006
    batch: Annotated[list[int], typer.Option(min=1, help="Batch sizes, repeatable.")] = [1, 16],  # noqa: B006
    runs: Annotated[int, typer.Option(min=2, help="Counted runs of each.")] = 11,
    limit: Annotated[float, typer.Option(help="Seconds for an engine to be built, or to run once.")] = 600,
    models: Annotated[Path | None, typer.Option(help="Keep the nets' files in this folder.")] = None,
    to_json: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures here, as they come; go on where it ends.")
    ] = None,
    to_markdown: Annotated[Path | None, typer.Option("--markdown", help="Renew the tables in this page.")] = None,
    mark: Annotated[str, typer.Option(help="The tables' mark in the page.")] = "bench",
) -> None:
    """Print what each engine takes on each net, beside the forward pass."""
    console = Console(highlight=False, soft_wrap=True)
    unknown = set(engine) - ENGINES.keys()
    if unknown:
        raise typer.BadParameter(f"No engine {', '.join(unknown)}; there are {', '.join(ENGINES)}.")
    for net in nets or ():
        if net not in NETS and not Path(net).exists():
            raise typer.BadParameter(f"No net or file {net}; the nets are {', '.join(NETS)}.")
    chosen = [name for name in ENGINES if name in (BASE, OURS, *engine)]
    missing = {name: f"no {package}" for name in chosen if (package := absent(name)) is not None}
    engines = [name for name in chosen if name not in missing]
    known = json.loads(to_json.read_text("utf-8"))["cells"] if to_json is not None and to_json.exists() else []
    cells = [Cell(**each) for each in known]
    done = by_setting(cells).keys()
    ever = [name for name in ENGINES if name in engines or any(cell.engine == name for cell in cells)]
    about = f"{conditions(ever)}; medians of {runs} runs in turn"
    console.print(about)
    for name, reason in missing.items():
        console.print(f"{name} is missing: {reason}")

    def keep() -> None:
        if to_json is not None:
            write_json(to_json, {"about": about, "missing": missing, "cells": [asdict(cell) for cell in cells]})

    with tempfile.TemporaryDirectory() as scratch:
        folder = models or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for net, size in itertools.product(nets or NETS, batch):
            left = [count for count in threads if (Path(net).stem, size, count) not in done]
            if not left:
                continue
            try:
                path, single = net_file(net, size, folder), net_file(net, 1, folder)
                image, shape = image_input(onnx.load(path), size)
            except ImportError as lacking:
                missing[net] = str(lacking)
                console.print(f"{net}, batch {size}, is missing: {lacking}")
                continue
            except ValueError as fixed:
                console.print(f"{net}, batch {size}, is left out: {fixed}")
                continue
            for count in left:
                console.print(f"{Path(net).stem}, batch {size}, threads {count}")
                task = Task(path, image, shape, count, single)
                found = Setting(Path(net).stem, task, engines).measure(runs, limit)
                console.print("\n".join(cell.line() for cell in found))
                cells += found
                keep()
    keep()
    if to_markdown is not None:
        renew(to_markdown, mark, markdown(cells, ever, about))


if __name__ == "__main__":
    typer.run(main)
