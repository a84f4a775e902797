import numpy as np
import pytest

from onnx_saliency.errors import ImageError
from onnx_saliency.images import Placement
from onnx_saliency.report.overlay import framed, normalise, overlay

rng = np.random.default_rng(11)
PICTURE = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def spread(colours):
    """Mean difference between a pixel's strongest and weakest channel: how colourful a picture is."""
    return np.ptp(colours.astype(float), axis=2).mean()


@pytest.mark.parametrize("value", [0.0, 3.7, -2.0, 1e-20, 1e20, np.nan])
@pytest.mark.parametrize("smooth", [None, 0, 5.0])
def test_a_constant_map_is_all_zero(value, smooth):
    shown = normalise(np.full((17, 23), value, np.float32), smooth=smooth)
    assert shown.dtype == np.float32
    assert np.array_equal(shown, np.zeros((17, 23)))


def test_without_smoothing_and_clipping_it_is_a_straight_line():
    values = rng.normal(size=(30, 40))
    expected = (values - values.min()) / (values.max() - values.min())
    assert np.allclose(normalise(values, quantile=1, smooth=0), expected, atol=1e-6)


def test_the_quantile_becomes_one():
    values = rng.permutation(1001).reshape(7, 143).astype(np.float32)
    shown = normalise(values, quantile=0.9, smooth=0)
    assert shown.max() == 1
    assert (shown == 1).sum() == 101  # 900 and everything above
    assert shown[values == 450] == pytest.approx(0.5)


def test_one_outlier_does_not_darken_the_rest():
    values = rng.random((100, 100))
    values[3, 4] = 1e4
    assert normalise(values, smooth=0).mean() == pytest.approx(0.5, abs=0.02)


def test_a_single_bright_cell_is_not_lost_to_the_quantile():
    values = np.zeros((100, 100), np.float32)
    values[30, 70] = 5
    shown = normalise(values, smooth=0)
    assert shown[30, 70] == 1
    assert shown.sum() == 1


def test_smoothing_spreads_a_point_like_a_gaussian():
    values = np.zeros((81, 81))
    values[40, 40] = 1
    shown = normalise(values, quantile=1, smooth=4.0)
    for distance in (2, 4, 8):
        expected = np.exp(-(distance**2) / (2 * 4.0**2))
        assert shown[40, 40 + distance] == pytest.approx(expected, abs=1e-3)
        assert shown[40 - distance, 40] == pytest.approx(expected, abs=1e-3)


