"""What `evaluate localisation` leaves: the table, every picture's numbers, and a page with the worst and best cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnx_saliency.evaluation.bootstrap import Interval, too_few
from onnx_saliency.evaluation.localisation.measure import Contender, Localisation, summary
from onnx_saliency.report.detections import segment_tiles
from onnx_saliency.report.files import make_folder, write_json, write_text
from onnx_saliency.report.page import Figure, Section, page
from onnx_saliency.report.run import as_text
from onnx_saliency.report.table import counted, csv_text, shown_interval
from onnx_saliency.vision import Segmentation

_TILE = 400  # pixels of a figure on the page
_MEASURES = ("boxes", "masks")

COLUMNS = ("known class", "top-1 error", "top-5 error", "box IoU", "mask IoU", "{best} − it, boxes", "masks")
MAP_COLUMNS = ("MaxBoxAcc", "MaxBoxAccV2", "PxAP", "pointing game")


def as_json(result: Localisation, best: str) -> dict[str, Any]:
    """A row per contender with intervals, how much the recipe `best` is ahead of it, and the measures of the maps.

    Of too few pictures bounds of intervals are None, and `note` says so.
    """
    rows = summary(result)
    for row in rows:
        measures = [measure for measure in _MEASURES if measure == "boxes" or "mask_iou" in row]
        if row["name"] != best:
            row["best_minus"] = {each: result.difference(best, row["name"], each)._asdict() for each in measures}
    maps = {
        name: {
            "max_box_acc": each.boxes.max_box_acc,
            "max_box_acc_v2": each.boxes.max_box_acc_v2,
            "pxap": each.pixels.pxap if each.masks else None,
            "pointing_game": float(np.mean(each.pointing)),
        }
        for name, each in result.maps.items()
    }
    note = too_few(len(result))
    return {"best": best, "contenders": rows, "maps": maps, "classified": dict(result.top), "note": note}


def cells(row: dict[str, Any], *, intervals: bool = True) -> list[str]:
    """A contender's row of `as_json` in the order of `COLUMNS`, differences with their interval or a mark.

    Empty where there is nothing; the mark is a star, of an interval that leaves out 0.
    """
    shown = [f"{row[key]['mean']:.3f}" for key in ("known_class", "top1_error", "top5_error", "box_iou")]
    shown.append(f"{row['mask_iou']['mean']:.3f}" if "mask_iou" in row else "")
    differences = row.get("best_minus", {})
    written = shown_interval if intervals else _marked
    return shown + [written(differences[each]) if each in differences else "" for each in _MEASURES]


def map_cells(row: dict[str, float | None]) -> list[str]:
    """A map's row of `as_json` in the order of `MAP_COLUMNS`."""
    return ["" if value is None else f"{value:.3f}" for value in row.values()]


def _marked(given: dict[str, float | None]) -> str:
    interval = Interval(**given)  # type: ignore[arg-type]  # the mean is a number
    return f"{interval.mean:+.3f}{'*' if interval.is_above(0) or interval.is_below(0) else ' '}"


def per_picture(result: Localisation) -> str:
    """CSV: a row per contender and picture, by each value of its free number."""
    rows: list[list[Any]] = [["image", "contender", "number", "box_iou", "mask_iou", "top1_right", "top5_right"]]
    for contender in result.contenders:
        for each in contender.pictures:
            for place, number in enumerate(contender.numbers):
                mask = each.mask_iou[place]
                right = each.right[place]
                numbers = [f"{each.box_iou[place]:.4f}", "" if np.isnan(mask) else f"{mask:.4f}"]
                flags = [int(right[0]), int(right.any())]
                rows.append([as_text(str(each.image)), contender.name, number, *numbers, *flags])
    return csv_text(rows)


def extremes(contender: Contender, count: int) -> list[int]:
    """The numbers of the pictures whose box is worst, worst first, and of those whose box is best, best first."""
    order = np.argsort(contender.boxes, kind="stable").tolist()
    worst = order[:count]
    return [*worst, *(index for index in order[::-1][:count] if index not in worst)]


class LocalisationPages:
    """The folder of results.

    Args:
        folder: made with its parents.
        result: what was measured.
        best: the recipe that the others are compared with.
        facts: further facts for `results.json`, such as model and data set.
    """

    def __init__(self, folder: Path, result: Localisation, best: str, facts: dict[str, Any]) -> None:
        self._folder, self._result, self._best = folder, result, best
        self._facts = facts
        self.measured = as_json(result, best)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**self._facts, **self.measured}

    def write(self, cases: Sequence[tuple[int, Segmentation]]) -> None:
        """Write `results.json`, `pictures.csv` and `index.html`, with the pictures of `cases`. Raises OutputError."""
        make_folder(self._folder)
        write_json(self._folder / "results.json", self.as_dict())
        write_text(self._folder / "pictures.csv", per_picture(self._result))
        contender = self._result.find(self._best)
        sections = [
            Section(
                title=Path(found.picture.name).name,
                figures=[
                    Figure(tile.pixels, f"{tile.title}: {tile.caption}") for tile in segment_tiles(found, size=_TILE)
                ],
                lead=f"Box IoU {contender.boxes[index]:.2f}",
            )
            for index, found in cases
        ]
        intro = (
            f"{counted(len(contender.pictures), 'picture')} of {self._facts['dataset']}, {self._facts['model']}, "
            f"recipe {self._best}: with the class known, {contender.known.mean():.1%} of the boxes are right (IoU 0.5 "
            f"or more); mean box IoU {contender.boxes.mean():.3f}."
        )
        told = [self.measured["note"], *self._facts.get("notes", ())]
        said = [intro, *filter(None, told), "The worst first, then the best."]
        write_text(self._folder / "index.html", page("Localisation", "\n\n".join(said), sections))
