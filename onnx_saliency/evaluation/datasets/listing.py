"""Lists of pictures, each perhaps with its class: what they hold, and which pictures of a data set they name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from onnx_saliency.evaluation.datasets.example import Label

_NUMBERS = re.compile(r"\d+(-\d+)?")


class Entry(NamedTuple):
    """A picture of a list: its path as it is written, the classes that are right, and what they are called.

    No class is right where the list says none.
    """

    name: str
    accepted: frozenset[Label]
    category: str


class Candidate(NamedTuple):
    """A picture of a data set: its file, and the number of its class among the data set's, where it has one."""

    image: Path
    number: int | None


@dataclass(frozen=True)
class Listing:
    """Pictures in an order: `source` is the file they were listed in."""

    source: Path
    entries: tuple[Entry, ...]

    def match(self, candidates: Sequence[Candidate]) -> list[list[int]]:
        """For each entry, the places of the candidates that it names.

        Those whose path ends in the entry's; else, where its folder is a number, those of its file name and of the
        class of that number ("7647/0555_01.jpg", as SMDL-Attribution's lists have it).
        """
        places: dict[str, list[int]] = {}
        for place, candidate in enumerate(candidates):
            places.setdefault(candidate.image.name, []).append(place)
        found = []
        for entry in self.entries:
            path = PurePosixPath(entry.name)
            same_name, folder = places.get(path.name, []), path.parent.name
            whole = [i for i in same_name if candidates[i].image.parts[-len(path.parts) :] == path.parts]
            number = int(folder) if folder.isdecimal() else None
            by_class = [i for i in same_name if number is not None and candidates[i].number == number]
            found.append(whole or by_class)
        return found


def accepted_labels(text: str) -> frozenset[Label]:
    """Class indices and ranges of them, as "281 282 285" or "151-268"; or names, several divided by ";"."""
    words = text.split()
    if not all(map(_NUMBERS.fullmatch, words)):
        return frozenset(name.strip() for name in text.split(";") if name.strip())
    ends = [(int(word.partition("-")[0]), int(word.rpartition("-")[2])) for word in words]
    return frozenset(index for first, last in ends for index in range(first, last + 1))


def picture_folder(file: Path, names: Iterable[str]) -> Path:
    """Where the pictures of a list are: the first of the usual places that holds any of them, else the usual one."""
    beside, stem, listed = file.parent, file.stem, list(names)
    places = [beside / "images" / stem, beside / "images", beside / stem, beside]
    if beside.name == "boxes":
        places.insert(0, beside.parent / "images" / stem)
    return next((place for place in places if any((place / name).is_file() for name in listed)), places[0])
