"""SmoothGrad and VarGrad: mean and variance of the gradient over noisy copies of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnx_saliency.backward import Tape, Tensor, full_like, op
from onnx_saliency.errors import MethodError
from onnx_saliency.exporter.methods.method import Attribution, Method, Scene
from onnx_saliency.exporter.methods.noise import normal, uniform
from onnx_saliency.exporter.methods.passes import add_up, along_copies, check_passes
from onnx_saliency.graph import Classifier
from onnx_saliency.numeric import is_integer, is_number


@dataclass(frozen=True)
class SmoothGrad(Method):
    """The mean gradient over noisy copies: what noise changes averages out (Smilkov et al. 2017).

    Attributes:
        samples: how many copies.
        noise: the noise's standard deviation, as a fraction of the image's range max − min.
        seed: of the noise; the same seed gives the same map on every runtime, whatever the batch.
        at_once: copies of an image in one turn of the loop; memory grows with it.

    Raises:
        MethodError: no samples, noise or seed below 0.
    """

    samples: int = 25
    noise: float = 0.15
    seed: int = 0
    at_once: int = 1

    name: ClassVar[str] = "smoothgrad"
    source: ClassVar[str] = "Smilkov et al. 2017, section 2"
    passes: ClassVar[str] = "samples"
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_passes("samples", self.samples, self.at_once)
        if not is_number(self.noise, 0):
            raise MethodError(f"noise is a standard deviation, 0 or more of the image's range, not {self.noise!r}.")
        if not is_integer(self.seed, 0):
            raise MethodError(f"seed is an integer, 0 or more, not {self.seed!r}.")

    def check(self, classifier: Classifier, scores: ir.Value) -> str | None:
        """Raise where the model's batch is fixed and several copies are asked for at once."""
        check_passes("samples", self.samples, self.at_once, classifier)
        return None

    def write(self, scene: Scene) -> Attribution:
        """ḡ = Σ_k g(I + n_k) / K"""
        (mean,) = self.means(scene, 1, lambda gradient: [gradient])
        return Attribution(mean)

    def means(self, scene: Scene, count: int, of: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        """Means over the copies of `count` values that are made of their gradients [N, m, ...]."""
        image = scene.image
        axes = list(range(1, image.rank))
        spread = op.ReduceMax(image, axes, keepdims=1) - op.ReduceMin(image, axes, keepdims=1)
        scale = op.Unsqueeze(spread * self.noise, [1])  # [N, 1, 1, 1, 1]
        size = op.Shape(image, start=1)
        length = op.ReduceProd(size, [0], keepdims=0)
        numbers = op.Range(0, length, 1)

        def noisy(inner: Tape, index: Tensor) -> Tensor:
            per_copy, within = length.on(inner), numbers.on(inner)
            counter = along_copies(index, 2) * per_copy + within  # [m, C·H·W]
            noise = normal(uniform(counter, 2 * self.seed), uniform(counter, 2 * self.seed + 1))
            noise = op.Reshape(noise, op.Concat([-1], size.on(inner), axis=0))
            return op.Unsqueeze(image.on(inner), [1]) + noise * scale.on(inner)

        zeros = full_like(image, 0.0)
        sums = add_up(
            scene,
            self.samples,
            self.at_once,
            noisy,
            lambda each: [each.total(values) for values in of(each.gradient)],
            [zeros] * count,
        )
        return [total * (1 / self.samples) for total in sums]


@dataclass(frozen=True)
class VarGrad(SmoothGrad):
    """The variance of the gradient over noisy copies (Adebayo et al. 2018); options as in SmoothGrad."""

    name: ClassVar[str] = "vargrad"
    source: ClassVar[str] = "Adebayo et al. 2018, section 2"
    passes: ClassVar[str] = "samples + 1"
    result: ClassVar[str] = "attribution"

    def write(self, scene: Scene) -> Attribution:
        """Σ_k (g(I + n_k) − ḡ)² / K, summed around g(I), which is near ḡ: little is left of a difference of squares."""
        plain = scene.gradients(scene.classifier.image)

        def moments(gradient: Tensor) -> list[Tensor]:
            apart = gradient - op.Unsqueeze(plain.on(gradient.tape), [1])
            return [apart, apart * apart]

        mean, square = self.means(scene, 2, moments)
        return Attribution(op.Relu(square - mean * mean))  # rounding can make it negative
