"""How insertion and deletion are measured, by name: steps, order, fill and its space, score, channels, averaging.

Tools give different numbers for the same map because they differ in just these. A protocol prints all of them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation.faithfulness.order import Ties
from onnx_saliency.images import Preprocess

Mode = Literal["deletion", "insertion"]
Space = Literal["network", "picture"]
ScoreKind = Literal["answer", "probability", "logit"]
Target = Literal["label", "predicted"]

MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class Constant:
    """One value everywhere, in the network's own range or in that of pixels (0..255, before mean and deviation)."""

    value: float = 0.0
    space: Space = "network"

    def of(self, image: npt.NDArray[Any], preprocess: Preprocess, channel_axis: int) -> npt.NDArray[Any]:
        """What takes the place of `image` [1, ...], in its shape and type."""
        value: npt.NDArray[np.float64] = np.asarray(self.value, np.float64)
        if self.space == "picture":
            shape = [1] * image.ndim
            shape[channel_axis] = -1
            mean, std = (np.reshape(np.asarray(each, np.float64), -1) for each in (preprocess.mean, preprocess.std))
            value = ((self.value - mean) / std).reshape(shape)
        if image.dtype.kind in "iu":
            value = np.clip(value.round(), np.iinfo(image.dtype).min, np.iinfo(image.dtype).max)
        filled: npt.NDArray[Any] = np.broadcast_to(value, image.shape).astype(image.dtype)
        return filled

    def __str__(self) -> str:
        where = "the network's range" if self.space == "network" else "pixels 0..255"
        return f"{self.value:g} in {where}"


@dataclass(frozen=True)
class Blur:
    """The image itself, blurred by a Gaussian cut off to a square, with 0 in the network's range around the image.

    Attributes:
        side: of the square in pixels, odd.
        sigma: standard deviation in pixels.
    """

    side: int = 11
    sigma: float = 5.0

    def of(self, image: npt.NDArray[Any], preprocess: Preprocess, channel_axis: int) -> npt.NDArray[Any]:
        """As of `Constant`."""
        shape = [self.side] * image.ndim
        shape[0] = shape[channel_axis] = 1
        kernel = _gaussian(self.side, self.sigma).reshape(shape)
        blurred: npt.NDArray[Any] = ndimage.convolve(image.astype(np.float64), kernel, mode="constant")
        return (blurred.round() if image.dtype.kind in "iu" else blurred).astype(image.dtype)

    def __str__(self) -> str:
        return f"the image blurred by a Gaussian of {self.sigma:g} in {self.side} x {self.side} pixels"


