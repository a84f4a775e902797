"""The image that is looked for: what its parameters are, and which views of it the network sees.

All of it is written as forward nodes before the network, and differentiated with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_saliency.backward import Tensor, op
from onnx_saliency.backward.lowering import may_stand_left
from onnx_saliency.exporter.ascent.recipe import Recipe
from onnx_saliency.exporter.methods.noise import uniform

_COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""Square root of the covariance of colours in photographs, rows RGB (Olah et al. 2017, tensorflow/lucid)."""

_GAIN = 0.25  # of Fourier parameters, as in tensorflow/lucid, whose step size we use


@dataclass(frozen=True)
class Range:
    """How pixels 0..255 lie in the network's input: (pixel − mean) / std, a value per channel, in the network's order.

    Attributes:
        mean, std: float64 (channels,).
        reverse: whether the channels are blue, green, red.
    """

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    reverse: bool = False

    @property
    def middle(self) -> npt.NDArray[np.float64]:
        """Where pixel 127.5 lies."""
        return (127.5 - self.mean) / self.std

    @property
    def half(self) -> npt.NDArray[np.float64]:
        """Half of what pixels 0..255 span."""
        return 127.5 / self.std


def write_image(parameters: Tensor, recipe: Recipe, reverse: bool) -> Tensor:
    """The image J [K, C, H, W], in half ranges about its middle: the parameters, or the waves they are amplitudes of.

    reverse: whether the network's channels are blue, green, red.
    """
    if not recipe.fourier:
        return parameters
    (channels, height, width), dtype = _sizes(parameters), parameters.dtype.numpy()
    rows, columns = fourier_basis(height), fourier_basis(width)
    spectrum = parameters * (amplitudes(height, width, recipe.decay) * _GAIN).astype(dtype)
    spectrum.value.shape = parameters.value.shape
    waves = _between(columns.astype(dtype), spectrum, rows.astype(dtype))
    if recipe.decorrelate and channels == 3:
        mixing = (_COLOURS / np.linalg.norm(_COLOURS, axis=0).max())[:: -1 if reverse else 1]
        mixing = mixing.astype(dtype)
        if may_stand_left(waves):
            waves = op.Reshape(op.MatMul(mixing, op.Reshape(waves, [0, 3, -1])), [0, 3, height, width])
        else:
            waves = op.Conv(waves, mixing[:, :, None, None])
    return op.Sigmoid(waves) * 2.0 - 1.0


def _between(across: Tensor | npt.NDArray[Any], image: Tensor, down: Tensor | npt.NDArray[Any]) -> Tensor:
    """downᵀ · image · across, for matrices [length, length], or [K, length, length], one per image.

    They stand to the right of the rows of all channels, for `may_stand_left`'s reason; transposing costs little.
    """
    shape, (channels, height, width) = image.value.shape, _sizes(image)
    for matrix, length in ((across, width), (down, height)):
        product = op.MatMul(op.Reshape(image, [0, -1, length]), matrix)
        image = op.Transpose(op.Reshape(product, [0, channels, -1, length]), perm=[0, 1, 3, 2])
    image.value.shape = shape
    return image


def write_view(image: Tensor, recipe: Recipe, step: Tensor, key: Tensor, seed: int, opset: int) -> Tensor:
    """What the network sees of J in this step: blurred, then moved, mirrored and recoloured at random; 0 where J ends.

    Args:
        image: J [K, C, H, W].
        recipe: how far.
        step: int64, its number.
        key: int64 [K], which random numbers an image gets; images of one key see the same views.
        seed: of all of them.
        opset: of the graph, as GridSample calls one thing by two names.
    """
    channels, height, width = _sizes(image)
    if recipe.blur or recipe.blur_end:
        done = op.Cast(step, to=image.dtype) * (1 / max(recipe.steps - 1, 1))
        sigma = done * (recipe.blur_end - recipe.blur) + recipe.blur
        across, down = (op.Transpose(_blur(length, sigma), perm=[1, 0]) for length in (width, height))
        image = _between(across, image, down)
    draws = _GAINS + 2 * channels
    draw = uniform(op.Unsqueeze(key + step * KEYS, [1]) * draws + np.arange(draws), seed) * 2.0 - 1.0
    if recipe.rotate:
        image = _turned(image, recipe, draw, opset)
    elif recipe.is_moved:
        image = _moved(image, recipe, draw)
    if recipe.colour:
        image = _recoloured(image, recipe.colour, draw)
    return image + _grain(image, recipe.grain, step, seed) if recipe.grain else image


