"""What `top-activations` leaves in a folder: pages and sheets of projections beside patches, and the numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_saliency.activations import COUNT, Activation, ActivationSearch, ChannelTop
from onnx_saliency.report.colour import signed
from onnx_saliency.report.files import check_folder, make_folder, write_image, write_json, write_text
from onnx_saliency.report.page import Figure, Gallery, Section, page
from onnx_saliency.report.run import as_text, failures, reading_text, run_notes
from onnx_saliency.report.sheet import PAPER, Tile, contact_sheet, fitted
from onnx_saliency.report.table import counted

_ON_PAGE = 32  # channels; a page of more is slow to open
_ACROSS = 2  # channels in a row of a contact sheet
_GRID = 248  # pixels across of one grid of a contact sheet
_GAP, _BETWEEN = 4, 12  # pixels between pictures, and between projections and patches
_SAME_SHAPE = 0.1  # a patch is cut at whole pixels, and so never quite of the projection's shape
_ENLARGED = 3  # so that pixels stretched to whole ones stay alike
_SHEETS = re.compile(r"sheet(-[0-9]+)?\.png")


class ActivationPages:
    """Writes channels as they come: a page and a contact sheet of every 32 of them.

    Args:
        folder: made with its parents when there is something to write.
        search: what they are found by.
        model: its name.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path, search: ActivationSearch, model: str) -> None:
        self.rows: list[dict[str, Any]] = []
        self._folder, self._search, self._model = folder, search, model
        self._tops: list[ChannelTop] = []
        self._pages = 0
        check_folder(folder)

    def add(self, top: ChannelTop) -> None:
        """Take one channel more. Raises OutputError when a page that is full cannot be written."""
        self.rows.append(_row(top))
        self._tops.append(top)
        if len(self._tops) == _ON_PAGE:
            self._write_page()

    def finish(self) -> None:
        """Write the last page and `top-activations.json`. Raises OutputError when they cannot be written."""
        if self._tops:
            self._write_page()
        explainer = self._search.explainer
        summary = {
            "model": as_text(self._model),
            "layer": self._search.layer,
            "method": explainer.method.name,
            "preprocess": explainer.preprocess.to_json(),
            "preprocess_source": explainer.preprocess_source,
            "provider": explainer.provider,
            "notes": run_notes(explainer),
            "pictures": self._search.seen,
            **self.as_dict(),
        }
        write_json(self._folder / "top-activations.json", summary)

    def as_dict(self) -> dict[str, Any]:
        """The channels and what failed, for JSON."""
        return {"channels": self.rows, "failed": failures(self._search.failed)}

    def _write_page(self) -> None:
        make_folder(self._folder)
        self._pages += 1
        number = f"-{self._pages}" if self._pages > 1 else ""
        explainer, name = self._search.explainer, as_text(Path(self._model).name)
        intro = (
            f"The pictures, of {self._search.seen}, that activate each channel of {self._search.layer} in {name} most, "
            "the strongest first. On the left what in them did, carried back to the pixels by "
            f"{explainer.method.name} ({explainer.method.source}): grey is 0, each at its own contrast. On the right "
            f"the same part of the picture. {' '.join(explainer.notes)}\n\n"
            f"{reading_text(explainer)}"
        )
        title = f"What {self._search.layer} answers to"
        sections = [_section(top, self._search) for top in self._tops]
        write_text(self._folder / f"index{number}.html", page(title, intro, sections))
        write_image(self._folder / f"sheet{number}.png", activation_sheet(self._tops, self._search.count))
        self._tops = []


def activation_sheet(tops: Sequence[ChannelTop], count: int = COUNT, *, across: int = _ACROSS) -> Image.Image:
    """Projections beside patches of each channel, `across` channels per row (Zeiler & Fergus 2013, figure 2).

    count: how many pictures a channel has room for.
    """
    tiles = [_tile(top, _columns(count)) for top in tops]
    rows = [tiles[i : i + across] for i in range(0, len(tiles), across)]
    return contact_sheet(rows, tile_size=2 * _GRID + _BETWEEN)


def result_names(sources: Iterable[Path]) -> list[str]:
    """Names of the pictures that `ActivationPages` may make, those first of which one is a source's."""
    return [*(path.name for path in sources if _SHEETS.fullmatch(path.name)), "sheet.png"]


def _row(top: ChannelTop) -> dict[str, Any]:
    activations = [
        {
            "image": as_text(each.image),
            "activation": each.value,
            "position": list(each.position),
            "box": list(each.box),
        }
        for each in top.activations
    ]
    return {"channel": top.channel, "activations": activations}


def _section(top: ChannelTop, search: ActivationSearch) -> Section:
    shown, columns = top.activations, _columns(search.count)
    galleries = [
        Gallery([Figure(_drawn(each), _caption(each)) for each in shown], "projections", columns),
        Gallery([Figure(each.patch, _caption(each)) for each in shown], "what the neuron sees", columns),
    ]
    few = (
        ""
        if len(shown) == min(search.count, search.seen)
        else f" Active in {len(shown)} of the {counted(search.seen, 'picture')}."
    )
    lead = f"{_range(top)}, strongest in {as_text(Path(shown[0].image).name)}.{few}" if shown else few
    return Section(f"Channel {top.channel}", galleries if shown else [], lead=lead.strip())


def _columns(count: int) -> int:
    return math.ceil(math.sqrt(count))


def _range(top: ChannelTop) -> str:
    return f"{top.activations[0].value:.3g} to {top.activations[-1].value:.3g}"


def _tile(top: ChannelTop, columns: int) -> Tile:
    title = f"channel {top.channel}"
    if not top.activations:
        return Tile(_mosaic([], columns), title, "active in no picture")
    both = [[_drawn(each) for each in top.activations], [each.patch for each in top.activations]]
    left, right = (_mosaic(pictures, columns) for pictures in both)
    between = np.full((len(left), _BETWEEN, 3), PAPER, np.uint8)
    return Tile(np.concatenate([left, between, right], axis=1), title, _range(top))


def _drawn(each: Activation) -> npt.NDArray[np.uint8]:
    """The projection in the shape of its patch: preprocessing that squashes changes it."""
    pixels = signed(each.projection)
    (height, width), (patch_height, patch_width) = pixels.shape[:2], each.patch.shape[:2]
    stretch = (patch_width / patch_height) / (width / height)
    if abs(stretch - 1) < _SAME_SHAPE:
        return pixels
    size = (round(_ENLARGED * width * stretch), _ENLARGED * height)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST))


def _mosaic(pictures: list[npt.NDArray[np.uint8]], columns: int) -> npt.NDArray[np.uint8]:
    """Pictures in a grid of `_GRID` pixels across, each fitted into its square with its shape kept."""
    cell = (_GRID + _GAP) // columns - _GAP
    rows = max(1, math.ceil(len(pictures) / columns))
    joined = Image.new("RGB", (_GRID, rows * (cell + _GAP) - _GAP), PAPER)
    for index, pixels in enumerate(pictures):
        picture = fitted(pixels, cell)
        y, x = (step * (cell + _GAP) for step in divmod(index, columns))
        joined.paste(picture, (x + (cell - picture.width) // 2, y + (cell - picture.height) // 2))
    return np.asarray(joined)


def _caption(each: Activation) -> str:
    return f"{as_text(Path(each.image).name)}, {_place(each)}"


def _place(each: Activation) -> str:
    at = f" at {', '.join(map(str, each.position))}" if each.position else ""
    return f"{each.value:.4g}{at}"
