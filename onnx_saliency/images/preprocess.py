"""How a picture becomes a network's input: the recipe as a value that prints, compares and travels as JSON."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from onnx_saliency.errors import ImageError
from onnx_saliency.numeric import is_integer, is_number, make_plain

Channels = Literal["RGB", "BGR", "L"]

RECIPE_SIZE = 224
"""The network size for which the presets are written; `preset` scales the short side in proportion."""

SQUASH_BELOW = 64
"""Networks smaller than this were trained on thumbnails (CIFAR, MNIST): a crop would cut off most of the object."""


@dataclass(frozen=True)
class Preprocess:
    """Resize, crop and normalise: network value = (pixel 0..255 - mean) / std.

    `size` is kept as a (height, width) pair and `mean`, `std` as float or tuple of floats, whatever was given.

    Attributes:
        size: (height, width) of the network's input, one number for a square, None to take it from the model.
        resize: short side of the picture before the crop; None squashes the whole picture to `size`.
            Taken literally, unless the crop does not fit: then the picture is resized until it just does
            (for a square crop: the short side becomes the crop's size).
        crop: "center", the only one.
        mean, std: a number, or one per channel in the order of `channels`.
        channels: "RGB", "BGR" or "L" (one channel of luminance).

    Raises:
        ImageError: fields that make no sense; names all of them.
    """

    size: tuple[int, int] | int | None = None
    resize: int | None = 256
    crop: str = "center"
    mean: float | tuple[float, ...] = 127.5
    std: float | tuple[float, ...] = 127.5
    channels: Channels = "RGB"

    def __post_init__(self) -> None:
        problems = [
            *_size_problems(self.size),
            *_resize_problems(self.resize),
            *([] if self.crop == "center" else [f'crop={self.crop!r}: only "center" is known']),
            *([] if self.channels in get_args(Channels) else [f'channels={self.channels!r}: want "RGB", "BGR" or "L"']),
            *_channel_problems("mean", self.mean, len(self.channels)),
            *_channel_problems("std", self.std, len(self.channels)),
        ]
        if problems:
            raise ImageError("this preprocessing makes no sense: " + "; ".join(problems))
        # A frozen dataclass is normalised through object.__setattr__; equal recipes then compare equal.
        make_plain(self)
        object.__setattr__(self, "size", _pair(self.size))
        object.__setattr__(self, "mean", _floats(self.mean))
        object.__setattr__(self, "std", _floats(self.std))

    @property
    def height_width(self) -> tuple[int, int] | None:
        """`size` as a (height, width) pair, None when the model decides."""
        return _pair(self.size)

    def check_channels(self, taken: int | None) -> None:
        """Refuse a network of another number of colour channels; None is one that takes any.

        Raises:
            ImageError: it takes others; says which `channels` to set.
        """
        if taken not in (None, len(self.channels)):
            raise ImageError(
                f"The network takes {taken} colour channel(s), the preprocessing makes {len(self.channels)} "
                f"({self.channels}). Set channels to {'L' if taken == 1 else 'RGB or BGR'}."
            )

    def to_json(self) -> str:
        """One line of JSON for a model's metadata; `from_json` gives an equal object back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preprocess:
        """Read what `to_json` wrote; fields left out take their defaults.

        Raises:
            ImageError: it is not what `to_json` writes.
        """
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise ImageError(f"the preprocessing is not JSON ({error}): {text[:80]!r}") from error
        known = [field.name for field in fields(cls)]
        if not isinstance(found, dict) or not set(found) <= set(known):
            raise ImageError(f"the preprocessing should be a JSON object with {', '.join(known)}; found {text[:200]!r}")
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}
        return cls(**values)  # checked by __post_init__ like anybody's

    def __str__(self) -> str:
        size = self.height_width
        pixels = "the network's size" if size is None else f"{size[0]} x {size[1]}"
        fit = f"squashed to {pixels}" if self.resize is None else f"short side {self.resize}, centre crop {pixels}"
        return f"{fit}, {self.channels}, {_formula(self.mean, self.std)}"


