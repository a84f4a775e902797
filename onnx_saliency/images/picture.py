"""Reading pictures: every mode and container people have becomes uint8 RGB, and whatever was decided is said."""

from __future__ import annotations

import glob
import io
import stat
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from onnx_saliency.errors import ImageError

MAX_PIXELS = 100_000_000
"""Pictures above this are refused by their header, before any pixel is decoded."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff"}) | frozenset(
    {".webp", ".avif", ".jp2", ".pbm", ".pgm", ".ppm", ".pnm", ".tga"}
)
"""What counts as a picture when a folder or a pattern is searched; a file named in full may have any suffix."""

_ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to the transposition that undoes it; 1 is upright."""

_open_lock = threading.Lock()


class Header(NamedTuple):
    """What a file says of its picture before any pixel is decoded.

    Attributes:
        size: (height, width) of the pixels as they are stored.
        orientation: EXIF, 1..8; `read_picture` undoes it, so 5..8 swap height and width. 1 where the file says nothing.
    """

    size: tuple[int, int]
    orientation: int


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as the rest of the package sees it.

    Attributes:
        pixels: uint8 (H, W, 3), RGB, upright, opaque.
        name: the path, or what the picture came as.
        notes: one sentence for each thing that reading had to decide ("first of 12 frames").
    """

    pixels: npt.NDArray[np.uint8]
    name: str
    notes: tuple[str, ...] = ()


def read_picture(source: str | Path | bytes | Image.Image) -> Picture:
    """Read a file, the bytes of a file, or a PIL image (its current frame).

    The EXIF orientation is applied, transparency is laid over white, 16-bit grey is scaled by 1/257, floats by their
    range, and of an animation the first frame is taken; all but the orientation is said in `notes`.

    Raises:
        ImageError: a path that is missing, a folder or unreadable, or a picture that is empty, in no known format,
            damaged, truncated, or above MAX_PIXELS.
    """
    if isinstance(source, Image.Image):
        return _decode(source, getattr(source, "filename", "") or "PIL image")
    if isinstance(source, bytes):
        name = f"picture of {len(source)} bytes"
        if not source:
            raise ImageError(f"{name}: there is nothing in it")
        return _read_stream(io.BytesIO(source), name)
    if not isinstance(source, str | Path):
        raise ImageError(f"a picture is a path, bytes or a PIL image; found {type(source).__name__}")
    path = Path(source)
    try:
        _check_is_file(path)
        with path.open("rb") as stream:
            return _read_stream(stream, str(path))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"{path}: cannot be read: {error}") from error


def read_header(path: str | Path) -> Header:
    """Size and orientation of a picture file, from its header alone.

    Raises:
        ImageError: a path that is missing, a folder, unreadable or empty, or a picture in no known format.
    """
    path = Path(path)
    try:
        _check_is_file(path)
        with path.open("rb") as stream, _open_image(stream, str(path)) as image:
            return Header((image.height, image.width), _orientation(image)[0])
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"{path}: cannot be read: {error}") from error


def find_pictures(sources: str | Path | Iterable[str | Path]) -> list[Path]:
    """The picture files that files, folders (searched recursively) and glob patterns stand for.

    A file is taken as it is named; folders and patterns give files with a known suffix, sorted, hidden ones left
    out. In the order of `sources`, each file once.

    Raises:
        ImageError: sources that give nothing; names all of them.
    """
    listed = [sources] if isinstance(sources, str | Path) else list(sources)
    found: dict[Path, None] = {}  # an ordered set
    problems = [] if listed else ["no pictures were named"]
    for source in listed:
        if source == "":
            problems.append("an empty path was given")
            continue
        path = Path(source)
        if path.is_file():
            found[path] = None
            continue
        # Path.glob takes no absolute patterns.
        matches = map(Path, glob.glob(str(source), recursive=True))  # noqa: PTH207
        candidates = path.rglob("*") if path.is_dir() else matches
        pictures = sorted(candidate for candidate in candidates if looks_like_picture(candidate))
        found.update(dict.fromkeys(pictures))
        if not pictures and path.is_dir():
            problems.append(f"{source}: no pictures in this folder (searched for {', '.join(sorted(SUFFIXES))})")
        elif not pictures and glob.has_magic(str(source)):
            problems.append(f"{source}: no picture matches this pattern")
        elif not pictures:
            problems.append(f"{source}: no such file or folder")
    if problems:
        raise ImageError("; ".join(problems))
    return list(found)


def looks_like_picture(path: Path) -> bool:
    """Whether a file is a picture by its name: a known suffix, and not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _check_is_file(path: Path) -> None:
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    if stat.S_ISDIR(found.st_mode):
        raise ImageError(f"{path}: is a folder, not a picture")
    if not stat.S_ISREG(found.st_mode):
        raise ImageError(f"{path}: is not a regular file")
    if found.st_size == 0:
        raise ImageError(f"{path}: is empty (0 bytes)")


