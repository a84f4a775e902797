"""Files that cannot be read: an error, or, for who leaves such pictures out, a row in a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from onnx_saliency.errors import DatasetError, ImageError

T = TypeVar("T")

Failed = list[tuple[str, str]]
"""(name, reason) of pictures that were left out because they, or what belongs to them, cannot be read."""


def read_or_leave_out(read: Callable[[], T], image: Any, failed: Failed | None) -> T | None:
    """What `read` returns; None where it cannot, and `failed` takes the name of `image` and the reason.

    Raises:
        ImageError, DatasetError: it cannot, and `failed` is None.
    """
    try:
        return read()
    except (ImageError, DatasetError) as error:
        if failed is None:
            raise
        failed.append((str(image), str(error)))
        return None
