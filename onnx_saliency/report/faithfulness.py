"""What `evaluate faithfulness` and `compare` leave: the table, every picture's numbers, curves, a page with maps."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.evaluation.bootstrap import Interval, bootstrap_mean, too_few
from onnx_saliency.evaluation.faithfulness import BASELINES, METRICS, Faithfulness
from onnx_saliency.evaluation.faithfulness.measure import HIGHER
from onnx_saliency.evaluation.faithfulness.protocol import MODES, Mode
from onnx_saliency.explain import Explainer
from onnx_saliency.images import read_picture
from onnx_saliency.report.curve import curve
from onnx_saliency.report.files import check_folder, make_folder, write_bytes, write_image, write_json, write_text
from onnx_saliency.report.overlay import framed, normalise, overlay
from onnx_saliency.report.page import Figure, Section, page, shrunk
from onnx_saliency.report.run import as_text, failures
from onnx_saliency.report.table import counted, csv_text

RANDOM, CENTRE, _ = BASELINES
COLUMNS = {
    "deletion": "deletion ↓",
    "insertion": "insertion ↑",
    "average_drop": "drop ↓",
    "average_increase": "increase ↑",
    "infidelity": "infidelity ↓",
    "sensitivity_n": "sens-n ↑",
}
"""Metrics as tables call them, with the way that is better."""
CURVES: dict[Mode, str] = {mode: f"{mode}.png" for mode in MODES}
"""The file of each mode's curves."""
ALIKE = "all alike"
UNTOLD = "too few pictures"
LEGEND = f"* better than {RANDOM}, ** than {CENTRE} too: the 95 % interval of the paired difference leaves out 0"


def as_json(result: Faithfulness) -> dict[str, Any]:
    """Protocol, a row per contender with intervals, curves and its lead over the baselines, the best of each metric.

    Of too few pictures bounds of intervals and the best are None, and `note` says so.
    """
    rows = []
    for each in result.contenders:
        row: dict[str, Any] = {"name": each.name, "baseline": each.baseline}
        row |= {name: bootstrap_mean(each.measure(name))._asdict() for name in METRICS}
        for other in (RANDOM, CENTRE):
            if other != each.name:
                row[f"minus {other}"] = {name: result.difference(each.name, other, name)._asdict() for name in METRICS}
        row["curves"] = {mode: each.mean_curve(mode).tolist() for mode in MODES}
        rows.append(row)
    return {
        "protocol": result.protocol.describe(),
        "contenders": rows,
        "best": {name: result.best(name) for name in METRICS},
        "note": too_few(len(result)),
    }


def best_methods(measured: dict[str, Any]) -> list[str]:
    """The best method of each metric, of the results of `as_json`, or why there is none."""
    return [measured["best"][name] or (UNTOLD if measured["note"] else ALIKE) for name in METRICS]


def legend(measured: dict[str, Any]) -> str:
    """What the marks of a table mean, or why there are none."""
    return measured["note"] or LEGEND


def cells(row: dict[str, Any]) -> list[str]:
    """A contender's row of `as_json`, a cell per metric, marked as `legend` says."""
    return [f"{row[name]['mean']:.3f}{_mark(row, name)}" for name in METRICS]


def is_ahead(row: dict[str, Any], metric: str, baseline: str) -> bool:
    """Whether a contender is better than a baseline, outside the interval; False of the baseline itself."""
    given = row.get(f"minus {baseline}", {}).get(metric)
    if given is None:
        return False
    interval = Interval(**given)
    return interval.is_above(0) if METRICS[metric] == HIGHER else interval.is_below(0)


def _mark(row: dict[str, Any], metric: str) -> str:
    """At most two letters, and as wide in every row."""
    ahead = is_ahead(row, metric, RANDOM)
    both = ahead and is_ahead(row, metric, CENTRE)
    return "**" if both else "* " if ahead else "  "


