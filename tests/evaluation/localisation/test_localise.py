"""`measure_localisation` against its own words: every number again, from masks made one by one."""

from dataclasses import replace

import numpy as np
import pytest
from nets import small
from PIL import Image
from scipy import ndimage

import onnx_saliency as xs
from onnx_saliency.errors import DatasetError, ImageError
from onnx_saliency.evaluation import best_iou, box_iou
from onnx_saliency.evaluation.datasets import draw_examples, open_dataset, read_mask, resolve_labels
from onnx_saliency.evaluation.localisation.contenders import (
    LEVELS,
    Baseline,
    baselines,
    centred_boxes,
    grab_cut,
    thresholded,
)
from onnx_saliency.evaluation.localisation.measure import measure_localisation, summary
from onnx_saliency.report.localisation import as_json, cells
from onnx_saliency.vision import bounding_box, largest_component

COUNT = 6


@pytest.fixture
def dataset(tmp_path):
    """Six pictures of a bright square, one of them with two right classes, one without a mask's counterpart."""
    rng = np.random.default_rng(0)
    lines = ["image,accepted,xmin,ymin,xmax,ymax"]
    for folder in ("images/set", "masks/set", "boxes"):
        (tmp_path / folder).mkdir(parents=True)
    for i in range(COUNT):
        x, y = rng.integers(2, 12, 2)
        pixels = rng.integers(0, 60, (24, 32, 3)).astype(np.uint8)
        pixels[y : y + 9, x : x + 12] += 150
        mask = np.zeros((24, 32), np.uint8)
        mask[y : y + 9, x : x + 12] = 255
        Image.fromarray(pixels).save(tmp_path / f"images/set/{i}.png")
        Image.fromarray(mask).save(tmp_path / f"masks/set/{i}.png")
        lines.append(f"{i}.png,{'1 3' if i == 2 else i % 5},{x},{y},{x + 12},{y + 9}")
    (tmp_path / "boxes/set.csv").write_text("\n".join(lines))
    return resolve_labels(open_dataset(tmp_path), 5)


@pytest.fixture
def segmenters():
    recipes = ("paper", xs.SegmentRecipe("soft", blur=0.05, views=("whole",)))
    return [xs.Segmenter(small(), recipe, providers=["cpu"], threads=1) for recipe in recipes]


def test_every_number_again(dataset, segmenters):
    told = []
    result = measure_localisation(segmenters, dataset, others=baselines()[:4], progress=told.append)
    assert told == list(range(1, COUNT + 1))
    for segmenter in segmenters:
        contender = result.find(segmenter.recipe.name)
        for example, row in zip(dataset, contender.pictures, strict=True):
            probabilities = segmenter.segment(example.image)[0].probabilities
            target = max(sorted(example.accepted), key=lambda index: probabilities[index])
            found = segmenter.segment(example.image, int(target))[0]
            truth = read_mask(example).object
            assert row.target == target
            assert row.box_iou == pytest.approx(box_iou([found.box], example.boxes).max(), abs=1e-12)
            assert row.mask_iou == pytest.approx((found.mask & truth).sum() / (found.mask | truth).sum(), abs=1e-12)
            for place, guess in enumerate(np.argsort(-probabilities, kind="stable")[:5].tolist()):
                box = segmenter.segment(example.image, guess)[0].box
                right = guess in example.accepted and best_iou([box], example.boxes)[0] >= 0.5
                assert row.right[0, place] == right
        assert contender.wrong(5).mean() <= contender.wrong(1).mean()
        assert np.array_equal(contender.known, contender.boxes >= 0.5)


