"""The adapters of docs/adapters.md against the packages themselves: Captum's values and metrics, and Quantus's.

    pip install ".[adapters]"
    python tools/adapters.py --markdown docs/adapters.md

Each figure is taken twice on the same network, the ONNX file and its PyTorch twin (onnx2torch): once of the maps that
the adapter gives, once of Captum's own `Saliency`. The page's ```python peers blocks are run first, as they stand. Exit
code 1 where the two differ.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import captum.attr
import captum.metrics
import numpy as np
import onnx2torch
import quantus
import torch
import typer
from page import renew

import onnx_saliency as xs
from onnx_saliency.adapters import CaptumAttribution, QuantusExplain

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "adapters.md"
NET = ROOT / "models" / "default.onnx"
FENCE = re.compile(r"^```python peers\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
NOISE = 0.02
PIXELS = 256  # a step of pixel flipping
TOLERANCE = 1e-5  # of the values, relative
OF_METRICS = 1e-3  # of what is measured of them, relative


def run_blocks() -> int:
    """Run the page's blocks in a folder with a model and pictures; how many there are."""
    blocks = FENCE.findall(PAGE.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(NET, Path(folder) / "net.onnx")
        shutil.copytree(ROOT / "models" / "pictures", Path(folder) / "pictures")
        for block in blocks:
            subprocess.run([sys.executable, "-W", "ignore", "-c", block], cwd=folder, check=True)
    return len(blocks)


def figures() -> Iterator[tuple[str, float, float]]:
    """What is measured, of the adapter's values and of Captum's."""
    explainer = xs.Explainer(NET, threads=1)
    twin = onnx2torch.convert(NET).eval().requires_grad_(False)
    array, *_ = explainer.prepare(sorted((ROOT / "models" / "pictures").glob("*.jpg")))
    images = torch.from_numpy(array)
    target = twin(images).argmax(dim=1)
    ours = CaptumAttribution(explainer).attribute
    peer = captum.attr.Saliency(twin)

    def theirs(inputs: Any, target: Any) -> Any:
        with torch.enable_grad():  # sensitivity_max forbids it
            leaf = tuple(each.detach() for each in inputs) if isinstance(inputs, tuple) else inputs.detach()
            return peer.attribute(leaf, target=target, abs=False)

    found, expected = ours(images, target=target), theirs(images, target)
    yield (
        "relative L2 difference from `captum.attr.Saliency(abs=False)`",
        float((found - expected).norm() / expected.norm()),
        0.0,
    )
    yield (
        "`captum.metrics.infidelity`",
        *(
            _seeded(lambda values=values: captum.metrics.infidelity(twin, _noise, images, values, target=target))
            for values in (found, expected)
        ),
    )
    yield (
        "`captum.metrics.sensitivity_max`",
        *(
            _seeded(lambda function=function: captum.metrics.sensitivity_max(function, images, target=target))
            for function in (ours, theirs)
        ),
    )
    given = {"model": twin, "x_batch": array, "y_batch": target.numpy(), "device": "cpu", "channel_first": True}

    def captums(model: Any, inputs: Any, targets: Any, **_: Any) -> Any:
        values = captum.attr.Saliency(model).attribute(torch.from_numpy(inputs), torch.from_numpy(targets), abs=True)
        return values.amax(dim=1, keepdim=True).numpy()

    for name, metric in (
        ("PixelFlipping", quantus.PixelFlipping(features_in_step=PIXELS, disable_warnings=True)),
        ("MaxSensitivity", quantus.MaxSensitivity(nr_samples=5, lower_bound=NOISE, disable_warnings=True)),
    ):
        yield (
            f"`quantus.{name}`",
            *(
                _seeded(lambda function=function, metric=metric: metric(explain_func=function, **given))
                for function in (QuantusExplain(explainer), captums)
            ),
        )


def _noise(inputs: Any) -> tuple[Any, Any]:
    noise = torch.randn_like(inputs) * NOISE
    return noise, inputs - noise


def _seeded(measure: Callable[[], Any]) -> float:
    torch.manual_seed(0)
    np.random.seed(0)  # what Quantus draws from
    return float(np.mean(np.asarray(measure())))


def main(markdown: Annotated[Path | None, typer.Option(help="The page with the table.")] = None) -> None:
    """Run the blocks of the page, then print the table."""
    blocks = run_blocks()
    torch.set_num_threads(1)
    names = ("quantus", "captum", "torch", "onnx2torch", "numpy")
    used = ", ".join(f"{name} {version(name)}" for name in names)
    lines = [
        f"With {used}; {blocks} blocks of this page ran as they stand.",
        "",
        "| | adapter | Captum's own |",
        "|---|---|---|",
    ]
    rows = list(figures())
    lines += [f"| {name} | {ours:.3g} | {f'{theirs:.3g}' if theirs else ''} |" for name, ours, theirs in rows]
    text = "\n".join(lines) + "\n"
    print(text)
    if markdown is not None:
        renew(markdown, "adapters", text)
    if any(abs(ours - theirs) > (OF_METRICS * abs(theirs) or TOLERANCE) for _, ours, theirs in rows):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
