"""Data sets with boxes, each in the form in which it is handed out, read into one: `Dataset`, of `Example`s."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets.coco import FORM as COCO
from onnx_saliency.evaluation.datasets.coco import find_coco, read_coco
from onnx_saliency.evaluation.datasets.collector import Form
from onnx_saliency.evaluation.datasets.cub import FORM as CUB
from onnx_saliency.evaluation.datasets.cub import find_cub, read_cub
from onnx_saliency.evaluation.datasets.example import TRIMAP, Dataset, Example, Label, Mask, MaskRule, read_mask
from onnx_saliency.evaluation.datasets.ilsvrc import FORM as ILSVRC
from onnx_saliency.evaluation.datasets.ilsvrc import find_ilsvrc, read_ilsvrc
from onnx_saliency.evaluation.datasets.labels import resolve_labels
from onnx_saliency.evaluation.datasets.tidy import FORM as TIDY
from onnx_saliency.evaluation.datasets.tidy import find_tidy, read_tidy
from onnx_saliency.evaluation.datasets.voc import FORM as VOC
from onnx_saliency.evaluation.datasets.voc import find_voc, read_voc

__all__ = [
    "TRIMAP",
    "Dataset",
    "Example",
    "Form",
    "Label",
    "Mask",
    "MaskRule",
    "find_dataset",
    "open_dataset",
    "read_coco",
    "read_cub",
    "read_ilsvrc",
    "read_mask",
    "read_tidy",
    "read_voc",
    "resolve_labels",
]


class _Reader(NamedTuple):
    form: Form
    find: Callable[[Path], Path | None]
    read: Callable[..., Dataset]


_READERS = (
    _Reader(CUB, find_cub, read_cub),
    _Reader(ILSVRC, find_ilsvrc, read_ilsvrc),
    _Reader(VOC, find_voc, read_voc),
    _Reader(COCO, find_coco, read_coco),
    _Reader(TIDY, find_tidy, read_tidy),
)


def find_dataset(path: str | Path) -> Form:
    """Which data set a file or folder is, told by its files' names; it may still be incomplete.

    Raises:
        DatasetError: no such file or folder, or none of the known forms, all of which are listed.
    """
    return _find(Path(path)).form


def open_dataset(path: str | Path, split: str | None = None, *, skip: bool = False) -> Dataset:
    """Read a data set in whichever form it lies there; every picture's header is read, no pixels are.

    Args:
        path: the folder or file that `find_dataset` recognises.
        split: which part; see the reader of each form for the one that is taken when not given.
        skip: leave out pictures that are missing or wrong, into `Dataset.failed`, instead of refusing the whole.

    Raises:
        DatasetError: not recognised; or files are missing, unreadable, or hold boxes that are none: names all of them
            (the first ten, and how many more) and what the form wants.
    """
    return _find(Path(path)).read(path, split, skip=skip)


def _find(path: Path) -> _Reader:
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    try:
        reader = next((reader for reader in _READERS if reader.find(path)), None)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    if reader is None:
        known = "; ".join(f"{each.form.name}: {each.form.wants}" for each in _READERS)
        raise DatasetError(f"{path}: is no data set of a known form. {known}")
    return reader
