"""What is drawn of masks and boxes: where it lies, in which colours, and how large it gets."""

import numpy as np
import pytest

from onnx_saliency.images import Picture
from onnx_saliency.report.detections import (
    colour_of,
    detections,
    detections_sheet,
    object_tiles,
    segment_sheet,
    segment_tiles,
)
from onnx_saliency.vision import Segmentation

ORANGE, BLUE = (255, 186, 8), (58, 134, 255)


def found(box=(30, 20, 60, 70), size=(100, 80), label="cat", target=3, score=0.9, grey=120):
    """An object that fills its box, of a picture of (width, height) in one grey."""
    width, height = size
    mask = np.zeros((height, width), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    seeds = np.where(mask, np.int8(1), np.int8(-1))
    seeds[: height // 10] = 0
    picture = Picture(np.full((height, width, 3), grey, np.uint8), f"{label}.png")
    probabilities = np.full(8, (1 - score) / 7, np.float32)
    return Segmentation(mask, box, target, label, score, probabilities, mask.astype(np.float32), seeds, picture)


def near(pixels, colour, within=40):
    return np.abs(pixels.astype(int) - colour).max(axis=-1) <= within


def test_the_way_of_a_segmentation():
    tiles = segment_tiles(found(), 400)
    assert [tile.title for tile in tiles] == ["cat", "map", "seeds", "object"]
    assert tiles[0].caption == "90.0 %, 100 x 80 pixels"
    assert all(tile.pixels.shape == (320, 400, 3) for tile in tiles)
    picture, drawn, seeds, cut_out = (tile.pixels for tile in tiles)
    assert (picture == 120).all()
    inside, outside = (180, 180), (300, 20)
    assert drawn[inside].sum() > drawn[outside].sum()
    assert seeds[inside][0] > seeds[inside][2] + 80  # orange
    assert seeds[4, 200][2] > seeds[4, 200][0] + 80  # blue
    assert np.ptp(seeds[outside].astype(int)) < 20
    assert (cut_out[inside] == 120).all()
    assert cut_out[outside].max() < 80


def test_a_box_is_drawn_where_it_is():
    pixels = object_tiles([found()], 500)[0].pixels  # five pixels for one
    rows, columns = np.nonzero(near(pixels, colour_of(0)))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (150, 100, 300, 350)


def test_a_colour_for_each_class():
    objects = [found((5 + 16 * i, 30, 17 + 16 * i, 60), label=f"c{i}", target=i) for i in range(5)]
    pixels = detections(objects, 500)
    for i in range(5):
        box = pixels[150:300, 5 * (5 + 16 * i) : 5 * (17 + 16 * i)]
        assert near(box[:, 0], colour_of(i)).mean() > 0.9
        assert near(box[:, -1], colour_of(i)).mean() > 0.9
    assert len({colour_of(i) for i in range(100)}) == 100


def test_boxes_that_coincide_are_all_seen():
    objects = [found(label=f"c{i}", target=i, score=0.5 / (i + 1)) for i in range(6)]
    pixels = detections(objects, 500)
    for i in range(6):
        assert near(pixels, colour_of(i)).sum() > 500


def test_tags_do_not_cover_each_other():
    objects = [found(label=f"class {i}", target=i) for i in range(4)]
    pixels = detections(objects, 500)
    for i in range(4):
        columns = near(pixels, colour_of(i), 4).sum(axis=1)
        assert columns.max() > 40  # a full line of its tag


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000), (4000, 3000)], ids=str)
def test_the_size_is_bounded(size):
    objects = [found((0, 0, *size), size, label=f"a name that is far too long for its box {i}") for i in range(20)]
    assert max(segment_sheet(objects[0]).size) < 3000
    sheet = detections_sheet(objects)
    assert max(sheet.size) < 4000
    assert max(detections(objects, 800).shape) == 800


def test_a_mask_of_nothing_has_no_box():
    nothing = found((0, 0, 0, 0))
    assert not near(object_tiles([nothing], 500)[0].pixels, colour_of(0)).any()
    assert near(detections([nothing, found()], 500), colour_of(1), 4).any()


def test_a_map_of_one_value_everywhere():
    each = found((0, 0, 100, 80))
    assert len(segment_tiles(each)) == 4
