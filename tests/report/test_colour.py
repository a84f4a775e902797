import numpy as np
import pytest

from onnx_saliency.report.colour import heat, signed


def lightness(colours):
    """CIE L* of sRGB colours (..., 3) in 0..255, from the definitions."""
    share = colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)


def test_shape_and_type():
    colours = heat(np.zeros((4, 7), np.float32))
    assert colours.shape == (4, 7, 3)
    assert colours.dtype == np.uint8


def test_more_is_lighter_in_even_steps():
    values = np.linspace(0, 1, 256)
    steps = lightness(heat(values[None])[0].astype(float))
    assert (np.diff(steps) > -0.5).all()  # rounding to 8 bits
    assert (np.diff(steps[::8]) > 0).all()
    assert np.abs(steps - np.linspace(steps[0], steps[-1], 256)).max() < 6
    assert steps[0] < 8
    assert steps[-1] > 95


def test_every_value_has_its_own_colour():
    colours = heat(np.linspace(0, 1, 256)[None])[0]
    assert len({tuple(colour) for colour in colours.tolist()}) > 250


@pytest.mark.parametrize(("value", "as_if"), [(-3.0, 0.0), (7.0, 1.0), (np.nan, 0.0), (np.inf, 1.0), (-np.inf, 0.0)])
def test_values_outside_are_clipped(value, as_if):
    assert np.array_equal(heat(np.array([[value]])), heat(np.array([[as_if]])))


@pytest.mark.parametrize("shape", [(2, 3, 3), (2, 3, 1), (2, 3)])
def test_signed_values_around_grey(shape):
    values = np.zeros(shape, np.float32)
    values[0, 0], values[1, 2] = -0.02, 0.02
    pixels = signed(values)
    assert pixels.shape == (2, 3, 3)
    assert pixels.dtype == np.uint8
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[1, 2].tolist() == [255, 255, 255]
    assert (pixels[0, 1:] == 128).all()


def test_each_colour_has_its_sign():
    assert signed(np.array([[[1.0, -1.0, 0.0]]])).tolist() == [[[255, 0, 128]]]


def test_one_large_value_does_not_leave_the_others_grey():
    values = np.tile([-1.0, 1.0], (20, 20))
    values[0, 0] = 1e6
    assert signed(values)[1, :2, 0].tolist() == [0, 255]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_nothing_signed_is_grey(value):
    assert (signed(np.full((3, 4), value)) == 128).all()
