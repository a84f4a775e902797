"""What `explain` leaves in a folder: overlays, maps, numbers, one page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from onnx_saliency.explain import Explainer, Explanation
from onnx_saliency.report.colour import heat
from onnx_saliency.report.files import (
    check_folder,
    make_folder,
    unused_stem,
    write_image,
    write_json,
    write_npz,
    write_text,
)
from onnx_saliency.report.overlay import framed, normalise, overlay
from onnx_saliency.report.page import Bar, Figure, Section, page, section_html, shrunk
from onnx_saliency.report.run import as_text, failures, partial_text, reading_text, run_notes
from onnx_saliency.report.sheet import Tile
from onnx_saliency.runtime import usable_cores

_TOP = 5
_ON_PAGE = 200  # pictures; a page of more is slow to open, the files are there all the same
_AT_ONCE = 4  # pictures that are written; each takes some five times its pixels in memory


class Results:
    """Writes results as they come; nothing is kept but a row and the page's section for each picture.

    Args:
        folder: made with its parents when there is something to write.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self.sections: list[str] = []  # of the page, as HTML: pixels of many photographs would fill the memory
        self._stems: set[str] = set()
        check_folder(folder)

    def add(
        self, explainer: Explainer, explanation: Explanation, more: Sequence[Sequence[Figure]] | None = None
    ) -> None:
        """Write overlay, map and arrays of each picture of a batch.

        Args:
            explainer: what made it.
            explanation: of pictures.
            more: figures for the page, a list a picture, beside its own.

        Raises:
            OutputError: a file cannot be written.
        """
        make_folder(self.folder)
        count = len(explanation)
        stems = [unused_stem(picture.name, self._stems) for picture in explanation.pictures]
        paths = [{what: self.folder / name for what, name in _files(stem).items()} for stem in stems]
        with ThreadPoolExecutor(min(_AT_ONCE, usable_cores())) as pool:  # most of the time goes into compression
            drawn = list(pool.map(lambda i: _write(explainer, explanation, i, paths[i]), range(count)))
        for i in range(count):
            row = _row(explainer, explanation, i)
            row |= {what: as_text(str(path)) for what, path in paths[i].items()}
            self.rows.append(row)
            if len(self.sections) < _ON_PAGE:
                figures = [*drawn[i], *(more[i] if more is not None else [])]
                self.sections.append(section_html(_section(explainer, explanation, i, figures, row)))

    def finish(self, *, model: str, explainer: Explainer, failed: list[tuple[str, str]], partial: str = "") -> None:
        """Write `explain.json` and `index.html`; `partial` says why there are no more pictures than these."""
        summary = {
            "model": as_text(model),
            "method": explainer.method.name,
            "options": vars(explainer.method),
            "precision": explainer.precision,
            "changed_nodes": len(explainer.changed),
            "smooth_nodes": len(explainer.smooth),
            "layer": explainer.layer,
            "notes": run_notes(explainer),
            "preprocess": explainer.preprocess.to_json(),
            "preprocess_source": explainer.preprocess_source,
            "provider": explainer.provider,
            "explained": self.rows,
            "failed": failures(failed),
            "partial": bool(partial),
        }
        write_json(self.folder / "explain.json", summary)
        name = as_text(Path(model).name)
        intro = (
            f"Where the answers of {name} come from. {_meaning(explainer)} "
            "A thin line frames what the network saw, where that is not the whole picture.\n\n"
            f"{reading_text(explainer)}"
        )
        if len(self.rows) > len(self.sections):
            intro += f"\n\nThe first {len(self.sections)} of {len(self.rows)} pictures; all files lie beside this page."
        intro += partial_text(partial)
        write_text(self.folder / "index.html", page(f"Saliency of {name}", intro, self.sections))


