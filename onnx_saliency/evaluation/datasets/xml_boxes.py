"""The XML annotation that VOC introduced and ILSVRC took over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from onnx_saliency.evaluation.datasets.collector import Collector


class Object(NamedTuple):
    """One object: its class, its box as written (1-based, max inclusive), and whether it is marked as difficult."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


class Annotation(NamedTuple):
    """What a file says of a picture.

    size: (width, height) that the boxes were drawn on; None where the file says 0 or nothing.
    objects: in the file's order.
    """

    size: tuple[int, int] | None
    objects: tuple[Object, ...]

    def by_class(self) -> Iterator[tuple[str, list[tuple[float, float, float, float]]]]:
        """The boxes of each class; objects marked as difficult are left out, and so is a class of no other."""
        for name in dict.fromkeys(each.name for each in self.objects if not each.difficult):
            yield name, [each.box for each in self.objects if each.name == name and not each.difficult]


def read_annotation(path: Path, collector: Collector) -> Annotation | None:
    """The annotation in a file; None, and a fault in the collector, when there is none."""
    if not path.is_file():
        collector.missing(path)
        return None
    try:
        root = ElementTree.parse(path).getroot()
        size = tuple(int(float(_text(root, f"size/{side}", "0"))) for side in ("width", "height"))
        objects = tuple(map(_object, root.iter("object")))
    except (ElementTree.ParseError, OSError, ValueError, OverflowError) as error:
        collector.fault(path, f"is no annotation: {error}")
        return None
    return Annotation((size[0], size[1]) if min(size) > 0 else None, objects)


def _object(element: ElementTree.Element) -> Object:
    xmin, ymin, xmax, ymax = (float(_text(element, f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax"))
    return Object(_text(element, "name"), (xmin, ymin, xmax, ymax), _text(element, "difficult", "0") == "1")


def _text(element: ElementTree.Element, path: str, default: str | None = None) -> str:
    found = element.findtext(path, default)
    if found is None:
        raise ValueError(f"<{element.tag}> has no {path}")
    return found.strip()
