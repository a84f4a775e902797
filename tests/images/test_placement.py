import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from onnx_saliency.errors import ImageError
from onnx_saliency.images import placement as placement_module
from onnx_saliency.images.picture import Picture
from onnx_saliency.images.placement import Placement, prepare, to_pixels
from onnx_saliency.images.preprocess import PRESETS, Preprocess, preset


def noise(height, width, seed=0):
    return Picture(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8), "noise")


def smooth(height, width):
    """Three planes: columns, rows and a constant, so that a value tells its place."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [255 * columns / max(width - 1, 1), 255 * rows / max(height - 1, 1), np.full((height, width), 77)]
    return Picture(np.stack(planes, axis=2).round().astype(np.uint8), "smooth")


def torchvision_pixels(pixels, resize, height, width):
    """Resize(resize) and CenterCrop(height, width), step by step as torchvision does on PIL images."""
    image = Image.fromarray(pixels)
    w, h = image.size
    short, long = min(w, h), max(w, h)
    new_long = int(resize * long / short)
    image = image.resize((resize, new_long) if w <= h else (new_long, resize), Image.Resampling.BILINEAR)
    top, left = round((image.height - height) / 2.0), round((image.width - width) / 2.0)
    return np.asarray(image.crop((left, top, left + width, top + height)))


@pytest.mark.parametrize("shape", [(300, 500), (500, 300), (256, 256), (333, 257), (100, 90), (1024, 700)])
@pytest.mark.parametrize(("resize", "size"), [(256, (224, 224)), (219, (192, 192)), (64, (64, 40)), (71, (32, 33))])
def test_short_side_and_centre_crop(shape, resize, size):
    recipe = Preprocess(size=size, resize=resize, mean=0, std=1)
    array, placement = prepare(noise(*shape), recipe, "NHWC")
    expected = torchvision_pixels(noise(*shape).pixels, resize, *size).astype(int)
    assert np.array_equal(array, expected)
    assert placement.picture_size == shape
    assert placement.input_size == size


def test_squash_is_pils_resize_of_the_whole():
    array, placement = prepare(noise(50, 80), Preprocess(size=(32, 24), resize=None, mean=0, std=1), "NHWC")
    expected = Image.fromarray(noise(50, 80).pixels).resize((24, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(array, np.asarray(expected))
    assert placement.box == (0, 0, 80, 50)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (500, 700)])
def test_a_crop_larger_than_the_short_side_enlarges_the_picture(shape):
    big = Preprocess(size=299, resize=256, mean=0, std=1)
    fitting = Preprocess(size=299, resize=299, mean=0, std=1)
    array, placement = prepare(noise(*shape), big)
    expected, expected_placement = prepare(noise(*shape), fitting)
    assert np.array_equal(array, expected)
    assert placement == expected_placement
    assert placement.box[2] - placement.box[0] == pytest.approx(min(shape), rel=1 / 299)


def test_an_oblong_crop_of_an_upright_picture_fits_too():
    _, placement = prepare(noise(400, 100), Preprocess(size=(100, 300), resize=120))
    x0, y0, x1, y1 = placement.box
    assert (x0, x1) == (0, 100)
    assert y1 - y0 == pytest.approx(100 / 3, abs=0.1)
    assert (y0 + y1) / 2 == pytest.approx(200, abs=0.5)


def test_a_long_strip_costs_no_more_than_its_crop():
    # Resized whole, this would be 256 x 7,680,000 pixels of 3 bytes.
    array, placement = prepare(noise(3, 90_000), Preprocess(size=224, mean=0, std=1))
    assert array.shape == (3, 224, 224)
    assert (placement.box[0] + placement.box[2]) / 2 == pytest.approx(45_000, abs=1)


def test_the_two_ways_of_cutting_agree(monkeypatch):
    literal, placement = prepare(noise(300, 500), Preprocess(size=224, mean=0, std=1))
    monkeypatch.setattr(placement_module, "MAX_PIXELS", 0)
    boxed, boxed_placement = prepare(noise(300, 500), Preprocess(size=224, mean=0, std=1))
    assert placement == boxed_placement
    assert np.abs(literal - boxed).max() <= 2
    assert np.abs(literal - boxed).mean() < 0.3


@settings(max_examples=200, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    resize=st.one_of(st.none(), st.integers(1, 100)),
)
def test_any_picture_fits_any_network(shape, size, resize):
    array, placement = prepare(noise(*shape), Preprocess(size=size, resize=resize, mean=0, std=1), "NHWC")
    x0, y0, x1, y1 = placement.box
    assert array.shape == (*size, 3)
    assert 0 <= x0 < x1 <= shape[1]
    assert 0 <= y0 < y1 <= shape[0]
    restored = placement.restore(np.ones(size, np.float32))
    assert restored.shape == shape
    assert restored.max() == pytest.approx(1, abs=1e-5)


def test_channel_order_mean_and_std_by_hand():
    picture = Picture(np.array([[[10, 20, 30]]], np.uint8), "one pixel")
    for channels, expected in (("RGB", [(10 - 1) / 2, (20 - 2) / 4, (30 - 3) / 8]), ("BGR", [29 / 2, 18 / 4, 7 / 8])):
        recipe = Preprocess(size=1, resize=None, mean=(1, 2, 3), std=(2, 4, 8), channels=channels)
        array, _ = prepare(picture, recipe)
        assert array.shape == (3, 1, 1)
        assert array.dtype == np.float32
        assert array.ravel().tolist() == expected


def test_luminance_is_one_channel():
    picture = Picture(np.full((4, 4, 3), (100, 150, 200), np.uint8), "blue")
    recipe = Preprocess(size=4, resize=None, mean=0, std=1, channels="L")
    luminance = round(0.299 * 100 + 0.587 * 150 + 0.114 * 200)
    assert np.array_equal(prepare(picture, recipe, "NCHW")[0], np.full((1, 4, 4), luminance))
    assert np.array_equal(prepare(picture, recipe, "NHWC")[0], np.full((4, 4, 1), luminance))


def test_layouts_are_transposes():
    nchw, _ = prepare(noise(40, 50), preset("imagenet", (24, 32)), "NCHW")
    nhwc, _ = prepare(noise(40, 50), preset("imagenet", (24, 32)), "NHWC")
    assert nchw.shape == (3, 24, 32)
    assert np.array_equal(nchw, np.moveaxis(nhwc, 2, 0))
    assert nchw.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_dtypes(dtype):
    array, _ = prepare(noise(40, 50), preset("imagenet", 32), dtype=dtype)
    reference, _ = prepare(noise(40, 50), preset("imagenet", 32), dtype=np.float64)
    assert array.dtype == dtype
    assert np.allclose(array, reference, rtol=2e-3, atol=2e-3)


def test_integer_networks_take_pixels():
    reference, _ = prepare(noise(40, 50), preset("raw255", 32))
    array, _ = prepare(noise(40, 50), preset("raw255", 32), dtype=np.uint8)
    assert array.dtype == np.uint8
    assert np.array_equal(array, reference)
    shifted, _ = prepare(noise(40, 50), Preprocess(size=32, resize=None, mean=128, std=1), dtype=np.int8)
    assert np.array_equal(shifted, reference - 128)


@pytest.mark.parametrize(
    ("dtype", "fields"),
    [
        (np.uint8, {"mean": 127.5, "std": 127.5}),
        (np.uint8, {"mean": 0, "std": 255}),
        (np.uint8, {"mean": 1, "std": 1}),
        (np.int8, {"mean": 0, "std": 1}),
        (np.int16, {"mean": 0.5, "std": 1}),
    ],
)
def test_integer_networks_refuse_what_they_cannot_hold(dtype, fields):
    with pytest.raises(ImageError, match="cannot hold"):
        prepare(noise(4, 4), Preprocess(size=2, **fields), dtype=dtype)


def test_size_from_the_model_or_from_the_recipe():
    assert prepare(noise(9, 9), Preprocess(), size=(5, 6))[0].shape == (3, 5, 6)
    assert prepare(noise(9, 9), Preprocess(size=(5, 6)))[0].shape == (3, 5, 6)
    assert prepare(noise(9, 9), Preprocess(size=(5, 6)), size=(5, 6))[0].shape == (3, 5, 6)
    with pytest.raises(ImageError, match="the network takes 5 x 6 pixels, the preprocessing gives 7 x 8"):
        prepare(noise(9, 9), Preprocess(size=(7, 8)), size=(5, 6))
    with pytest.raises(ImageError, match="any size"):
        prepare(noise(9, 9), Preprocess())


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_to_pixels_is_the_inverse(name, layout):
    recipe = preset(name, 48)
    pixels = smooth(48, 48).pixels
    array, _ = prepare(Picture(pixels, "smooth"), recipe, layout)
    back = to_pixels(array, recipe, layout)
    assert back.dtype == np.uint8
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    expected = np.stack([grey] * 3, axis=2) if recipe.channels == "L" else pixels
    assert np.array_equal(back, expected)


def test_to_pixels_of_a_stack_is_that_of_each():
    recipe = preset("caffe", 24)
    stack = np.random.default_rng(0).uniform(-120, 130, (2, 5, 3, 24, 24))
    back = to_pixels(stack, recipe)
    assert back.shape == (2, 5, 24, 24, 3)
    assert np.array_equal(back[1, 3], to_pixels(stack[1, 3], recipe))


def test_to_pixels_clips():
    assert to_pixels(np.full((3, 1, 1), 9.0), preset("inception", 224)).ravel().tolist() == [255] * 3
    assert to_pixels(np.full((3, 1, 1), -9.0), preset("inception", 224)).ravel().tolist() == [0] * 3


def centroid(values):
    """Centre of gravity as (x, y) in pixel coordinates, where the first pixel's centre is 0.5."""
    rows, columns = np.mgrid[0 : values.shape[0], 0 : values.shape[1]] + 0.5
    return (columns * values).sum() / values.sum(), (rows * values).sum() / values.sum()


