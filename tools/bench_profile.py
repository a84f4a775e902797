"""Where each millisecond of a gradient goes, by ONNX Runtime's own profiler, on one thread.

    python tools/bench_profile.py --models nets                  # the eight nets of tools/bench.py
    python tools/bench_profile.py squeezenet --top 20            # and the operators and nodes that take the most
    python tools/bench_profile.py net.onnx --profile portable

A figure is the median over the runs, node by node, summed by kind. A node is the forward pass's unless the export
wrote it, or it only changes a layout for such nodes: the reordering of a value that a mask reads.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import typer
from bench_nets import NETS, image_input, net_file
from page import renew

from onnx_saliency.backward import Profile
from onnx_saliency.exporter import Options, explain_model

KINDS = {
    "Conv": ("Conv", "FusedConv"),
    "ConvTranspose": ("ConvTranspose",),
    "matrix products": ("Gemm", "FusedGemm", "MatMul", "FusedMatMul"),
    "pools, scatter": ("MaxPool", "AveragePool", "GlobalAveragePool", "ScatterElements", "MaxUnpool"),
    "layout": ("ReorderInput", "ReorderOutput"),
    "movement": ("Transpose", "Reshape", "Concat", "Split", "Slice", "Pad", "Expand", "Gather", "DepthToSpace"),
}
REST = "elementwise, sums"
WRITTEN = "saliency/"  # begins the names of what the export wrote
KERNEL = "_kernel_time"


@dataclass(frozen=True)
class Cost:
    """One node of the graph that the runtime made of the model, and its median."""

    name: str
    op_type: str
    milliseconds: float
    backward: bool

    @property
    def kind(self) -> str:
        """The column that it is counted in."""
        return next((kind for kind, members in KINDS.items() if self.op_type in members), REST)


def costs(model: bytes, output: str, image: str, images: np.ndarray, runs: int) -> list[Cost]:
    """Run `model` under the profiler; the first run is not counted."""
    with tempfile.TemporaryDirectory() as scratch:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # it warns that an optimised graph is of this machine
        options.enable_profiling = True
        options.profile_file_prefix = f"{scratch}/profile"
        options.optimized_model_filepath = f"{scratch}/optimised.onnx"
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for _ in range(runs + 1):
            session.run([output], {image: images})
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        nodes = onnx.load(options.optimized_model_filepath).graph.node
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(KERNEL):
            times[event["name"].removesuffix(KERNEL)].append(event["dur"] / 1e3)
    written = of_backward(nodes)
    return [
        Cost(node.name, node.op_type, statistics.median(times[node.name][1:]), node.name in written) for node in nodes
    ]


def of_backward(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Names of the nodes that the export wrote, and of changes of layout that only these read."""
    readers: dict[str, list[str]] = defaultdict(list)
    found: set[str] = set()
    for node in reversed(nodes):
        of_it = [name for value in node.output for name in readers[value]]
        if node.name.startswith(WRITTEN) or (node.op_type in KINDS["layout"] and found.issuperset(of_it)):
            found.add(node.name)
        for value in node.input:
            readers[value].append(node.name)
    return found


@dataclass(frozen=True)
class Account:
    """The forward pass alone, and the nodes of the gradient."""

    net: str
    alone: float
    gradient: list[Cost]

    def backward(self) -> dict[str, float]:
        """Milliseconds of the backward pass by kind."""
        totals = dict.fromkeys([*KINDS, REST], 0.0)
        for cost in self.gradient:
            if cost.backward:
                totals[cost.kind] += cost.milliseconds
        return totals

    def row(self) -> str:
        """A line of the table."""
        forward = sum(cost.milliseconds for cost in self.gradient if not cost.backward)
        figures = [self.alone, forward, *self.backward().values()]
        return f"| {self.net} | {' | '.join(f'{figure:.1f}' for figure in figures)} |\n"

    def most(self, top: int) -> str:
        """The operators, then the nodes, that take the most."""
        by_operator: dict[str, float] = defaultdict(float)
        for cost in self.gradient:
            by_operator[f"{cost.op_type}, {'backward' if cost.backward else 'forward'}"] += cost.milliseconds
        by_node = {f"{cost.op_type} {cost.name}": cost.milliseconds for cost in self.gradient}
        return "\n\n".join(
            "\n".join(f"  {each[1]:8.2f}  {each[0]}" for each in sorted(table.items(), key=lambda e: -e[1])[:top])
            for table in (by_operator, by_node)
        )


def account(net: str, folder: Path, profile: Profile, runs: int) -> Account:
    """Profile a net alone, and its gradient."""
    path = net_file(net, 1, folder)
    image, shape = image_input(onnx.load(path), 1)
    images = np.random.default_rng(0).standard_normal(shape, np.float32)
    explained = explain_model(path, Options(profile=profile))
    plain = onnx.load(path)
    alone = costs(plain.SerializeToString(), plain.graph.output[0].name, image, images, runs)
    gradient = costs(ir.to_proto(explained.model).SerializeToString(), "saliency", image, images, runs)
    return Account(Path(net).stem, sum(cost.milliseconds for cost in alone), gradient)


def markdown(accounts: Sequence[Account]) -> str:
    """The table for the docs."""
    columns = ("net", "forward alone", "forward, tapped", *KINDS, REST)
    lines = [f"| {' | '.join(columns)} |\n", f"| {' | '.join(['---'] * len(columns))} |\n"]
    return "".join([*lines, *(each.row() for each in accounts)])


def main(
    nets: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(NETS)}, or ONNX files; these without.")] = None,
    profile: Annotated[str, typer.Option(help="What the new nodes are written for.")] = "cpu",
    runs: Annotated[int, typer.Option(min=1, help="Counted runs of each.")] = 9,
    top: Annotated[int, typer.Option(help="Also list so many operators and nodes of each net.")] = 0,
    models: Annotated[Path | None, typer.Option(help="Keep the nets' files in this folder.")] = None,
    to_markdown: Annotated[Path | None, typer.Option("--markdown", help="Renew the table in this page.")] = None,
) -> None:
    """Print where the milliseconds of a gradient of one image go."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = models or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        accounts = []
        for net in nets or NETS:
            accounts.append(account(net, folder, profile, runs))  # the export checks the profile
            if top:
                print(f"{net}\n{accounts[-1].most(top)}\n")
    table = markdown(accounts)
    print(table)
    if to_markdown is not None:
        renew(to_markdown, "profile", table)


if __name__ == "__main__":
    typer.run(main)