def per_picture(result: Faithfulness) -> dict[str, list[Any]]:
    """A row per contender and picture, by columns."""
    columns: dict[str, list[Any]] = {"image": [], "target": [], "contender": [], **{name: [] for name in METRICS}}
    for contender in result.contenders:
        columns["image"] += [as_text(name) for name in result.images]
        columns["target"] += result.targets
        columns["contender"] += [contender.name] * len(result)
        for name in METRICS:
            columns[name] += contender.values[name]
    return columns


class FaithfulnessPages:
    """The folder of results: results.json, pictures.csv and, with pyarrow, pictures.parquet, curves, index.html.

    Args:
        folder: made with its parents when there is something to write.
        title: of the page.
        facts: further facts for `results.json`, such as model and data set.
        failed: (name, reason) of pictures that were left out before.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(
        self, folder: Path, title: str, facts: Mapping[str, Any], failed: Iterable[tuple[str, str]] = ()
    ) -> None:
        check_folder(folder)
        self._folder, self._title, self._facts, self._failed = folder, title, dict(facts), tuple(failed)

    def write(
        self,
        result: Faithfulness,
        explainers: Mapping[str, Explainer],
        shown: Sequence[tuple[Any, int]],
    ) -> dict[str, Any]:
        """Write all of it, with the maps of the pictures `shown` (and the class of each), and return the results.

        Raises:
            OutputError: a file cannot be written.
        """
        make_folder(self._folder)
        failed = failures([*self._failed, *result.failed])
        measured = {**self._facts, "pictures": len(result), "failed": failed, **as_json(result)}
        write_json(self._folder / "results.json", measured)
        columns = per_picture(result)
        write_text(self._folder / "pictures.csv", _csv(columns))
        if find_spec("pyarrow"):
            write_bytes(self._folder / "pictures.parquet", _parquet(columns))
        drawn = {mode: draw_curves(result, mode) for mode in MODES}
        for mode, pixels in drawn.items():
            write_image(self._folder / CURVES[mode], pixels)
        best = ["best method", *best_methods(measured)]
        table = [["", *COLUMNS.values()], *([row["name"], *cells(row)] for row in measured["contenders"]), best]
        curves = [Figure(pixels, f"{mode}: mean score over the share of pixels") for mode, pixels in drawn.items()]
        sections = [
            Section("Figures", curves, lead=legend(measured), table=table),
            Section("How it was measured", [], facts=list(result.protocol.describe().items())),
            *(_maps(explainers, image, target) for image, target in shown),
        ]
        intro = "\n\n".join(
            [f"{counted(len(result), 'picture')}, {self._facts['model']}.", *self._facts.get("notes", ())]
        )
        write_text(self._folder / "index.html", page(self._title, intro, sections))
        return measured


def _csv(columns: Mapping[str, Sequence[Any]]) -> str:
    rows = zip(*columns.values(), strict=True)
    return csv_text(
        [[*columns], *([f"{each:.6g}" if isinstance(each, float) else each for each in row] for row in rows)]
    )


def _parquet(columns: Mapping[str, Sequence[Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(dict(columns)), sink)
    return sink.getvalue()


def draw_curves(result: Faithfulness, mode: Mode) -> npt.NDArray[np.uint8]:
    """The mean curve of each contender over the share of pixels, uint8 (H, W, 3)."""
    lines = [each.mean_curve(mode) for each in result.contenders]
    share = np.linspace(0, 1, len(lines[0]))
    names, baselines = [each.name for each in result.contenders], sum(each.baseline for each in result.contenders)
    return curve(lines, mode, at=share, names=names, baselines=baselines, size=(760, 340))


def _maps(explainers: Mapping[str, Explainer], image: Any, target: int) -> Section:
    """The picture, and each method's map over it."""
    picture = read_picture(image)
    pixels = shrunk(picture.pixels)
    figures = [Figure(pixels, "picture")]
    for name, explainer in explainers.items():
        found = explainer.explain([picture], target)
        place = found.placements[0].scaled(pixels.shape[:2])
        drawn = overlay(pixels, place.restore(normalise(found.saliency[0])))
        figures.append(Figure(framed(drawn, place), name))
    return Section(Path(picture.name).name, figures, lead=next(iter(explainers.values())).label(target))
