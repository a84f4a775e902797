"""`localize`: the most probable classes of each picture first, each what `segment` finds of it."""

import numpy as np
import pytest
from test_segmentation import DISC, FIVE, NAMES, SQUASH, drawn, replace

import onnx_saliency as xs
from onnx_saliency.embedded import default_model, default_pictures
from onnx_saliency.errors import ImageError, TargetError
from onnx_saliency.vision import SEGMENT_RECIPES

BEST = replace(SEGMENT_RECIPES["best"], method="gradient")
OPTIONS = {"preprocess": SQUASH, "labels": NAMES, "providers": ["cpu"]}


def pictures():
    return [drawn((60, 80), [DISC])[0], drawn((300, 200), [DISC], (200, 10, 90), seed=1)[0]]


@pytest.mark.parametrize("recipe", ["paper", BEST], ids=["paper", "best"])
def test_each_class_is_what_segment_finds_of_it(recipe):
    found = xs.localize(FIVE, pictures(), top=3, recipe=recipe, **OPTIONS)
    assert [len(each) for each in found] == [3, 3]
    for detections, picture in zip(found, pictures(), strict=True):
        scores = [each.score for each in detections]
        assert scores == sorted(scores, reverse=True)
        assert len({each.target for each in detections}) == 3
        predicted = xs.segment(FIVE, picture, recipe=recipe, **OPTIONS)
        assert predicted.target == detections[0].target
        for each in detections:
            alone = xs.segment(FIVE, picture, each.target, recipe=recipe, **OPTIONS)
            np.testing.assert_array_equal(each.mask, alone.mask)
            assert (each.box, each.label, each.notes) == (alone.box, alone.label, alone.notes)
            assert each.score == pytest.approx(alone.score, rel=1e-5)
            assert each.label == NAMES[each.target]


def test_one_picture_is_a_list_of_one():
    (detections,) = xs.localize(FIVE, pictures()[0], **OPTIONS)
    assert sorted(each.target for each in detections) == [0, 1, 2, 3, 4]
    assert xs.localize(FIVE, [], **OPTIONS) == []


def test_more_classes_than_there_are():
    with pytest.raises(TargetError, match="the model has 5, not 6"):
        xs.localize(FIVE, pictures(), top=6, **OPTIONS)


def test_what_is_no_picture():
    with pytest.raises(ImageError, match=r"missing\.png"):
        xs.localize(FIVE, [pictures()[0], "missing.png"], **OPTIONS)


@pytest.mark.parametrize("recipe", SEGMENT_RECIPES)
def test_the_embedded_model(recipe):
    ((first, *_),) = xs.localize(default_model(), default_pictures()[0], top=2, recipe=recipe)
    xmin, ymin, xmax, ymax = first.box
    assert 0 <= xmin < xmax <= first.mask.shape[1]
    assert 0 <= ymin < ymax <= first.mask.shape[0]
    assert 0 < first.mask.mean() < 1
