"""Caltech-UCSD Birds-200-2011: Wah et al. 2011."""

from __future__ import annotations

import math
from pathlib import Path

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets.boxes import NO_BOXES, from_size
from onnx_saliency.evaluation.datasets.collector import Collector, Form
from onnx_saliency.evaluation.datasets.example import Dataset, MaskRule
from onnx_saliency.evaluation.datasets.listing import Listing

_BOXES = "bounding_boxes.txt"
_FILES = ("images.txt", _BOXES, "image_class_labels.txt", "classes.txt", "train_test_split.txt")

FORM = Form(
    "CUB-200-2011",
    f"want the folder CUB_200_2011 with {', '.join(_FILES)} and images/, and segmentations/ in it or beside it for "
    "masks",
)

_MAJORITY = MaskRule(128, 255)
"""Masks are the mean of several people's; at least half of them say bird."""


def find_cub(path: Path) -> Path | None:
    """The folder of the text files at or below `path`, which may lack some of them."""
    for folder in (path, path / "CUB_200_2011"):
        if sum((folder / name).is_file() for name in _FILES) >= 2:
            return folder
    return None


def read_cub(
    folder: str | Path,
    split: str | None = None,
    *,
    boxes: bool = True,
    listed: Listing | None = None,
    skip: bool = False,
) -> Dataset:
    """An example for each picture; its class as the data set has it ("001.Black_footed_Albatross").

    Args:
        folder: CUB_200_2011, or the folder around it.
        split: "test" (all, with a list) when not given, "train" or "all".
        boxes: whether every picture needs a box; where none does, those without one are taken too.
        listed: the pictures to take, in this order; see `read_listing`.
        skip: leave out pictures that are missing or wrong instead of refusing the whole.

    Raises:
        DatasetError: files are missing, unreadable, or hold invalid boxes; names all of them. No such split.
    """
    root, split = find_cub(Path(folder)) or Path(folder), split or ("all" if listed else "test")
    if split not in ("test", "train", "all"):
        raise DatasetError(f"{root}: CUB-200-2011 has the splits test, train and all; found {split!r}")
    collector = Collector(root, FORM, boxes=boxes, listed=listed)
    needed = [name for name in _FILES if boxes or name != _BOXES]
    collector.require(*(root / name for name in needed), root / "images")
    images, lines, labels, classes, training = (
        _table(root / name, collector) if (root / name).is_file() else {} for name in _FILES
    )
    masks = next((each for each in (root, root.parent) if (each / "segmentations").is_dir()), None)
    for key, file in images.items():
        if key not in training and split != "all":
            collector.fault(file, f"image {key} is not in train_test_split.txt")
        if split != "all" and training.get(key) != ("1" if split == "train" else "0"):
            continue
        category = classes.get(labels.get(key, ""))
        if category is None or (boxes and key not in lines):
            collector.fault(file, f"image {key} has no {'class' if category is None else f'line in {_BOXES}'}")
            continue
        mask = masks / "segmentations" / Path(file).with_suffix(".png") if masks else None
        box = from_size(_numbers(lines[key])) if key in lines else NO_BOXES
        collector.add(root / "images" / file, box, [category], category, mask=mask, mask_rule=_MAJORITY)
    names = {name: (plain := name.partition(".")[2] or name, plain.replace("_", " ")) for name in classes.values()}
    return collector.finish(f"CUB-200-2011 {split}", skip=skip, classes=classes.values(), synonyms=names)


def _table(path: Path, collector: Collector) -> dict[str, str]:
    """Lines of a number and the rest."""
    lines = (line.strip().split(maxsplit=1) for line in collector.read_text(path).splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}


def _numbers(text: str) -> list[float]:
    """Four numbers; NaN, for which the collector names the picture, when they are not."""
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    return numbers if len(numbers) == 4 else [math.nan] * 4
