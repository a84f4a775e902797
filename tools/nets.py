"""The ImageNet nets of a data folder, and measurements of each that go on where an earlier run stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

import onnx_saliency as xs
from onnx_saliency.report import write_json

sys.path.append(str(Path(__file__).parents[1] / "tests" / "models"))


@dataclass(frozen=True)
class Net:
    """An ImageNet classifier of the data folder.

    Attributes:
        name: its file's.
        path: its file.
        preprocess: how it wants its pictures.
        offset: the number of its first class; 1 where class 0 is background.
    """

    name: str
    path: Path
    preprocess: xs.Preprocess
    offset: int


def find_nets(data: Path, names: list[str] | None = None) -> list[Net]:
    """The float ImageNet models of a data folder, all or those with these names."""
    from pictures import NAMES, preprocess_of

    described = json.loads((data / "models" / "models.json").read_text(encoding="utf-8"))
    chosen = [name for name in NAMES if described[name]["size"] != 32 and (not names or name in names)]
    return [
        Net(name, data / "models" / f"{name}.onnx", preprocess_of(described[name]), described[name]["label_offset"])
        for name in chosen
    ]


def title(found: dict[str, Any]) -> str:
    """What a table calls a net that `measure_each` found: its name, and on how many pictures it was measured."""
    return f"{found['net']}, {found['pictures']} pictures"


def measure_each(
    nets: list[Net], out: Path, measure: Callable[[Net, Callable[..., None]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """What `measure` finds of each net, read from a JSON file in `out` where it was measured before.

    `measure` is handed the net and what shows how much is done: `show(completed=3, total=10)`.
    """
    out.mkdir(parents=True, exist_ok=True)
    found = []
    with Progress(console=Console(stderr=True)) as progress:
        for net in nets:
            file = out / f"{net.name}.json"
            if not file.exists():
                task = progress.add_task(net.name, total=None)

                def show(task: Any = task, **done: Any) -> None:
                    progress.update(task, **done)

                write_json(file, {"net": net.name, **measure(net, show)})
            found.append(json.loads(file.read_text(encoding="utf-8")))
    return found
