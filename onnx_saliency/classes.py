"""Whether numbers are classes of a model, or channels of a layer, and such that a score is left to explain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.errors import TargetError

_LAST = 2**31 - 1  # where a model leaves the number of classes open


def check_known(numbers: Iterable[int], width: int | None, *, of_classes: bool = True) -> None:
    """Refuse numbers that the model has no class of.

    Args:
        numbers: of classes, or channels.
        width: how many there are, None where that is open.
        of_classes: whether they are classes of the model, and not channels of a layer.

    Raises:
        TargetError: some are none; lists them.
    """
    last = _LAST if width is None else width - 1
    beyond = sorted({int(number) for number in numbers if not 0 <= number <= last})
    if beyond:
        one, many, owner = ("class", "classes", "the model") if of_classes else ("channel", "channels", "the layer")
        known = f"{many} count from 0" if width is None else f"{owner} has {width} {many}, 0 to {last}"
        raise TargetError(f"No {one} {', '.join(map(str, beyond))}: {known}.")


def check_apart(targets: npt.ArrayLike, against: Any, *, of_classes: bool = True) -> None:
    """Refuse targets that are subtracted from themselves: their map would be zero everywhere.

    Args:
        targets: classes, or channels, by their numbers, of any shape.
        against: what is subtracted from each, of a shape that goes with that of `targets`.
        of_classes: whether they are classes of the model, and not channels of a layer.

    Raises:
        TargetError: some are the same; lists them.
    """
    chosen, others = np.broadcast_arrays(targets, against)
    same = np.unique(chosen[chosen == others])
    if same.size:
        what = "class" if of_classes else "channel"
        raise TargetError(
            f"A {what} less itself explains nothing: {', '.join(map(str, same))} is both target and against. "
            "Choose another."
        )
