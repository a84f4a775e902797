"""Where a file is really written: links are followed, and nothing but a regular file is ever replaced."""

from __future__ import annotations

import os
from pathlib import Path

from onnx_saliency.errors import OutputError


def destination(path: Path) -> Path:
    """The file that is made or replaced where `path` is written: what it links to, else itself.

    Raises:
        OutputError: there is a folder, a device or a pipe, links lead in a circle, or it is no path at all.
    """
    try:
        end = path.resolve()  # replacing a link itself would leave what it links to as it was
        if end.is_dir():
            raise OutputError(f"{path}: a folder of that name is in the way; give the name of a file.")
        if end.exists() and not end.is_file():
            raise OutputError(f"{path}: is a device, a pipe or a socket, which a file must not replace. Name a file.")
        if end.is_symlink():
            raise OutputError(f"{path}: is a link that leads in a circle. Remove it, or choose another name.")
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a circle; ValueError: a NUL in the path
        raise OutputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}.") from error
    return end


def are_same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to one file that is there, through links or by another spelling."""
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False
