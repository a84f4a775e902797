"""Detections in COCO's form: images, categories, annotations, masks as run lengths (Lin et al. 2014)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


class CocoText:
    """One JSON document, gathered picture by picture; of a mask only its run lengths are kept, as text."""

    def __init__(self) -> None:
        self._images: list[str] = []
        self._annotations: list[str] = []
        self._categories: dict[int, str] = {}

    def add_image(self, file_name: str, width: int, height: int) -> int:
        """Add a picture; return its id, from 1."""
        number = len(self._images) + 1
        self._images.append(_text({"id": number, "file_name": file_name, "width": width, "height": height}))
        return number

    def add_annotation(
        self,
        image: int,
        category: int,
        label: str,
        box: tuple[int, int, int, int],
        score: float,
        mask: npt.NDArray[np.bool_],
    ) -> None:
        """Add an object of a picture: box (xmin, ymin, xmax, ymax), max exclusive, and mask (H, W)."""
        self._categories[category] = label
        xmin, ymin, xmax, ymax = box
        entry = {
            "id": len(self._annotations) + 1,
            "image_id": image,
            "category_id": category,
            "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
            "area": int(np.count_nonzero(mask)),
            "score": score,
            "iscrowd": 0,
            "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
        }
        self._annotations.append(_text(entry))

    def text(self) -> str:
        """The document, an entry per line."""
        categories = [_text({"id": number, "name": name}) for number, name in sorted(self._categories.items())]
        parts = {"images": self._images, "categories": categories, "annotations": self._annotations}
        return "{\n" + ",\n".join(f'"{name}": {_lines(entries)}' for name, entries in parts.items()) + "\n}\n"


def run_lengths(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of a mask (H, W) read down its columns: not set, set, not set, ...; the first may be 0."""
    flat = mask.reshape(-1, order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], [0] * int(flat[0]), changes, [len(flat)]]).astype(np.int64)
    lengths: list[int] = np.diff(starts).tolist()
    return lengths


def _text(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _lines(entries: Sequence[str]) -> str:
    return "[\n" + ",\n".join(entries) + "\n]" if entries else "[]"
