"""What `top-activations` leaves in a folder: pages and contact sheets of projections beside patches, and the numbers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_saliency.activations import Activation, ActivationSearch, ChannelTop
from onnx_saliency.report.colour import signed
from onnx_saliency.report.files import check_folder, make_folder, write_image, write_json, write_text
from onnx_saliency.report.page import Figure, Gallery, Section, page
from onnx_saliency.report.results import as_text
from onnx_saliency.report.sheet import Tile, contact_sheet, fitted

_ON_PAGE = 32  # channels; a page of more is slow to open
_ACROSS = 2  # channels in a row of a contact sheet
_TILE = 240
_GAP = 4
_PAPER = 250
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
            "notes": list(explainer.notes),
            "pictures": self._search.seen,
            **self.as_dict(),
        }
        write_json(self._folder / "top-activations.json", summary)

    def as_dict(self) -> dict[str, Any]:
        """The channels and what failed, for JSON."""
        failed = [{"image": as_text(name), "error": as_text(why)} for name, why in self._search.failed]
        return {"channels": self.rows, "failed": failed}

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
            f"Preprocessing ({explainer.preprocess_source}): {explainer.preprocess}."
        )
        title = f"What {self._search.layer} answers to"
        sections = [_section(top, self._search) for top in self._tops]
        write_text(self._folder / f"index{number}.html", page(title, intro, sections))
        write_image(self._folder / f"sheet{number}.png", activation_sheet(self._tops))
        self._tops = []


def activation_sheet(tops: list[ChannelTop], *, across: int = _ACROSS, tile_size: int = _TILE) -> Image.Image:
    """Projections beside patches of each channel, `across` channels a row (Zeiler & Fergus 2013, figure 2)."""
    cells = [_tiles(top) for top in tops]
    rows = [[tile for cell in cells[i : i + across] for tile in cell] for i in range(0, len(cells), across)]
    return contact_sheet(rows, tile_size=tile_size)


def is_sheet(path: Path, folder: Path) -> bool:
    """Whether `path` is a contact sheet that an earlier run left in `folder`: a search of the folder above finds it."""
    return _SHEETS.fullmatch(path.name) is not None and path.parent.resolve() == folder.resolve()


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
    columns = math.ceil(math.sqrt(search.count))
    shown = top.activations
    galleries = [
        Gallery([Figure(signed(each.projection), _caption(each)) for each in shown], "projections", columns),
        Gallery([Figure(each.patch, _caption(each)) for each in shown], "what the neuron sees", columns),
    ]
    lead = "" if len(shown) == search.count else f"Active in {len(shown)} of the {search.seen} pictures."
    facts = [(as_text(Path(each.image).name), _place(each)) for each in shown]
    return Section(f"Channel {top.channel}", galleries if shown else [], facts=facts, lead=lead)


def _tiles(top: ChannelTop) -> list[Tile]:
    shown = top.activations
    columns = max(1, math.ceil(math.sqrt(len(shown))))
    values = f"{shown[0].value:.3g} to {shown[-1].value:.3g}" if shown else "active in no picture"
    return [
        Tile(_mosaic([signed(each.projection) for each in shown], columns), f"channel {top.channel}", values),
        Tile(_mosaic([each.patch for each in shown], columns)),
    ]


def _mosaic(pictures: list[npt.NDArray[np.uint8]], columns: int) -> npt.NDArray[np.uint8]:
    """Pictures in a square grid, each fitted into its cell with its shape kept: uint8 (_TILE, _TILE, 3)."""
    cell = (_TILE + _GAP) // columns - _GAP
    joined = Image.new("RGB", (_TILE, _TILE), (_PAPER,) * 3)
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
