"""Where in the picture the network looked: preparing its input, and laying a map back on the picture's own pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_saliency.errors import ImageError
from onnx_saliency.images.picture import MAX_PIXELS, Picture
from onnx_saliency.images.preprocess import Preprocess

Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True)
class Placement:
    """The region of a picture that became a network's input.

    Attributes:
        picture_size: (height, width) of the picture.
        box: (x0, y0, x1, y1), the region seen, in the picture's pixels; edges may fall inside a pixel.
        input_size: (height, width) of the network's input.
    """

    picture_size: tuple[int, int]
    box: tuple[float, float, float, float]
    input_size: tuple[int, int]

    def restore(self, values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """Lay a map (h, w) of the network's input back on the picture: float32 (H, W), 0 where nothing was seen.

        Bilinear; averages over the map's cells where the picture is the coarser grid.

        Raises:
            ImageError: the map is not of `input_size`.
        """
        if values.shape != self.input_size:
            raise ImageError(f"a map of shape {values.shape} does not belong to an input of {self.input_size}")
        x0, y0, x1, y1 = self.box
        rows = _interpolation(self.picture_size[0], y0, y1, self.input_size[0])
        columns = _interpolation(self.picture_size[1], x0, x1, self.input_size[1])
        return rows @ values.astype(np.float32) @ columns.T

    def scaled(self, size: tuple[int, int]) -> Placement:
        """The same region of the same picture at another size (height, width)."""
        down, across = size[0] / self.picture_size[0], size[1] / self.picture_size[1]
        x0, y0, x1, y1 = self.box
        return Placement(size, (x0 * across, y0 * down, x1 * across, y1 * down), self.input_size)


def prepare(
    picture: Picture,
    preprocess: Preprocess,
    layout: Layout = "NCHW",
    size: tuple[int, int] | None = None,
    dtype: npt.DTypeLike = np.float32,
) -> tuple[npt.NDArray[Any], Placement]:
    """One picture in the network's own form, without the batch axis, and where it was taken from.

    Args:
        picture: as it was read.
        preprocess: resize, crop, order of channels, mean and standard deviation.
        layout: where the channels go.
        size: (height, width) the model fixes; None where it leaves them open, then `preprocess.size` decides.
        dtype: of the network's input.

    Returns:
        An array (C, H, W) or (H, W, C) of `dtype`, and the Placement that undoes resize and crop.

    Raises:
        ImageError: no size is known, two sizes disagree, or `dtype` cannot hold the values.
    """
    height, width = _network_size(preprocess, size)
    picture_height, picture_width, _ = picture.pixels.shape
    cut = _plan(picture_height, picture_width, preprocess.resize, height, width)
    image = Image.fromarray(picture.pixels)
    if preprocess.channels == "L":
        image = image.convert("L")
    seen = np.asarray(_resized_and_cropped(image, cut))
    pixels = seen[:, :, None] if preprocess.channels == "L" else seen
    if preprocess.channels == "BGR":
        pixels = pixels[:, :, ::-1]
    values = _normalised(pixels, preprocess, np.dtype(dtype))
    array = values.transpose(2, 0, 1) if layout == "NCHW" else values
    return np.ascontiguousarray(array), Placement((picture_height, picture_width), cut.box, (height, width))


def to_pixels(array: npt.NDArray[Any], preprocess: Preprocess, layout: Layout = "NCHW") -> npt.NDArray[np.uint8]:
    """Network input (..., C, H, W) or (..., H, W, C) as pictures to look at: uint8 (..., H, W, 3) RGB.

    The mean image is added, and what lies outside 0..255 is cut off.
    """
    values = np.moveaxis(array, -3, -1) if layout == "NCHW" else array
    pixels: npt.NDArray[np.float64] = values.astype(np.float64) * preprocess.std + preprocess.mean
    if preprocess.channels == "BGR":
        pixels = pixels[..., ::-1]
    rounded: npt.NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return np.repeat(rounded, 3, axis=-1) if preprocess.channels == "L" else rounded


def _network_size(preprocess: Preprocess, size: tuple[int, int] | None) -> tuple[int, int]:
    asked = preprocess.height_width
    known = size or asked
    if known is None:
        raise ImageError("the network takes pictures of any size: say which, for example Preprocess(size=224)")
    if size is not None and asked is not None and tuple(size) != asked:
        raise ImageError(
            f"the network takes {size[0]} x {size[1]} pixels, the preprocessing gives {asked[0]} x {asked[1]}"
        )
    return known


class _Cut(NamedTuple):
    """Resize to `resized`, then keep `crop`; what that keeps of the picture itself is `box`."""

    resized: tuple[int, int]  # (width, height), as PIL has it; so are the corners below, (x0, y0, x1, y1)
    crop: tuple[int, int, int, int]
    box: tuple[float, float, float, float]


def _plan(picture_height: int, picture_width: int, resize: int | None, height: int, width: int) -> _Cut:
    """How a picture gets to height x width: as torchvision does it, so that the pixels are the same."""
    short = min(picture_height, picture_width)
    if resize is None:
        resized_height, resized_width = height, width
    else:
        resized_height, resized_width = resize * picture_height // short, resize * picture_width // short
    if resized_height < height or resized_width < width:
        scale = max(height / picture_height, width / picture_width)
        resized_height = max(height, int(scale * picture_height))
        resized_width = max(width, int(scale * picture_width))
    top, left = round((resized_height - height) / 2), round((resized_width - width) / 2)
    box = (
        left * picture_width / resized_width,
        top * picture_height / resized_height,
        (left + width) * picture_width / resized_width,
        (top + height) * picture_height / resized_height,
    )
    return _Cut((resized_width, resized_height), (left, top, left + width, top + height), box)


def _resized_and_cropped(image: Image.Image, cut: _Cut) -> Image.Image:
    left, top, right, bottom = cut.crop
    if cut.resized[0] * cut.resized[1] > MAX_PIXELS:
        # A strip of 3 x 90000 pixels would need gigabytes at a short side of 256. Its middle alone is the same
        # picture, but for single steps of 1/255 where Pillow rounds a fractional box.
        return image.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=cut.box)
    return image.resize(cut.resized, Image.Resampling.BILINEAR).crop(cut.crop)


def _normalised(pixels: npt.NDArray[np.uint8], preprocess: Preprocess, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    mean, std = np.asarray(preprocess.mean), np.asarray(preprocess.std)
    if dtype.kind in "iu":
        # An integer input takes pixels, shifted at most; anything else would round to a few steps or wrap around.
        limits = np.iinfo(dtype)
        fits = np.all(mean == np.rint(mean)) and np.all(limits.min <= -mean) and np.all(255 - mean <= limits.max)
        if np.any(std != 1) or not fits:
            raise ImageError(
                f"the network takes {dtype}, which cannot hold what this preprocessing gives: {preprocess}"
            )
    values: npt.NDArray[Any] = ((pixels - mean) / std).astype(dtype)
    return values


def _interpolation(length: int, start: float, stop: float, cells: int) -> npt.NDArray[np.float32]:
    """Weights (length, cells): pixel i as an average of the cells that evenly divide start..stop.

    The triangle of bilinear interpolation, widened where a pixel spans more than one cell; a row of zeros for a
    pixel wholly outside.
    """
    per_pixel = cells / (stop - start)
    middle = np.clip((np.arange(length) + 0.5 - start) * per_pixel, 0.5, cells - 0.5)
    distance = np.abs(middle[:, None] - (np.arange(cells) + 0.5))
    weights = np.maximum(0.0, 1.0 - distance / max(per_pixel, 1.0))
    weights /= weights.sum(axis=1, keepdims=True)
    # The box's edges are quotients: a touch of 1e-9 pixels is rounding, not overlap.
    edge = 1e-6
    outside = (np.arange(1, length + 1) <= start + edge) | (np.arange(length) >= stop - edge)
    weights[outside] = 0.0
    narrowed: npt.NDArray[np.float32] = weights.astype(np.float32)
    return narrowed
