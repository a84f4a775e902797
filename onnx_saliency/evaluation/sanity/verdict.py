"""Does a method pass: do its maps change with the network, and with the picture?"""

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
        pixels: the same of the trained network, the pixels of the picture shuffled.
        threshold: what all must lie below.
    """

    all_layers: Interval | None
    upper_layers: Interval | None
    pixels: Interval | None
    threshold: float = THRESHOLD

    @property
    def parts(self) -> dict[str, Outcome]:
        """The outcome of each test."""
        tests = {"all layers": self.all_layers, "the upper third": self.upper_layers, "the pixels": self.pixels}
        return {name: judge(interval, self.threshold) for name, interval in tests.items()}

    @property
    def outcome(self) -> Outcome:
        """Passes: all intervals lie below the threshold; fails: one does not reach below it; else undecided."""
        found = self.parts.values()
        return "fails" if "fails" in found else "undecided" if "undecided" in found else "passes"

    @property
    def reason(self) -> str:
        """The outcome, and the tests that it hangs on."""
        where = [name for name, outcome in self.parts.items() if outcome == self.outcome]
        return self.outcome if self.outcome == "passes" else f"{self.outcome}: {', '.join(where)}"


def judge(interval: Interval | None, threshold: float) -> Outcome:
    """Where an interval lies: below the threshold, from it on, or on both sides; undecided without one."""
    if interval is None:
        return "undecided"
    if interval.is_below(threshold):
        return "passes"
    return "fails" if interval.low is not None and interval.low >= threshold else "undecided"


def mean_of(values: npt.NDArray[np.float64]) -> Interval | None:
    """The mean over pictures and its bootstrap interval, of those that are not NaN; None of fewer than two."""
    known = values[~np.isnan(values)]
    return bootstrap_mean(known) if known.size > 1 else None
