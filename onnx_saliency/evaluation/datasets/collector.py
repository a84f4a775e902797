"""Gathering a data set: examples, and all that is missing or wrong, said at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onnx_saliency.errors import DatasetError, ImageError
from onnx_saliency.evaluation.datasets.boxes import Boxes, fit
from onnx_saliency.evaluation.datasets.example import Dataset, Example, Label, MaskRule
from onnx_saliency.evaluation.datasets.listing import Candidate, Listing
from onnx_saliency.images import Header, read_header

LISTED = 10
"""How many files, or faults, an error names before it counts the rest."""


class Form(NamedTuple):
    """How a data set lies on disk: its name, and one sentence on the files it wants."""

    name: str
    wants: str


class _Found(NamedTuple):
    """What a reader knows of a picture before its file is opened."""

    image: Path
    boxes: Boxes
    accepted: frozenset[Label]
    category: str
    size: tuple[int, int] | None
    mask: Path | None
    mask_rule: MaskRule | None


class Collector:
    """Takes examples as a reader finds them, keeps the sound ones, and remembers every fault of the others.

    Args:
        source: what is read, for the errors.
        form: what it was taken for.
        boxes: whether every picture needs a box; where none does, it needs no mask either.
        listed: the pictures to take, in this order, with these classes where the list has some; None takes all.
    """

    def __init__(self, source: Path, form: Form, *, boxes: bool = True, listed: Listing | None = None) -> None:
        self.source, self.form = source, form
        self.boxes, self.listed = boxes, listed
        self._found: list[_Found] = []  # waiting for the list
        self._examples: list[Example] = []
        self._missing: dict[Path, None] = {}  # ordered sets
        self._faults: dict[tuple[str, str], None] = {}
        self._headers: dict[Path, Header | None] = {}

    def missing(self, path: Path) -> None:
        """A file that should be there and is not."""
        self._missing[path] = None

    def fault(self, name: str | Path, reason: str) -> None:
        """Something that is there and cannot be used."""
        self._faults[str(name), reason] = None

    def add(
        self,
        image: Path,
        boxes: Boxes,
        accepted: Iterable[Label],
        category: str,
        *,
        size: tuple[int, int] | None = None,
        mask: Path | None = None,
        mask_rule: MaskRule | None = None,
    ) -> None:
        """One picture with the boxes of one class, in the pixels of a picture of `size` (width, height)."""
        found = _Found(image, boxes, frozenset(accepted), category, size, mask, mask_rule)
        if self.listed is None:
            self._take(found)
        else:
            self._found.append(found)

    def finish(
        self,
        name: str,
        *,
        skip: bool,
        classes: Iterable[str] = (),
        synonyms: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Dataset:
        """The data set; DatasetError for faults (unless they are skipped) and for one without examples."""
        order = tuple(classes)
        if self.listed is not None:
            self._take_listed(self.listed, order)
        failed = [(str(path), "is missing") for path in self._missing] + list(self._faults)
        if failed and not (skip and self._examples):
            self.refuse()
        if not self._examples:
            raise DatasetError(
                f"{self.source}: holds no picture{' with a box' if self.boxes else ''}. {self._expected()}"
            )
        return Dataset(name, tuple(self._examples), order, synonyms or {}, tuple(failed))

    def refuse(self) -> None:
        """DatasetError with everything that is missing or wrong so far; nothing where all is well."""
        said = []
        if self._missing:
            said.append(f"{_count(self._missing, 'file')} missing: {bounded(map(str, self._missing), self._missing)}")
        if self._faults:
            reasons = (f"{name}: {reason}" for name, reason in self._faults)
            said.append(f"{_count(self._faults, 'thing')} wrong: {bounded(reasons, self._faults, '; ')}")
        if said:
            raise DatasetError(f"{self.source}: {'. '.join(said)}. {self._expected()}")

    def require(self, *paths: Path) -> None:
        """DatasetError naming those of the files and folders that are not there."""
        for path in paths:
            if not path.exists():
                self.missing(path)
        self.refuse()

    def read_text(self, path: Path) -> str:
        """A UTF-8 file; DatasetError when it cannot be read as such."""
        self.require(path)
        try:
            return path.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            self.fault(path, f"cannot be read: {error}")
            self.refuse()
            raise  # not reached: there is a fault

    def _expected(self) -> str:
        return f"Read as {self.form.name}: {self.form.wants}"

    def _take_listed(self, listed: Listing, order: tuple[str, ...]) -> None:
        """The pictures that the list names, in its order."""
        positions = {name: position for position, name in enumerate(order)}
        candidates = [Candidate(found.image, _number(found.accepted, positions)) for found in self._found]
        for entry, places in zip(listed.entries, listed.match(candidates), strict=True):
            named = f"{listed.source}: {entry.name}"
            chosen = [self._found[place] for place in places]
            images = dict.fromkeys(found.image for found in chosen)
            if not chosen:
                self.fault(named, "is no picture of the data set")
            elif len(images) > 1:
                self.fault(named, f"may be {bounded(map(str, images), images, ' or ')}")
            elif not entry.accepted:
                for found in chosen:
                    self._take(found)
            elif self.boxes and len(chosen) > 1:
                self.fault(named, "has boxes of several classes; leave the class out of the list")
            else:
                self._take(chosen[0]._replace(accepted=entry.accepted, category=entry.category))

    def _take(self, found: _Found) -> None:
        """Open the picture and keep it, or what is wrong with it."""
        has_mask = found.mask is not None and found.mask.is_file()
        lacks_mask = self.boxes and found.mask is not None and not has_mask
        if found.mask is not None and lacks_mask:
            self.missing(found.mask)
        header = self._header(found.image)
        if header is None:
            return
        if self.boxes and not len(found.boxes):
            self.fault(found.image, "has no box")
            return
        if not np.isfinite(found.boxes).all():
            self.fault(found.image, "has a box that is not finite")
            return
        fitted, faults = fit(found.boxes, header, found.size)
        for reason in faults:
            self.fault(found.image, reason)
        if not lacks_mask and not faults:
            mask = found.mask if has_mask else None
            self._examples.append(Example(found.image, found.accepted, fitted, found.category, mask, found.mask_rule))

    def _header(self, image: Path) -> Header | None:
        if image not in self._headers:
            self._headers[image] = None
            if not image.exists():
                self.missing(image)
            else:
                try:
                    self._headers[image] = read_header(image)
                except ImageError as error:
                    self.fault(image, str(error).removeprefix(f"{image}: "))
        return self._headers[image]


def _number(accepted: frozenset[Label], positions: Mapping[str, int]) -> int | None:
    """The number of a picture's class, where it has one class and that has a number."""
    if len(accepted) != 1:
        return None
    (label,) = accepted
    return label if isinstance(label, int) else positions.get(label)


def bounded(names: Iterable[str], all_of_them: Collection[object], separator: str = ", ") -> str:
    """The first names, and how many more there are."""
    shown = [name for name, _ in zip(names, range(LISTED), strict=False)]
    more = len(all_of_them) - len(shown)
    return separator.join(shown) + (f"{separator}and {more} more" if more else "")


def _count(things: Collection[object], noun: str) -> str:
    return f"1 {noun} is" if len(things) == 1 else f"{len(things)} {noun}s are"
