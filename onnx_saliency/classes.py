"""Whether numbers are classes of a model, or channels of a layer."""

from __future__ import annotations

from collections.abc import Iterable

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
