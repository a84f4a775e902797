"""Class activation maps: a late layer's channels, weighted by the gradient of the score."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnx_saliency.backward import Tensor, find_path, op
from onnx_saliency.errors import LayerError
from onnx_saliency.exporter.layers import Grid, find_layer, grid_of, last_grid
from onnx_saliency.exporter.methods.method import Attribution, Method, Scene, resize
from onnx_saliency.graph import Classifier


@dataclass(frozen=True)
class ActivationMap(Method):
    """What class activation maps share: a layer, and how big its map becomes.

    Attributes:
        layer: its name; None takes the last one that is still a picture (`layers.last_grid`). Tokens of a
            transformer are laid out as the grid that the graph's own shapes tell.
    """

    layer: str | None = None

    exact: ClassVar[bool] = False

    def check(self, classifier: Classifier, scores: ir.Value) -> str | None:
        """Return the layer's name; raise LayerError where there is none, or the score does not depend on it."""
        return self._grid(classifier, scores).layer.name

    def write(self, scene: Scene) -> Attribution:
        """The map of the layer, enlarged to the image's size by linear interpolation."""
        grid = self._grid(scene.classifier, scene.scores)
        value = grid.layer.value
        activations, gradient = grid.image(scene.tape.read(value)), grid.image(scene.gradients(value))
        small = op.Relu(op.ReduceSum(self.weigh(activations, gradient), [1], keepdims=1))
        rows = 2 if scene.classifier.channel_axis == 1 else 1
        size = op.Shape(scene.image, start=rows, end=rows + 2)
        return Attribution(None, op.Squeeze(resize(small, size, (2, 3)), [1]))

    @abstractmethod
    def weigh(self, activations: Tensor, gradient: Tensor) -> Tensor:
        """Weigh the activations [N, C, h, w] by the gradient there."""

    def _grid(self, classifier: Classifier, scores: ir.Value) -> Grid:
        graph, image = classifier.model.graph, classifier.image
        path = find_path(graph, [scores], [image])
        if self.layer is None:
            return last_grid(path, image)
        layer = find_layer(graph, self.layer, image)
        if layer.value not in path.reached:
            raise LayerError(
                f"The score {scores.name!r} does not depend on layer {self.layer!r}: there is no gradient."
            )
        return grid_of(path, layer, image)


@dataclass(frozen=True)
class GradCAM(ActivationMap):
    """Σ_c mean(dS/dA_c) A_c, what is positive of it (Selvaraju et al. 2017); options as in ActivationMap."""

    name: ClassVar[str] = "gradcam"
    source: ClassVar[str] = "Selvaraju et al. 2017, section 3"

    def weigh(self, activations: Tensor, gradient: Tensor) -> Tensor:
        """One weight a channel."""
        weights: Tensor = op.ReduceMean(gradient, [2, 3], keepdims=1)
        return activations * weights


@dataclass(frozen=True)
class LayerCAM(ActivationMap):
    """Σ_c max(dS/dA_c, 0) A_c, what is positive of it (Jiang et al. 2021); options as in ActivationMap."""

    name: ClassVar[str] = "layercam"
    source: ClassVar[str] = "Jiang et al. 2021, section III"

    def weigh(self, activations: Tensor, gradient: Tensor) -> Tensor:
        """One weight a position."""
        weights: Tensor = op.Relu(gradient)
        return activations * weights