def _read_stream(stream: IO[bytes], name: str) -> Picture:
    with _open_image(stream, name) as image:
        return _decode(image, name)


def _open_image(stream: IO[bytes], name: str) -> Image.Image:
    # Pillow judges the size inside open(), with a warning or an error that does not tell it. Its limit is lifted for
    # the header only, and _decode applies ours; the lock keeps two of our threads from restoring it out of order.
    with _open_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(stream)
        except UnidentifiedImageError as error:
            raise ImageError(f"{name}: not a picture in a known format, or its header is damaged") from error
        except Exception as error:  # see _decode
            raise ImageError(f"{name}: damaged or truncated: {str(error) or type(error).__name__}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decode(image: Image.Image, name: str) -> Picture:
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"{name}: has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: {width} x {height} is {width * height / 1e6:.0f} megapixels, above the limit of "
            f"{MAX_PIXELS / 1e6:.0f}; make it smaller first"
        )
    notes: list[str] = []
    try:
        frame, frames = image.tell(), getattr(image, "n_frames", 1)
        image.load()
    except Exception as error:  # decoders raise whatever the damaged bytes lead them to: struct.error, EOFError, ...
        raise ImageError(f"{name}: damaged or truncated: {str(error) or type(error).__name__}") from error
    if frames > 1:
        notes.append(f"first of {frames} frames" if frame == 0 else f"number {frame + 1} of {frames} frames")
    return Picture(_to_rgb(_upright(image, notes), name, notes), name, tuple(notes))


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    orientation, note = _orientation(image)
    if note:
        notes.append(note)
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _orientation(image: Image.Image) -> tuple[int, str]:
    """EXIF orientation, 1..8, and what is to be said of it."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except Exception as error:  # as above; broken metadata is no reason to refuse sound pixels
        return 1, f"EXIF data unreadable, so taken as upright: {error}"
    return orientation if orientation in UPRIGHT else 1, ""


def _to_rgb(image: Image.Image, name: str, notes: list[str]) -> npt.NDArray[np.uint8]:
    """uint8 (H, W, 3); what is lost on the way is appended to `notes`."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _deep_grey_to_8_bits(np.asarray(image), name, notes)
        return np.repeat(grey[:, :, None], 3, axis=2)
    try:
        if image.has_transparency_data:
            image = _over_white(image, notes)
        if image.mode == "CMYK":
            notes.append("CMYK converted without its colour profile")
        return np.array(image.convert("RGB"))
    except ValueError as error:
        raise ImageError(
            f"{name}: pictures of mode {image.mode} cannot be turned into RGB; convert it first"
        ) from error


def _over_white(image: Image.Image, notes: list[str]) -> Image.Image:
    image = image.convert("RGBA")
    if np.asarray(image)[:, :, 3].min() < 255:
        notes.append("transparent parts laid over white")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _deep_grey_to_8_bits(values: npt.NDArray[np.number], name: str, notes: list[str]) -> npt.NDArray[np.uint8]:
    """Grey of 16 bits, 32 bits or floats (H, W) to uint8, by the range its numbers are meant in."""
    grey = values.astype(np.float64)
    if not np.isfinite(grey).all():
        raise ImageError(f"{name}: has {np.count_nonzero(~np.isfinite(grey))} pixels that are NaN or infinite")
    low, high = float(grey.min()), float(grey.max())
    is_float = values.dtype.kind == "f"
    if not is_float and low >= 0 and high <= 65535:
        notes.append("16-bit grey scaled to 8 bits by 1/257")
        grey /= 257
    elif is_float and low >= 0 and high <= 1:
        notes.append("floats 0..1 scaled to 0..255")
        grey *= 255
    elif is_float and low >= 0 and high <= 255:
        notes.append("floats rounded to 8 bits")
    else:
        notes.append(f"values {low:g}..{high:g} stretched to 0..255")
        grey = (grey - low) * (255 / ((high - low) or 1.0))
    return np.rint(grey).astype(np.uint8)
