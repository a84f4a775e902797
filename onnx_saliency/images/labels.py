"""Class names: reading the files people have, fitting them to a model's classes, finding a class by name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx_saliency.errors import LabelError

_SYNSET_LINE = re.compile(r"n\d{8}\s+(?P<names>.+)")
_BACKGROUND = ("background", "__background__", "dummy")


@dataclass(frozen=True)
class Labels:
    """The names of a model's classes, in the model's order.

    Attributes:
        names: one per class.
        note: what `fit` had to change, None when the names fitted as they were.
    """

    names: tuple[str, ...]
    note: str | None = None

    @classmethod
    def fit(cls, names: Sequence[str], classes: int) -> Labels:
        """Names for a model of `classes` classes.

        TensorFlow's ImageNet models have 1001 classes, the first "background": 1000 names are moved up by one, and
        1001 names that begin with it fit a model of 1000. Any other difference is refused, never guessed at.

        Raises:
            LabelError: the names do not fit.
        """
        if len(names) == classes:
            return cls(tuple(names))
        if (len(names), classes) == (1000, 1001):
            return cls(("background", *names), "1000 names for 1001 classes: class 0 is taken as background")
        if (len(names), classes) == (1001, 1000) and names[0].lower() in _BACKGROUND:
            return cls(tuple(names[1:]), f"1001 names for 1000 classes: the first, {names[0]!r}, is left out")
        raise LabelError(f"{len(names)} label names, but the model has {classes} classes; give the model's own labels")

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The name of class `index`; negative numbers do not count back.

        Raises:
            LabelError: there is no such class.
        """
        if not 0 <= index < len(self.names):
            raise LabelError(f"no class {index}: the classes are 0..{len(self.names) - 1}")
        return self.names[index]

    def short_name(self, index: int) -> str:
        """The first of the names of class `index`: "tench" of "tench, Tinca tinca"."""
        return self.name(index).split(",")[0].strip()

    def index(self, name: str) -> int:
        """The class called `name`: exactly; else whatever the case; else as one of its names between commas.

        Raises:
            LabelError: several classes have this name, or none; lists those classes, or the closest names.
        """
        wanted = name.strip().casefold()
        whole = [label.casefold() for label in self.names]
        by_rank = (
            [i for i, label in enumerate(self.names) if label == name],
            [i for i, label in enumerate(whole) if label == wanted],
            [i for i, label in enumerate(whole) if wanted in (part.strip() for part in label.split(","))],
        )
        matches = next((found for found in by_rank if found), [])
        if len(matches) > 1:
            listed = ", ".join(f"{i} ({self.names[i]})" for i in matches)
            raise LabelError(f"{len(matches)} classes are called {name!r}: {listed}; give the number")
        if not matches:
            close = difflib.get_close_matches(wanted, whole, n=3, cutoff=0.5)
            hint = (
                f"the closest are {', '.join(self.names[whole.index(label)] for label in close)}"
                if close
                else ("no name comes close")
            )
            raise LabelError(f"no class is called {name!r}; {hint}")
        return matches[0]


def read_labels(path: str | Path) -> list[str]:
    """Class names from a UTF-8 file, in the order of the classes.

    Text: one name per line; of lines such as "n01440764 tench, Tinca tinca" the first name is kept.
    JSON: a list, or an object from index to name, also inside "id2label"; an entry may be ["n01440764", "tench"].

    Raises:
        LabelError: the file cannot be read, is empty, or leaves a class without a name.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise LabelError(f"{path}: cannot be read: {error.strerror}") from error
    if not text:
        raise LabelError(f"{path}: is empty, want one class name per line")
    is_json = path.suffix.lower() == ".json" or (text[0], text[-1]) in (("{", "}"), ("[", "]"))
    return _from_json(text, path) if is_json else _from_lines(text, path)


def _from_lines(text: str, path: Path) -> list[str]:
    lines = [line.strip() for line in text.split("\n")]
    blank = [str(number) for number, line in enumerate(lines, start=1) if not line]
    if blank:
        raise LabelError(f"{path}: no name on line {', '.join(blank[:10])}; every class after it would be misnamed")
    return [_first_name(line) for line in lines]


def _first_name(line: str) -> str:
    """The first name after a WordNet synset; a line without one is a name as it stands, commas and all."""
    synset = _SYNSET_LINE.fullmatch(line)
    return synset["names"].split(",")[0].strip() if synset else line


def _from_json(text: str, path: Path) -> list[str]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise LabelError(f"{path}: is not JSON: {error}") from error
    if isinstance(found, dict) and "id2label" in found:
        found = found["id2label"]
    if isinstance(found, dict):
        missing = [str(i) for i in range(len(found)) if str(i) not in found]
        if missing:
            raise LabelError(f'{path}: want the keys "0" to "{len(found) - 1}"; missing {", ".join(missing[:10])}')
        found = [found[str(i)] for i in range(len(found))]
    if not isinstance(found, list) or not found:
        raise LabelError(f"{path}: want a JSON list of names, or an object from index to name")
    return [_json_name(entry, i, path) for i, entry in enumerate(found)]


def _json_name(entry: object, index: int, path: Path) -> str:
    # Keras' imagenet_class_index.json pairs the synset with the name.
    name = entry[1] if isinstance(entry, list) and len(entry) == 2 else entry
    if not isinstance(name, str) or not name.strip():
        raise LabelError(f"{path}: class {index} has no name, found {entry!r}")
    return name.strip()
