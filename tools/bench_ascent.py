"""What one step of a class model costs, beside one gradient of the same batch and the same step in PyTorch.

    python tools/bench_ascent.py
    python tools/bench_ascent.py mobilenetv2 net.onnx --batch 8

Two sessions run in turn in one process, so that a machine whose speed drifts slows both; the ratio is the median of
the ratios run by run. One warm-up run is not counted.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import typer
from bench_nets import NETS, net_file
from page import renew
from rich.console import Console
from rich.table import Table

from onnx_saliency.backward import Profile
from onnx_saliency.exporter import Options, explain_model
from onnx_saliency.exporter.ascent import PAPER, Recipe
from onnx_saliency.exporter.explained import SALIENCY, TARGET
from onnx_saliency.graph import ModelSource, load
from onnx_saliency.report import write_json
from onnx_saliency.runtime import Iteration, Session
from onnx_saliency.vision.step import Prepared, prepare_step

COLUMNS = ("net", "batch", "threads", "gradient ms", "step ms", "ratio", "ratio, quartiles", "PyTorch step ms")
DEFAULT = ("resnet50", "squeezenet")


@dataclass(frozen=True)
class Row:
    """Medians of one net in milliseconds, the ratio of step to gradient with its quartiles.

    torch: what PyTorch takes for the same step, or why there is no figure.
    """

    net: str
    batch: int
    threads: int
    gradient: float
    step: float
    ratio: float
    low: float
    high: float
    torch: str

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of the columns."""
        figures = (
            f"{self.gradient:.1f}",
            f"{self.step:.1f}",
            f"{self.ratio:.2f}",
            f"{self.low:.2f} – {self.high:.2f}",
        )
        return self.net, str(self.batch), str(self.threads), *figures, self.torch


def step_of(model: ModelSource, recipe: Recipe, profile: Profile) -> Prepared:
    """The step of a class model, of a recipe and for a profile, and else as by default."""
    return prepare_step(
        load(model),
        recipe,
        score=None,
        against=None,
        seed=0,
        size=None,
        preprocess=None,
        input=None,
        output=None,
        profile=profile,
    )


def in_turn(first: Callable[[], object], second: Callable[[], object], runs: int) -> tuple[float, ...]:
    """Medians of both in milliseconds, and median and quartiles of the ratio; one warm-up run is not counted."""
    times: list[tuple[float, float]] = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        first()
        middle = time.perf_counter()
        second()
        times.append((middle - start, time.perf_counter() - middle))
    medians = [statistics.median(each) * 1e3 for each in zip(*times[1:], strict=True)]
    ratios = [b / a for a, b in times[1:]]
    low, _, high = statistics.quantiles(ratios, n=4)
    return *medians, statistics.median(ratios), low, high


def measure(net: str, model: onnx.ModelProto, batch: int, threads: int, runs: int) -> Row | None:
    """Time one gradient of a batch and one step of the paper's recipe in turn, and PyTorch's step.

    Return None where the model is fixed to another batch.
    """
    prepared = step_of(model, PAPER, "cpu")
    explained = explain_model(model, Options(profile="cpu"))
    if explained.classifier.batch not in (None, batch):
        return None
    shape = (batch, *(side for side in prepared.step.states["parameters"][1:] if isinstance(side, int)))
    images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    targets = np.arange(batch)
    dims = images.shape if explained.classifier.channel_axis == 1 else (shape[0], *shape[2:], shape[1])
    feeds = {explained.classifier.image.name: images.reshape(dims), TARGET: targets}
    gradient = Session(explained.model, providers=["cpu"], threads=threads)
    states = {
        name: np.zeros(
            [batch if isinstance(side, str) else side for side in sides], np.int64 if name == "step" else np.float32
        )
        for name, sides in prepared.step.states.items()
    } | {"parameters": images}
    session = Session(prepared.step.model, providers=["cpu"], threads=threads)
    step = Iteration(session, states, {"target": targets, "key": targets})
    figures = in_turn(lambda: gradient.run(feeds, [SALIENCY]), step.step, runs)
    return Row(net, batch, threads, *figures, torch=torch_step(model, images, targets, threads, runs))


def torch_step(model: onnx.ModelProto, images: np.ndarray, targets: np.ndarray, threads: int, runs: int) -> str:
    """Median milliseconds of the same step in eager PyTorch, the net through onnx2torch; or why there is none."""
    try:
        import torch
        from zoo import load_torch

        load_torch()  # onnx2torch imports torchvision
        import onnx2torch
    except ImportError as missing:
        return f"no {missing.name}"
    torch.set_num_threads(threads)
    try:
        network = onnx2torch.convert(model).eval()
    except (NotImplementedError, RuntimeError) as refused:
        return f"refused: {type(refused).__name__}"
    image, chosen = torch.tensor(images, requires_grad=True), torch.tensor(targets)
    adam = torch.optim.AdamW([image], lr=PAPER.rate, weight_decay=PAPER.weight_decay, maximize=True)
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        scores = network(image).flatten(1).gather(1, chosen[:, None]).sum()
        (image.grad,) = torch.autograd.grad(scores, image)
        adam.step()
        times.append(time.perf_counter() - start)
    return f"{statistics.median(times[1:]) * 1e3:.1f}"


def markdown(rows: list[Row]) -> str:
    """The table for the docs."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(
    nets: Annotated[
        list[str] | None, typer.Argument(help=f"{', '.join(NETS)}, or ONNX files; {' and '.join(DEFAULT)} without.")
    ] = None,
    threads: Annotated[list[int], typer.Option(help="Threads, one table row each.")] = [1, 2],  # noqa: B006
    batch: Annotated[list[int], typer.Option(help="Batch sizes; a net fixed to another is left out.")] = [1],  # noqa: B006
    runs: Annotated[int, typer.Option(min=2, help="Counted runs of each.")] = 11,
    models: Annotated[Path | None, typer.Option(help="Keep the nets' files in this folder.")] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
    to_markdown: Annotated[Path | None, typer.Option("--markdown", help="Renew the table in this page.")] = None,
) -> None:
    """Print gradient and step for each net, and their ratio."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = models or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for net, size in itertools.product(nets or DEFAULT, batch):
            model = onnx.load(net_file(net, size, folder))
            found = [measure(Path(net).stem, model, size, count, runs) for count in threads]
            rows += [row for row in found if row is not None]
    table = Table(*COLUMNS, title=f"onnxruntime {onnxruntime.__version__}, CPU")
    for row in rows:
        table.add_row(*row.cells())
    Console().print(table)
    if json is not None:
        write_json(json, {"onnxruntime": onnxruntime.__version__, "rows": [asdict(row) for row in rows]})
    if to_markdown is not None:
        renew(to_markdown, "bench-ascent", markdown(rows))


if __name__ == "__main__":
    typer.run(main)
