"""Masks, seeds and boxes drawn over their picture, at a size that does not grow with it."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from onnx_saliency.report.overlay import normalise, overlay
from onnx_saliency.report.page import percent
from onnx_saliency.report.sheet import Tile, contact_sheet, fitted
from onnx_saliency.vision import Segmentation

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
Value = TypeVar("Value", bound=np.generic)

PANEL = 560  # longer side of one picture of a sheet
_ACROSS = 3  # pictures in a row of a sheet of detections
_OBJECTS = 11  # of one picture that are cut out on its sheet; the boxes of all of them are drawn

_PALETTE: tuple[Colour, ...] = (
    (240, 228, 66),
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
"""Of Okabe & Ito 2008: told apart by the colour-blind too."""

_GOLDEN = 0.618034  # of the colour circle: the hue that is farthest from those before it
_FOREGROUND: Colour = (255, 186, 8)
_BACKGROUND: Colour = (58, 134, 255)
_DARK: Colour = (12, 13, 18)
_LIGHT: Colour = (255, 255, 255)
_OPAQUE = 0.6  # how much of a seed's pixel is its colour
_TINT = 0.28  # the same of an object's, where several lie on one picture


def colour_of(index: int) -> Colour:
    """The colour of a picture's first, second, ... class."""
    if index < len(_PALETTE):
        return _PALETTE[index]
    red, green, blue = colorsys.hls_to_rgb(index * _GOLDEN % 1, 0.6, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def segment_tiles(found: Segmentation, size: int = PANEL) -> list[Tile]:
    """Picture, map, seeds, and the object with its box: the way of one segmentation."""
    pixels = _picture(found, size)
    height, width = found.mask.shape
    shown = normalise(_resized(found.saliency, pixels))
    foreground, background = (percent(float(np.mean(found.seeds == kind))) for kind in (1, 0))
    cut_out = _boxed(_cut_out(found, pixels), [found], [_PALETTE[0]])
    return [
        Tile(pixels, found.label, f"{percent(found.score)}, {width} x {height} pixels"),
        Tile(overlay(pixels, shown), "map", "bright where the class comes from"),
        Tile(_seeds(found, pixels), "seeds", f"object orange, {foreground}; background blue, {background}"),
        Tile(cut_out, "object", f"{percent(float(found.mask.mean()))} of the picture"),
    ]


def segment_sheet(found: Segmentation) -> Image.Image:
    """`segment_tiles` side by side."""
    return contact_sheet([segment_tiles(found)], tile_size=PANEL)


def detections(found: Sequence[Segmentation], size: int = PANEL) -> Pixels:
    """All objects of one picture, best first: outlines, boxes, classes and scores, a colour each."""
    pixels = _picture(found[0], size)
    colours = [colour_of(index) for index in range(len(found))]
    drawn = overlay(pixels, np.zeros(pixels.shape[:2], np.float32), dim=0.35)
    masks = [_resized(each.mask, pixels) for each in found]
    for mask, colour in reversed(list(zip(masks, colours, strict=True))):  # the best one lies on top
        drawn[mask] = _mixed(pixels[mask], colour, _TINT)
    for mask, colour in reversed(list(zip(masks, colours, strict=True))):
        drawn[mask & ~ndimage.binary_erosion(mask, iterations=_line(pixels))] = colour
    return _boxed(drawn, found, colours)


def object_tiles(found: Sequence[Segmentation], size: int = PANEL) -> list[Tile]:
    """Each object of one picture cut out, with its box in the colour that `detections` gives it."""
    pixels = _picture(found[0], size)
    return [
        Tile(
            _boxed(_cut_out(each, pixels), [each], [colour_of(index)], tags=False),
            each.label,
            f"{percent(each.score)}, {percent(float(each.mask.mean()))} of the picture",
        )
        for index, each in enumerate(found[:_OBJECTS])
    ]


def detections_sheet(found: Sequence[Segmentation]) -> Image.Image:
    """`detections`, and `object_tiles` after it."""
    height, width = found[0].mask.shape
    tiles = [Tile(detections(found), f"{len(found)} best classes", f"{width} x {height} pixels"), *object_tiles(found)]
    return contact_sheet([tiles[i : i + _ACROSS] for i in range(0, len(tiles), _ACROSS)], tile_size=PANEL)


# --- parts ----------------------------------------------------------------------------------------


def _picture(found: Segmentation, size: int) -> Pixels:
    return np.asarray(fitted(found.picture.pixels, size))


def _resized(values: npt.NDArray[Value], like: Pixels) -> npt.NDArray[Value]:
    """A map, a mask or seeds at the size of what is drawn: maps averaged, masks by majority, of seeds the nearest."""
    is_mask, is_map = values.dtype.kind == "b", values.dtype.kind == "f"
    stored = values if is_map else values.view(np.uint8) * np.uint8(255 if is_mask else 1)
    kind = Image.Resampling.BOX if is_mask or is_map else Image.Resampling.NEAREST
    resized = np.asarray(Image.fromarray(stored).resize((like.shape[1], like.shape[0]), kind))
    made: npt.NDArray[Value] = (resized > 127 if is_mask else resized).view(values.dtype)
    return made


def _cut_out(found: Segmentation, pixels: Pixels) -> Pixels:
    return overlay(pixels, _resized(found.mask, pixels).astype(np.float32), dim=0.8, tint=0)


def _seeds(found: Segmentation, pixels: Pixels) -> Pixels:
    """Seeds in their colours, what is undecided dimmed."""
    seeds = _resized(found.seeds, pixels)
    drawn = overlay(pixels, np.zeros(seeds.shape, np.float32), dim=0.5)
    for kind, colour in ((1, _FOREGROUND), (0, _BACKGROUND)):
        drawn[seeds == kind] = _mixed(pixels[seeds == kind], colour, _OPAQUE)
    return drawn


def _mixed(pixels: Pixels, colour: Colour, share: float) -> Pixels:
    mixed: Pixels = np.rint((1 - share) * pixels + share * np.array(colour)).astype(np.uint8)
    return mixed


def _line(pixels: Pixels) -> int:
    longer: int = max(pixels.shape[:2])
    return max(2, longer // 280)


def _boxed(pixels: Pixels, found: Sequence[Segmentation], colours: Sequence[Colour], *, tags: bool = True) -> Pixels:
    """Boxes, and a tag with class and score each, beside each other where there is room; none of an empty mask."""
    seen = [(each, colour) for each, colour in zip(found, colours, strict=True) if each.mask.any()]
    image = Image.fromarray(pixels)
    draw, line = ImageDraw.Draw(image), _line(pixels)
    corners: list[Box] = []
    for each, _ in seen:
        corners.append(_beside(_corners(each, pixels), corners, line + 1))
    for left, top, right, bottom in corners:
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_DARK, width=line + 2)
    for box, (_, colour) in reversed(list(zip(corners, seen, strict=True))):
        draw.rectangle(box, outline=colour, width=line)
    taken: list[tuple[float, float, float, float]] = []
    for box, (each, colour) in zip(corners, seen, strict=True):
        if tags:
            taken.append(_tag(draw, image.size, f"{each.label}  {percent(each.score)}", box, colour, taken))
    return np.asarray(image)


def _beside(box: Box, others: Sequence[Box], step: int) -> Box:
    """A box that lies on others, moved inwards until its line can be seen."""
    while any(max(abs(a - b) for a, b in zip(box, other, strict=True)) < step for other in others):
        left, top, right, bottom = box
        if min(right - left, bottom - top) < 4 * step:
            break
        box = left + step, top + step, right - step, bottom - step
    return box


def _corners(found: Segmentation, pixels: Pixels) -> Box:
    """The first and last pixels of a box, as Pillow draws it."""
    down, across = (drawn / own for drawn, own in zip(pixels.shape[:2], found.mask.shape, strict=True))
    xmin, ymin, xmax, ymax = found.box
    left, top = round(xmin * across), round(ymin * down)
    return left, top, max(left, round(xmax * across) - 1), max(top, round(ymax * down) - 1)


def _tag(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    text: str,
    box: Box,
    colour: Colour,
    taken: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float, float, float]:
    """Write on the box's upper edge, or as near below as other tags leave room; return what is covered."""
    font = ImageFont.load_default(size=max(11, max(size) // 38))
    _, _, right, bottom = font.getbbox(text)
    inset = bottom // 4
    width, height = right + 2 * inset, bottom + 2 * inset
    x = max(0, min(box[0], size[0] - width))
    y = box[1] - height if box[1] >= height else box[1]
    while below := [t[3] for t in taken if x <= t[2] and t[0] <= x + width and y <= t[3] and t[1] <= y + height]:
        y = max(below) + 1
    y = max(0, min(y, size[1] - height))
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + inset, y + inset), text, _DARK if luminance > 110 else _LIGHT, font)
    return x, y, x + width, y + height
