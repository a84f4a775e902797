"""COCO's instances: Lin et al. 2014. Boxes only; masks are polygons and run lengths there, not files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets.boxes import from_size
from onnx_saliency.evaluation.datasets.collector import Collector, Form
from onnx_saliency.evaluation.datasets.example import Dataset
from onnx_saliency.evaluation.datasets.listing import Listing

FORM = Form(
    "COCO instances",
    "want annotations/instances_SPLIT.json and the pictures in SPLIT/, images/SPLIT/ or images/ beside annotations/, "
    "or beside the JSON file",
)


def find_coco(path: Path) -> Path | None:
    """A JSON file with images, annotations and categories, or a folder with annotations/instances_*.json."""
    if path.is_dir():
        return path if any(path.glob("annotations/instances_*.json")) else None
    return path if path.suffix.lower() == ".json" else None


def read_coco(
    path: str | Path,
    split: str | None = None,
    *,
    images: str | Path | None = None,
    boxes: bool = True,
    listed: Listing | None = None,
    skip: bool = False,
) -> Dataset:
    """An example for each picture and category; crowds are left out.

    Args:
        path: a JSON file, or the folder around annotations/.
        split: of a folder: the one there is, or the one that begins with "val", when not given.
        images: the folder of pictures, where it is not in one of the usual places.
        boxes: whether every picture needs a box; where none does, those without one are taken too.
        listed: the pictures to take, in this order; see `read_listing`.
        skip: leave out pictures that are missing or wrong instead of refusing the whole.

    Raises:
        DatasetError: files are missing, unreadable, or hold invalid boxes; names all of them. No such split.
    """
    path = Path(path)
    file = _file(path, split) if path.is_dir() else path
    collector = Collector(file, FORM, boxes=boxes, listed=listed)
    found = _parse(file, collector)
    pictures = {str(entry["id"]): entry for entry in found["images"]}
    categories = {str(entry["id"]): str(entry["name"]) for entry in found["categories"]}
    grouped: dict[tuple[str, str], list[list[float]]] = {}
    for entry in found["annotations"]:
        picture, category = str(entry["image_id"]), str(entry["category_id"])
        if picture not in pictures or category not in categories:
            what = f"image {picture}, category {category}"
            collector.fault(file, f"annotation {entry.get('id')} is of {what}, which is not listed")
        elif not entry.get("iscrowd", 0):
            grouped.setdefault((picture, category), []).append(_numbers(entry["bbox"]))
    name = file.stem.removeprefix("instances_")
    files = {key: str(entry["file_name"]) for key, entry in pictures.items()}
    folder = Path(images) if images else _images(file, name, [files[key] for key, _ in grouped])
    for (picture, category), rows in grouped.items():
        label, width, height = categories[category], pictures[picture].get("width"), pictures[picture].get("height")
        size = (
            (width, height) if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0 else None
        )
        collector.add(folder / files[picture], from_size(rows), [label], label, size=size)
    return collector.finish(f"COCO {name}", skip=skip, classes=categories.values())


def _file(folder: Path, split: str | None) -> Path:
    found = {each.stem.removeprefix("instances_"): each for each in sorted(folder.glob("annotations/instances_*.json"))}
    names = [split] if split else [*found] if len(found) == 1 else [name for name in found if name.startswith("val")]
    if len(names) != 1 or names[0] not in found:
        raise DatasetError(f"{folder}: has the splits {', '.join(found)}; found {split!r}, want one of them")
    return found[names[0]]


def _parse(file: Path, collector: Collector) -> dict[str, list[dict[str, Any]]]:
    wanted = {
        "images": ("id", "file_name"),
        "annotations": ("image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    try:
        found = json.loads(collector.read_text(file))
    except json.JSONDecodeError as error:
        collector.fault(file, f"is not JSON: {error}")
        found = None
    else:
        for key, fields in wanted.items():
            entries = found.get(key) if isinstance(found, dict) else None
            if not isinstance(entries, list):
                collector.fault(file, f"has no list {key!r}")
            elif not all(isinstance(entry, dict) and set(fields) <= set(entry) for entry in entries):
                collector.fault(file, f"has {key} without {', '.join(fields)}")
    collector.refuse()
    return {key: found[key] for key in wanted}


def _numbers(box: Any) -> list[float]:
    """Four numbers; NaN, for which the collector names the picture, when they are not."""
    right = isinstance(box, list) and len(box) == 4 and all(isinstance(edge, int | float) for edge in box)
    return box if right else [math.nan] * 4


def _images(file: Path, name: str, files: list[str]) -> Path:
    """The first of the usual places that holds any of the pictures; where none does, the usual one."""
    around = file.parent.parent
    places = [around / name, around / "images" / name, around / "images", file.parent, file.parent / "images"]
    for place in places:
        if place.is_dir() and any((place / each).is_file() for each in files):
            return place
    return places[0]
