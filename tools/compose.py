"""Compose pictures of coloured pictographs on photographs, with their true masks and boxes.

The objects are sixteen pictographs of the DejaVu Sans font that matplotlib ships, dressed as glossy stickers: any
colour, so that only the shape tells the class. The backgrounds are the photographs and textures that scikit-image
ships in its wheel, strewn with blobs, lines, patches and characters of no class. Everything follows from a NumPy
generator: the same generator gives the same picture.
"""

from __future__ import annotations

import colorsys
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import skimage
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont
from scipy import ndimage

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""xmin, ymin, xmax, ymax in pixels, the maxima exclusive."""

OBJECTS: dict[str, str] = {
    "airplane": "\u2708",
    "anchor": "\u2693",
    "cat": "\U0001f431",
    "crown": "\u265b",
    "flower": "\u2740",
    "gear": "\u2699",
    "heart": "\u2665",
    "knight": "\u265e",
    "music note": "\u266b",
    "scissors": "\u2702",
    "shamrock": "\u2618",
    "skull": "\u2620",
    "star": "\u2605",
    "sun": "\u2600",
    "telephone": "\u260e",
    "umbrella": "\u2602",
}
"""Label to character, in the order of the classes."""

LABELS: tuple[str, ...] = tuple(OBJECTS)

SOLID = frozenset({"cat", "crown", "flower", "knight", "skull", "telephone"})
"""Labels whose enclosed holes are part of the object and get a second colour."""

OUTLINED = frozenset({"cat", "flower", "skull"})
"""Solid labels drawn as outlines: their ink is dark and their holes carry the colour."""

DISTRACTORS = "ABEGKMQRSWXZ23456789&?%@#\u2601\u2692\u2694\u2696\u26a1\u267f\u2622\u262f\u270c\u261e\u270e\u2709"

SEEN: tuple[str, ...] = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "coins.png",
    "grass.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
)
"""Backgrounds of the training pictures."""

UNSEEN: tuple[str, ...] = ("chelsea.png", "coffee.png", "gravel.png", "rocket.jpg")
"""Backgrounds held out of training: test pictures and the pictures that ship."""

_SPRITE_SIZES = (64, 96, 128, 192, 256, 384, 512, 768, 1024)
_FILL = 0.8  # share of a sprite's side that the character spans; the rest is room for the border
_BORDER = 0.035  # width of a sticker's border, as a share of the sprite's side


@dataclass(frozen=True)
class Scene:
    """What a picture may look like, apart from its objects."""

    photographs: tuple[str, ...]
    procedural: float = 0.15  # chance of a coloured noise field in place of a photograph
    jitter: float = 1.0  # strength of the changes to the photograph's colours and sharpness
    clutter: tuple[int, int] = (0, 6)  # fewest and most pieces of clutter
    extent: tuple[float, float] = (0.36, 0.78)  # an object's longer side, as a share of the picture's shorter one
    detail: float = 1.0  # pixels of an object before it is laid down, for each pixel after; 2 for smooth edges


@dataclass(frozen=True)
class Picture:
    """A composed picture and the truth about it; masks and boxes follow the order of the labels."""

    image: Image.Image
    labels: tuple[str, ...]
    masks: tuple[Bools, ...]
    boxes: tuple[Box, ...]


def compose(width: int, height: int, labels: Sequence[str], scene: Scene, rng: np.random.Generator) -> Picture:
    """Compose a picture that shows one object per label, each whole and apart from the others."""
    image = strew(backdrop(width, height, scene, rng), scene, rng)
    masks: list[Bools] = []
    boxes: list[Box] = []
    for label in labels:
        placement = place(label, (width, height), boxes, scene, len(labels), rng)
        image, mask = stick(image, label, placement, scene, rng)
        masks.append(mask)
        boxes.append(box_of(mask))
    return Picture(image, tuple(labels), tuple(masks), tuple(boxes))


def box_of(mask: Bools) -> Box:
    """Give the tightest box round a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


# --- Backgrounds ------------------------------------------------------------------------------------------------------


@functools.cache
def photograph(name: str) -> Image.Image:
    """Load a photograph of scikit-image's wheel as RGB, at most 1000 pixels a side."""
    with Image.open(Path(skimage.__file__).parent / "data" / name) as file:
        image = file.convert("RGB")
    image.thumbnail((1000, 1000))
    return image