def test_a_baseline_has_its_best_number(dataset, segmenters):
    way = Baseline("map", LEVELS, thresholded, of_map=True)
    result = measure_localisation(segmenters, dataset, others=[way])
    assert [each.name for each in result.contenders] == ["paper", "soft", "map", "soft: map"]
    table = np.zeros((COUNT, len(LEVELS)))
    for i, example in enumerate(dataset):
        target = result.find("paper").pictures[i].target
        saliency = segmenters[0].segment(example.image, target)[0].saliency
        for j, level in enumerate(LEVELS):
            box = bounding_box(largest_component(saliency >= level * saliency.max()))
            table[i, j] = best_iou([box], example.boxes)[0]
    assert result.find("map").boxes.mean() == pytest.approx(table.mean(axis=0).max(), abs=1e-12)
    difference = result.difference("paper", "map", "boxes")
    expected = result.find("paper").boxes.mean() - table.mean(axis=0).max()
    assert difference.mean == pytest.approx(expected, abs=1e-12)
    assert difference.low <= difference.mean <= difference.high


def test_a_centred_box_is_centred(segmenters, dataset):
    found = segmenters[0].segment(dataset.examples[0].image)[0]
    whole, half = centred_boxes(found, (1.0, 0.5))
    assert whole.all()
    assert bounding_box(half) == (8, 6, 24, 18)


def test_grab_cut_reads_the_same_seeds(dataset, segmenters):
    """On a bright square each seed keeps its label, and a map without seeds gives the whole picture."""
    found = segmenters[0].segment(dataset.examples[0].image)[0]
    truth = read_mask(dataset.examples[0]).object
    seeds = np.full(truth.shape, -1, np.int8)
    seeds[ndimage.binary_erosion(truth, iterations=3)] = 1
    seeds[~ndimage.binary_dilation(truth, iterations=3)] = 0
    (mask,) = grab_cut(replace(found, seeds=seeds), (5.0,))
    assert mask[seeds == 1].all()
    assert not mask[seeds == 0].any()
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8
    (nothing,) = grab_cut(replace(found, seeds=np.full(truth.shape, -1, np.int8)), (5.0,))
    assert nothing.all()
    assert "OpenCV GrabCut" in [each.name for each in baselines()]


def test_without_masks(dataset, segmenters):
    bare = replace(dataset, examples=tuple(replace(each, mask=None) for each in dataset))
    result = measure_localisation(segmenters[:1], bare, others=[])
    assert not len(result.find("paper").masks)
    assert "mask_iou" not in summary(result)[0]


def test_examples_are_drawn_once_and_alike(dataset):
    some = draw_examples(dataset, 3)
    assert [each.image for each in some] == [each.image for each in draw_examples(dataset, 3)]
    assert len({each.image for each in some}) == 3
    assert len(draw_examples(dataset, 100)) == COUNT


def test_few_pictures_have_no_marks(dataset, segmenters):
    result = measure_localisation(segmenters, replace(dataset, examples=dataset.examples[:1]), others=[])
    found = as_json(result, "soft")
    assert "1 picture(s): too few" in found["note"]
    assert found["contenders"][0]["best_minus"]["boxes"]["low"] is None
    assert "*" not in "".join(cells(found["contenders"][0], intervals=False))
    assert "[" not in "".join(cells(found["contenders"][0]))


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_what_cannot_be_read_is_left_out_where_that_is_asked_for(dataset, segmenters, folder):
    example = dataset.examples[1]
    broken = {"images": example.image, "masks": example.mask}[folder]
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises((ImageError, DatasetError), match=r"1\.png"):
        measure_localisation(segmenters[:1], dataset, others=[])
    told = []
    result = measure_localisation(segmenters[:1], dataset, others=[], skip=True, progress=told.append)
    assert told == list(range(1, COUNT + 1))
    assert len(result) == COUNT - 1
    assert [name for name, _ in result.failed] == [str(example.image)]
    others = replace(dataset, examples=(*dataset.examples[:1], *dataset.examples[2:]))
    assert summary(result) == summary(measure_localisation(segmenters[:1], others, others=[]))
    with pytest.raises(ImageError, match="None of the 1 pictures"):
        measure_localisation(segmenters[:1], replace(dataset, examples=(example,)), others=[], skip=True)
