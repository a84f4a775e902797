"""What every data set becomes: pictures, each with the classes that are right, the boxes, and perhaps a mask."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_saliency.errors import DatasetError, ImageError
from onnx_saliency.images import read_header
from onnx_saliency.images.picture import UPRIGHT

Label = int | str


class MaskRule(NamedTuple):
    """What the values of a mask file mean: `low`..`high` are the object, `ignored` is left open, the rest is not it."""

    low: int
    high: int
    ignored: Collection[int] = ()


TRIMAP = MaskRule(1, 1, (3,))
"""Oxford-IIIT Pet: 1 the animal, 2 background, 3 not classified."""


class Mask(NamedTuple):
    """The object's pixels, and which pixels are judged: both bool (H, W), in the pixels of the upright picture."""

    object: npt.NDArray[np.bool_]
    counted: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Example:
    """One picture and one class that is to be found in it.

    Attributes:
        image: the file.
        accepted: the classes that are right: indices of the model's, or names that `resolve_labels` turns into them.
        boxes: float64 (B, 4): xmin, ymin, xmax, ymax, 0-based, max exclusive, in the pixels of the picture as
            `read_picture` gives it (upright). B >= 1 where boxes were asked for; else it may be 0.
        category: what the data set calls the class.
        mask: the file that says which pixels are the object, where there is one; `read_mask` reads it.
        mask_rule: what its values mean; None is a trimap where only 1, 2 and 3 occur, and else whatever is not 0.
    """

    image: Path
    accepted: frozenset[Label]
    boxes: npt.NDArray[np.float64]
    category: str
    mask: Path | None = None
    mask_rule: MaskRule | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures to measure on.

    Attributes:
        name: of the data set and the part of it, as "VOC2012 val".
        examples: one per picture and class.
        classes: the data set's own classes in their order, where it has one.
        synonyms: other names of a class, to find it among the model's labels.
        failed: (file, reason) of examples that were left out because they could not be used.
    """

    name: str
    examples: tuple[Example, ...]
    classes: tuple[str, ...] = ()
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    failed: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)


def draw_examples(dataset: Dataset, count: int, seed: int = 0) -> Dataset:
    """So many examples of a data set, drawn at random without replacement; all where it has no more."""
    chosen = np.random.default_rng(seed).choice(len(dataset), min(count, len(dataset)), replace=False)
    return replace(dataset, examples=tuple(dataset.examples[index] for index in sorted(chosen)))


def read_mask(example: Example) -> Mask:
    """The mask of an example, as large as its picture (nearest pixel, where the file is of another size).

    Raises:
        DatasetError: the example has no mask, or picture or mask cannot be read.
    """
    if example.mask is None:
        raise DatasetError(f"{example.image}: has no mask")
    try:
        size, orientation = read_header(example.image)
        with Image.open(example.mask) as opened:
            # The numbers themselves, also of a palette; other modes hold the same grey in several channels.
            image = opened.copy() if opened.mode in ("1", "L", "P", "I", "I;16") else opened.convert("L")
    except (ImageError, OSError, ValueError, SyntaxError) as error:  # SyntaxError: Pillow, of a damaged PNG
        raise DatasetError(f"{example.mask}: cannot be read as a mask: {error}") from error
    as_stored, upright = size[::-1], size if orientation >= 5 else size[::-1]
    if image.size != upright or upright == as_stored:
        image = image.resize(as_stored, Image.Resampling.NEAREST)
        image = image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image
    values = np.asarray(image).astype(np.int64)
    low, high, ignored = example.mask_rule or _rule_of(values)
    return Mask((values >= low) & (values <= high), ~np.isin(values, list(ignored)))


def _rule_of(values: npt.NDArray[np.int64]) -> MaskRule:
    return TRIMAP if values.min() >= 1 and values.max() <= 3 else MaskRule(1, int(values.max()))
