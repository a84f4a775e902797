"""What an explanation costs: forward pass and gradient of the same net, side by side in one process.

    python tools/bench.py                          # the nets that the onnx package ships, random weights
    python tools/bench.py net.onnx --threads 1

The two sessions run in turn, so that a machine whose speed drifts slows both; the ratio is the median of
the ratios run by run. One warm-up run is not counted.
"""

from __future__ import annotations

import statistics
import sys
import time
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
from onnx_saliency.exporter.explained import SALIENCY
from onnx_saliency.report import write_json, write_text
from onnx_saliency.runtime import Session

sys.path.append(str(Path(__file__).parents[1] / "tests" / "models"))
sys.path.append(str(Path(__file__).parents[1] / "tests" / "reference"))

COLUMNS = ("net", "batch", "threads", "forward ms", "gradient ms", "ratio", "ratio, quartiles")


@dataclass(frozen=True)
class Row:
    """Medians of one net, milliseconds a run, and the spread of the ratio gradient / forward."""

    net: str
    batch: int
    threads: int
    forward: float
    gradient: float
    ratio: float
    low: float
    high: float

    def cells(self) -> tuple[str, ...]:
        """The row as text, in the order of COLUMNS."""
        figures = (
            f"{self.forward:.1f}",
            f"{self.gradient:.1f}",
            f"{self.ratio:.2f}",
            f"{self.low:.2f} – {self.high:.2f}",
        )
        return self.net, str(self.batch), str(self.threads), *figures


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
    times: list[tuple[float, float]] = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        forward.run(feeds)
        middle = time.perf_counter()
        gradient.run(feeds, [SALIENCY])
        times.append((middle - start, time.perf_counter() - middle))
    forwards, gradients = zip(*times[1:], strict=True)
    ratios = [g / f for f, g in times[1:]]
    low, _, high = statistics.quantiles(ratios, n=4)
    medians = statistics.median(forwards) * 1e3, statistics.median(gradients) * 1e3
    return Row(net, batch, threads, *medians, statistics.median(ratios), low, high)


def markdown(rows: list[Row]) -> str:
    """The table for the docs."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main(
    models: Annotated[list[Path] | None, typer.Argument(help="ONNX files; the light nets without any.")] = None,
    threads: Annotated[list[int], typer.Option(help="Threads, one table row each.")] = [1, 2],  # noqa: B006
    batch: Annotated[list[int], typer.Option(help="Batch sizes; a net fixed to another is left out.")] = [1],  # noqa: B006
    runs: Annotated[int, typer.Option(min=2, help="Counted runs of each.")] = 11,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here.")] = None,
    to_markdown: Annotated[Path | None, typer.Option("--markdown", help="Also write the table here.")] = None,
) -> None:
    """Print forward pass, gradient and their ratio for each net."""
    from light import NAMES, light_model

    nets = [(path.stem, lambda path=path: onnx.load(path)) for path in models or ()]
    nets = nets or [(name, lambda name=name: light_model(name)) for name in NAMES]
    rows = []
    table = Table(*COLUMNS, title=f"onnxruntime {onnxruntime.__version__}, CPU")
    for name, build in nets:
        model = build()
        found = [measure(name, model, b, t, runs) for b in batch for t in threads]
        for row in [row for row in found if row is not None]:
            rows.append(row)
            table.add_row(*row.cells())
    Console().print(table)
    if json is not None:
        write_json(json, {"onnxruntime": onnxruntime.__version__, "rows": [asdict(row) for row in rows]})
    if to_markdown is not None:
        write_text(to_markdown, markdown(rows))


if __name__ == "__main__":
    typer.run(main)
