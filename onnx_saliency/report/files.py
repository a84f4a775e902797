"""Writing results whole or not at all: into a temporary file beside the target, which then takes its name."""

from __future__ import annotations

import json
import os
import secrets
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from onnx_saliency.errors import OutputError
from onnx_saliency.paths import destination

_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 4}),  # of a photograph a 10th larger than at 9, in a 15th of the time
    ".jpg": ("JPEG", {"quality": 92, "subsampling": 0}),  # full colour resolution: the heat has fine red edges
    ".jpeg": ("JPEG", {"quality": 92, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 92}),
}

_MADE_BY = "onnx_saliency"  # in every picture that is written, so that no later run takes it for one of the user's


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data`. Raises OutputError when the file cannot be written; an older file then stays as it was."""
    with _replacing(Path(path)) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, line ends as they are. Raises OutputError as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, data: object) -> None:
    """Write indented JSON with a final newline.

    Raises OutputError as `write_bytes` does, and for NaN or infinity, which JSON does not have.
    """
    try:
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise OutputError(f"{path}: cannot be written as JSON: {error}") from error
    write_text(path, text + "\n")


def write_image(path: str | Path, image: Image.Image | npt.NDArray[np.uint8]) -> None:
    """Write a PIL image or uint8 pixels (H, W, 3) in the format of the suffix: .png, .jpg, .jpeg or .webp.

    Grey stays grey, everything else becomes RGB. `is_result` knows it again.

    Raises OutputError as `write_bytes` does, and for another suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise OutputError(f"{path}: pictures are written as {', '.join(_FORMATS)}; the name ends in {path.suffix!r}")
    kind, options = _FORMATS[path.suffix.lower()]
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = _MADE_BY
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    with _replacing(path) as file:
        picture.convert("L" if picture.mode == "L" else "RGB").save(file, format=kind, exif=exif, **options)


def write_animation(path: str | Path, frames: Sequence[npt.NDArray[np.uint8]], *, seconds: float = 4.0) -> None:
    """Write frames (H, W, 3) as a GIF that runs for `seconds`, rests on the last one and begins again.

    `is_result` knows it again. Raises OutputError as `write_bytes` does.
    """
    first, *others = [Image.fromarray(frame) for frame in frames]
    each = max(20, round(1000 * seconds / len(frames)))
    durations = [each] * len(others) + [1500]
    with _replacing(Path(path)) as file:
        timing: dict[str, Any] = {"append_images": others, "duration": durations, "loop": 0}
        first.save(file, format="GIF", save_all=True, comment=_MADE_BY.encode(), **timing)


def write_npz(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays by name, compressed, for `numpy.load`. Raises OutputError as `write_bytes` does."""
    with _replacing(Path(path)) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def check_folder(folder: Path) -> None:
    """Refuse before the work: the nearest folder that is there must take new ones. Raises OutputError."""
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _refusal(folder, getattr(error, "strerror", None) or str(error)) from error
    if not nearest.is_dir():
        raise _refusal(folder, f"{nearest} is a file")
    if not os.access(nearest, os.W_OK):
        raise _refusal(folder, f"{nearest} is not writable")


def make_folder(folder: Path) -> None:
    """Make a folder and its parents where they are not there. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(folder, error.strerror or str(error)) from error


def is_result(path: Path, folder: Path) -> bool:
    """Whether `path` is a picture that an earlier run left in `folder`, by what is written in it, not by its name."""
    if path.parent.resolve() != folder.resolve():
        return False
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:  # of its size: it is not decoded
            written = (image.info.get("exif"), image.info.get("comment"))
    except Exception:  # whatever Pillow makes of a damaged picture; who reads it says why
        return False
    return any(isinstance(each, bytes) and _MADE_BY.encode() in each for each in written)


def check_overwrite(sources: Iterable[Path], folder: Path, names: Iterable[str]) -> None:
    """Refuse before the work what would write one of `names` in `folder` in place of a picture that is read.

    Raises:
        OutputError: says which picture.
    """
    pictures = {_file(path): path for path in sources}
    for name in names:
        file = _file(folder / name)
        if file is not None and file in pictures:
            raise OutputError(
                f"{pictures[file]}: a result called {name} would take this picture's place. Choose another folder for "
                "the results, or leave the picture out."
            )


def _file(path: Path) -> tuple[int, int] | None:
    """What tells one file from another, whatever it is called; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def unused_stem(name: str, taken: set[str]) -> str:
    """The stem of a picture's results: `unused` of its file's."""
    return unused(Path(name).stem or "picture", taken)


def unused(stem: str, taken: set[str]) -> str:
    """A name that is not taken yet, and now is: cat, cat-2, cat-3. Upper and lower case are the same to some disks."""
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.casefold())
    return name


def _refusal(folder: Path, why: str) -> OutputError:
    return OutputError(f"{folder}: no folder for the results: {why}. Choose another one.")


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file beside `path` that replaces it, or what it links to, when the block succeeds; else it is gone."""
    end = destination(path)
    # In the same folder, since a rename is only atomic within one file system. Created by open() and not tempfile,
    # which would leave the result readable by its owner only.
    part = end.parent / f".{end.name[:80]}.{secrets.token_hex(4)}.part"
    try:
        file = part.open("xb")
        try:
            with file:
                yield file
            part.replace(end)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {_reason(end, error)}") from error


def _reason(path: Path, error: OSError) -> str:
    if not path.parent.exists():
        return f"there is no folder {path.parent}; create it first"
    if not path.parent.is_dir():
        return f"{path.parent} is not a folder"
    return error.strerror or str(error)
