"""Gathering a data set: examples, and all that is missing or wrong, said at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from onnx_saliency.errors import DatasetError, ImageError
from onnx_saliency.evaluation.datasets.boxes import Boxes, fit
from onnx_saliency.evaluation.datasets.example import Dataset, Example, Label, MaskRule
from onnx_saliency.images import Header, read_header

LISTED = 10
"""How many files, or faults, an error names before it counts the rest."""


class Form(NamedTuple):
    """How a data set lies on disk: its name, and one sentence on the files it wants."""

    name: str
    wants: str


class Collector:
    """Takes examples as a reader finds them, keeps the sound ones, and remembers every fault of the others.

    Args:
        source: what is read, for the errors.
        form: what it was taken for.
    """

    def __init__(self, source: Path, form: Form) -> None:
        self.source, self.form = source, form
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
        sound = True
        if mask is not None and not mask.is_file():
            self.missing(mask)
            sound = False
        header = self._header(image)
        if header is None:
            return
        if not len(boxes):
            self.fault(image, "has no box")
            return
        if not np.isfinite(boxes).all():
            self.fault(image, "has a box that is not finite")
            return
        fitted, faults = fit(boxes, header, size)
        for reason in faults:
            self.fault(image, reason)
        if sound and not faults:
            self._examples.append(Example(image, frozenset(accepted), fitted, category, mask, mask_rule))

    def finish(
        self,
        name: str,
        *,
        skip: bool,
        classes: Iterable[str] = (),
        synonyms: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Dataset:
        """The data set; DatasetError for faults (unless they are skipped) and for one without examples."""
        failed = [(str(path), "is missing") for path in self._missing] + list(self._faults)
        if failed and not (skip and self._examples):
            self.refuse()
        if not self._examples:
            raise DatasetError(f"{self.source}: holds no picture with a box. {self._expected()}")
        return Dataset(name, tuple(self._examples), tuple(classes), synonyms or {}, tuple(failed))

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


def bounded(names: Iterable[str], all_of_them: Collection[object], separator: str = ", ") -> str:
    """The first names, and how many more there are."""
    shown = [name for name, _ in zip(names, range(LISTED), strict=False)]
    more = len(all_of_them) - len(shown)
    return separator.join(shown) + (f"{separator}and {more} more" if more else "")


def _count(things: Collection[object], noun: str) -> str:
    return f"1 {noun} is" if len(things) == 1 else f"{len(things)} {noun}s are"
