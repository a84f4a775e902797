"""PASCAL VOC: Everingham et al. 2010 and the development kit of 2012."""

from __future__ import annotations

from pathlib import Path

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets.boxes import from_inclusive
from onnx_saliency.evaluation.datasets.collector import Collector, Form
from onnx_saliency.evaluation.datasets.example import Dataset, MaskRule
from onnx_saliency.evaluation.datasets.listing import Listing
from onnx_saliency.evaluation.datasets.xml_boxes import read_annotation

FORM = Form(
    "PASCAL VOC",
    "want the folder VOC2012 (or another year) with ImageSets/Main/SPLIT.txt, Annotations/ID.xml, JPEGImages/ID.jpg "
    "and, where there are masks, SegmentationClass/ID.png",
)

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""In the order of the values 1..20 of SegmentationClass."""

_BORDER = 255


def find_voc(path: Path) -> Path | None:
    """The folder of a year at or below `path`; DatasetError when there are several."""
    for folder in (path, path / "VOCdevkit"):
        if (folder / "ImageSets" / "Main").is_dir() or (
            (folder / "JPEGImages").is_dir() and (folder / "Annotations").is_dir()
        ):
            return folder
        years = sorted(year for year in folder.glob("VOC[0-9]*") if year.is_dir())
        if len(years) > 1:
            raise DatasetError(f"{path}: holds {', '.join(year.name for year in years)}; name one of them")
        if years:
            return years[0]
    return None


def read_voc(
    folder: str | Path,
    split: str | None = None,
    *,
    boxes: bool = True,
    listed: Listing | None = None,
    skip: bool = False,
) -> Dataset:
    """An example for each picture and class; objects marked as difficult are left out, as in the challenge.

    Masks are those of SegmentationClass, for the pictures that have one: all of the class, difficult or not; the
    border that is marked as void is not judged.

    Args:
        folder: VOC2012, say, or the folder around it.
        split: the name of a list in ImageSets/Main; "val" when not given.
        boxes: whether every picture needs a box; where none does, those without one are taken too.
        listed: the pictures to take, in this order; see `read_listing`.
        skip: leave out pictures that are missing or wrong instead of refusing the whole.

    Raises:
        DatasetError: files are missing, unreadable, or hold invalid boxes; names all of them.
    """
    root, split = find_voc(Path(folder)) or Path(folder), split or "val"
    collector = Collector(root, FORM, boxes=boxes, listed=listed)
    lists = root / "ImageSets" / "Main"
    collector.require(lists / f"{split}.txt", root / "Annotations", root / "JPEGImages")
    for line in collector.read_text(lists / f"{split}.txt").splitlines():
        if not line.strip():
            continue
        name = line.split()[0]
        annotation = read_annotation(root / "Annotations" / f"{name}.xml", collector)
        if annotation is None:
            continue
        masks = root / "SegmentationClass" / f"{name}.png"
        for label, drawn in annotation.by_class():
            value = CLASSES.index(label) + 1 if label in CLASSES and masks.is_file() else None
            collector.add(
                root / "JPEGImages" / f"{name}.jpg",
                from_inclusive(drawn),
                [label],
                label,
                size=annotation.size,
                mask=masks if value else None,
                mask_rule=MaskRule(value, value, (_BORDER,)) if value else None,
            )
    return collector.finish(f"{root.name} {split}", skip=skip, classes=CLASSES)
