"""What `evaluate sanity` leaves: verdicts, every picture's numbers, curves over the layers, and the maps themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_saliency.evaluation import Interval
from onnx_saliency.evaluation.sanity import MEASURES, Checked, Sanity
from onnx_saliency.report.colour import heat
from onnx_saliency.report.curve import curve
from onnx_saliency.report.files import make_folder, write_image, write_json, write_text
from onnx_saliency.report.overlay import normalise
from onnx_saliency.report.page import Figure, Gallery, Section, page
from onnx_saliency.report.run import as_text
from onnx_saliency.report.sheet import Tile, contact_sheet
from onnx_saliency.report.table import counted, csv_text, shown_interval

Floats = npt.NDArray[np.float64]

COLUMNS = ("all layers", "upper third", "− {first}", "one stage", "pixels shuffled", "another class", "verdict")
SHEET = "maps.png"
_TILE = 120  # pixels of a map on the sheet
_WIDE = (640, 300)
_UNITS = {"spearman": "rank correlation", "ssim": "SSIM", "hog": "HOG correlation"}


def as_json(result: Sanity) -> dict[str, Any]:
    """Stages, and of each method its verdict, how much more it keeps than the first, and means over pictures."""
    first = result.methods[0].method
    return {
        "threshold": result.threshold,
        "draw": result.draw,
        "seed": result.seed,
        "upper_stages": result.upper,
        "stages": [
            {"layers": list(stage.layers), "randomised": int(layers)}
            for stage, layers in zip(result.stages, result.layers, strict=True)
        ],
        "methods": [_as_row(result, each, first) for each in result.methods],
    }


def _as_row(result: Sanity, checked: Checked, first: str) -> dict[str, Any]:
    verdict = result.verdict(checked.method)
    row: dict[str, Any] = {
        "method": checked.method,
        "verdict": verdict.outcome,
        "reason": verdict.reason,
        "all_layers": _as_dict(verdict.all_layers),
        "upper_layers": _as_dict(verdict.upper_layers),
        "pixels": _as_dict(verdict.pixels),
        "constant_maps": int(np.isnan(checked.cascading[..., 0]).sum()),
    }
    if checked.method != first:
        row["minus_first"] = _as_dict(result.difference(checked.method, first))
    for test in ("cascading", "independent", "input", "target"):
        means = _means(getattr(checked, test))
        row[test] = {name: _finite(means[..., place]) for place, name in enumerate(MEASURES)}
    return row


def _as_dict(interval: Interval | None) -> dict[str, float | None] | None:
    return None if interval is None else interval._asdict()


def _means(rows: Floats) -> Floats:
    """Means over pictures, which are the last axis but one, of those that are not NaN."""
    known = ~np.isnan(rows)
    count = known.sum(axis=-2)
    means: Floats = np.where(count, np.where(known, rows, 0.0).sum(axis=-2) / np.maximum(count, 1), np.nan)
    return means


def _finite(values: Floats) -> Any:
    """Numbers for JSON, which has no NaN."""
    if values.ndim:
        return [_finite(value) for value in values]
    return None if np.isnan(values) else float(values)


def cells(row: dict[str, Any]) -> list[str]:
    """A method's row of `as_json` in the order of `COLUMNS`: rank correlations of maps without sign, with intervals."""
    alone = [value for value in row["independent"]["spearman"] if value is not None]
    return [
        _interval(row["all_layers"]),
        _interval(row["upper_layers"]),
        _interval(row.get("minus_first"), sign="+"),
        f"{min(alone):.2f} to {max(alone):.2f}" if alone else "",
        _interval(row["pixels"]),
        "" if row["target"]["spearman"] is None else f"{row['target']['spearman']:.2f}",
        row["reason"],
    ]


def _interval(interval: dict[str, float] | None, sign: str = "") -> str:
    return "" if interval is None else shown_interval(interval, digits=2, sign=sign)


def per_picture(result: Sanity) -> str:
    """CSV: a row per picture, method, test and stage, with all measures; empty where there is none."""
    lines: list[list[Any]] = [["image", "class", "method", "test", "stage", "layers", *MEASURES]]
    sizes = [len(stage.layers) for stage in result.stages]
    for checked in result.methods:
        tests = [("cascading", i + 1, int(result.layers[i]), rows) for i, rows in enumerate(checked.cascading)]
        tests += [("independent", i + 1, sizes[i], rows) for i, rows in enumerate(checked.independent)]
        tests += [("input", 0, 0, checked.input), ("target", 0, 0, checked.target)]
        for test, stage, layers, rows in tests:
            for name, target, values in zip(result.pictures, result.target, rows, strict=True):
                numbers = ["" if np.isnan(value) else f"{value:.4f}" for value in values]
                lines.append([as_text(name), int(target), checked.method, test, stage, layers, *numbers])
    return csv_text(lines)


