"""Many gradients of one image, changed a little each time, added up in a loop of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward import Tape, Tensor, op
from onnx_saliency.errors import MethodError
from onnx_saliency.exporter.loop import repeat
from onnx_saliency.exporter.methods.method import Scene
from onnx_saliency.graph import Classifier
from onnx_saliency.numeric import is_integer


@dataclass(frozen=True)
class Pass:
    """What one turn of the loop computed: m changed copies of each image.

    Attributes:
        index: int64 [m], the numbers of the copies, counted over all turns.
        counted: [m], 1 for a copy that counts, 0 for one that only fills the last turn.
        scores: [N, m], the explained score of each.
        gradient: [N, m, ...image], the gradient there.
    """

    index: Tensor
    counted: Tensor
    scores: Tensor
    gradient: Tensor

    def total(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """Σ_m w_m values[N, m, ...], where copies that do not count weigh nothing."""
        weighted = self.counted if weights is None else self.counted * weights
        return op.ReduceSum(values * along_copies(weighted, self.gradient.rank - 1), [1], keepdims=0)


def add_up(
    scene: Scene,
    count: int,
    at_once: int,
    change: Callable[[Tape, Tensor], Tensor],
    terms: Callable[[Pass], Sequence[Tensor]],
    first: Sequence[Tensor],
) -> list[Tensor]:
    """Run the model on `count` changed copies of each image, `at_once` in a turn, and add up what each turn gives.

    Args:
        scene: where the loop is written.
        count: how many copies.
        at_once: how many of them one turn computes, as a batch: memory grows with it, on a GPU speed too.
        change: takes the loop's tape and the numbers int64 [m] of the copies; returns the images [N, m, ...].
        terms: what a turn adds to each of the sums.
        first: zeros in the shapes of the sums.
    """
    image, rank = scene.classifier.image, len(scene.classifier.image.shape or ())

    def body(inner: Tape, turn: Tensor, sums: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        index = op.Unsqueeze(turn, [0]) * at_once + np.arange(at_once)
        images = change(inner, index)
        one = op.Shape(Tensor(inner, image), start=1)
        seed = scene.seed.on(inner)
        seeds = op.Tile(op.Unsqueeze(seed, [1]), [1, at_once, 1])  # [N, m, K]
        scores, gradient = scene.at(
            op.Reshape(images, op.Concat([-1], one, axis=0)),
            op.Reshape(seeds, op.Concat([-1], op.Shape(seed, start=1), axis=0)),
        )
        gradient = op.Reshape(gradient, op.Concat([-1, at_once], one, axis=0))
        gradient.value.shape = ir.Shape([None] * (rank + 1))
        found = Pass(
            index,
            op.Cast(index < count, to=inner.dtype),
            op.ReduceSum(op.Reshape(scores, op.Shape(seeds)) * seeds, [2], keepdims=0),
            gradient,
        )
        return [total + term for total, term in zip(sums, terms(found), strict=True)], []

    turns = np.array(-(-count // at_once))
    return repeat(scene.tape, "passes", scene.tape.constant(turns), first, body)


def along_copies(weights: Tensor, rank: int) -> Tensor:
    """Weights [m] in the form [m, 1, 1, ...], `rank` axes, to meet [N, m, ...]."""
    return op.Reshape(weights, [-1] + [1] * (rank - 1))


def check_passes(name: str, count: int, at_once: int, classifier: Classifier | None = None) -> None:
    """Raise MethodError for a number of copies that makes no sense, or more at once than the model's batch allows."""
    if not is_integer(count, 1):
        raise MethodError(f"{name} takes 1 or more, not {count!r}.")
    if not is_integer(at_once, 1):
        raise MethodError(f"at_once takes 1 or more copies per turn, not {at_once!r}.")
    if classifier is not None and at_once > 1 and classifier.batch is not None:
        raise MethodError(
            f"The model is fixed to a batch of {classifier.batch}, so it cannot run {at_once} copies at once: "
            "leave at_once at 1, or export the model with an open batch."
        )
