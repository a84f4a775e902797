"""A picture a line and its class, in a CSV or text file: a data set of one's own, or a list of pictures of another."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from onnx_saliency.evaluation.datasets.boxes import NO_BOXES
from onnx_saliency.evaluation.datasets.collector import Collector, Form
from onnx_saliency.evaluation.datasets.example import Dataset
from onnx_saliency.evaluation.datasets.listing import Entry, Listing, accepted_labels, picture_folder
from onnx_saliency.images import SUFFIXES

FORM = Form(
    "a list of pictures and classes",
    "want a CSV file with the columns image (or path, file) and label (or class, target, accepted, imagenet_index, "
    'synset), and perhaps category or name; or two columns without a header; or a text file of lines "PATH CLASS"; '
    "the pictures of NAME.csv in images/NAME/, images/, NAME/ or beside it",
)

_IMAGE = ("image", "path", "file", "filename")
_CLASS = ("accepted", "imagenet_index", "label", "class", "target", "synset")
_CATEGORY = ("category", "name")  # of each the first that there is
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LINE = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, sorted(SUFFIXES)))}))(?:[\s,;]+(.*))?", re.IGNORECASE)


def find_table(path: Path) -> Path | None:
    """A .csv, .tsv or .txt file that begins with a column or the name of a picture."""
    if not path.is_file() or path.suffix.lower() not in (*_DELIMITERS, ".txt"):
        return None
    with path.open("rb") as stream:
        first = stream.readline(1000).decode("utf-8-sig", "replace").strip()
    delimiter = _DELIMITERS.get(path.suffix.lower())
    cells = next(csv.reader([first], delimiter=delimiter), []) if delimiter else []
    is_header = any(cell.strip().lower() in _IMAGE for cell in cells)
    return path if is_header or _LINE.fullmatch(cells[0] if cells else first) else None


def read_table(
    path: str | Path,
    split: str | None = None,
    *,
    images: str | Path | None = None,
    listed: Listing | None = None,
    skip: bool = False,
) -> Dataset:
    """An example for each line, without boxes; the classes as `read_tidy` has them.

    Args:
        path: the file.
        split: there is none; what is given must be the name of the file, without its suffix.
        images: the folder of pictures, where it is not in one of the usual places.
        listed: the pictures to take, in this order; see `read_listing`.
        skip: leave out pictures that are missing or wrong instead of refusing the whole.

    Raises:
        DatasetError: lines without a class, files that are missing or unreadable; names all of them.
    """
    file = Path(path)
    listing = read_listing(file)
    folder = Path(images) if images else picture_folder(file, (entry.name for entry in listing.entries))
    collector = Collector(file, FORM, boxes=False, listed=listed)
    if split not in (None, file.stem):
        collector.fault(file, f"has no split {split!r}")
        collector.refuse()
    return _read(folder, listing, collector, skip)


def read_listed(folder: str | Path, listed: Listing, *, skip: bool = False) -> Dataset:
    """The pictures of a folder that a list names and gives a class.

    Raises:
        DatasetError: entries without a class, files that are missing or unreadable; names all of them.
    """
    return _read(Path(folder), listed, Collector(Path(folder), FORM, boxes=False), skip)


def read_listing(path: str | Path) -> Listing:
    """Pictures and, where they stand there, classes: of a CSV file with a header or two columns, or of lines.

    Raises:
        DatasetError: not readable; without a column of pictures; a line that names none, or one twice: names all.
    """
    file = Path(path)
    collector = Collector(file, FORM, boxes=False)
    text, delimiter = collector.read_text(file), _DELIMITERS.get(file.suffix.lower())
    rows = list(_from_cells(text, delimiter, collector) if delimiter else _from_lines(text))
    entries: dict[str, Entry] = {}
    for line, name, label, category in rows:
        if not name:
            collector.fault(f"{file} line {line}", "names no picture")
        elif name in entries:
            collector.fault(f"{file} line {line}", f"{name} is listed twice")
        else:
            entries[name] = Entry(name, accepted_labels(label), category or label)
    if not rows:
        collector.fault(file, "lists no picture")
    collector.refuse()
    return Listing(file, tuple(entries.values()))


def _read(folder: Path, listing: Listing, collector: Collector, skip: bool) -> Dataset:
    for name, accepted, category in listing.entries:
        if accepted:
            collector.add(folder / name, NO_BOXES, accepted, category)
        else:
            collector.fault(f"{listing.source}: {name}", "has no class")
    return collector.finish(listing.source.stem, skip=skip)


def _from_cells(text: str, delimiter: str, collector: Collector) -> Iterator[tuple[int, str, str, str]]:
    """Line number, picture, class and category of each row."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    image, label, category = (
        next((header.index(name) for name in names if name in header), None) for names in (_IMAGE, _CLASS, _CATEGORY)
    )
    if image is None and len(header) > 2:
        collector.fault(collector.source, f"has no column {', '.join(_IMAGE[:-1])} or {_IMAGE[-1]}")
        collector.refuse()
    if image is None:
        image, label = 0, 1
    else:
        rows = rows[1:]
    for line, row in rows:
        name, said, called = ("" if at is None or at >= len(row) else row[at] for at in (image, label, category))
        yield line, name, said, called


def _from_lines(text: str) -> Iterator[tuple[int, str, str, str]]:
    """The same of lines: the class is what follows the picture's suffix, or the first word where it has none."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            match = _LINE.fullmatch(line.strip())
            name, label = match.groups("") if match else (*line.split(maxsplit=1), "")[:2]
            yield number, name, label.strip(), ""