def similarity_curves(result: Sanity, measure: str = "spearman") -> npt.NDArray[np.uint8]:
    """A measure's mean over pictures against the layers randomised from the score down, a curve a method."""
    place = MEASURES.index(measure)
    series = [np.concatenate([[1.0], _means(each.cascading)[:, place]]) for each in result.methods]
    names = [each.method for each in result.methods]
    return curve(series, f"{_title(measure)}, by layers randomised", at=_layers(result), names=names, size=_WIDE)


def map_sheet(result: Sanity, picture: npt.NDArray[np.uint8] | None = None, columns: int | None = None) -> Image.Image:
    """The maps of the first picture, a row per method: trained, then with ever more layers randomised.

    Args:
        result: what was measured.
        picture: shown before the maps.
        columns: so many states of the network, evenly taken; None shows all.
    """
    states = len(result.stages) + 1
    chosen = np.unique(np.linspace(0, states - 1, min(columns or states, states)).round().astype(int))
    layers = _layers(result)
    rows = []
    for number, checked in enumerate(result.methods):
        row = [] if picture is None else [Tile(picture, "" if number else "picture")]
        for state in chosen:
            title = "trained" if state == 0 else f"{layers[state]:g} of {layers[-1]:g} layers"
            row.append(Tile(_drawn(checked, state), "" if number else title, "" if state else checked.method))
        rows.append(row)
    return contact_sheet(rows, tile_size=_TILE)


def _layers(result: Sanity) -> Floats:
    return np.concatenate([[0.0], result.layers.astype(np.float64)])


def _drawn(checked: Checked, state: int) -> npt.NDArray[np.uint8]:
    return heat(normalise(checked.shown[state]))


def _title(measure: str) -> str:
    name, _, sign = measure.partition("_")
    return f"{_UNITS[name]}{' with sign' if sign else ''}"


class SanityPages:
    """The folder of results.

    Args:
        folder: made with its parents.
        result: what was measured.
        facts: further facts for `results.json`, such as the model.
        picture: the first picture's pixels.
    """

    def __init__(
        self,
        folder: Path,
        result: Sanity,
        facts: dict[str, Any],
        picture: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        self._folder, self._result, self._facts, self._picture = folder, result, facts, picture
        self.measured = as_json(result)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**self._facts, **self.measured}

    def write(self) -> None:
        """Write `results.json`, `pictures.csv`, `maps.png` and `index.html`. Raises OutputError."""
        make_folder(self._folder)
        write_json(self._folder / "results.json", self.as_dict())
        write_text(self._folder / "pictures.csv", per_picture(self._result))
        write_image(self._folder / SHEET, map_sheet(self._result, self._picture))
        sections = [
            Section("All methods", [Figure(similarity_curves(self._result), "cascading, maps without sign")]),
            *(
                self._section(row, each)
                for row, each in zip(self.measured["methods"], self._result.methods, strict=True)
            ),
        ]
        write_text(self._folder / "index.html", page("Sanity checks", self._intro(), sections))

    def _intro(self) -> str:
        result = self._result
        return (
            f"{counted(len(result.pictures), 'picture')}, {self._facts['model']}: do the maps follow the network when "
            f"its {result.layers[-1]} layers are randomised from the score down ({result.draw}, seed {result.seed})? A "
            "method passes where the rank correlation with its map of the trained network lies below "
            f"{result.threshold:g}, interval and all: with all layers random, with the upper third "
            f"({result.layers[result.upper - 1]}), and with the picture's pixels shuffled.\n\n"
            "After Adebayo et al. 2018, Sanity Checks for Saliency Maps."
            + "".join(f"\n\n{line}" for line in self._facts.get("notes", ()))
        )

    def _section(self, row: dict[str, Any], checked: Checked) -> Section:
        names = [name for name in MEASURES if any(value is not None for value in row["cascading"][name])]
        figures: list[Figure | Gallery] = [
            Figure(self._curves(row, names, "cascading"), "cascading: the layers from the score down"),
        ]
        if len(checked.independent):
            figures.append(Figure(self._curves(row, names, "independent"), "independent: each stage alone"))
        layers = _layers(self._result)
        maps = [
            Figure(_drawn(checked, state), "trained" if state == 0 else f"{layers[state]:g} layers randomised")
            for state in range(len(layers))
        ]
        figures.append(Gallery(maps, f"{Path(self._result.pictures[0]).name}: trained, then ever more layers", 5))
        facts = list(zip((column.format(first="first method") for column in COLUMNS), cells(row), strict=True))
        return Section(checked.method, figures, facts=facts, lead=row["reason"].capitalize())

    def _curves(self, row: dict[str, Any], names: list[str], test: str) -> npt.NDArray[np.uint8]:
        start = [1.0] if test == "cascading" else []
        series = [np.array(start + row[test][name], np.float64) for name in names]
        at = _layers(self._result)[1 - len(start) :]
        return curve(
            series, f"{self._facts['model']}, {test}", at=at, names=[_title(name) for name in names], size=_WIDE
        )