def _size_problems(size: object) -> list[str]:
    if size is None or is_integer(size, 1):
        return []
    if isinstance(size, Sequence) and len(size) == 2 and all(is_integer(side, 1) for side in size):
        return []
    return [f"size={size!r}: want (height, width) in pixels, one number, or None"]


def _resize_problems(resize: object) -> list[str]:
    return [] if resize is None or is_integer(resize, 1) else [f"resize={resize!r}: want pixels or None"]


def _channel_problems(name: str, values: Any, channels: int) -> list[str]:
    listed = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    if not all(is_number(value) for value in listed):
        return [f"{name}={values!r}: want finite numbers"]
    if name == "std" and not all(value > 0 for value in listed):
        return [f"std={values!r}: want numbers above 0"]
    if isinstance(values, Sequence) and len(values) != channels:
        return [f"{name} has {len(values)} values for {channels} channel{'s' * (channels != 1)}"]
    return []


def _pair(size: tuple[int, int] | int | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _floats(values: float | Sequence[float]) -> float | tuple[float, ...]:
    return tuple(float(value) for value in values) if isinstance(values, Sequence) else float(values)


def _formula(mean: float | tuple[float, ...], std: float | tuple[float, ...]) -> str:
    """The normalisation as a person writes it, without the steps that do nothing."""

    def written(values: float | tuple[float, ...]) -> str:
        return f"({', '.join(f'{v:g}' for v in values)})" if isinstance(values, tuple) else f"{values:g}"

    shifts, scales = mean != 0, std != 1
    if not scales:
        return f"x - {written(mean)}" if shifts else "x in 0..255"
    return f"(x - {written(mean)}) / {written(std)}" if shifts else f"x / {written(std)}"


def _units(*values: float) -> tuple[float, ...]:
    """Statistics published for pixels 0..1, in 0..255."""
    return tuple(round(255 * value, 6) for value in values)


PRESETS: dict[str, Preprocess] = {
    # torchvision, timm, ONNX Model Zoo
    "imagenet": Preprocess(mean=_units(0.485, 0.456, 0.406), std=_units(0.229, 0.224, 0.225)),
    # TensorFlow, Keras and TFLite MobileNet, Inception: pixels to -1..1
    "inception": Preprocess(mean=127.5, std=127.5),
    # Caffe model zoo
    "caffe": Preprocess(mean=(104.0, 117.0, 123.0), std=1.0, channels="BGR"),
    # Darknet, many Keras models: pixels to 0..1
    "unit": Preprocess(mean=0.0, std=255.0),
    # the network normalises by itself
    "raw255": Preprocess(mean=0.0, std=1.0),
    # OpenAI CLIP; resizes straight to the crop
    "clip": Preprocess(
        resize=224,
        mean=_units(0.48145466, 0.4578275, 0.40821073),
        std=_units(0.26862954, 0.26130258, 0.27577711),
    ),
    "cifar10": Preprocess(resize=None, mean=_units(0.4914, 0.4822, 0.4465), std=_units(0.2470, 0.2435, 0.2616)),
    "mnist": Preprocess(resize=None, mean=33.3285, std=78.5655, channels="L"),
}
"""Recipes by the name people know them by, written for a network of 224 x 224 pixels; see `preset`."""


def preset(name: str, size: tuple[int, int] | int) -> Preprocess:
    """The recipe `name` for a network whose input is `size` pixels.

    The short side keeps its proportion to the crop: 256 for 224 becomes 219 for 192 and 342 for 299. For networks
    under 64 pixels the whole picture is squashed.

    Raises:
        ImageError: no such preset; lists the names.
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name.lower(), PRESETS, n=1, cutoff=0.5)
        hint = f", did you mean {close[0]!r}?" if close else ";"
        raise ImageError(f"no preprocessing preset {name!r}{hint} the presets are {', '.join(PRESETS)}")
    recipe = replace(PRESETS[name], size=size)
    shortest = size if isinstance(size, int) else min(size)
    if recipe.resize is None or shortest < SQUASH_BELOW:
        return replace(recipe, resize=None)
    return replace(recipe, resize=round(recipe.resize * shortest / RECIPE_SIZE))
