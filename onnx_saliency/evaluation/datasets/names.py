"""Files that put the classes of a data set in order, with their names: synset_words.txt and its like."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from onnx_saliency.evaluation.datasets.collector import Collector

_FILES = ("LOC_synset_mapping.txt", "synset_words.txt", "synsets.txt", "classes.txt")
_LEVELS = 4  # of ILSVRC/Data/CLS-LOC/train, the file is beside Data or above it


def read_names(path: Path, collector: Collector) -> dict[str, tuple[str, ...]]:
    """Class to its names, from lines such as "n01440764 tench, Tinca tinca"; to itself where it stands alone."""
    split = [line.split(maxsplit=1) for line in collector.read_text(path).splitlines() if line.strip()]
    return {key: _names(rest[0]) if rest else (key,) for key, *rest in split}


def find_names(root: Path, wanted: Collection[str], collector: Collector) -> dict[str, tuple[str, ...]]:
    """The names of the classes `wanted`, of the first file at or above `root` that has all of them; else none."""
    for folder in (root, *root.absolute().parents[:_LEVELS]):
        for name in _FILES:
            if (folder / name).is_file():
                names = read_names(folder / name, collector)
                if names.keys() >= set(wanted):
                    return names
    return {}


def _names(text: str) -> tuple[str, ...]:
    return (text, *map(str.strip, text.split(",")))
