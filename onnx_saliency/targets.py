"""Which class of each image is meant: what a caller writes becomes the numbers that an explained model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.classes import check_apart, check_known
from onnx_saliency.errors import TargetError
from onnx_saliency.images import Labels

Targets = int | str | Sequence[int | str] | npt.NDArray[np.integer[Any]] | None

PREDICTED = -1


@dataclass(frozen=True)
class TargetReader:
    """Reads targets for one model.

    Attributes:
        labels: names of the classes, None where none are known.
        width: how many classes there are to choose from, or channels of a layer; None where it is open.
        several: how many of them each image has; None for one.
        of_classes: whether targets are classes, and not channels of a layer.
    """

    labels: Labels | None
    width: int | None
    several: int | None = None
    of_classes: bool = True

    def read(self, target: Targets, count: int) -> npt.NDArray[np.int64]:
        """The targets of `count` images, int64 (count,), or (count, several): -1 the best class, -2 the second best.

        Raises:
            TargetError: a class that the model does not have, or another number of targets than images.
            LabelError: a name that no class has.
        """
        several = self.several
        if target is None:
            best = np.array(PREDICTED) if several is None else -1 - np.arange(several)
            return np.broadcast_to(best, (count, *best.shape)).astype(np.int64)
        if several is None:
            return self.read_one_each(target, count)
        rows = [target] if _is_one(target) or all(_is_one(item) for item in _items(target)) else _items(target)
        rows = rows * count if len(rows) == 1 else rows
        if len(rows) != count or any(_is_one(row) or len(_items(row)) != several for row in rows):
            many = "1 class" if several == 1 else f"{several} classes"
            raise TargetError(f"{many} an image: give a list of {several} for all, or such a list for each image.")
        return np.stack([self.read_one_each(row, several) for row in rows])

    def read_one_each(self, target: Targets, count: int) -> npt.NDArray[np.int64]:
        """One class for each of `count`, or one for all, int64 (count,); raises as `read` does."""
        given = [target] * count if _is_one(target) else _items(target)
        if len(given) != count:
            raise TargetError(f"{len(given)} targets were given for {count} image(s): give one, or one per image.")
        indices = [self.number(item) for item in given]
        check_known(indices, self.width, of_classes=self.of_classes)
        return np.array(indices, dtype=np.int64)

    def read_against(self, against: Targets, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """What is subtracted from the targets that `read` returned, a class per image, int64 (count,); -1 for none.

        Raises:
            TargetError: as of `read`, or a class that is subtracted from itself.
            LabelError: a name that no class has.
        """
        if against is None:
            return np.full(len(targets), PREDICTED)
        others = self.read_one_each(against, len(targets))
        check_apart(targets.T, others, of_classes=self.of_classes)
        return others

    def number(self, target: Any) -> int:
        """The number of one class, given by number or name, whether or not there is such a number.

        Raises:
            TargetError: neither a number nor a name, or a name where none are known.
            LabelError: a name that no class has.
        """
        if isinstance(target, np.ndarray) and target.ndim == 0:
            target = target[()]
        if not isinstance(target, int | np.integer | str) or isinstance(target, bool):
            raise TargetError(f"A target is the number or name of a class, not {target!r}.")
        if not isinstance(target, str):
            return int(target)
        if not self.of_classes:
            raise TargetError(f"A channel is given by its number, not by {target!r}.")
        if self.labels is None:
            raise TargetError(f"The class {target!r} is a name, and no labels are known. Give labels, or a number.")
        return self.labels.index(target)


def _is_one(target: object) -> bool:
    """Whether `target` names one class, and is no list of them."""
    return isinstance(target, str) or not (isinstance(target, Sequence) or np.ndim(target))  # type: ignore[arg-type]


def _items(target: Any) -> list[Any]:
    return list(target)
