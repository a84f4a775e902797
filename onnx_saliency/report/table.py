"""Tables as text: rows as CSV, an interval as a cell shows it, and numbers of things in sentences."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV, the columns' names first; lines end in a line feed on every system."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def shown_interval(interval: Mapping[str, float | None], *, digits: int = 3, sign: str = "+") -> str:
    """Mean and interval, as in +0.071 [+0.052, +0.089], the mean alone where there is no interval.

    An empty `sign` leaves out that of numbers above 0.
    """
    mean, *bounds = (
        f"{interval[key]:{sign}.{digits}f}" for key in ("mean", "low", "high") if interval[key] is not None
    )
    return f"{mean} [{', '.join(bounds)}]" if bounds else mean


def counted(number: int, noun: str) -> str:
    """A number and what it counts: 1 picture, 2 pictures."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
