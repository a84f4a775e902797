"""The map averaged over ten crops, laid back in place (paper, figure 2)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from onnx_saliency.backward import Tape, Tensor, full_like, op
from onnx_saliency.backward.rules.movement import padded
from onnx_saliency.errors import MethodError
from onnx_saliency.exporter.loop import repeat
from onnx_saliency.exporter.methods.method import Attribution, Method, Scene, resize


@dataclass(frozen=True)
class TenCrop(Method):
    """The mean saliency of ten views of the image: four corners and the centre, as they are and reflected.

    The image is enlarged, each crop of the network's size explained, and its map laid back where the crop was taken
    (Simonyan et al. 2013, figure 2; the crops are those of Krizhevsky et al. 2012, section 4.1). Where crops overlap
    the mean of those there counts.

    Attributes:
        enlarge: the enlarged image's size by the network's; 256 / 224 in both papers.

    Raises:
        MethodError: an enlargement of 1 or less, or above 4.
    """

    enlarge: float = 256 / 224

    name: ClassVar[str] = "ten_crop"
    source: ClassVar[str] = "Simonyan, Vedaldi, Zisserman 2013, figure 2"
    passes: ClassVar[str] = "10"
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 1 < self.enlarge <= 4:
            raise MethodError(f"enlarge is above 1 and no more than 4, not {self.enlarge}.")

    def write(self, scene: Scene) -> Attribution:
        """Mean of the crops' gradients and of their maps, at the image's own size."""
        image, channels = scene.image, scene.classifier.channel_axis
        rows, columns = axes = scene.classifier.spatial_axes
        size = op.Shape(image, start=rows, end=columns + 1)  # [H, W]
        ratio = Fraction(self.enlarge).limit_denominator(_DENOMINATOR)  # in whole numbers: 336 · 8/7 is 384, no more
        large = op.Div(size * ratio.numerator + (ratio.denominator - 1), np.array(ratio.denominator))
        room = large - size
        starts = op.Div(op.Unsqueeze(room, [0]) * np.tile(_CORNERS, (2, 1)), np.array([2]))  # [10, 2]
        big = resize(image, large, axes)

        def body(inner: Tape, k: Tensor, sums: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
            start, extent = op.Gather(starts.on(inner), k, axis=0), size.on(inner)
            crop = op.Slice(big.on(inner), start, start + extent, axes)
            order = op.Range(0, op.Squeeze(op.Slice(extent, [1], [2]), [0]), 1)
            order = op.Where(k >= len(_CORNERS), op.Slice(extent, [1], [2]) - 1 - order, order)
            _, gradient = scene.at(op.Gather(crop, order, axis=columns), scene.seed.on(inner))
            gradient = op.Gather(gradient, order, axis=columns)
            saliency = op.ReduceMax(op.Abs(gradient), [channels], keepdims=1)
            seen = full_like(saliency, 1.0)
            around = op.Concat(start, room.on(inner) - start, axis=0)
            laid = [padded(values, around, list(axes), rank=4) for values in (gradient, saliency, seen)]
            return [total + values for total, values in zip(sums, laid, strict=True)], []

        zeros = big * 0.0
        one = op.ReduceMax(zeros, [channels], keepdims=1)
        count = scene.tape.constant(np.array(2 * len(_CORNERS)))
        gradient, saliency, seen = repeat(scene.tape, "crops", count, [zeros, one, one], body)
        values, saliency = (resize(total / seen, size, axes) for total in (gradient, saliency))
        return Attribution(values, op.Squeeze(saliency, [channels]))


_DENOMINATOR = 1000
_CORNERS = np.array([[0, 0], [0, 2], [2, 0], [2, 2], [1, 1]])  # in halves of the room, (y, x); the centre last