def backdrop(width: int, height: int, scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Make a background without clutter."""
    if rng.random() < scene.procedural:
        return noise_field(width, height, rng)
    image = crop(photograph(scene.photographs[rng.integers(len(scene.photographs))]), width, height, rng)
    return recolour(image, scene.jitter, rng)


def crop(source: Image.Image, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Cut a random window of about the picture's shape and scale it to the picture."""
    aspect = width / height * math.exp(rng.uniform(-0.15, 0.15))
    tall = min(source.height, source.width / aspect) * rng.uniform(0.4, 1.0)
    wide = tall * aspect
    left, top = rng.uniform(0, source.width - wide), rng.uniform(0, source.height - tall)
    image = source.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + wide, top + tall))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


def recolour(image: Image.Image, jitter: float, rng: np.random.Generator) -> Image.Image:
    """Change a photograph's colours and sharpness at random; tint it if it has no colours."""
    red, _, blue = image.resize((16, 16)).split()
    if np.abs(np.asarray(red, int) - np.asarray(blue, int)).max() < 4 and rng.random() < 0.8:
        image = tint(image, rng)
    elif rng.random() < 0.4 * jitter:
        hue, saturation, value = image.convert("HSV").split()
        turn = int(rng.integers(256))
        hue = hue.point([(level + turn) % 256 for level in range(256)])
        image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    for enhancer in (ImageEnhance.Color, ImageEnhance.Brightness, ImageEnhance.Contrast):
        image = enhancer(image).enhance(1 + jitter * rng.uniform(-0.35, 0.35))
    if rng.random() < 0.35:
        image = image.filter(ImageFilter.GaussianBlur(jitter * rng.uniform(0.3, 1.5) * min(image.size) / 128))
    return image


def tint(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Map the greys of a picture to the shades between a dark and a light colour."""
    hue = rng.random()
    dark = np.array(colour(hue, rng.uniform(0.2, 0.7), rng.uniform(0.05, 0.3)), float)
    light = np.array(colour(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.05, 0.45), rng.uniform(0.7, 1.0)), float)
    ramp = np.linspace(dark, light, 256).round().astype(int)
    grey = image.convert("L")
    return Image.merge("RGB", [grey.point(ramp[:, channel].tolist()) for channel in range(3)])


def noise_field(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Sum coloured noise of several scales."""
    field = np.zeros((height, width, 3), np.float32)
    for cells in (2, 4, 9, 20, 45):
        grid = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        if cells > 4:
            grid = grid.mean(axis=2, keepdims=True) * rng.uniform(0.3, 1, 3).astype(np.float32)
        layers = [
            Image.fromarray(grid[:, :, channel]).resize((width, height), Image.Resampling.BICUBIC)
            for channel in range(3)
        ]
        field += rng.uniform(0, 45) * np.stack([np.asarray(layer) for layer in layers], axis=2)
    return Image.fromarray(np.clip(field + rng.uniform(70, 190), 0, 255).astype(np.uint8))


# --- Clutter ----------------------------------------------------------------------------------------------------------


def strew(image: Image.Image, scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Strew clutter over a background: blobs, bars, patches of other backgrounds, characters of no class."""
    kinds = (blob, bar, patch, character)
    for _ in range(rng.integers(scene.clutter[0], scene.clutter[1] + 1)):
        layer = kinds[rng.integers(len(kinds))](image.size, scene, rng)
        image.paste(layer, mask=layer.getchannel("A"))
    return image


def blob(size: tuple[int, int], scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Draw a smooth or jagged round shape."""
    layer, (x, y), short = _layer(size, rng)
    corners = int(rng.integers(5, 12))
    wobble = rng.uniform(0.6, 1.3, corners)
    radius = short * rng.uniform(0.03, 0.16)
    angles = np.arange(corners) * 2 * np.pi / corners
    points = [(x + radius * r * math.cos(a), y + radius * r * math.sin(a)) for r, a in zip(wobble, angles, strict=True)]
    ImageDraw.Draw(layer).polygon(points, fill=(*any_colour(rng), int(rng.integers(120, 256))))
    return layer.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.5) * short / 128))


