"""What `segment` and `localize` leave in a folder: masks, drawn pictures, the numbers in three forms, one page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onnx_saliency.report.coco import CocoText
from onnx_saliency.report.detections import (
    detections,
    detections_sheet,
    object_tiles,
    segment_sheet,
    segment_tiles,
)
from onnx_saliency.report.files import check_folder, make_folder, unused_stem, write_image, write_json, write_text
from onnx_saliency.report.page import Bar, Figure, Gallery, Section, page, section_html
from onnx_saliency.report.run import as_text, failures, partial_text, reading_text, run_notes
from onnx_saliency.report.table import csv_text
from onnx_saliency.vision import Segmentation, Segmenter

_ON_PAGE = 200  # pictures; a page of more is slow to open, the files are there all the same
_WIDE, _NARROW = 800, 400  # pixels of a figure on the page, and of one in a gallery
_CSV = ("image", "target", "label", "score", "xmin", "ymin", "xmax", "ymax", "area", "share", "mask", "notes")


class Segmentations:
    """Writes what was found picture by picture; no pixels are kept, but for those of the page, compressed.

    Args:
        folder: made with its parents when there is something to write.
        segmenter: what it is found by.
        model: its name.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path, segmenter: Segmenter, model: str) -> None:
        self.rows: list[dict[str, Any]] = []
        self.failed: list[tuple[str, str]] = []
        self.partial = ""  # why there are no more pictures than these
        self._folder, self._segmenter, self._model = folder, segmenter, model
        self._coco = CocoText()
        self._sections: list[str] = []
        self._stems: set[str] = set()
        check_folder(folder)

    def add(self, found: Sequence[Segmentation]) -> None:
        """Write masks and drawing of one picture's objects, best first. Raises OutputError."""
        make_folder(self._folder)
        picture = found[0].picture
        stem = unused_stem(picture.name, self._stems)
        height, width = picture.pixels.shape[:2]
        row: dict[str, Any] = {
            "image": as_text(picture.name),
            "width": width,
            "height": height,
            "notes": list(picture.notes),
            "drawn": as_text(_drawn(stem)),
            "detections": [],
        }
        number = self._coco.add_image(row["image"], width, height)
        several = self._segmenter.top > 1
        for each, mask in zip(found, _masks(stem, self._segmenter.top), strict=True):
            write_image(self._folder / mask, Image.fromarray(each.mask.view(np.uint8) * np.uint8(255)))
            row["detections"].append(_row(each, as_text(mask)))
            if each.mask.any():  # COCO has no empty boxes
                self._coco.add_annotation(number, each.target, each.label, each.box, each.score, each.mask)
        drawn = detections_sheet(found) if several else segment_sheet(found[0])
        write_image(self._folder / _drawn(stem), drawn)
        self.rows.append(row)
        if len(self._sections) < _ON_PAGE:
            self._sections.append(section_html(_section(found, row, several=several)))

    def finish(self) -> None:
        """Write `results.json`, `detections.csv`, `coco.json` and `index.html`. Raises OutputError."""
        write_json(self._folder / "results.json", self.as_dict())
        write_text(self._folder / "detections.csv", self._table())
        write_text(self._folder / "coco.json", self._coco.text())
        name, explainer = as_text(Path(self._model).name), self._segmenter.explainer
        what = "The object of a class" if self._segmenter.top == 1 else f"The objects of the {self._segmenter.top} best"
        what += " classes" if self._segmenter.top > 1 else ""
        intro = (
            f"{what} in each picture, by the maps of {name}, which was never shown a mask or a box: the map's "
            "brightest pixels are seeds of the object, its darkest of the background, and a minimum cut by colour "
            f"decides the others (Simonyan et al. 2013, section 3.2).\n\n{self._said()}\n\n{reading_text(explainer)}"
        )
        if len(self.rows) > len(self._sections):
            intro += (
                f"\n\nThe first {len(self._sections)} of {len(self.rows)} pictures; all files lie beside this page."
            )
        intro += partial_text(self.partial)
        write_text(self._folder / "index.html", page(f"What {name} finds", intro, self._sections))

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON; files are named from the folder."""
        explainer = self._segmenter.explainer
        return {
            "model": as_text(self._model),
            "recipe": self._recipe(),
            "top": self._segmenter.top,
            "layer": explainer.layer,
            "notes": run_notes(explainer),
            "preprocess": explainer.preprocess.to_json(),
            "preprocess_source": explainer.preprocess_source,
            "provider": explainer.provider,
            "pictures": self.rows,
            "failed": failures(self.failed),
            "partial": bool(self.partial),
        }

    def _recipe(self) -> dict[str, Any]:
        """Every constant, and those of the map's method."""
        method = self._segmenter.explainer.method
        recipe = {**vars(self._segmenter.recipe), "views": list(self._segmenter.recipe.views)}
        return {**recipe, "method": method.name, "method_options": dict(vars(method))}

    def _said(self) -> str:
        recipe = self._recipe()
        recipe["views"] = " and ".join(recipe["views"])
        numbers = (f"{name} {value}" for name, value in recipe.items() if name not in ("name", "method_options"))
        return f"Recipe {recipe['name']}: {', '.join(numbers)}."

    def _table(self) -> str:
        lines: list[Sequence[Any]] = [_CSV]
        for row in self.rows:
            for each in row["detections"]:
                values = {**each, **dict(zip(_CSV[4:8], each["box"], strict=True)), "image": row["image"]}
                values["notes"] = " ".join([*row["notes"], *each["notes"]])
                lines.append([values[column] for column in _CSV])
        return csv_text(lines)