def _moved(image: Tensor, recipe: Recipe, draw: Tensor) -> Tensor:
    """What `_turned` does to an angle of 0, as two products of matrices, which take much less time."""
    _, height, width = _sizes(image)
    shrink, side, move = _size_and_side(recipe, draw)
    down = _sampling(height, shrink, _drawn(move, range(1, 2)))
    across = _sampling(width, shrink * side, _drawn(move, range(1)))
    return _between(across, image, down)


def _sampling(length: int, factor: Tensor, move: Tensor) -> Tensor:
    """Linear interpolation at the samples times a factor, moved by a share: matrices [K, length, length] for the right.

    Column j holds what sample j takes of each.
    """
    places = np.arange(length) - (length - 1) / 2
    dtype = factor.dtype.numpy()
    seen = op.Unsqueeze(factor * places.astype(dtype) + move * length, [1])
    return op.Max(1.0 - op.Abs(seen - places[:, None].astype(dtype)), np.array(0, dtype))


def _size_and_side(recipe: Recipe, draw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale of the sampling points [K, 1], mirror sign of x [K, 1], and shift [K, 2], a fraction of the side."""
    shrink = op.Exp(_drawn(draw, _SIZE) * -math.log(recipe.scale))
    side = op.Where(_drawn(draw, _SIDE) < 0, -1.0 if recipe.mirror else 1.0, 1.0)
    return shrink, side, _drawn(draw, _MOVE) * recipe.jitter


def _turned(image: Tensor, recipe: Recipe, draw: Tensor, opset: int) -> Tensor:
    shape, dtype, (_, height, width) = image.value.shape, image.dtype, _sizes(image)
    angle = _drawn(draw, _ANGLE) * math.radians(recipe.rotate)
    shrink, side, move = _size_and_side(recipe, draw)
    cos, sin = op.Cos(angle) * shrink, op.Sin(angle) * shrink
    y, x = (each.reshape(-1, 1).astype(dtype.numpy()) for each in np.mgrid[:height, :width])
    of_x = op.Unsqueeze(op.Concat(cos * side, -sin * side, axis=1), [1])
    of_y = op.Unsqueeze(op.Concat(sin, cos, axis=1), [1])
    sides = np.array([width, height])
    places = ((x - (width - 1) / 2) * of_x + (y - (height - 1) / 2) * of_y) * (2 / sides)
    places = places + op.Unsqueeze(move, [1]) * 2.0  # GridSample counts each side from -1 to 1
    grid = op.Reshape(places, [-1, height, width, 2])
    options = {"mode": "linear" if opset >= 20 else "bilinear", "padding_mode": "zeros", "align_corners": 0}
    rounded = opset < 20 and dtype == ir.DataType.DOUBLE  # the old version has no kernel for doubles in ONNX Runtime
    if rounded:
        image, grid = (op.Cast(each, to=ir.DataType.FLOAT) for each in (image, grid))
    view = op.GridSample(image, grid, **options)
    view = op.Cast(view, to=dtype) if rounded else view
    view.value.shape = shape
    return view


def _grain(image: Tensor, size: float, step: Tensor, seed: int) -> Tensor:
    """Noise [1, C, H, W] of this step: a random cut out of a larger table, which is cheaper than numbers made anew."""
    channels, height, width = _sizes(image)
    table = np.random.default_rng(seed).standard_normal((1, channels, height + _ROOM, width + _ROOM)) * size
    index = step * 2 + np.arange(2)
    start = op.Cast(uniform(index, seed) * float(_ROOM), to=ir.DataType.INT64)
    # Gather, as Slice takes its starts on the host, and so would have them copied there in every step.
    rows, columns = (op.Gather(start, [axis]) + np.arange(side) for axis, side in enumerate((height, width)))
    noise = op.Gather(op.Gather(table.astype(image.dtype.numpy()), rows, axis=2), columns, axis=3)
    noise.value.shape = ir.Shape([1, channels, height, width])
    return noise


def _recoloured(image: Tensor, spread: float, draw: Tensor) -> Tensor:
    """Each channel with a gain, e to the power of up to ± spread, and a shift of up to ± spread of its own."""
    shape, (channels, _, _) = image.value.shape, _sizes(image)
    gain, shift = (
        op.Reshape(_drawn(draw, range(first, first + channels)) * spread, [-1, channels, 1, 1])
        for first in (_GAINS, _GAINS + channels)
    )
    recoloured = image * op.Exp(gain) + shift
    recoloured.value.shape = shape
    return recoloured


def _drawn(draw: Tensor, columns: range) -> Tensor:
    # Gather, as slices of all columns become one Split, whose sizes the runtime copies to a GPU in every step.
    return op.Gather(draw, list(columns), axis=1)


_ROOM = 48  # of the table of noise, beyond the image


_ANGLE, _SIZE, _MOVE, _SIDE = range(1), range(1, 2), range(2, 4), range(4, 5)  # which random numbers of a view
_GAINS = 5  # the first of as many gains, then shifts, as there are channels
KEYS = 1 << 16
"""Keys are below this; more than there are classes."""


def write_input(image: Tensor, recipe: Recipe, range_: Range) -> Tensor:
    """I as the network takes it, [K, C, H, W]: J about the middle of the range, or about the network's own zero.

    The paper's image starts from zero, where the training data lay; one of waves is a picture, from black to white.
    """
    scaled = image * _column(range_.half)
    return scaled + _column(range_.middle) if recipe.fourier else scaled


def _blur(length: int, sigma: Tensor) -> Tensor:
    """The matrix of a Gaussian blur, (length, length), rows that add up to 1; the identity for a sigma near 0."""
    distance = np.subtract.outer(np.arange(length), np.arange(length)).astype(sigma.dtype.numpy())
    variance = op.Max(sigma * sigma, np.array(1e-3, sigma.dtype.numpy()))
    bells = op.Exp(op.Div(-0.5 * distance**2, variance))
    return bells / op.ReduceSum(bells, [1], keepdims=1)


def _sizes(image: Tensor) -> tuple[int, int, int]:
    assert image.dims is not None
    channels, height, width = (int(side) for side in image.dims[1:] if isinstance(side, int))
    return channels, height, width


def fourier_basis(length: int) -> npt.NDArray[np.float64]:
    """Orthonormal sines and cosines over `length` samples, one per row; row 0 is constant, then pairs by frequency."""
    t = np.arange(length)
    rows = [np.full(length, 1.0)]
    for k in range(1, length // 2 + 1):
        rows += [np.cos(2 * np.pi * k * t / length), np.sin(2 * np.pi * k * t / length)]
    return np.stack([row / np.linalg.norm(row) for row in rows[:length]])


def amplitudes(height: int, width: int, decay: float = 1.0) -> npt.NDArray[np.float64]:
    """1 / frequency^decay of each product of a row's and a column's wave, (H, W); 1 is how photographs are made.

    The slowest wave has the same amplitude whatever the decay.
    """
    down, across = ((np.arange(side) + 1) // 2 / side for side in (height, width))
    frequency = np.hypot(down[:, None], across[None])
    lowest = 1 / max(height, width)
    amplitude: npt.NDArray[np.float64] = (lowest / np.maximum(frequency, lowest)) ** decay / lowest
    return amplitude


def _column(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """One value per channel, to meet [K, C, H, W]."""
    return values.reshape(-1, 1, 1)
