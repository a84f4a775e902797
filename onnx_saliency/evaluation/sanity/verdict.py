"""Does a method pass: are its maps of a network that forgot unlike those of the trained one?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from onnx_saliency.evaluation.bootstrap import Interval, bootstrap_mean

THRESHOLD = 0.5
"""From here on a correlation is called large (Cohen 1988, "Statistical Power Analysis", section 3.2).

Adebayo et al. state no threshold."""

Outcome = Literal["passes", "fails", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """What is left of a method's maps, and whether that is little enough.

    Attributes:
        all_layers: mean rank correlation of the maps without sign, all layers randomised, and its interval; None where
            fewer than two pictures have a map that is not constant.
        upper_layers: the same, only the upper third of the stages randomised.
        threshold: what both must lie below.
    """

    all_layers: Interval | None
    upper_layers: Interval | None
    threshold: float = THRESHOLD

    @property
    def outcome(self) -> Outcome:
        """Passes: both intervals lie below the threshold; fails: one does not reach below it; else undecided."""
        parts = [judge(interval, self.threshold) for interval in (self.all_layers, self.upper_layers)]
        for outcome in ("fails", "undecided"):
            if outcome in parts:
                return outcome
        return "passes"

    @property
    def reason(self) -> str:
        """The outcome, and which layers it hangs on."""
        parts = {"all layers": self.all_layers, "the upper third": self.upper_layers}
        where = [name for name, part in parts.items() if judge(part, self.threshold) == self.outcome]
        return self.outcome if self.outcome == "passes" else f"{self.outcome}: {', '.join(where)}"


def judge(interval: Interval | None, threshold: float) -> Outcome:
    """Where an interval lies: below the threshold, from it on, or on both sides."""
    if interval is None:
        return "undecided"
    if interval.high < threshold:
        return "passes"
    return "fails" if interval.low >= threshold else "undecided"


def mean_of(values: npt.NDArray[np.float64]) -> Interval | None:
    """The mean over pictures and its bootstrap interval, of those that are not NaN; None of fewer than two."""
    known = values[~np.isnan(values)]
    return bootstrap_mean(known) if known.size > 1 else None
