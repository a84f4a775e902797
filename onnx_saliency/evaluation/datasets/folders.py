"""A folder for each class, with its pictures: ImageNet's synsets, and what most people have."""

from __future__ import annotations

from pathlib import Path

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets.boxes import NO_BOXES
from onnx_saliency.evaluation.datasets.collector import Collector, Form
from onnx_saliency.evaluation.datasets.example import Dataset, Label
from onnx_saliency.evaluation.datasets.listing import Listing
from onnx_saliency.evaluation.datasets.names import find_names
from onnx_saliency.images import looks_like_picture

FORM = Form(
    "a folder for each class",
    "want CLASS/PICTURE or SPLIT/CLASS/PICTURE, where CLASS is a name, a number or a synset; for their order and "
    "names LOC_synset_mapping.txt, synset_words.txt, synsets.txt or classes.txt in the folder or above it",
)

_USUAL = ("test", "val", "validation")


def find_folders(path: Path) -> Path | None:
    """A folder that has folders of pictures in it, or folders of such."""
    return path if path.is_dir() and _parts(path) else None


def read_folders(
    folder: str | Path, split: str | None = None, *, listed: Listing | None = None, skip: bool = False
) -> Dataset:
    """An example for each picture, without boxes; its class is the folder's name, a number where all names are.

    The classes are in the order of a file of names (see `FORM`) that has all of them, else in that of their folders.

    Args:
        folder: the one around the classes, or around train/, val/ and so on.
        split: the name of a folder around classes; when not given, the only one, test, val or validation (with a list,
            all of them).
        listed: the pictures to take, in this order; see `read_listing`.
        skip: leave out pictures that are missing or wrong instead of refusing the whole.

    Raises:
        DatasetError: files are missing or unreadable; names all of them. No such split, or no telling which.
    """
    root = Path(folder)
    parts = _choose(root, split, everything=listed is not None)
    collector = Collector(root, FORM, boxes=False, listed=listed)
    folders = [each for part in parts for each in _below(part)]
    keys = sorted({each.name for each in folders})
    numbered = all(key.isdecimal() for key in keys)
    names = {} if numbered else find_names(parts[0], keys, collector)
    for each in folders:
        label: Label = int(each.name) if numbered else each.name
        category = names[each.name][0] if names else each.name
        for file in sorted(filter(looks_like_picture, each.iterdir())):
            collector.add(file, NO_BOXES, [label], category)
    title = " ".join([root.name, *(part.name for part in parts if part != root)])
    return collector.finish(title, skip=skip, classes=() if numbered else names or keys, synonyms=names)


def _choose(root: Path, split: str | None, *, everything: bool) -> list[Path]:
    """The folders around classes that are read."""
    parts = {part.name: part for part in _parts(root)}
    if split is not None:
        if split not in parts:
            raise DatasetError(f"{root}: has the splits {', '.join(parts) or 'none'}; found {split!r}")
        return [parts[split]]
    if len(parts) <= 1 or everything:
        return list(parts.values()) or [root]
    usual = next((parts[name] for name in _USUAL if name in parts), None)
    if usual is None:
        raise DatasetError(f"{root}: has the splits {', '.join(parts)}; name one of them")
    return [usual]


def _parts(root: Path) -> list[Path]:
    """The folder itself where it is around classes, else those in it that are."""
    return [root] if _is_around_classes(root) else list(filter(_is_around_classes, _below(root)))


def _is_around_classes(folder: Path) -> bool:
    return any(any(map(looks_like_picture, each.iterdir())) for each in _below(folder))


def _below(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
