"""What the checks found, of every method, stage and picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnx_saliency.evaluation.bootstrap import Interval, bootstrap_difference
from onnx_saliency.evaluation.named import by_name
from onnx_saliency.evaluation.sanity.randomisation import Stage
from onnx_saliency.evaluation.sanity.similarity import MEASURES
from onnx_saliency.evaluation.sanity.verdict import Verdict, mean_of

Floats = npt.NDArray[np.float64]

SPEARMAN = MEASURES.index("spearman")


@dataclass(frozen=True)
class Checked:
    """What became of one method's maps; every similarity is to the map of the trained network.

    Attributes:
        method: its name.
        cascading: float64 (stages, N, measures), the first 1, 2, ... stages randomised; measures as in `MEASURES`.
        independent: (stages, N, measures), one stage randomised; (0, N, measures) where it was not asked for.
        input: (N, measures), the pixels of the picture shuffled.
        target: (N, measures), another class of the same picture; NaN of a model of one class.
        shown: float32 (1 + stages, H, W), maps of the first picture: trained, then cascading.
    """

    method: str
    cascading: Floats
    independent: Floats
    input: Floats
    target: Floats
    shown: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sanity:
    """The checks of a model's methods on pictures.

    Attributes:
        methods: in the order asked for.
        stages: of the layers, the nearest to the output first.
        target: int64 (N,), the classes that the trained network predicts, which all maps explain.
        pictures: names of the pictures, or their numbers.
        threshold: of the verdicts.
        draw, seed: how weights were drawn.
    """

    methods: tuple[Checked, ...]
    stages: tuple[Stage, ...]
    target: npt.NDArray[np.int64]
    pictures: tuple[str, ...]
    threshold: float
    draw: str
    seed: int

    @property
    def upper(self) -> int:
        """How many stages are the upper third."""
        return max(1, round(len(self.stages) / 3))

    @property
    def layers(self) -> npt.NDArray[np.int64]:
        """How many layers are randomised after each cascading stage, (stages,)."""
        return np.cumsum([len(stage.layers) for stage in self.stages])

    def find(self, method: str) -> Checked:
        """The method with this name; MetricError where there is none."""
        return by_name({each.method: each for each in self.methods}, method, "method")

    def verdict(self, method: str) -> Verdict:
        """Whether a method passes, by the rank correlation of its maps without sign."""
        checked = self.find(method)
        ranks, pixels = checked.cascading[:, :, SPEARMAN], checked.input[:, SPEARMAN]
        return Verdict(mean_of(ranks[-1]), mean_of(ranks[self.upper - 1]), mean_of(pixels), self.threshold)

    def difference(self, method: str, other: str) -> Interval | None:
        """How much more of its maps one method keeps than another, the upper third randomised; paired.

        Above 0, the interval too: the method is less sensitive to upper layers. None where fewer than two
        pictures have both.
        """
        a, b = (self.find(name).cascading[self.upper - 1, :, SPEARMAN] for name in (method, other))
        known = ~np.isnan(a) & ~np.isnan(b)
        return bootstrap_difference(a[known], b[known]) if known.sum() > 1 else None
