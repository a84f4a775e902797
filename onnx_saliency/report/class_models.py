"""What `class-model` leaves in a folder: pictures, a contact sheet, the scores on the way up, one page."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from onnx_saliency.exporter.objective import Score, Whole, describe_score
from onnx_saliency.report.curve import curve
from onnx_saliency.report.files import (
    check_folder,
    make_folder,
    write_animation,
    write_image,
    write_json,
    write_npz,
    write_text,
)
from onnx_saliency.report.page import Figure, Section, page
from onnx_saliency.report.run import label_notes
from onnx_saliency.report.sheet import Tile, contact_sheet
from onnx_saliency.vision import ClassModel

_COLUMNS = 5
_ON_PAGE = 200  # pictures; a page of more is slow to open, the files are there all the same


class ClassModels:
    """Writes class models into a folder.

    Args:
        folder: made with its parents when there is something to write.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        check_folder(folder)

    def write(self, found: ClassModel, *, model: str, of: Score | None = None) -> list[dict[str, Any]]:
        """Write all of it; return a row for each image.

        `class_models.json`, `class_models.npz`, `sheet.png`, `index.html`, a PNG an image, and, of frames, a GIF.

        Raises:
            OutputError: a file cannot be written.
        """
        make_folder(self.folder)
        rows = [_row(found, k, of) for k in range(len(found))]
        for number, row in enumerate(rows, start=1):
            row["file"] = f"{_stem(row, number)}.png"
        for row, pixels in zip(rows, found.images, strict=True):
            write_image(self.folder / row["file"], pixels)
        write_npz(
            self.folder / "class_models.npz",
            {"inputs": found.inputs, "logits": found.logits, "history": found.history, "target": found.target},
        )
        tiles = [
            Tile(pixels, row["label"], f"score {row['start']:.3g} to {row['end']:.3g}")
            for row, pixels in zip(rows, found.images, strict=True)
        ]
        write_image(
            self.folder / "sheet.png",
            contact_sheet([tiles[i : i + _COLUMNS] for i in range(0, len(tiles), _COLUMNS)], tile_size=240),
        )
        if len(found.frames):
            write_animation(self.folder / "ascent.gif", [_montage(frame) for frame in found.frames])
        self._write_summary(found, rows, model, of)
        return rows

    def _write_summary(self, found: ClassModel, rows: list[dict[str, Any]], model: str, of: Score | None) -> None:
        name = Path(model).name
        summary = {
            "model": model,
            "recipe": asdict(found.recipe),
            "what": "class" if of is None else describe_score(of),
            "seed": found.seed,
            "steps": found.steps,
            "partial": found.partial,
            "provider": found.provider,
            "notes": notes(found),
            "class_models": rows,
        }
        write_json(self.folder / "class_models.json", summary)
        what = "a class" if of is None else f"a {describe_score(of)}"
        intro = (
            f"What {name} thinks {what} looks like: the image that it scores highest, found by gradient ascent from "
            f"{'noise' if found.recipe.noise else 'the zero image'} (Simonyan et al. 2013, section 2).\n\n"
            f"Recipe {found.recipe.name}, {found.steps} steps, seed {found.seed}."
        )
        if found.partial:
            intro += f"\n\nInterrupted: {found.steps} of {found.recipe.steps} steps were taken, so this is partial."
        intro += "".join(f"\n\n{line}" for line in notes(found))
        sections = [_section(found, k, row) for k, row in enumerate(rows[:_ON_PAGE])]
        write_text(self.folder / "index.html", page(f"Class models of {name}", intro, sections))


def notes(found: ClassModel) -> list[str]:
    """What should be known of single images, and of the class names."""
    return [*found.notes, *label_notes(found.labels)]


def _row(found: ClassModel, k: int, of: Score | None) -> dict[str, Any]:
    target = int(found.target[k])
    history = found.history[k][np.isfinite(found.history[k])]
    logits = found.logits[k]
    best = int(logits.argmax())
    named = (lambda index: f"class {index}") if found.labels is None else found.labels.short_name
    return {
        "target": target,
        "label": named(target) if of is None else f"image {k + 1}" if isinstance(of, Whole) else f"channel {target}",
        "start": float(history[0]),
        "end": float(history[-1]),
        "logit": float(logits[target]) if of is None else None,
        "probability": float(found.probabilities[k, target]) if of is None else None,
        "predicted": best,
        "predicted_label": named(best),
    }


def _stem(row: dict[str, Any], number: int) -> str:
    """A file name in the order asked for: 003-golden_retriever."""
    words = re.sub(r"[^\w-]+", "_", row["label"]).strip("_")[:60]
    return f"{number:03}-{words}"


def _section(found: ClassModel, k: int, row: dict[str, Any]) -> Section:
    figures = [Figure(found.images[k], "class model"), Figure(curve([found.history[k]], "score"), "the way up")]
    facts = [("score", f"{row['start']:.3g} to {row['end']:.3g}")]
    title = row["label"]
    if row["logit"] is not None:
        title += f" ({row['target']})"
        facts += [("logit", f"{row['logit']:.2f}"), ("probability", f"{row['probability']:.1%}")]
    facts += [("predicted", f"{row['predicted_label']} ({row['predicted']})")]
    return Section(title, figures, (), facts)


def _montage(frame: np.ndarray) -> np.ndarray:
    """The pictures (K, H, W, 3) of one moment, in rows."""
    columns = min(_COLUMNS, len(frame))
    lines = -(-len(frame) // columns)
    filled = np.concatenate([frame, np.zeros((lines * columns - len(frame), *frame.shape[1:]), np.uint8)])
    grid = filled.reshape(lines, columns, *frame.shape[1:])
    return np.concatenate([np.concatenate(list(line), axis=1) for line in grid])
