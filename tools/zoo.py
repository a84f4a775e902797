"""Does it work on the classifiers people export? Every timm module and torchvision family, by both exporters.

    python tools/zoo.py --out zoo                       # all of them, the smallest of each family
    python tools/zoo.py vision_transformer swin_t --out zoo

For each net: random weights, BatchNorm statistics of a forward pass, export to ONNX (torch.onnx, dynamo and
TorchScript), `onnx_saliency` on the file, and the gradient of the predicted class's logit beside PyTorch's autograd in
float64 on three inputs, nine where those miss the goal: random nets with many kinks are chaotic, so autograd's own
float32 error stands beside ours.
Each net runs in a process of its own, with a time limit. PyTorch, torchvision and timm are needed by this tool alone.
"""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

EXPORTERS = ("dynamo", "torchscript")
INPUTS = 3
MORE_INPUTS = (
    9  # for a net that misses the goal: a kink within rounding decides single inputs, a wrong rule decides all
)
GOAL = 1e-3  # relative L2 error in float32, median of the inputs
ALLOWED = 3.0  # or this many times autograd's own float32 error on that net


@dataclass
class Outcome:
    """What happened to one net by one exporter.

    `stage` is where it ended: "export" (the exporter refused), "onnxruntime" (the exported model does not run or
    differs from PyTorch), "rewrite", "gradient", or "done".
    """

    net: str
    exporter: str
    stage: str
    reason: str = ""
    nodes: int = 0
    seconds: float = 0.0
    ours: list[float] = field(default_factory=list)
    autograd: list[float] = field(default_factory=list)
    detaches: bool = False  # autograd does not follow the net's own forward pass; finite differences agree with ours

    @property
    def right(self) -> bool:
        """Whether the gradient is as good as promised."""
        if self.stage != "done" or self.detaches:
            return self.detaches
        ours, autograd = statistics.median(self.ours), statistics.median(self.autograd)
        return ours < max(GOAL, ALLOWED * autograd)


# --- the nets ----------------------------------------------------------------------------------


def load_torch() -> None:
    """torchvision's compiled operators need not load beside a CPU PyTorch: declare the two that its import names."""
    import torch

    if hasattr(load_torch, "library"):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    load_torch.library = library  # type: ignore[attr-defined]  # it lives as long as it is referred to


def families() -> list[str]:
    """The smallest net of every timm module, and of every torchvision file of classifiers."""
    load_torch()
    import timm
    import torch
    import torchvision

    def size(build: Any) -> int:
        with torch.device("meta"):  # no memory, no time
            return sum(parameter.numel() for parameter in build().parameters())

    builders = {
        f"timm/{name}": (module, lambda name=name: timm.create_model(name))
        for module in timm.list_modules()
        for name in timm.list_models(module=module)
    }
    for name in torchvision.models.list_models(module=torchvision.models):
        builder = torchvision.models.get_model_builder(name)
        arguments = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        builders[f"torchvision/{name}"] = (builder.__module__, lambda b=builder, a=arguments: b(weights=None, **a))
    smallest: dict[str, tuple[int, str]] = {}
    for net, (module, builder) in builders.items():
        try:
            entry = (size(builder), net)
        except Exception as error:  # a net that cannot be built without its weights
            Console(stderr=True).print(f"[dim]{net}: {first_line(error)}[/]")
            continue
        smallest[module] = min(smallest.get(module, entry), entry)
    return sorted(net for _, net in smallest.values())


def build(net: str) -> tuple[Any, list[int]]:
    """Return the module, in evaluation mode with BatchNorm statistics of a forward pass, and its input's shape."""
    import torch

    torch.manual_seed(0)
    source, name = net.split("/", 1)
    if source == "timm":
        import timm

        module = timm.create_model(name, num_classes=100)
        shape = list(module.pretrained_cfg.get("input_size", (3, 224, 224)))
    else:
        import torchvision

        kwargs = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        module = torchvision.models.get_model(name, weights=None, num_classes=100, **kwargs)
        shape = [3, 299, 299] if name == "inception_v3" else [3, 224, 224]
    perturb(module, shape)
    return module, shape


