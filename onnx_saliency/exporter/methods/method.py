"""What a method of attribution is given, and what it gives: `Scene`, `Attribution`, `Method`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward import GRADIENT, Policy, Tape, Tensor, backward, find_path, op
from onnx_saliency.errors import ModelError
from onnx_saliency.graph import Classifier
from onnx_saliency.graph.writer import copy_nodes


@dataclass(frozen=True)
class Scene:
    """A classifier on which a method writes.

    Attributes:
        classifier: the model, its image and layout.
        scores: [N, K], a value of the model's graph.
        tape: receives the method's nodes; it may be that of a loop's body.
        seed: [N, K], which of the scores is explained.
    """

    classifier: Classifier
    scores: ir.Value
    tape: Tape
    seed: Tensor

    @property
    def image(self) -> Tensor:
        """The image as floats."""
        return _floats(self.tape.read(self.classifier.image))

    def gradients(self, wrt: ir.Value, policy: Policy = GRADIENT) -> Tensor:
        """Carry the score back to `wrt`, the image or a layer.

        Raises:
            UnsupportedOperatorError: nodes between them that cannot be differentiated.
            ModelError: the score does not change with it.
        """
        (found,) = self.gradients_of([wrt], policy)
        return found

    def gradients_of(self, values: Sequence[ir.Value], policy: Policy = GRADIENT) -> list[Tensor]:
        """Carry the score back to each of `values`, in one pass; raises as `gradients` does."""
        found = backward(self.classifier.model.graph, self.tape, {self.scores: self.seed}, values, policy)
        return [_moving(each, self.scores, value) for each, value in zip(found, values, strict=True)]

    def at(self, image: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Run the model on another image; return its scores and the gradient there. Both are written on its tape."""
        graph, tape = self.classifier.model.graph, image.tape
        original = self.classifier.image
        stand_in = _as_input(image, original)
        given = {original: stand_in.value}
        prefix = f"{tape.prefix}model/"  # names of their own: the model may call a value like one of the tape
        copy = ir.Graph(
            [],
            [],
            nodes=copy_nodes(_dependent(graph, original, self.scores), given, prefix),
            opset_imports=graph.opset_imports,
        )
        scores = given[self.scores]
        behind = tape.within(f"{tape.prefix}backward/")
        (gradient,) = backward(copy, behind, {scores: seed.on(behind)}, [stand_in.value])
        nodes = list(copy)
        copy.remove(nodes)
        tape.nodes += [*nodes, *behind.nodes]
        return Tensor(tape, scores), Tensor(tape, _moving(gradient, self.scores, original).value)


@dataclass(frozen=True)
class Attribution:
    """What a method found.

    Attributes:
        values: signed, the shape and layout of the image; None where the method gives a map alone.
        saliency: float [N, H, W], >= 0; None stands for the maximum over channels of |values|.
        gap: [N], what a rule of integration missed of the score's change, as a fraction of it, before that was made up
            for.
    """

    values: Tensor | None
    saliency: Tensor | None = None
    gap: Tensor | None = None


@dataclass(frozen=True)
class Method(ABC):
    """A method of attribution and its options; its class says what a reader of a table wants to know."""

    name: ClassVar[str]
    source: ClassVar[str]
    result: ClassVar[str] = "input_gradient"
    passes: ClassVar[str] = "1"
    exact: ClassVar[bool] = True
    policy: ClassVar[Policy] = GRADIENT

    @abstractmethod
    def write(self, scene: Scene) -> Attribution:
        """Write the method's nodes on the scene's tape."""

    def check(self, classifier: Classifier, scores: ir.Value) -> str | None:
        """Raise for options that this model cannot serve; return the name of the layer that is explained, if any."""
        return None


def _moving(gradient: Tensor | None, scores: ir.Value, wrt: ir.Value) -> Tensor:
    if gradient is None:
        raise ModelError(
            f"The score {scores.name!r} is piecewise constant in {wrt.name!r}: every way between them passes "
            "an operator of zero gradient, such as Round or Sign."
        )
    return gradient


def _floats(image: Tensor) -> Tensor:
    if image.dtype.is_floating_point():
        return image
    floats = op.Cast(image, to=image.tape.dtype)
    floats.value.shape = image.value.shape
    return floats


def resize(x: Tensor, size: Tensor, axes: tuple[int, int]) -> Tensor:
    """Interpolate linearly along `axes`, in float32 whatever the type: onnxruntime resizes no doubles."""
    floats = x if x.dtype == ir.DataType.FLOAT else op.Cast(x, to=ir.DataType.FLOAT)
    resized = op.Resize(floats, None, None, size, axes=list(axes), mode="linear")
    return resized if x.dtype == ir.DataType.FLOAT else op.Cast(resized, to=x.dtype)


def _as_input(image: Tensor, like: ir.Value) -> Tensor:
    """Floats in the type of the image input: whole numbers rounded and kept in their range."""
    assert like.dtype is not None
    if not like.dtype.is_floating_point():
        limits = np.iinfo(like.dtype.numpy())
        image = op.Round(op.Clip(image, float(limits.min), float(limits.max)))
    stand_in = image if image.dtype == like.dtype else op.Cast(image, to=like.dtype)
    stand_in = op.Identity(stand_in) if stand_in is image else stand_in
    stand_in.value.shape = like.shape
    return stand_in


def _dependent(graph: ir.Graph, image: ir.Value, scores: ir.Value) -> Sequence[ir.Node]:
    """The nodes between image and scores, those that only see its shape too."""
    return find_path(graph, [scores], [image], follow=lambda node, reached: node.outputs).nodes
