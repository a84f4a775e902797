"""One convention for boxes, against pictures in which the box is painted."""

import numpy as np
import pytest
from PIL import Image

from onnx_saliency.evaluation.datasets.boxes import fit, from_inclusive, from_size
from onnx_saliency.images import Header, read_header, read_picture

HEIGHT, WIDTH = 8, 12


def test_the_first_pixel_and_the_whole_picture():
    assert from_inclusive([(1, 1, 1, 1), (1, 1, WIDTH, HEIGHT)]).tolist() == [[0, 0, 1, 1], [0, 0, WIDTH, HEIGHT]]
    assert from_size([(0, 0, 1, 1), (2.5, 3, 4, 0.5)]).tolist() == [[0, 0, 1, 1], [2.5, 3, 6.5, 3.5]]
    assert from_inclusive([]).shape == from_size([]).shape == (0, 4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("annotated", [None, "stored", "upright"])
def test_boxes_are_of_the_upright_picture(tmp_path, orientation, annotated):
    """A white box on black is where the box says, however the file tells to turn it."""
    box, pixels = (2, 1, 9, 4), np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(pixels).save(path, exif=exif)
    upright = read_picture(path).pixels[:, :, 0] > 127
    ys, xs = np.nonzero(upright)
    seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    size = {None: None, "stored": (WIDTH, HEIGHT), "upright": upright.shape[::-1]}[annotated]
    given = seen if annotated == "upright" and orientation >= 5 else box
    fitted, faults = fit(np.array([given], float), read_header(path), size)
    assert fitted.tolist() == [seen]
    assert not faults


def test_scaled_from_the_size_that_was_annotated():
    fitted, faults = fit(np.array([[10.0, 10, 60, 40]]), Header((40, 30), 1), (120, 80))
    assert fitted.tolist() == [[2.5, 5, 15, 20]]
    assert not faults


def test_rounding_beyond_the_edge_is_clipped():
    fitted, faults = fit(np.array([[-1.0, -0.5, WIDTH + 1, HEIGHT + 0.4]]), Header((HEIGHT, WIDTH), 1), None)
    assert fitted.tolist() == [[0, 0, WIDTH, HEIGHT]]
    assert not faults


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((4, 2, 4, 6), "box (4, 2, 4, 6) has no area"),
        ((6, 2, 4, 6), "has no area"),
        ((0, 0, WIDTH + 1.5, 2), "box (0, 0, 13.5, 2) is outside its picture of 12 x 8"),
        ((-1.5, 0, 4, 4), "is outside"),
        ((WIDTH, 0, WIDTH + 0.5, 4), "is outside"),
        ((0, -1, 4, 0), "is outside"),
        ((-1, 0, 0, 4), "is outside"),
        ((0, HEIGHT, 4, HEIGHT + 1), "is outside"),
    ],
)
def test_boxes_that_are_none(box, said):
    _, faults = fit(np.array([[0, 0, 3, 3], box], float), Header((HEIGHT, WIDTH), 1), None)
    assert len(faults) == 1
    assert said in faults[0]