def perturb(module: Any, shape: list[int]) -> None:
    """Give BatchNorms the statistics of a forward pass, and what starts at zero a value; then evaluation mode."""
    import torch

    with torch.no_grad():
        for parameter in module.parameters():  # layer scales of 1e-6 and zero heads would hide a wrong gradient
            if parameter.numel() and float(parameter.abs().max()) < 1e-3:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for child in module.modules():
            child.training = hasattr(child, "momentum") and hasattr(child, "running_mean")
            if child.training:
                child.momentum = 1.0
        module(torch.randn(2, *shape))
    module.eval().requires_grad_(False)  # some nets cache what they made of their weights, graph and all


# --- one net, in a process of its own ----------------------------------------------------------


def run_one(net: str, exporter: str, folder: Path) -> Outcome:
    """Export, rewrite and compare one net."""
    load_torch()
    import numpy as np
    import onnxruntime
    import torch

    from onnx_saliency.exporter import Options, explain_model
    from onnx_saliency.runtime import Session

    module, shape = build(net)
    inputs = [torch.randn(1, *shape, generator=torch.Generator().manual_seed(i)) for i in range(MORE_INPUTS)]
    path = folder / f"{net.replace('/', '-')}.{exporter}.onnx"
    outcome = Outcome(net, exporter, "export")
    try:
        torch.onnx.export(module, (inputs[0],), str(path), dynamo=exporter == "dynamo", opset_version=18, verbose=False)
    except Exception as error:
        outcome.reason = first_line(error)
        return outcome

    outcome.stage = "onnxruntime"
    with torch.no_grad():
        expected = module(inputs[0])
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (name,) = [value.name for value in session.get_inputs()]
        got = session.run(None, {name: inputs[0].numpy()})[0]
    except Exception as error:
        outcome.reason = first_line(error).replace(str(path), path.name)
        return outcome
    if relative(got, expected.numpy()) > 1e-3:
        outcome.reason = f"forward differs from PyTorch by {relative(got, expected.numpy()):.1g}"
        return outcome

    outcome.stage = "rewrite"
    start = time.perf_counter()
    try:
        explained = explain_model(path, Options(details=True))
        ours = Session(explained.model, providers=["cpu"])
    except Exception as error:
        outcome.reason = f"{type(error).__name__}: {error}"[:2000]
        return outcome
    outcome.seconds = time.perf_counter() - start
    outcome.nodes = len(explained.model.graph)

    outcome.stage = "gradient"
    for x in inputs:
        if len(outcome.ours) >= INPUTS and replace(outcome, stage="done").right:
            break
        target, reference = gradient(module.double(), x.double())
        gradient_, chosen = ours.run({name: x.numpy()}, ["input_gradient", "saliency/class"])
        if int(chosen[0]) != target:
            outcome.reason = f"another class: {int(chosen[0])} instead of {target}"
            return outcome
        outcome.ours.append(relative(gradient_, reference))
        outcome.autograd.append(relative(gradient(module.float(), x, target)[1], reference))
        last = x, target, reference
    if not all(np.isfinite(outcome.ours)):
        outcome.reason = "the reference gradient is zero or not finite"
        return outcome
    outcome.stage = "done"
    if not outcome.right:
        x, target, reference = last
        slope, by_autograd = slopes(module.double(), x.double(), target, reference)
        by_ours = float((gradient_ * direction(gradient_.shape)).sum())
        outcome.detaches = abs(by_ours - slope) < 1e-3 * abs(slope) < abs(by_autograd - slope)
        outcome.reason = "detaches part of its forward pass" if outcome.detaches else "the gradient differs"
    return outcome


def direction(shape: Any) -> Any:
    """A fixed random direction of length 1."""
    import numpy as np

    step = np.random.default_rng(0).standard_normal(shape)
    return step / np.linalg.norm(step)


def slopes(module: Any, x: Any, target: int, reference: Any) -> tuple[float, float]:
    """The slope of the score along a direction, by central differences of the forward pass and by autograd."""
    import torch

    step = torch.from_numpy(direction(x.shape))
    with torch.no_grad():
        above, below = (float(module(x + sign * 1e-5 * step)[0, target]) for sign in (1, -1))
    return (above - below) / 2e-5, float((reference * step.numpy()).sum())


def gradient(module: Any, x: Any, target: int | None = None) -> tuple[int, Any]:
    """Class and d logit / d image by autograd."""
    x = x.clone().requires_grad_(True)
    logits = module(x)
    target = int(logits.argmax()) if target is None else target
    logits[0, target].backward()
    return target, x.grad.numpy()


