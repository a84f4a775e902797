"""What counts as an integer, and as a number, in an argument: NumPy's do, booleans, text and NaN do not."""

from __future__ import annotations

import math
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np


def is_integer(value: Any, low: float = -math.inf) -> TypeGuard[int]:
    """Whether `value` is an integer, `low` or more."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= low


def is_number(value: Any, low: float = -math.inf, high: float = math.inf) -> TypeGuard[float]:
    """Whether `value` is a finite number from `low` to `high`."""
    return (
        isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value) and low <= float(value) <= high
    )


def make_plain(instance: Any) -> None:
    """Turn NumPy's numbers in the fields of a dataclass, frozen or not, into Python's, which JSON takes."""
    for field in fields(instance):
        value = getattr(instance, field.name)
        if isinstance(value, np.generic):
            object.__setattr__(instance, field.name, value.item())
