"""Masks in the pixels of the upright picture, from every kind of file."""

import numpy as np
import pytest
from PIL import Image

from onnx_saliency.evaluation.datasets import Example, MaskRule, read_mask
from onnx_saliency.images import read_picture

VALUES = np.zeros((6, 9), np.uint8)
VALUES[1:4, 2:8] = 5
VALUES[4, 2:4] = 7


def example(tmp_path, mask, orientation=1, rule=None):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = tmp_path / "picture.png"
    Image.fromarray(np.where(VALUES == 5, 255, 0).astype(np.uint8)).save(image, exif=exif)
    path = tmp_path / "mask.png"
    mask.save(path)
    return Example(image, frozenset([1]), np.array([[2.0, 1, 8, 4]]), "thing", path, rule)


def palette():
    image = Image.fromarray(VALUES).convert("P")
    image.putdata(VALUES.ravel().tolist())
    image.putpalette([200, 10, 30] * 256)
    return image


@pytest.mark.parametrize(
    "mask",
    [
        Image.fromarray(VALUES),
        palette(),
        Image.fromarray(VALUES.astype(np.uint16)),
        Image.fromarray(VALUES).convert("LA"),
    ],
    ids=["grey", "palette", "16 bits", "alpha"],
)
def test_the_numbers_of_a_file(tmp_path, mask):
    found = read_mask(example(tmp_path, mask, rule=MaskRule(5, 5, (7,))))
    np.testing.assert_array_equal(found.object, VALUES == 5)
    np.testing.assert_array_equal(found.counted, VALUES != 7)


def test_without_a_rule_whatever_is_not_0(tmp_path):
    found = read_mask(example(tmp_path, Image.fromarray(VALUES)))
    np.testing.assert_array_equal(found.object, VALUES > 0)
    assert found.counted.all()


def test_small_numbers_with_a_0_are_no_trimap(tmp_path):
    values = np.arange(54).reshape(6, 9) % 4
    found = read_mask(example(tmp_path, Image.fromarray(values.astype(np.uint8))))
    np.testing.assert_array_equal(found.object, values > 0)
    assert found.counted.all()


@pytest.mark.parametrize("values", [np.zeros((6, 9)), np.ones((6, 9))])
def test_nothing_or_everything_is_the_object(tmp_path, values):
    for scale in (1, 255):
        found = read_mask(example(tmp_path, Image.fromarray((values * scale).astype(np.uint8))))
        np.testing.assert_array_equal(found.object, values > 0)
        assert found.counted.all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("scale", [1, 2])
def test_masks_are_turned_as_their_pictures_are(tmp_path, orientation, scale):
    mask = Image.fromarray(VALUES.repeat(scale, 0).repeat(scale, 1))
    made = example(tmp_path, mask, orientation, MaskRule(5, 5))
    np.testing.assert_array_equal(read_mask(made).object, read_picture(made.image).pixels[:, :, 0] > 0)


def test_a_mask_that_is_upright_already(tmp_path):
    upright = Image.fromarray(VALUES).transpose(Image.Transpose.ROTATE_270)
    made = example(tmp_path, upright, 6, MaskRule(5, 5))
    np.testing.assert_array_equal(read_mask(made).object, read_picture(made.image).pixels[:, :, 0] > 0)
