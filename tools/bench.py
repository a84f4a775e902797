"""What an explanation costs: forward pass and gradient of the same net, side by side in one process.

    python tools/bench.py                          # the nets that the onnx package ships, random weights
    python tools/bench.py net.onnx --threads 1
    python tools/bench.py --ascent --batch 8       # one step of a class model beside one gradient of the same batch

The two sessions run in turn, so that a machine whose speed drifts slows both; the ratio is the median of
the ratios run by run. One warm-up run is not counted.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnxruntime
import typer
from rich.console import Console
from rich.table import Table

from onnx_saliency.exporter import explain_model
from onnx_saliency.exporter.ascent import PAPER
from onnx_saliency.exporter.explained import SALIENCY, TARGET
from onnx_saliency.graph import load
from onnx_saliency.report import write_json, write_text
from onnx_saliency.runtime import Iteration, Session
from onnx_saliency.vision.step import prepare_step

sys.path.append(str(Path(__file__).parents[1] / "tests" / "models"))
sys.path.append(str(Path(__file__).parents[1] / "tests" / "reference"))

COLUMNS = ("net", "batch", "threads", "forward ms", "gradient ms", "ratio", "ratio, quartiles")
ASCENT_COLUMNS = ("net", "batch", "threads", "gradient ms", "step ms", "ratio", "ratio, quartiles", "PyTorch step ms")
ASCENT_NETS = ("resnet50", "squeezenet")


@dataclass(frozen=True)
class Row:
    """Medians of one net, milliseconds a run, and the spread of the ratio of the second to the first.

    first: forward pass; of the ascent, gradient.
    second: gradient; of the ascent, step.
    peer: of the ascent, what PyTorch takes for the same step, or why there is no figure.
    """

    net: str
    batch: int
    threads: int
    first: float
    second: float
    ratio: float
    low: float
    high: float
    peer: str | None = None

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of the columns."""
        figures = (
            f"{self.first:.1f}",
            f"{self.second:.1f}",
            f"{self.ratio:.2f}",
            f"{self.low:.2f} – {self.high:.2f}",
        )
        return self.net, str(self.batch), str(self.threads), *figures, *([] if self.peer is None else [self.peer])


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
    """Time forward pass and gradient in turn; None where the model is fixed to another batch."""
    explained = explain_model(model)
    classifier = explained.classifier
    if classifier.batch not in (None, batch):
        return None
    dims = [batch, *(dim if isinstance(dim, int) else 224 for dim in list(classifier.image.shape)[1:])]
    feeds = {classifier.image.name: np.random.default_rng(0).standard_normal(dims).astype(np.float32)}
    forward = Session(model.SerializeToString(), providers=["cpu"], threads=threads)
    gradient = Session(explained.model, providers=["cpu"], threads=threads)
    return Row(net, batch, threads, *in_turn(lambda: forward.run(feeds), lambda: gradient.run(feeds, [SALIENCY]), runs))


def measure_ascent(net: str, model: onnx.ModelProto, batch: int, threads: int, runs: int) -> Row | None:
    """Time one gradient of a batch and one step of the paper's recipe in turn, and PyTorch's step."""
    prepared = prepare_step(
        load(model), PAPER, score=None, against=None, seed=0, size=None, preprocess=None, input=None, output=None
    )
    explained = explain_model(model)
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
    return Row(net, batch, threads, *figures, peer=torch_step(model, images, targets, threads, runs))


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
    adam = torch.optim.Adam([image], lr=PAPER.rate, maximize=True)
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        scores = network(image).flatten(1).gather(1, chosen[:, None]).sum()
        (image.grad,) = torch.autograd.grad(scores - PAPER.l2 * (image**2).sum(), image)
        adam.step()
        times.append(time.perf_counter() - start)
    return f"{statistics.median(times[1:]) * 1e3:.1f}"


def markdown(columns: tuple[str, ...], rows: list[Row]) -> str:
    """The table for the docs."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main(
    models: Annotated[list[Path] | None, typer.Argument(help="ONNX files; the light nets without any.")] = None,
    threads: Annotated[list[int], typer.Option(help="Threads, one table row each.")] = [1, 2],  # noqa: B006
    batch: Annotated[list[int], typer.Option(help="Batch sizes; a net fixed to another is left out.")] = [1],  # noqa: B006
    runs: Annotated[int, typer.Option(min=2, help="Counted runs of each.")] = 11,
    ascent: Annotated[bool, typer.Option("--ascent", help="Step of a class model beside a gradient.")] = False,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
    to_markdown: Annotated[Path | None, typer.Option("--markdown", help="Also write the table here.")] = None,
) -> None:
    """Print forward pass, gradient and their ratio for each net; with --ascent, gradient and step."""
    from light import NAMES, light_model

    nets = [(path.stem, lambda path=path: onnx.load(path)) for path in models or ()]
    nets = nets or [(name, lambda name=name: light_model(name)) for name in (ASCENT_NETS if ascent else NAMES)]
    columns, timed = (ASCENT_COLUMNS, measure_ascent) if ascent else (COLUMNS, measure)
    rows = []
    table = Table(*columns, title=f"onnxruntime {onnxruntime.__version__}, CPU")
    for name, build in nets:
        model = build()
        found = [timed(name, model, b, t, runs) for b in batch for t in threads]
        for row in [row for row in found if row is not None]:
            rows.append(row)
            table.add_row(*row.cells())
    Console().print(table)
    if json is not None:
        write_json(json, {"onnxruntime": onnxruntime.__version__, "rows": [asdict(row) for row in rows]})
    if to_markdown is not None:
        write_text(to_markdown, markdown(columns, rows))


if __name__ == "__main__":
    typer.run(main)
