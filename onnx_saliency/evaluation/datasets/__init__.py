"""Data sets, each in the form in which it is handed out, read into one: `Dataset`, of `Example`s."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets.celeba import FORM as CELEBA
from onnx_saliency.evaluation.datasets.celeba import find_celeba, read_celeba
from onnx_saliency.evaluation.datasets.coco import FORM as COCO
from onnx_saliency.evaluation.datasets.coco import find_coco, read_coco
from onnx_saliency.evaluation.datasets.collector import Form
from onnx_saliency.evaluation.datasets.cub import FORM as CUB
from onnx_saliency.evaluation.datasets.cub import find_cub, read_cub
from onnx_saliency.evaluation.datasets.example import (
    TRIMAP,
    Dataset,
    Example,
    Label,
    Mask,
    MaskRule,
    draw_examples,
    read_mask,
)
from onnx_saliency.evaluation.datasets.folders import FORM as FOLDERS
from onnx_saliency.evaluation.datasets.folders import find_folders, read_folders
from onnx_saliency.evaluation.datasets.ilsvrc import FORM as ILSVRC
from onnx_saliency.evaluation.datasets.ilsvrc import find_ilsvrc, read_ilsvrc
from onnx_saliency.evaluation.datasets.labels import resolve_labels
from onnx_saliency.evaluation.datasets.listing import Entry, Listing
from onnx_saliency.evaluation.datasets.table import FORM as TABLE
from onnx_saliency.evaluation.datasets.table import find_table, read_listed, read_listing, read_table
from onnx_saliency.evaluation.datasets.tidy import FORM as TIDY
from onnx_saliency.evaluation.datasets.tidy import find_tidy, read_tidy
from onnx_saliency.evaluation.datasets.vggface2 import FORM as VGGFACE2
from onnx_saliency.evaluation.datasets.vggface2 import find_vggface2, read_vggface2
from onnx_saliency.evaluation.datasets.voc import FORM as VOC
from onnx_saliency.evaluation.datasets.voc import find_voc, read_voc

__all__ = [
    "TRIMAP",
    "Dataset",
    "Entry",
    "Example",
    "Form",
    "Label",
    "Listing",
    "Mask",
    "MaskRule",
    "draw_examples",
    "find_dataset",
    "open_dataset",
    "read_celeba",
    "read_coco",
    "read_cub",
    "read_folders",
    "read_ilsvrc",
    "read_listed",
    "read_listing",
    "read_mask",
    "read_table",
    "read_tidy",
    "read_vggface2",
    "read_voc",
    "resolve_labels",
]


class _Reader(NamedTuple):
    form: Form
    find: Callable[[Path], Path | None]
    read: Callable[..., Dataset]


_BOXED = (
    _Reader(CUB, find_cub, read_cub),
    _Reader(ILSVRC, find_ilsvrc, read_ilsvrc),
    _Reader(VOC, find_voc, read_voc),
    _Reader(COCO, find_coco, read_coco),
    _Reader(TIDY, find_tidy, read_tidy),
)
_OF_CLASSES = (
    _Reader(CELEBA, find_celeba, read_celeba),
    _Reader(VGGFACE2, find_vggface2, read_vggface2),
    _Reader(TABLE, find_table, read_table),
    _Reader(FOLDERS, find_folders, read_folders),
)


def find_dataset(path: str | Path) -> Form:
    """Which data set a file or folder is, told by its files' names; it may still be incomplete.

    Raises:
        DatasetError: no such file or folder, or none of the known forms, all of which are listed.
    """
    path = Path(path)
    reader = _find(path)
    if reader is None:
        raise _unknown(path, (*_BOXED, *_OF_CLASSES))
    return reader.form


def open_dataset(
    path: str | Path,
    split: str | None = None,
    *,
    list_file: str | Path | None = None,
    boxes: bool = True,
    skip: bool = False,
) -> Dataset:
    """Read a data set in whichever form it lies there; every picture's header is read, no pixels are.

    Args:
        path: the folder or file that `find_dataset` recognises; with a list that has classes, any folder of pictures.
        split: which part; see the reader of each form for the one that is taken when not given.
        list_file: a text or CSV file of pictures, and perhaps their classes: those are taken, in this order, and a
            class that stands there is the picture's. See `read_listing`.
        boxes: whether every picture needs a box. Where none does, pictures without one are taken too, and data sets
            that have only classes.
        skip: leave out pictures that are missing or wrong, into `Dataset.failed`, instead of refusing the whole.

    Raises:
        DatasetError: not recognised; has no boxes, and they are needed; or files are missing, unreadable, or hold boxes
            that are none: names all of them (the first ten, and how many more) and what the form wants.
    """
    path = Path(path)
    reader = _find(path)
    listed = None if list_file is None else read_listing(list_file)
    if reader in _BOXED:
        return reader.read(path, split, boxes=boxes, listed=listed, skip=skip)
    if boxes:
        wrong = f"{path}: is {reader.form.name}, without boxes" if reader else None
        raise _unknown(path, _BOXED, wrong)
    if reader is not None:
        return reader.read(path, split, listed=listed, skip=skip)
    if listed is not None and path.is_dir():
        if split is not None:
            raise DatasetError(f"{path}: is a folder of pictures, which has no splits; found {split!r}")
        return read_listed(path, listed, skip=skip)
    raise _unknown(path, (*_BOXED, *_OF_CLASSES))


def _find(path: Path) -> _Reader | None:
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    try:
        return next((reader for reader in (*_BOXED, *_OF_CLASSES) if reader.find(path)), None)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error


def _unknown(path: Path, readers: Iterable[_Reader], wrong: str | None = None) -> DatasetError:
    known = "; ".join(f"{each.form.name}: {each.form.wants}" for each in readers)
    return DatasetError(f"{wrong or f'{path}: is no data set of a known form'}. {known}")