@cache
def _gaussian(side: int, sigma: float) -> npt.NDArray[np.float64]:
    """What falls outside the square is reflected into it, so that the sum is 1: as the authors' code makes it."""
    dirac = np.zeros((side, side))
    dirac[side // 2, side // 2] = 1
    return ndimage.gaussian_filter(dirac, sigma)


@dataclass(frozen=True)
class Protocol:
    """A way to measure deletion (Petsiuk et al. 2018: lower is better) and insertion (higher is better).

    Pixels go in order of the map, the most salient first, all colour channels of a pixel together. The curve's points
    are equally spaced, from no pixel to all of them; its area is by trapezoids over 0..1, of each picture, and the mean
    over pictures is also the area of the mean curve.

    Attributes:
        name: as `PROTOCOLS` has it.
        deletion_steps, insertion_steps: how many steps from no pixel to all; None where `pixels` says how many.
        pixels: replaced in a step, the last step perhaps fewer; None where the steps are given.
        deletion_fill, insertion_fill: what is in the place of pixels that are deleted, or not yet inserted.
        score: "answer", the model's own output; "probability", after a soft-max where the model leaves it to others;
            "logit", before any final activation.
        target: the class whose score is read: the data set's, or the one that the model predicts.
        ties: of equal pixels, which goes first: by a draw, or by place, row by row, the first or the last.
        preprocess: how the published figures prepare pictures; None leaves it to the model.
        source: whose it is.
    """

    name: str
    deletion_steps: int | None = 10
    insertion_steps: int | None = 10
    pixels: int | None = None
    deletion_fill: Constant | Blur = Constant()  # frozen
    insertion_fill: Constant | Blur = Constant()
    score: ScoreKind = "probability"
    target: Target = "label"
    ties: Ties = "random"
    preprocess: Preprocess | None = None
    source: str = ""

    def counts(self, mode: Mode, pixels: int) -> npt.NDArray[np.int32]:
        """How many of `pixels` are replaced at each point of the curve: 0 first, all last, int32 (T,)."""
        if self.pixels is not None:
            return np.array([*range(0, pixels, self.pixels), pixels], np.int32)
        steps = self.steps(mode, pixels)
        return (np.arange(steps + 1, dtype=np.int64) * pixels // steps).astype(np.int32)

    def steps(self, mode: Mode, pixels: int) -> int:
        """How many steps from no pixel to all of `pixels`."""
        if self.pixels is not None:
            return -(-pixels // self.pixels)
        steps = self.deletion_steps if mode == "deletion" else self.insertion_steps
        assert steps is not None  # one of the two is given
        return steps

    def fill(self, mode: Mode) -> Constant | Blur:
        """What stands in the place of pixels that are not there."""
        return self.deletion_fill if mode == "deletion" else self.insertion_fill

    def describe(self) -> dict[str, str]:
        """All of it in words, by subject."""
        steps = f"{self.pixels} pixels a step" if self.pixels else f"{self.deletion_steps} for deletion, "
        steps += "" if self.pixels else f"{self.insertion_steps} for insertion, equally many pixels each"
        same = self.deletion_fill == self.insertion_fill
        fill = str(self.deletion_fill) if same else f"{self.deletion_fill}; insertion from {self.insertion_fill}"
        ties = {"random": "by a draw", "first": "the first, row by row", "last": "the last, row by row"}[self.ties]
        return {
            "protocol": self.name + (f" ({self.source})" if self.source else ""),
            "steps": steps,
            "order": f"most salient first; of equal pixels {ties}",
            "fill": fill,
            "score": _SCORES[self.score] + _TARGETS[self.target],
            "channels": "all of a pixel together",
            "averaging": "trapezoids over 0..1 a picture, then the mean over pictures",
        }

    def __str__(self) -> str:
        return "; ".join(f"{subject}: {text}" for subject, text in self.describe().items())


_SCORES = {
    "answer": "the model's own output",
    "probability": "probability",
    "logit": "score before any final activation",
}
_TARGETS = {"label": " of the labelled class", "predicted": " of the predicted class"}

_FACES = Preprocess(resize=None, mean=127.5, std=128.0)
_BIRDS = Preprocess(resize=None, mean=(103.939, 116.779, 123.68), std=1.0, channels="BGR")
_SMDL = "RuoyuChen10/SMDL-Attribution, by Xplique"

PROTOCOLS: dict[str, Protocol] = {
    each.name: each
    for each in (
        Protocol("plain"),
        Protocol("blurred", deletion_fill=Blur(), insertion_fill=Blur()),
        Protocol("smdl-celeba", score="answer", ties="last", preprocess=_FACES, source=_SMDL),
        Protocol("smdl-vggface2", score="answer", ties="last", preprocess=_FACES, source=_SMDL),
        Protocol("smdl-cub", insertion_steps=25, score="answer", ties="last", preprocess=_BIRDS, source=_SMDL),
        Protocol("xplique", score="answer", ties="last", source="deel-ai/xplique, Deletion and Insertion"),
        Protocol(
            "openvino-xai",
            deletion_steps=30,
            insertion_steps=30,
            deletion_fill=Constant(0, "picture"),
            insertion_fill=Constant(0, "picture"),
            score="answer",
            target="predicted",
            ties="first",
            source="openvinotoolkit/openvino_xai, InsertionDeletionAUC",
        ),
        Protocol(
            "rise",
            deletion_steps=None,
            insertion_steps=None,
            pixels=224,
            insertion_fill=Blur(),
            target="predicted",
            ties="last",
            source="Petsiuk et al. 2018, eclique/RISE",
        ),
    )
}
"""By name: "plain" and "blurred" are this package's own; the others are those of published tools and figures.

Holes of one value are edges that no photograph has, and scattered ones kill a score in any order. "blurred" has none:
what is not there is out of focus (as Fong, Vedaldi 2017, section 4, and the insertion of Petsiuk et al. 2018)."""


def find_protocol(name: str, *, steps: int | None = None) -> Protocol:
    """The protocol with this name, perhaps in another number of steps for both curves, which its own name then says.

    Raises:
        MetricError: no such protocol (with the closest name), or no steps.
    """
    if name in PROTOCOLS:
        found = PROTOCOLS[name]
        if steps is None:
            return found
        if steps < 1:
            raise MetricError(f"a curve has 1 or more steps; found {steps}")
        return replace(found, name=f"{name}, {steps} steps", deletion_steps=steps, insertion_steps=steps, pixels=None)
    close = difflib.get_close_matches(name, PROTOCOLS, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ";"
    raise MetricError(f"no protocol {name!r}{hint} there are {', '.join(PROTOCOLS)}")