def result_names(sources: Iterable[Path], top: int) -> list[str]:
    """Names of the files that `Segmentations` makes of pictures, and perhaps of more: some may turn out unreadable."""
    taken: set[str] = set()
    stems = [unused_stem(str(path), taken) for path in sources]
    return [name for stem in stems for name in (_drawn(stem), *_masks(stem, top))]


def _drawn(stem: str) -> str:
    return f"{stem}.drawn.jpg"


def _masks(stem: str, top: int) -> list[str]:
    """Of a picture's objects, best first."""
    return [f"{stem}.{rank}.mask.png" for rank in range(1, top + 1)] if top > 1 else [f"{stem}.mask.png"]


def _row(found: Segmentation, mask: str) -> dict[str, Any]:
    return {
        "target": found.target,
        "label": found.label,
        "score": found.score,
        "box": list(found.box),
        "area": int(np.count_nonzero(found.mask)),
        "share": float(found.mask.mean()),
        "mask": mask,
        "notes": list(found.notes),
    }


def _section(found: Sequence[Segmentation], row: dict[str, Any], *, several: bool) -> Section:
    figures: list[Figure | Gallery]
    if several:
        objects = [Figure(tile.pixels, f"{tile.title}, {tile.caption}") for tile in object_tiles(found, _NARROW)]
        figures = [Figure(detections(found, _WIDE), "boxes"), Gallery(objects, "objects, best first")]
    else:
        captions = ("picture", "map", "seeds: orange object, blue background", "object")
        tiles = segment_tiles(found[0], _WIDE)
        figures = [Figure(tile.pixels, caption) for tile, caption in zip(tiles, captions, strict=True)]
    facts = []
    for each in row["detections"]:
        xmin, ymin, xmax, ymax = each["box"]
        facts.append((f"{each['label']} ({each['target']})", f"{xmin}, {ymin} to {xmax}, {ymax}; {each['share']:.1%}"))
        facts += [("note", note) for note in each["notes"]]
    facts += [("picture", f"{row['width']} x {row['height']}")] + [("note", note) for note in row["notes"]]
    return Section(Path(row["image"]).name, figures, [Bar(each.label, each.score) for each in found], facts)