def bar(size: tuple[int, int], scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Draw a straight line of any width."""
    layer, (x, y), short = _layer(size, rng)
    reach, angle = short * rng.uniform(0.1, 0.6), rng.uniform(0, 2 * np.pi)
    end = (x + reach * math.cos(angle), y + reach * math.sin(angle))
    thick = max(1, round(short * rng.uniform(0.008, 0.05)))
    ImageDraw.Draw(layer).line([(x, y), end], fill=(*any_colour(rng), int(rng.integers(140, 256))), width=thick)
    return layer.filter(ImageFilter.GaussianBlur(0.4 * short / 128))


def patch(size: tuple[int, int], scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Cut a turned rectangle out of a background of the scene."""
    layer, (x, y), short = _layer(size, rng)
    wide, tall = (max(4, round(short * rng.uniform(0.08, 0.35))) for _ in range(2))
    piece = recolour(crop(photograph(scene.photographs[rng.integers(len(scene.photographs))]), wide, tall, rng), 1, rng)
    piece = piece.convert("RGBA").rotate(rng.uniform(-40, 40), Image.Resampling.BICUBIC, expand=True)
    layer.paste(piece, (round(x - piece.width / 2), round(y - piece.height / 2)))
    return layer


def character(size: tuple[int, int], scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Draw a character of no class, turned, often cut by the picture's edge."""
    layer, (x, y), short = _layer(size, rng)
    ink = glyph(DISTRACTORS[rng.integers(len(DISTRACTORS))], 64, False).ink
    side = max(8, round(short * rng.uniform(0.12, 0.4)))
    mask = Image.fromarray((ink * rng.uniform(140, 255)).astype(np.uint8)).resize((side, side))
    mask = mask.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC)
    piece = Image.new("RGBA", mask.size, (*any_colour(rng), 255))
    piece.putalpha(mask)
    layer.paste(piece, (round(x - side / 2), round(y - side / 2)))
    return layer


def _layer(size: tuple[int, int], rng: np.random.Generator) -> tuple[Image.Image, tuple[float, float], int]:
    """Give an empty layer, a point in it and its shorter side."""
    return Image.new("RGBA", size), (rng.uniform(0, size[0]), rng.uniform(0, size[1])), min(size)


# --- Objects ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Glyph:
    """A character as square layers of one size."""

    ink: Floats  # coverage of the printed parts
    body: Floats  # coverage of the printed parts and, if solid, of the holes they enclose
    outside: Floats  # distance to the body, as a share of the side
    normal: Floats  # unit normal of the body puffed up like a cushion, (side, side, 3)
    outline: Floats  # points of the border in the unit square, (n, 2)


@functools.cache
def glyph(text: str, size: int, solid: bool) -> Glyph:
    """Render a character of DejaVu Sans into a square."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    left, top, right, bottom = ImageFont.truetype(path, 512).getbbox(text)
    font = ImageFont.truetype(path, round(512 * _FILL * size / max(right - left, bottom - top)))
    left, top, right, bottom = font.getbbox(text)
    canvas = Image.new("L", (size, size))
    corner = ((size - left - right) / 2, (size - top - bottom) / 2)
    ImageDraw.Draw(canvas).text(corner, text, fill=255, font=font)
    ink = np.asarray(canvas, np.float32) / 255
    body = np.maximum(ink, ndimage.binary_fill_holes(ink > 0.5)) if solid else ink
    outside = (ndimage.distance_transform_edt(body <= 0.5) / size).astype(np.float32)
    rim = np.argwhere((outside > 0.5 * _BORDER) & (outside <= _BORDER))[:: max(1, size // 32), ::-1]
    return Glyph(
        ink,
        body.astype(np.float32),
        outside,
        _cushion(body, size),
        ((rim + 0.5) / size).astype(np.float32),
    )


def _cushion(body: Floats, size: int) -> Floats:
    """Give the normals of a flat shape with rounded edges."""
    depth = ndimage.distance_transform_edt(body > 0.5) / size
    bevel = 0.07
    height = bevel * np.sqrt(1 - (1 - np.minimum(depth / bevel, 1)) ** 2)
    dy, dx = np.gradient(ndimage.gaussian_filter(height, 0.012 * size) * size)
    normal = np.stack([-dx, -dy, np.ones_like(dx)], axis=2)
    return (normal / np.linalg.norm(normal, axis=2, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Placement:
    """Where an object goes: a homography from the unit square of its glyph to the picture's pixels."""

    matrix: npt.NDArray[np.float64]
    side: float  # about how many pixels the unit square spans


def place(
    label: str, size: tuple[int, int], taken: Sequence[Box], scene: Scene, objects: int, rng: np.random.Generator
) -> Placement:
    """Find a random pose that keeps an object inside the picture and off the boxes already taken."""
    outline = glyph(OBJECTS[label], 128, label in SOLID).outline
    shrink = 1.0 if objects == 1 else 0.72
    while True:
        side = shrink * rng.uniform(*scene.extent) * min(size) / _FILL
        matrix = pose(side, rng)
        points = project(matrix, outline)
        low, high = points.min(axis=0) - 1, points.max(axis=0) + 1
        room = np.array(size) - (high - low)
        if (room > 0).all():
            shift = rng.uniform(0, 1, 2) * room - low
            box = (*(low + shift), *(high + shift))
            if not any(_overlap(box, other) for other in taken):
                return Placement(np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]]) @ matrix, side)
        shrink *= 0.98


