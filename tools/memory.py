"""The most memory that a gradient takes, beside that of the forward pass and of what the backward pass must keep.

    python tools/memory.py squeezenet resnet50
    python tools/memory.py net.onnx --batch 1 --batch 16 --markdown docs/benchmarks.md

Both run in this project's sessions, each in a process of its own and from a file, so that nothing counts which
rewriting left. At rest is what the process holds more when the session is built: the weights, as the runtime lays them
out for its kernels. The peak is what it held at most in three runs. Kept are the values of the forward pass that nodes
of the backward pass read, each once, in the explained model as it is written.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import onnx
import onnx_ir as ir
import typer
from bench import conditions
from bench_engines import Task
from bench_nets import image_input, net_file
from bench_process import environment, forget, memory
from page import renew, table

from onnx_saliency.exporter import Options, explain_model
from onnx_saliency.graph.shapes import infer_shapes
from onnx_saliency.runtime import Session

NETS = ("squeezenet", "resnet50")
BACKWARD = "saliency/"  # what names of nodes begin with that the exporter adds
COLUMNS = (
    "net",
    "batch",
    "forward",
    "of it at rest",
    "kept",
    "gradient",
    "of it at rest",
    "ratio",
    "ratio of the runs",
)


@dataclass(frozen=True)
class Held:
    """MiB of a process: with the session at rest, and at most while it runs."""

    rest: float
    peak: float


def hold(connection: Connection, task: Task, outputs: list[str] | None) -> None:
    """Run the model in this process, and send what that took."""
    forget()
    before = memory("VmRSS") or 0.0
    session = Session(task.path, providers=["cpu"], threads=task.threads)
    forget()
    rest = memory("VmRSS") or 0.0
    feeds = {task.image: task.images()}
    forget()
    for _ in range(3):
        session.run(feeds, outputs)
    connection.send(Held(rest - before, (memory("VmHWM") or 0.0) - before))


def held(task: Task, outputs: list[str] | None = None) -> Held:
    """What a process takes for this model."""
    os.environ |= environment(task.threads)
    context = multiprocessing.get_context("spawn")  # a fork would begin with this process's memory
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(theirs, task, outputs))
    process.start()
    theirs.close()
    try:
        found: Held = ours.recv()
    finally:
        process.join()
    return found


def kept(model: ir.Model, batch: int) -> float:
    """MiB of the values of the forward pass that the backward pass reads; an open length is the batch."""
    infer_shapes(model)
    values = {value for node in model.graph if _is_backward(node) for value in node.inputs if _is_forward(value)}
    return sum(_size(value, batch) for value in values) / 2**20


def _is_backward(node: ir.Node) -> bool:
    return (node.name or "").startswith(BACKWARD)


def _is_forward(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type != "Constant" and not _is_backward(producer)


def _size(value: ir.Value, batch: int) -> int:
    assert value.shape is not None
    assert value.dtype is not None
    return int(value.dtype.itemsize) * math.prod(dim if isinstance(dim, int) else batch for dim in value.shape)


def row(net: str, batch: int, folder: Path) -> list[str]:
    """One line of the table.

    Raises:
        ValueError: the model is fixed to another batch.
    """
    path = net_file(net, batch, folder)
    image, shape = image_input(onnx.load(path), batch)
    explained = explain_model(path, Options(profile="cpu")).model
    rewritten = folder / f"{path.stem}.saliency.onnx"
    ir.save(explained, rewritten)
    forward = held(Task(path, image, shape, 1))
    gradient = held(Task(rewritten, image, shape, 1), ["saliency"])
    keeps = kept(explained, batch)
    ratio = gradient.peak / (forward.peak + keeps)
    runs = (gradient.peak - gradient.rest) / (forward.peak - forward.rest + keeps)
    sizes = (forward.peak, forward.rest, keeps, gradient.peak, gradient.rest)
    return [Path(net).stem, str(batch), *(f"{size:.0f}" for size in sizes), f"{ratio:.2f}", f"{runs:.2f}"]


def main(
    nets: Annotated[list[str] | None, typer.Argument(help="Nets of tools/bench.py, or ONNX files.")] = None,
    batch: Annotated[list[int], typer.Option(min=1, help="Batch sizes, repeatable.")] = [1, 16],  # noqa: B006
    to_markdown: Annotated[Path | None, typer.Option("--markdown", help="Renew the table in this page.")] = None,
) -> None:
    """Print the table, or put it in its place on a page."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for net in nets or NETS:
            for size in batch:
                try:
                    rows.append(row(net, size, Path(folder)))
                except ValueError as fixed:
                    print(f"{net}, batch {size}, is left out: {fixed}")
    text = f"{conditions()}. MiB, one thread.\n\n{table(COLUMNS, rows)}"
    print(text)
    if to_markdown is not None:
        renew(to_markdown, "memory", text)


if __name__ == "__main__":
    typer.run(main)
