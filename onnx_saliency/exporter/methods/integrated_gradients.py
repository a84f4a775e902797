"""Integrated gradients: the gradient along the way from a baseline to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward import Tape, Tensor, full_like, op
from onnx_saliency.errors import MethodError
from onnx_saliency.exporter.methods.method import Attribution, Method, Scene
from onnx_saliency.exporter.methods.passes import Pass, add_up, along_copies, check_passes
from onnx_saliency.graph import Classifier
from onnx_saliency.numeric import is_number

ROUNDING = 1e-6
"""Share of E[D²] below which a variance of D is float32's rounding and no variation."""


@dataclass(frozen=True)
class IntegratedGradients(Method):
    """(I − I') ⊙ ∫₀¹ g(I' + α (I − I')) dα (Sundararajan, Taly, Yan 2017, section 3).

    The rule E is that of midpoints in t with α = t²: near a flat baseline a network changes fastest, and there the
    points lie closest. What they miss, `gap`, is rectifiers that switch between two of them.

    The integral of the slope D = ⟨g, I − I'⟩ however is known: S(I) − S(I'). So D is a control variate (Glasserman
    2003, section 4.1): with M = S(I) − S(I') − E[D], the values are

        (I − I') ⊙ (E[g] + M Cov(g, D) / (Var(D) + M²))

    and add up to that change, but for the part M² / (Var(D) + M²) of M. M² keeps hands off where D varies less than it
    is off.

    Attributes:
        steps: of the rule; the score at the baseline takes one pass more.
        baseline: I', one value everywhere in the network's own range; 0 is what pictures are centred on.
        at_once: points on the way in one turn of the loop; memory grows with it.

    Raises:
        MethodError: no steps, or a baseline that is not finite.
    """

    steps: int = 64
    baseline: float = 0.0
    at_once: int = 1

    name: ClassVar[str] = "integrated_gradients"
    source: ClassVar[str] = "Sundararajan, Taly, Yan 2017, section 3"
    passes: ClassVar[str] = "steps + 1"
    result: ClassVar[str] = "attribution"

    def __post_init__(self) -> None:
        check_passes("steps", self.steps, self.at_once)
        if not is_number(self.baseline):
            raise MethodError(f"baseline is a number in the network's own range, not {self.baseline!r}.")

    def check(self, classifier: Classifier, scores: ir.Value) -> str | None:
        """Raise where the model's batch is fixed and several points are asked for at once."""
        check_passes("steps", self.steps, self.at_once, classifier)
        return None

    def write(self, scene: Scene) -> Attribution:
        """Values that add up, and what the rule alone would miss."""
        image, steps = scene.image, self.steps
        axes = list(range(1, image.rank))
        way = image - self.baseline

        def along(index: Tensor) -> tuple[Tensor, Tensor]:
            """Place t² and weight 2t/steps of a point; the one behind the last is the baseline, and weighs nothing."""
            t = (op.Cast(index, to=index.tape.dtype) + 0.5) * (1 / steps)
            t = op.Where(index < steps, t, 0.0)
            return t * t, t * (2 / steps)

        def between(inner: Tape, index: Tensor) -> Tensor:
            place = along_copies(along(index)[0], image.rank)
            return op.Unsqueeze(way.on(inner), [1]) * place + self.baseline

        def terms(each: Pass) -> list[Tensor]:
            weights, gradient = along(each.index)[1], each.gradient
            toward = op.Unsqueeze(way.on(each.index.tape), [1])
            slope = op.ReduceSum(gradient * toward, [axis + 1 for axis in axes])  # D, [N, m, 1, 1, 1]
            at_baseline = op.Cast(each.index.equals(steps), to=each.scores.dtype)
            start = op.ReduceSum(each.scores * at_baseline, [1], keepdims=0)
            products = (gradient, gradient * slope, slope * slope)
            return [*(each.total(product, weights) for product in products), start]

        zeros = full_like(image, 0.0)
        none = op.Expand(np.zeros(1, image.dtype.numpy()), op.Shape(image, end=1))
        one_each = op.Unsqueeze(none, axes)  # [N, 1, 1, 1]
        mean, product, square, start = add_up(
            scene, steps + 1, self.at_once, between, terms, [zeros, zeros, one_each, none]
        )

        change = op.ReduceSum(Tensor(scene.tape, scene.scores) * scene.seed, [1], keepdims=0) - start
        slope = op.ReduceSum(way * mean, axes)
        missing = op.Unsqueeze(change, axes) - slope
        tiny = np.array(np.finfo(np.float32).tiny, image.dtype.numpy())
        variance = op.Max(square - slope * slope, square * ROUNDING + tiny)
        values = way * (mean + (product - mean * slope) * (missing / (variance + missing * missing)))
        return Attribution(values, gap=-op.Squeeze(missing, axes) / op.Max(op.Abs(change), tiny))
