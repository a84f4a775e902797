"""ILSVRC's single-object localisation (CLS-LOC): Russakovsky et al. 2015."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnx_saliency.evaluation.datasets.boxes import from_inclusive
from onnx_saliency.evaluation.datasets.collector import Collector, Form
from onnx_saliency.evaluation.datasets.example import Dataset
from onnx_saliency.evaluation.datasets.listing import Listing
from onnx_saliency.evaluation.datasets.names import read_names
from onnx_saliency.evaluation.datasets.xml_boxes import Annotation, Object, read_annotation

FORM = Form(
    "ILSVRC CLS-LOC",
    "want the folder ILSVRC with Data/CLS-LOC/SPLIT/ID.JPEG (of the train split SYNSET/ID.JPEG) and either "
    "Annotations/CLS-LOC/SPLIT/ID.xml or, in it or beside it, LOC_SPLIT_solution.csv; LOC_synset_mapping.txt there too "
    "for the names of the synsets",
)

MAPPING = "LOC_synset_mapping.txt"
_LISTS = {"train": "train_loc.txt"}
_SUFFIXES = (".JPEG", ".jpg", ".jpeg", ".png")


def find_ilsvrc(path: Path) -> Path | None:
    """The folder of Annotations and Data at, below or (of a solution file) beside `path`."""
    if path.is_file():
        return (_root(path.parent) or path.parent) if _split_of(path) else None
    return _root(path)


def read_ilsvrc(
    path: str | Path, split: str | None = None, *, boxes: bool = True, listed: Listing | None = None, skip: bool = False
) -> Dataset:
    """An example for each picture and synset, with the synset as its accepted class; 1-based, inclusive boxes.

    Args:
        path: the folder ILSVRC, the folder around it, or LOC_SPLIT_solution.csv.
        split: "val" when not given, or that of the file. Of "train" only some pictures have boxes: those that are
            listed in ImageSets/CLS-LOC/train_loc.txt, or all that have an annotation.
        boxes: whether every picture needs a box; where none does, those without one are taken too.
        listed: the pictures to take, in this order; see `read_listing`.
        skip: leave out pictures that are missing or wrong instead of refusing the whole; the train split has some.

    Raises:
        DatasetError: files are missing, unreadable, or hold invalid boxes; names all of them.
    """
    path = Path(path)
    root = find_ilsvrc(path) or path
    split = split or (_split_of(path) if path.is_file() else None) or "val"
    collector = Collector(path, FORM, boxes=boxes, listed=listed)
    notes, solution = root / "Annotations" / "CLS-LOC" / split, _beside(root, f"LOC_{split}_solution.csv")
    from_csv = path.is_file() or not notes.is_dir()
    if from_csv:
        table = path if path.is_file() else solution
        collector.require(*([] if table else [notes]), root / "Data" / "CLS-LOC" / split)
        annotated = _from_solution(table, collector) if table else iter(())
    else:
        collector.require(root / "Data" / "CLS-LOC" / split)
        annotated = _from_xml(notes, root / "ImageSets" / "CLS-LOC" / _LISTS.get(split, f"{split}.txt"), collector)
    mapping = _beside(root, MAPPING)
    names = read_names(mapping, collector) if mapping else {}
    for identifier, annotation in annotated:
        if not annotation.objects:
            collector.fault(identifier, "has no box")
        for synset, drawn in annotation.by_class():
            picture = _picture(root / "Data" / "CLS-LOC" / split, identifier, synset)
            category = names[synset][0] if synset in names else synset
            collector.add(picture, from_inclusive(drawn), [synset], category, size=annotation.size)
    return collector.finish(f"ILSVRC {split}", skip=skip, classes=sorted(names), synonyms=names)


def _root(folder: Path) -> Path | None:
    for each in (folder, folder / "ILSVRC"):
        if any((each / part / "CLS-LOC").is_dir() for part in ("Data", "Annotations")):
            return each
    return folder if any(folder.glob("LOC_*_solution.csv")) else None


def _split_of(path: Path) -> str | None:
    """The split of LOC_val_solution.csv; of a file of another name with its columns, "val"."""
    name = path.name
    if name.startswith("LOC_") and name.endswith("_solution.csv"):
        return name.removeprefix("LOC_").removesuffix("_solution.csv")
    with path.open("rb") as stream:
        return "val" if b"PredictionString" in stream.readline(200) else None


def _beside(root: Path, name: str) -> Path | None:
    return next((folder / name for folder in (root, root.parent) if (folder / name).is_file()), None)


def _picture(folder: Path, identifier: str, synset: str) -> Path:
    """The picture's file: in the folder itself, or in one of its synset; the usual place where there is none."""
    name = identifier.rpartition("/")[2]
    places = [folder / identifier, folder / synset / name, folder / name.partition("_")[0] / name]
    candidates = [place.with_name(place.name + suffix) for place in places for suffix in _SUFFIXES]
    usual = places[1] if folder.name == "train" else places[0]
    return next((file for file in candidates if file.is_file()), usual.with_name(usual.name + ".JPEG"))


def _from_xml(notes: Path, listed: Path, collector: Collector) -> Iterator[tuple[str, Annotation]]:
    if listed.is_file():
        identifiers = [line.split()[0] for line in collector.read_text(listed).splitlines() if line.strip()]
    else:
        identifiers = sorted(file.relative_to(notes).with_suffix("").as_posix() for file in notes.rglob("*.xml"))
    for identifier in identifiers:
        annotation = read_annotation(notes / f"{identifier}.xml", collector)
        if annotation:
            yield identifier, annotation


def _from_solution(table: Path, collector: Collector) -> Iterator[tuple[str, Annotation]]:
    """Rows of "ImageId,PredictionString"; the second is a synset and four numbers, as often as there are boxes."""
    rows = csv.DictReader(io.StringIO(collector.read_text(table), newline=""))
    if not {"ImageId", "PredictionString"} <= set(rows.fieldnames or ()):
        collector.fault(table, f"wants the columns ImageId and PredictionString, found {rows.fieldnames}")
        collector.refuse()
    for row in rows:
        words = (row["PredictionString"] or "").split()
        try:
            boxes = np.array([words[i::5] for i in range(1, 5)], np.float64).T
            objects = tuple(
                Object(synset, (box[0], box[1], box[2], box[3]), difficult=False)
                for synset, box in zip(words[::5], boxes.tolist(), strict=True)
            )
        except ValueError:
            collector.fault(
                f"{table} line {rows.line_num}", f"is not synsets with four numbers each: {' '.join(words)}"
            )
            continue
        yield row["ImageId"], Annotation(None, objects)