RECIPES = {
    "crop": Preprocess(size=224, resize=256),
    "tight crop": Preprocess(size=96, resize=256),
    "no border": Preprocess(size=224, resize=224),
    "squash": Preprocess(size=224, resize=None),
    "oblong": Preprocess(size=(160, 224), resize=256),
    "small": Preprocess(size=32, resize=None),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("shape", [(300, 520), (520, 300), (400, 400), (90, 130), (1500, 1100)])
def test_a_bright_block_comes_back_where_it_was(shape, recipe):
    """Prepare a black picture with one white block, use the network's input itself as the map, lay it back."""
    array, placement = prepare(Picture(np.zeros((*shape, 3), np.uint8), "black"), recipe)
    x0, y0, x1, y1 = placement.box
    for across, down in ((0.5, 0.5), (0.3, 0.6), (0.75, 0.25)):
        middle = x0 + across * (x1 - x0), y0 + down * (y1 - y0)
        half = 0.1 * min(x1 - x0, y1 - y0)
        left, right = round(middle[0] - half), round(middle[0] + half)
        top, bottom = round(middle[1] - half), round(middle[1] + half)
        pixels = np.zeros((*shape, 3), np.uint8)
        pixels[top:bottom, left:right] = 255
        array, placement = prepare(Picture(pixels, "block"), recipe, dtype=np.float64)
        restored = placement.restore(array[0] - array.min())
        x, y = centroid(restored)
        cell = max((x1 - x0) / array.shape[2], (y1 - y0) / array.shape[1], 1)
        assert abs(x - (left + right) / 2) < 0.5 * cell
        assert abs(y - (top + bottom) / 2) < 0.5 * cell
        assert restored[(top + bottom) // 2, (left + right) // 2] == pytest.approx(restored.max(), rel=0.02)


@pytest.mark.parametrize("shape", [(300, 520), (520, 300)])
def test_nothing_outside_what_the_network_saw(shape):
    _, placement = prepare(noise(*shape), Preprocess(size=96, resize=256))
    restored = placement.restore(np.ones((96, 96), np.float32))
    x0, y0, x1, y1 = placement.box
    for row in range(0, shape[0], 3):
        for column in range(0, shape[1], 3):
            touched = column + 1 > x0 and column < x1 and row + 1 > y0 and row < y1
            assert restored[row, column] == pytest.approx(1.0 if touched else 0.0, abs=1e-5)


def test_restore_in_the_inside_is_pils_bilinear_resize():
    values = np.random.default_rng(3).random((16, 20)).astype(np.float32)
    for height, width in ((64, 60), (8, 10), (11, 37)):
        placement = Placement((height, width), (0.0, 0.0, float(width), float(height)), (16, 20))
        expected = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))
        got = placement.restore(values)
        assert got.dtype == np.float32
        # Beyond the outermost centres Pillow and the edge value agree; everywhere the kernel is the same triangle.
        assert np.allclose(got[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-5)


def test_identity_placement_restores_the_map_itself():
    values = np.random.default_rng(3).random((16, 20)).astype(np.float32)
    placement = Placement((16, 20), (0.0, 0.0, 20.0, 16.0), (16, 20))
    assert np.allclose(placement.restore(values), values, atol=1e-6)


def test_restore_wants_the_map_of_this_input():
    with pytest.raises(ImageError, match=r"\(7, 7\).*\(16, 20\)"):
        Placement((16, 20), (0.0, 0.0, 20.0, 16.0), (16, 20)).restore(np.zeros((7, 7), np.float32))


def test_a_scaled_placement_is_that_of_the_scaled_picture():
    for recipe in RECIPES.values():
        _, large = prepare(noise(600, 800), recipe)
        _, small = prepare(noise(300, 400), recipe)
        scaled = large.scaled((300, 400))
        assert (scaled.picture_size, scaled.input_size) == (small.picture_size, small.input_size)
        assert scaled.box == pytest.approx(small.box, abs=1)
        assert scaled.scaled((600, 800)).box == pytest.approx(large.box)
        assert large.scaled((600, 800)) == large


@pytest.mark.parametrize("size", [(30, 40), (1, 40), (1, 1), (31, 17)])
def test_a_map_laid_on_a_scaled_picture(size):
    """What is uniform stays so over all that was seen; a gradient keeps its middle."""
    _, placement = prepare(noise(300, 400), Preprocess(size=16, resize=None))
    restored = placement.scaled(size).restore(np.ones((16, 16), np.float32))
    np.testing.assert_allclose(restored, np.ones(size), rtol=1e-5)
    ramp = placement.scaled(size).restore(np.tile(np.arange(16, dtype=np.float32), (16, 1)))
    np.testing.assert_allclose(ramp.mean(), 7.5, atol=0.3)


def test_a_crop_stays_where_it_was_when_scaled():
    _, placement = prepare(noise(300, 400), Preprocess(size=16, resize=16))
    seen = placement.scaled((30, 40)).restore(np.ones((16, 16), np.float32)) > 0
    x0, _, x1, _ = (side / 10 for side in placement.box)
    np.testing.assert_array_equal(np.flatnonzero(seen.all(axis=0)), np.arange(int(x0), np.ceil(x1)))
    assert not seen[:, : int(x0)].any()
