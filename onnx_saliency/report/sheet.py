"""Contact sheets: pictures in rows, each with a title and a line of small print, on one light page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PAPER = (250, 250, 248)
_INK = (28, 30, 36)
_FAINT = (112, 116, 126)
_ELLIPSIS = "..."


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture of a sheet: uint8 pixels (H, W, 3), a title and small print, either of which may be empty."""

    pixels: npt.NDArray[np.uint8]
    title: str = ""
    caption: str = ""


def contact_sheet(rows: Sequence[Sequence[Tile]], *, tile_size: int = 320) -> Image.Image:
    """Lay out rows of tiles, every picture fitted into a square of `tile_size` pixels with its shape kept.

    Pictures smaller than the square are enlarged without smoothing, so that pixels of a small network can be seen.
    Text too long for its tile ends in "...". Columns line up; a short row leaves its right end free.
    Returns an RGB image. Raises ValueError when there is no tile.
    """
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise ValueError("a contact sheet needs at least one tile")
    margin, gap = tile_size // 10, tile_size // 16
    title_font = ImageFont.load_default(size=max(9, tile_size // 18))
    caption_font = ImageFont.load_default(size=max(8, tile_size // 24))
    bands = [_row_height(row, tile_size) + _text_height(row, title_font, caption_font) for row in rows]
    width = 2 * margin + columns * tile_size + (columns - 1) * gap
    sheet = Image.new("RGB", (width, 2 * margin + sum(bands) + (len(rows) - 1) * gap), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = margin
    for row, band in zip(rows, bands, strict=True):
        picture_height = _row_height(row, tile_size)
        for column, tile in enumerate(row):
            left = margin + column * (tile_size + gap)
            picture = fitted(tile.pixels, tile_size)
            # On the text's left edge and just above it, so that each caption stands with its own picture.
            sheet.paste(picture, (left, top + picture_height - picture.height))
            below = top + picture_height + _line_height(caption_font) // 3
            if tile.title:
                draw.text((left, below), _shortened(tile.title, title_font, tile_size), _INK, title_font)
                below += _line_height(title_font)
            if tile.caption:
                draw.text((left, below), _shortened(tile.caption, caption_font, tile_size), _FAINT, caption_font)
        top += band + gap
    return sheet


def _fitted_size(pixels: npt.NDArray[np.uint8], tile_size: int) -> tuple[int, int]:
    """(width, height) of the picture in its tile."""
    height, width = pixels.shape[:2]
    scale = tile_size / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def fitted(pixels: npt.NDArray[np.uint8], tile_size: int) -> Image.Image:
    """The picture in a square of `tile_size`, its shape kept; much smaller ones are enlarged without smoothing."""
    size = _fitted_size(pixels, tile_size)
    enlarged = size[0] > 2 * pixels.shape[1]
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)


def _row_height(row: Sequence[Tile], tile_size: int) -> int:
    return max((_fitted_size(tile.pixels, tile_size)[1] for tile in row), default=0)


def _text_height(row: Sequence[Tile], title_font: Font, caption_font: Font) -> int:
    titled, captioned = any(tile.title for tile in row), any(tile.caption for tile in row)
    lines = titled * _line_height(title_font) + captioned * _line_height(caption_font)
    return lines + (_line_height(caption_font) // 3 if lines else 0)


def _line_height(font: Font) -> int:
    return round(1.35 * font.getbbox("Ag")[3])


def _shortened(text: str, font: Font, width: int) -> str:
    """`text` on one line, cut with an ellipsis where it is wider than `width` pixels."""
    line = " ".join(text.split())
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + _ELLIPSIS) > width:
        line = line[:-1]
    return line.rstrip() + _ELLIPSIS