def relative(actual: Any, expected: Any) -> float:
    """Relative L2 difference."""
    import numpy as np

    expected = np.asarray(expected, np.float64)
    return float(np.linalg.norm(np.asarray(actual, np.float64) - expected) / np.linalg.norm(expected))


def first_line(error: Exception) -> str:
    """Type and first line of an exporter's long message."""
    lines = [line for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines() if line.strip()]  # without colours
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


# --- all of them -------------------------------------------------------------------------------


def supervise(net: str, exporter: str, folder: Path, limit: int) -> Outcome:
    """Run one net in a process of its own."""
    command = [sys.executable, __file__, "--out", str(folder), "--one", net, exporter]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(net, exporter, "export", f"not done after {limit} s")
    last = done.stdout.strip().splitlines()[-1:] or [""]
    try:
        return Outcome(**json.loads(last[0]))
    except (json.JSONDecodeError, TypeError):
        if done.returncode == -signal.SIGKILL:
            return Outcome(net, exporter, "export", "out of memory")
        return Outcome(net, exporter, "export", f"the process died: {done.stderr.strip()[-300:]}")


def markdown(outcomes: list[Outcome]) -> str:
    """The table of the docs."""
    lines = ["| net | exporter | nodes | relative error | autograd's own | |", "|---|---|---|---|---|---|"]
    for o in outcomes:
        if o.stage == "done":
            ours, autograd = statistics.median(o.ours), statistics.median(o.autograd)
            verdict = (
                f"right by finite differences: {o.reason}" if o.detaches else "right" if o.right else "**differs**"
            )
            lines.append(f"| {o.net} | {o.exporter} | {o.nodes} | {ours:.1e} | {autograd:.1e} | {verdict} |")
        else:
            reason = " ".join(o.reason.split())[:160].replace("|", "/")
            lines.append(f"| {o.net} | {o.exporter} | | | | {o.stage}: {reason} |")
    return "\n".join(lines) + "\n"


def summary(outcomes: list[Outcome]) -> str:
    """One line: how many that export and run get the right gradient."""
    runnable = [o for o in outcomes if o.stage not in ("export", "onnxruntime")]
    right = sum(o.right for o in runnable)
    return f"{right} of {len(runnable)} models that export and run get the right gradient ({len(outcomes)} tried)"


def main(
    nets: Annotated[
        list[str] | None, typer.Argument(help="timm/NAME or torchvision/NAME; all families without.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for models, results.json and table.md.")] = Path("zoo"),
    limit: Annotated[int, typer.Option(help="Seconds a net may take.")] = 300,
    exporter: Annotated[list[str], typer.Option(help="dynamo, torchscript.")] = list(EXPORTERS),  # noqa: B006
    keep: Annotated[bool, typer.Option(help="Keep the exported models.")] = False,
    one: Annotated[bool, typer.Option("--one", hidden=True)] = False,
) -> None:
    """Try every net and print the table; results are kept as they come, and a second run goes on."""
    out.mkdir(parents=True, exist_ok=True)
    if one:
        assert nets is not None
        print(json.dumps(asdict(run_one(nets[0], nets[1], out))))
        return
    console = Console()
    store = out / "results.json"
    outcomes = [Outcome(**entry) for entry in json.loads(store.read_text())] if store.exists() else []
    if nets:
        outcomes = [o for o in outcomes if o.net not in nets]
    done = {(o.net, o.exporter) for o in outcomes}
    listing = out / "families.json"
    if not nets and not listing.exists():
        listing.write_text(json.dumps(families(), indent=1))
    for net in nets or json.loads(listing.read_text()):
        for name in exporter:
            if (net, name) in done:
                continue
            outcome = supervise(net, name, out, limit)
            outcomes.append(outcome)
            store.write_text(json.dumps([asdict(o) for o in outcomes], indent=1))
            mark = "right" if outcome.right else f"{outcome.stage}: {outcome.reason[:150]}"
            console.print(f"{net} {name}: {mark}", highlight=False, markup=False)
            if not keep:
                for path in out.glob(f"{net.replace('/', '-')}.{name}.onnx*"):
                    path.unlink()
    (out / "table.md").write_text(markdown(outcomes), encoding="utf-8")
    table = Table("stage", "models")
    for stage in sorted({o.stage for o in outcomes}):
        table.add_row(stage, str(sum(o.stage == stage for o in outcomes)))
    console.print(table, summary(outcomes))


if __name__ == "__main__":
    typer.run(main)
