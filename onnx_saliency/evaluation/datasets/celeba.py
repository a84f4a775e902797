"""CelebA's identities: Liu et al. 2015, "Deep Learning Face Attributes in the Wild"."""

from __future__ import annotations

from pathlib import Path

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets.boxes import NO_BOXES
from onnx_saliency.evaluation.datasets.collector import Collector, Form
from onnx_saliency.evaluation.datasets.example import Dataset
from onnx_saliency.evaluation.datasets.listing import Listing

_IDENTITIES, _PARTITION = "identity_CelebA.txt", "list_eval_partition.txt"

FORM = Form(
    "CelebA",
    f"want a folder with {_IDENTITIES} (or in Anno/), {_PARTITION} (or in Eval/) and img_align_celeba/ (or in Img/)",
)

_SPLITS = {"train": "0", "val": "1", "test": "2"}
_PEOPLE = 10177


def find_celeba(path: Path) -> Path | None:
    """The folder of the text files, which may lack one of them; one of the files stands for its folder."""
    if path.is_file():
        return path.parent if path.name in (_IDENTITIES, _PARTITION) else None
    return path if any(_place(path, name).is_file() for name in (_IDENTITIES, _PARTITION)) else None


def read_celeba(
    folder: str | Path, split: str | None = None, *, listed: Listing | None = None, skip: bool = False
) -> Dataset:
    """An example for each picture, without boxes; its class is a number.

    Identities are 1..10177 in the data set and classes 0..10176 here: the identity less one, as published face
    classifiers and SMDL-Attribution's lists have it.

    Args:
        folder: the one around the text files.
        split: "test" (all, with a list) when not given, "train", "val" or "all".
        listed: the pictures to take, in this order; see `read_listing`.
        skip: leave out pictures that are missing or wrong instead of refusing the whole.

    Raises:
        DatasetError: files are missing or unreadable; names all of them. No such split.
    """
    root, split = find_celeba(Path(folder)) or Path(folder), split or ("all" if listed else "test")
    if split not in (*_SPLITS, "all"):
        raise DatasetError(f"{root}: CelebA has the splits {', '.join(_SPLITS)} and all; found {split!r}")
    collector = Collector(root, FORM, boxes=False, listed=listed)
    names = [_IDENTITIES] if split == "all" else [_IDENTITIES, _PARTITION]
    images = _place(root, "img_align_celeba")
    collector.require(*(_place(root, name) for name in names), images)
    identities, *partition = (_table(_place(root, name), collector) for name in names)
    for name in identities if split == "all" else partition[0]:
        if split != "all" and partition[0][name] != _SPLITS[split]:
            continue
        identity = identities.get(name, "")
        if not identity.isdecimal() or not 1 <= int(identity) <= _PEOPLE:
            said = f"{identity!r} in" if identity else "no line in"
            collector.fault(name, f"has {said} {_IDENTITIES}, want an identity of 1..{_PEOPLE}")
            continue
        collector.add(images / name, NO_BOXES, [int(identity) - 1], f"identity {identity}")
    return collector.finish(f"CelebA {split}", skip=skip)


def _place(root: Path, name: str) -> Path:
    """Where a file or folder lies: in the folder itself, or as the archives unpack; the usual place where it is not."""
    places = [root / name / name, root / name, *(root / part / name for part in ("Anno", "Eval", "Img"))]
    return next((place for place in places if place.exists()), root / name)


def _table(path: Path, collector: Collector) -> dict[str, str]:
    """Lines of a picture and a number."""
    lines = (line.split() for line in collector.read_text(path).splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2}
