"""Class activation maps: a late layer's channels, weighted by the gradient of the score."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward import Tensor, find_path, op
from onnx_saliency.errors import LayerError
from onnx_saliency.exporter.grids import Grid, grid_of, last_grid, stage_grids
from onnx_saliency.exporter.layers import find_layer
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
        return Attribution(None, _enlarged(small, scene))

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
        """One weight per channel."""
        weights = op.ReduceMean(gradient, [2, 3], keepdims=1)
        return activations * weights


@dataclass(frozen=True)
class LayerCAM(ActivationMap):
    """Σ_c max(dS/dA_c, 0) A_c, what is positive of it (Jiang et al. 2021); options as in ActivationMap."""

    name: ClassVar[str] = "layercam"
    source: ClassVar[str] = "Jiang et al. 2021, section III"

    def weigh(self, activations: Tensor, gradient: Tensor) -> Tensor:
        """One weight per position."""
        weights = op.Relu(gradient)
        return activations * weights


@dataclass(frozen=True)
class FusedLayerCAM(Method):
    """LayerCAM of the last layer of each size, each map over its maximum, and their mean (Jiang et al. 2021).

    Late layers know the object, early ones its outline. The layers are those that every way from the image to the score
    passes, up to a quarter of the image's sides; one backward pass serves all of them. The paper scales the maps by
    tanh and takes their maximum.
    """

    name: ClassVar[str] = "layercam_fused"
    source: ClassVar[str] = "Jiang et al. 2021, section III"
    exact: ClassVar[bool] = False

    def check(self, classifier: Classifier, scores: ir.Value) -> str | None:
        """Return the layers' names; raise LayerError where there is none."""
        return ", ".join(grid.layer.name for grid in _stages(classifier, scores))

    def write(self, scene: Scene) -> Attribution:
        """The mean of the maps, enlarged to the image's size by linear interpolation."""
        grids = _stages(scene.classifier, scene.scores)
        maps = []
        for grid, gradient in zip(grids, scene.gradients_of([grid.layer.value for grid in grids]), strict=True):
            activations = grid.image(scene.tape.read(grid.layer.value))
            weighed = activations * op.Relu(grid.image(gradient))
            large = _enlarged(op.Relu(op.ReduceSum(weighed, [1], keepdims=1)), scene)
            tiny = np.array(np.finfo(np.float32).tiny, large.dtype.numpy())
            maps.append(large / op.Max(op.ReduceMax(large, [1, 2], keepdims=1), tiny))
        total = sum(maps[1:], start=maps[0])  # onnxruntime has no Mean of doubles
        return Attribution(None, total / len(maps))


def _stages(classifier: Classifier, scores: ir.Value) -> list[Grid]:
    path = find_path(classifier.model.graph, [scores], [classifier.image])
    return stage_grids(path, classifier.image)


def _enlarged(small: Tensor, scene: Scene) -> Tensor:
    """A map [N, 1, h, w] at the image's size, [N, H, W]."""
    rows, _ = scene.classifier.spatial_axes
    size = op.Shape(scene.image, start=rows, end=rows + 2)
    return op.Squeeze(resize(small, size, (2, 3)), [1])