def pose(side: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw a homography: a turn, a shear, a mirror image half of the time, a slight perspective."""
    turn, shear = math.radians(rng.uniform(-28, 28)), rng.uniform(-0.15, 0.15)
    mirror = 1 if rng.random() < 0.5 else -1
    centre = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
    flat = np.array([[mirror, shear, 0], [0, 1, 0], [0, 0, 1]]) @ centre
    view = np.eye(3)
    view[2, :2] = rng.uniform(-0.25, 0.25, 2)
    rotate = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    return np.asarray(np.diag([side * rng.uniform(0.9, 1.0), side, 1]) @ rotate @ view @ flat)


def project(matrix: npt.NDArray[np.float64], points: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Send points (n, 2) through a homography."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix.T
    return np.asarray(homogeneous[:, :2] / homogeneous[:, 2:])


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def stick(
    image: Image.Image, label: str, placement: Placement, scene: Scene, rng: np.random.Generator
) -> tuple[Image.Image, Bools]:
    """Lay an object and its shadow on a picture; give the picture and the object's mask."""
    size = next((side for side in _SPRITE_SIZES if side >= scene.detail * placement.side), _SPRITE_SIZES[-1])
    inverse = np.diag([size, size, 1]) @ np.linalg.inv(placement.matrix)
    coefficients = (inverse / inverse[2, 2]).ravel()[:8].tolist()

    def warp(sprite: Image.Image) -> Image.Image:
        kind, filtering = Image.Transform.PERSPECTIVE, Image.Resampling.BICUBIC
        return sprite.transform(image.size, kind, coefficients, filtering)

    middle = project(placement.matrix, np.array([[0.5, 0.5]]))[0]
    reach = placement.side / 3
    around = image.resize((1, 1), Image.Resampling.BOX, box=_clip((*(middle - reach), *(middle + reach)), image.size))
    layer = warp(sticker(label, size, np.array(around.getpixel((0, 0)), float), rng))
    alpha = layer.getchannel("A")
    image = cast_shadow(image, alpha, placement.side, rng)
    image.paste(layer, mask=alpha)
    return image, np.asarray(alpha) > 127


def _clip(box: Sequence[float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    return max(0.0, box[0]), max(0.0, box[1]), min(float(size[0]), box[2]), min(float(size[1]), box[3])


def cast_shadow(image: Image.Image, alpha: Image.Image, side: float, rng: np.random.Generator) -> Image.Image:
    """Darken a picture softly beside a shape."""
    offset = side * rng.uniform(0.02, 0.07)
    angle = rng.uniform(0.15 * np.pi, 0.85 * np.pi)
    move = (1, 0, -offset * math.cos(angle), 0, 1, -offset * math.sin(angle))
    shadow = alpha.transform(image.size, Image.Transform.AFFINE, move, Image.Resampling.BILINEAR)
    shadow = shadow.filter(ImageFilter.GaussianBlur(side * rng.uniform(0.015, 0.04)))
    strength = rng.uniform(0.3, 0.65)
    shadow = shadow.point([round(level * strength) for level in range(256)])
    image.paste((8, 8, 16), mask=shadow)
    return image


def sticker(label: str, size: int, around: npt.NDArray[np.float64], rng: np.random.Generator) -> Image.Image:
    """Dress a glyph: colours that stand out from what is around, a bevel under a light, a border."""
    shape = glyph(OBJECTS[label], size, label in SOLID)
    vivid, accent = paint(size, around, rng), np.array(accent_colour(rng), np.float32)
    if label in OUTLINED:
        vivid, accent = np.array(colour(rng.random(), 0.5, rng.uniform(0.08, 0.25)), np.float32), vivid
    body = shape.ink[:, :, None] * vivid + (1 - shape.ink[:, :, None]) * accent
    body = light_up(body, shape.normal, rng)
    alpha = shape.body
    if rng.random() < 0.75:
        alpha = np.clip((_BORDER - shape.outside) * size + 0.5, 0, 1)
        border = np.array(border_colour(rng), np.float32)
        body = shape.body[:, :, None] * body + (1 - shape.body[:, :, None]) * border
    rgba = np.concatenate([np.clip(body, 0, 255), 255 * alpha[:, :, None]], axis=2)
    return Image.fromarray(rgba.round().astype(np.uint8))


def paint(size: int, around: npt.NDArray[np.float64], rng: np.random.Generator) -> Floats:
    """Paint a square with a gradient, at times with stripes or dots, in colours unlike those around."""
    hue = rng.random()
    for _ in range(8):
        first = np.array(colour(hue, rng.uniform(0.6, 0.95), rng.uniform(0.65, 1.0)), float)
        if np.abs(first - around).sum() > 200:
            break
        hue = rng.random()
    second = np.array(colour(hue + rng.uniform(-0.09, 0.09), rng.uniform(0.65, 1), rng.uniform(0.55, 0.95)), float)
    grid = np.mgrid[0:size, 0:size] / size - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    along = grid[0] * math.sin(angle) + grid[1] * math.cos(angle)
    across = grid[0] * math.cos(angle) - grid[1] * math.sin(angle)
    blend = np.clip(along + 0.5, 0, 1)[:, :, None]
    field = (1 - blend) * first + blend * second
    pattern, pitch = rng.random(), rng.uniform(35, 65)
    if pattern < 0.4:
        wave = np.sin(along * pitch) if pattern < 0.2 else np.sin(along * pitch) * np.sin(across * pitch)
        marks = 1 / (1 + np.exp(-10 * (wave - 0.3)))
        field = field + marks[:, :, None] * (rng.uniform(0.1, 0.35) * (255 - field))
    return np.asarray(field, np.float32)


def light_up(body: Floats, normal: Floats, rng: np.random.Generator) -> Floats:
    """Shade a puffed-up surface under a lamp and add its gloss."""
    angle, tilt = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 0.9)
    lamp = np.array([tilt * math.cos(angle), tilt * math.sin(angle), 1.0])
    lamp /= np.linalg.norm(lamp)
    facing = normal @ lamp.astype(np.float32)
    half = lamp + np.array([0, 0, 1])
    gloss = np.clip(normal @ (half / np.linalg.norm(half)).astype(np.float32), 0, 1) ** 40
    flat = np.float32(lamp[2])
    shade = 1 + rng.uniform(0.7, 1.1) * (facing - flat)
    shine = np.float32(rng.uniform(40, 110)) * np.clip(gloss - 0.45, 0, 1)
    return np.asarray(body * shade[:, :, None] + shine[:, :, None], np.float32)


# --- Colours ----------------------------------------------------------------------------------------------------------


def colour(hue: float, saturation: float, value: float) -> Colour:
    """Turn hue, saturation and value, each from 0 to 1, into bytes."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def any_colour(rng: np.random.Generator) -> Colour:
    """Draw any colour."""
    return colour(rng.random(), rng.uniform(0.1, 0.95), rng.uniform(0.15, 1.0))


def accent_colour(rng: np.random.Generator) -> Colour:
    """Draw a pale or a dark colour for the holes of an object."""
    pale = rng.random() < 0.75
    return colour(rng.random(), rng.uniform(0, 0.25), rng.uniform(0.88, 1)) if pale else colour(rng.random(), 0.6, 0.2)


def border_colour(rng: np.random.Generator) -> Colour:
    """Draw white, off-white or a dark colour for the border of a sticker."""
    if rng.random() < 0.7:
        return colour(rng.random(), rng.uniform(0, 0.1), rng.uniform(0.92, 1))
    return colour(rng.random(), rng.uniform(0.3, 0.8), rng.uniform(0.08, 0.25))