def _write(explainer: Explainer, explanation: Explanation, i: int, paths: Mapping[str, Path]) -> list[Figure]:
    """Write a picture's overlay, map and arrays, and return its figures for the page."""
    picture, place, saliency = explanation.pictures[i], explanation.placements[i], explanation.saliency[i]
    shown = place.restore(normalise(saliency))
    blended, coloured = framed(overlay(picture.pixels, shown), place), heat(shown)
    write_image(paths["overlay"], blended)
    write_image(paths["map"], coloured)
    arrays = {
        "saliency": place.restore(saliency),
        "input_saliency": saliency,
        "logits": explanation.logits[i],
        "target": explanation.target[i],
    }
    if explanation.gradient is not None:
        arrays[explainer.method.result] = explanation.gradient[i]
    write_npz(paths["arrays"], arrays)
    figures = {"picture": picture.pixels, "saliency": coloured, "overlay": blended}
    return [Figure(shrunk(pixels), caption) for caption, pixels in figures.items()]


def tiles(explainer: Explainer, explanation: Explanation, i: int) -> list[Tile]:
    """Picture, map and overlay of one picture, for a contact sheet."""
    picture = explanation.pictures[i]
    place = explanation.placements[i]
    shown = place.restore(normalise(explanation.saliency[i]))
    target = int(explanation.target[i])
    probability = f"{explanation.probabilities[i, target]:.1%}"
    return [
        Tile(picture.pixels, explainer.label(target), probability),
        Tile(heat(shown), "saliency", _CAPTIONS.get(explainer.method.name, explainer.method.name)),
        Tile(framed(overlay(picture.pixels, shown), place), "overlay", "bright where the class comes from"),
    ]


_CAPTIONS = {"gradient": "max over colours of |dS/dI|"}


def _meaning(explainer: Explainer) -> str:
    """One sentence on what bright pixels mean, and the source."""
    method = explainer.method
    if method.name == "gradient":
        what = "Bright: the pixels whose change would change the score most (its gradient"
    else:
        what = f"Bright: where {method.name} finds the score's source ("
        what = f"{what}layer {explainer.layer}; " if explainer.layer else what
    notes = " ".join(explainer.notes)
    return f"{what}{', ' if method.name == 'gradient' else ''}{method.source}). {notes}".strip()


def result_names(sources: Iterable[Path], several: int = 1) -> list[str]:
    """Names of the files that `Results` makes of pictures, and perhaps of more: some may turn out unreadable.

    several: how many classes of each are explained.
    """
    taken: set[str] = set()
    stems = [unused_stem(str(path), taken) for path in sources for _ in range(several)]
    return [name for stem in stems for name in _files(stem).values()]


def _files(stem: str) -> dict[str, str]:
    """Names of a picture's files by what they hold."""
    return {"overlay": f"{stem}.overlay.png", "map": f"{stem}.map.png", "arrays": f"{stem}.npz"}


def _row(explainer: Explainer, explanation: Explanation, i: int) -> dict[str, Any]:
    target = int(explanation.target[i])
    logits, probabilities = explanation.logits[i], explanation.probabilities[i]
    best = np.argsort(-logits, kind="stable")[:_TOP]
    place = explanation.placements[i]
    return {
        "image": as_text(explanation.pictures[i].name),
        "target": target,
        "label": explainer.target_name(target),
        "score": float(explanation.score[i]),
        "logit": float(logits[target]) if explainer.explains_classes else None,
        "probability": float(probabilities[target]) if explainer.explains_classes else None,
        "gap": None if explanation.gap is None else float(explanation.gap[i]),
        "top": [
            {"class": int(k), "label": explainer.label(int(k)), "probability": float(probabilities[k])} for k in best
        ],
        "seen": [round(float(edge), 2) for edge in place.box],
        "notes": list(explanation.pictures[i].notes),
    }


def _section(
    explainer: Explainer, explanation: Explanation, i: int, figures: list[Figure], row: dict[str, Any]
) -> Section:
    target = row["target"] if explainer.explains_classes else None
    bars = [Bar(entry["label"], entry["probability"], entry["class"] == target) for entry in row["top"]]
    if target is not None and all(entry["class"] != target for entry in row["top"]):
        bars.append(Bar(row["label"], row["probability"], explained=True))
    height, width = explanation.pictures[i].pixels.shape[:2]
    what = "explained" if target is None else "class explained"
    facts = [(what, row["label"] if target is None else f"{row['label']} ({target})"), ("score", f"{row['score']:.2f}")]
    facts += [("picture", f"{width} x {height}")] + [("note", note) for note in row["notes"]]
    return Section(Path(row["image"]).name, figures, bars, facts)
