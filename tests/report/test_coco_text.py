"""Run lengths by their definition, and a document that other programs can read."""

import json

import numpy as np
import pytest

from onnx_saliency.report.coco import CocoText, run_lengths


def test_columns_first_and_what_is_not_set_first():
    assert run_lengths(np.array([[0, 1], [0, 1], [1, 0]], bool)) == [2, 3, 1]
    assert run_lengths(np.array([[1, 0], [1, 0]], bool)) == [0, 2, 2]
    assert run_lengths(np.zeros((2, 3), bool)) == [6]
    assert run_lengths(np.ones((2, 3), bool)) == [0, 6]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
@pytest.mark.parametrize("order", ["C", "F"])
def test_there_and_back(share, order):
    rng = np.random.default_rng(0)
    for height, width in [(1, 1), (1, 40), (40, 1), (17, 23)]:
        mask = np.asarray(rng.random((height, width)) < share, order=order)
        lengths = run_lengths(mask)
        assert all(length > 0 for length in lengths[1:])
        values = np.repeat(np.arange(len(lengths)) % 2, lengths)
        np.testing.assert_array_equal(values.reshape(width, height).T.astype(bool), mask)


def test_a_document():
    coco = CocoText()
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    number = coco.add_image('ünï "x".jpg', 6, 4)
    coco.add_annotation(number, 7, "cat", (2, 1, 5, 3), 0.5, mask)
    coco.add_annotation(number, 0, "dog", (2, 1, 5, 3), 0.25, mask)
    read = json.loads(coco.text())
    assert read["images"] == [{"id": 1, "file_name": 'ünï "x".jpg', "width": 6, "height": 4}]
    assert read["categories"] == [{"id": 0, "name": "dog"}, {"id": 7, "name": "cat"}]
    assert read["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 7,
        "bbox": [2, 1, 3, 2],
        "area": 6,
        "score": 0.5,
        "iscrowd": 0,
        "segmentation": {"size": [4, 6], "counts": [9, 2, 2, 2, 2, 2, 5]},
    }


def test_nothing_found():
    assert json.loads(CocoText().text()) == {"images": [], "categories": [], "annotations": []}
