"""VGGFace2: Cao et al. 2018, "VGGFace2: A dataset for recognising faces across pose and age"."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets.boxes import NO_BOXES
from onnx_saliency.evaluation.datasets.collector import Collector, Form
from onnx_saliency.evaluation.datasets.example import Dataset, Label
from onnx_saliency.evaluation.datasets.listing import Listing
from onnx_saliency.images import looks_like_picture

_META = "identity_meta.csv"

FORM = Form(
    "VGGFace2", f"want a folder with train/n000002/0001_01.jpg, test/n000001/0001_01.jpg and {_META} (or in meta/)"
)

_SPLITS = ("train", "test")
_FOLDER = re.compile(r"n\d{6}")  # ImageNet's synsets have eight digits
_LINE = re.compile(r"\s*(n\d{6})\s*,\s*(.*?)\s*,\s*\d+\s*,\s*([01])\s*,.*")  # some names have commas and stray quotes


class _Identity(NamedTuple):
    name: str
    split: str


def find_vggface2(path: Path) -> Path | None:
    """The folder of train/ and test/ at or below `path`; it may lack one of them, or the file of identities."""
    for root in (path, path / "VGGFace2", path / "data"):
        parts = [root / split for split in _SPLITS if (root / split).is_dir()]
        if any(_meta(root).is_file() or any(_FOLDER.fullmatch(each.name) for each in part.iterdir()) for part in parts):
            return root
    return None


def read_vggface2(
    folder: str | Path, split: str | None = None, *, listed: Listing | None = None, skip: bool = False
) -> Dataset:
    """An example for each picture, without boxes; its class is the position of its identity among the training ones.

    Those are 8,631, in the order of their names. The 500 test identities are no classes: their pictures are accepted by
    name ("n000001") only, which a list may replace.

    Args:
        folder: the one around train/ and test/.
        split: "train" (all, with a list) when not given, "test" or "all".
        listed: the pictures to take, in this order; see `read_listing`.
        skip: leave out pictures that are missing or wrong instead of refusing the whole.

    Raises:
        DatasetError: files or folders are missing or unreadable; names all of them. No such split.
    """
    root, split = find_vggface2(Path(folder)) or Path(folder), split or ("all" if listed else "train")
    if split not in (*_SPLITS, "all"):
        raise DatasetError(f"{root}: VGGFace2 has the splits {', '.join(_SPLITS)} and all; found {split!r}")
    collector = Collector(root, FORM, boxes=False, listed=listed)
    collector.require(_meta(root))
    identities = _identities(_meta(root), collector)
    positions = {key: i for i, key in enumerate(key for key, each in identities.items() if each.split == "train")}
    for key, (name, part) in identities.items():
        if split not in (part, "all"):
            continue
        pictures = root / part / key
        if not pictures.is_dir():
            if listed is None:  # a list says which pictures are wanted
                collector.missing(pictures)
            continue
        label: Label = positions.get(key, key)
        for file in sorted(filter(looks_like_picture, pictures.iterdir())):
            collector.add(file, NO_BOXES, [label], name)
    return collector.finish(f"VGGFace2 {split}", skip=skip)


def _meta(root: Path) -> Path:
    return next((place for place in (root / _META, root / "meta" / _META) if place.is_file()), root / _META)


def _identities(path: Path, collector: Collector) -> dict[str, _Identity]:
    """Lines of "n000002, "A_Fine_Frenzy", 315, 1, f": the fourth is 1 for training; in the order of the names."""
    found: dict[str, _Identity] = {}
    _, *lines = collector.read_text(path).splitlines() or [""]
    for number, line in enumerate(lines, start=2):
        match = _LINE.fullmatch(line)
        if match:
            found[match[1]] = _Identity(match[2].strip('"'), "train" if match[3] == "1" else "test")
        elif line.strip():
            collector.fault(f"{path} line {number}", f"is not an identity, name, count and 0 or 1: {line}")
    if not found:
        collector.fault(path, "names no identity")
    collector.refuse()
    return dict(sorted(found.items()))
