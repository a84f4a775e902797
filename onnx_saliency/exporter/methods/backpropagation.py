"""One backward pass: the gradient, its two relatives that differ at rectifiers, and gradient times image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnx_saliency.backward import DECONVNET, GRADIENT, GUIDED, Policy
from onnx_saliency.exporter.methods.method import Attribution, Method, Scene


@dataclass(frozen=True)
class Gradient(Method):
    """dS_c/dI, the image-specific class saliency of the paper (Simonyan, Vedaldi, Zisserman 2013, section 3)."""

    name: ClassVar[str] = "gradient"
    source: ClassVar[str] = "Simonyan, Vedaldi, Zisserman 2013, section 3"
    policy: ClassVar[Policy] = GRADIENT

    def write(self, scene: Scene) -> Attribution:
        """One backward pass."""
        return Attribution(scene.gradients(scene.classifier.image, self.policy))


@dataclass(frozen=True)
class DeconvNet(Gradient):
    """The DeconvNet reconstruction: at rectifiers what is positive in the signal passes (Zeiler & Fergus 2013)."""

    name: ClassVar[str] = "deconvnet"
    source: ClassVar[str] = "Zeiler & Fergus 2013, section 2.1"
    exact: ClassVar[bool] = False
    policy: ClassVar[Policy] = DECONVNET


@dataclass(frozen=True)
class Guided(Gradient):
    """Guided backpropagation: both masks at rectifiers (Springenberg et al. 2014)."""

    name: ClassVar[str] = "guided"
    source: ClassVar[str] = "Springenberg et al. 2014, section 3.4"
    exact: ClassVar[bool] = False
    policy: ClassVar[Policy] = GUIDED


@dataclass(frozen=True)
class InputXGradient(Method):
    """I ⊙ dS_c/dI: the first-order share of each pixel in the score (Shrikumar et al. 2016)."""

    name: ClassVar[str] = "input_x_gradient"
    source: ClassVar[str] = "Shrikumar et al. 2016, section 2"
    result: ClassVar[str] = "attribution"

    def write(self, scene: Scene) -> Attribution:
        """One backward pass, times the image."""
        return Attribution(scene.image * scene.gradients(scene.classifier.image))