def test_default_smoothing_grows_with_the_map():
    def width_at_half(size):
        values = np.zeros((size, size))
        values[size // 2, size // 2] = 1
        return (normalise(values, quantile=1)[size // 2] > 0.5).sum()

    assert width_at_half(800) == pytest.approx(2 * width_at_half(400), rel=0.15)


def test_nan_and_infinity_count_as_zero():
    values = np.array([[0.0, 1.0, 2.0], [np.nan, np.inf, -np.inf]])
    expected = normalise(np.array([[0.0, 1.0, 2.0], [0, 0, 0]]), smooth=0)
    assert np.array_equal(normalise(values, smooth=0), expected)


def test_the_map_given_is_left_alone():
    values = rng.random((20, 20))
    before = values.copy()
    normalise(values)
    assert np.array_equal(values, before)


@pytest.mark.parametrize("quantile", [0, -0.1, 1.1, 99.5])
def test_quantile_is_a_share(quantile):
    with pytest.raises(ValueError, match="quantile"):
        normalise(rng.random((5, 5)), quantile=quantile)


def test_overlay_of_a_zero_map_is_the_picture_dimmed_and_grey():
    shown = overlay(PICTURE, np.zeros((40, 60), np.float32))
    assert shown.dtype == np.uint8
    assert shown.shape == PICTURE.shape
    assert shown.mean() < 0.6 * PICTURE.mean()
    assert spread(shown) < 0.2 * spread(PICTURE)
    grey = PICTURE @ [0.299, 0.587, 0.114]
    assert np.corrcoef(grey.ravel(), shown.mean(axis=2).ravel())[0, 1] > 0.95


def test_overlay_undimmed_and_untinted_where_the_map_is_high_is_the_picture():
    assert np.array_equal(overlay(PICTURE, np.ones((40, 60)), tint=0), PICTURE)


def test_overlay_stands_out_on_any_picture():
    for ground in (0, 60, 128, 200, 255):
        picture = np.full((40, 60, 3), ground, np.uint8)
        values = np.zeros((40, 60))
        values[10:30, 20:40] = 1
        shown = overlay(picture, values).astype(float).mean(axis=2)
        assert shown[10:30, 20:40].min() > shown[:, :20].max() + 80


def test_overlay_lets_the_picture_through_where_the_map_is_high():
    chequers = np.kron(np.indices((4, 6)).sum(axis=0) % 2 * 255, np.ones((10, 10)))
    picture = np.repeat(chequers[:, :, None], 3, axis=2).astype(np.uint8)
    shown = overlay(picture, np.ones((40, 60))).astype(float).mean(axis=2)
    assert shown[picture[:, :, 0] == 255].mean() - shown[picture[:, :, 0] == 0].mean() > 80


def test_overlay_never_darkens_as_the_map_grows_on_grey():
    picture = np.full((1, 101, 3), 128, np.uint8)
    shown = overlay(picture, np.linspace(0, 1, 101)[None]).astype(float)[0].mean(axis=1)
    assert (shown[10:] - shown[:-10] > -1).all()
    assert shown[-1] - shown[0] > 100


def test_overlay_of_nan_is_overlay_of_zero():
    nothing = np.zeros((40, 60))
    assert np.array_equal(overlay(PICTURE, nothing * np.nan), overlay(PICTURE, nothing))


def test_overlay_refuses_a_map_of_another_size():
    with pytest.raises(ImageError, match=r"\(60, 40\).*\(40, 60\)"):
        overlay(PICTURE, np.zeros((60, 40)))


def test_every_row_of_a_tall_picture_is_drawn():
    tall = rng.integers(0, 256, (700, 3, 3), dtype=np.uint8)
    values = rng.random((700, 3))
    row_by_row = np.concatenate([overlay(tall[i : i + 1], values[i : i + 1]) for i in range(700)])
    assert np.array_equal(overlay(tall, values), row_by_row)


@pytest.mark.parametrize(
    ("box", "line"),
    [
        ((0.0, 0.0, 60.0, 40.0), []),
        ((-5.0, -5.0, 65.0, 45.0), []),  # padded
        ((10.0, 0.0, 50.0, 40.0), ["left", "right"]),
        ((10.2, 5.0, 49.8, 35.0), ["left", "top", "right", "bottom"]),
    ],
)
def test_a_line_frames_what_the_network_saw(box, line):
    drawn = framed(PICTURE, Placement((40, 60), box, (8, 8)))
    left, top, right, bottom = (
        max(0, round(box[0])),
        max(0, round(box[1])),
        min(60, round(box[2])),
        min(40, round(box[3])),
    )
    changed = np.zeros((40, 60), bool)
    sides = {"left": np.s_[top:bottom, left], "right": np.s_[top:bottom, right - 1]}
    sides |= {"top": np.s_[top, left:right], "bottom": np.s_[bottom - 1, left:right]}
    for side in line:
        changed[sides[side]] = True
    np.testing.assert_array_equal(drawn[~changed], PICTURE[~changed])
    np.testing.assert_array_equal(drawn[changed], np.rint((PICTURE[changed] + 235.0) / 2))


def test_a_large_picture_has_a_line_that_is_seen():
    drawn = framed(np.zeros((1000, 2000, 3), np.uint8), Placement((1000, 2000), (500.0, 0.0, 1500.0, 1000.0), (8, 8)))
    assert drawn.any(axis=(0, 2)).nonzero()[0].tolist() == [*range(500, 504), *range(1496, 1500)]
