"""One row per box in a CSV file: what a data set of one's own is best written as."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets.collector import Collector, Form
from onnx_saliency.evaluation.datasets.example import Dataset
from onnx_saliency.evaluation.datasets.listing import Listing, accepted_labels, picture_folder

FORM = Form(
    "a CSV file of boxes",
    "want the columns image, xmin, ymin, xmax, ymax (0-based, max exclusive) and accepted or imagenet_index, and "
    "perhaps width, height, category; the pictures of boxes/NAME.csv in images/NAME/ (or of NAME.csv in images/, NAME/ "
    "or beside it), masks in masks/NAME/ as .png",
)

_EDGES = ("xmin", "ymin", "xmax", "ymax")
_LABELS = ("accepted", "imagenet_index")  # the first that there is


def find_tidy(path: Path) -> Path | None:
    """A CSV file with the columns of boxes, or a folder with some in boxes/."""
    if path.is_dir():
        return path if any(path.glob("boxes/*.csv")) else None
    if path.suffix.lower() != ".csv":
        return None
    with path.open("rb") as stream:
        header = stream.readline(1000)
    return path if b"image" in header and b"xmin" in header else None


def read_tidy(
    path: str | Path,
    split: str | None = None,
    *,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    boxes: bool = True,
    listed: Listing | None = None,
    skip: bool = False,
) -> Dataset:
    """An example for each picture and class.

    `accepted` holds class indices and ranges of them, as "281 282 285" or "151-268"; or names, several divided by ";".
    Where `width` and `height` are given and the picture is of another size, the boxes are scaled.

    Args:
        path: the CSV file, or a folder with boxes/*.csv.
        split: of a folder: which file, without its suffix; None reads all of them.
        images: the folder of pictures, where it is not in one of the usual places.
        masks: the folder of masks; where it is there, every picture has one. See `Example.mask_rule`.
        boxes: whether every picture needs a box; where none does, those without one are taken too.
        listed: the pictures to take, in this order; see `read_listing`. It goes with one
            file.
        skip: leave out pictures that are missing or wrong instead of refusing the whole.

    Raises:
        DatasetError: files are missing, unreadable, or hold invalid boxes; names all of them. No such split.
    """
    path = Path(path)
    if path.is_dir():
        files = _files(path, split)
        if listed is not None and len(files) > 1:
            raise DatasetError(f"{path}: a list goes with one of {', '.join(file.stem for file in files)}; name it")
        read = partial(read_tidy, images=images, masks=masks, boxes=boxes, listed=listed, skip=skip)
        return _joined(files, read)
    file = path
    collector = Collector(file, FORM, boxes=boxes, listed=listed)
    rows = csv.DictReader(io.StringIO(collector.read_text(file), newline=""))
    columns = set(rows.fieldnames or ())
    absent = [name for name in ("image", *_EDGES) if name not in columns]
    label = next((name for name in _LABELS if name in columns), None)
    absent += [] if label else [" or ".join(_LABELS)]
    if absent:
        collector.fault(file, f"has no column {', '.join(absent)}")
    collector.refuse()
    grouped: dict[tuple[str, str, str, tuple[int, int] | None], list[list[float]]] = {}
    for row in rows:
        try:
            box = [float(row[edge]) for edge in _EDGES]
            size = _size(row)
            accepted = row[label or ""].strip()
            if not accepted or not row["image"]:
                raise ValueError
        except (TypeError, ValueError, AttributeError):  # a short row has None
            collector.fault(f"{file} line {rows.line_num}", "is not a picture, four numbers and a class")
            continue
        grouped.setdefault((row["image"], accepted, row.get("category") or accepted, size), []).append(box)
    folder = Path(images) if images else picture_folder(file, (key[0] for key in grouped))
    usual = file.parent.parent / "masks" / file.stem
    mask_folder = Path(masks) if masks else usual if file.parent.name == "boxes" and usual.is_dir() else None
    for (name, accepted, category, size), drawn in grouped.items():
        mask = mask_folder / Path(name).with_suffix(".png") if mask_folder else None
        collector.add(folder / name, np.array(drawn), accepted_labels(accepted), category, size=size, mask=mask)
    return collector.finish(file.stem, skip=skip)


def _size(row: dict[str, str]) -> tuple[int, int] | None:
    width, height = row.get("width"), row.get("height")
    if not width or not height:
        return None
    size = int(float(width)), int(float(height))
    if min(size) < 1:
        raise ValueError
    return size


def _files(folder: Path, split: str | None) -> list[Path]:
    found = {each.stem: each for each in sorted(folder.glob("boxes/*.csv"))}
    if split is None:
        return list(found.values())
    if split not in found:
        raise DatasetError(f"{folder}: holds {', '.join(found)} in boxes/; found {split!r}, want one of them")
    return [found[split]]


def _joined(files: list[Path], read: Callable[[Path], Dataset]) -> Dataset:
    """One data set of several files; what is wrong with any of them is said of all at once."""
    parts, faults = [], []
    for file in files:
        try:
            parts.append(read(file))
        except DatasetError as error:
            faults.append(str(error))
    if faults:
        raise DatasetError("\n".join(faults))
    return Dataset(
        " + ".join(part.name for part in parts),
        tuple(example for part in parts for example in part.examples),
        failed=tuple(each for part in parts for each in part.failed),
    )
