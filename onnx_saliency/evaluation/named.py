"""Finding a thing by its name, and saying which names there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from onnx_saliency.errors import MetricError

T = TypeVar("T")


def by_name(items: Mapping[str, T], name: str, what: str) -> T:
    """The one of `items` with this name.

    Args:
        items: by name.
        name: of one of them.
        what: they are, in one word.

    Raises:
        MetricError: there is none; lists the names.
    """
    if name not in items:
        raise MetricError(f"no {what} {name!r}; found {', '.join(items)}")
    return items[name]
