"""Mask IoU, precision and recall, against loops over pixels."""

import numpy as np
import pytest

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation import PixelPrecision, average_precision, mask_iou, min_max
from onnx_saliency.evaluation.localisation.pixels import THRESHOLDS

FEW = (0.0, 0.2, 0.5, 0.9, 1.0)


def composed(rng, shape=(6, 7)):
    return rng.random(shape).round(1), rng.random(shape) < 0.4, rng.random(shape) < 0.8


def pixels(*arrays):
    return list(zip(*(np.ravel(array).tolist() for array in arrays), strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_mask_iou_by_counting(seed):
    scores, truth, counted = composed(np.random.default_rng(seed))
    mine = scores > 0.5
    both = sum(a and b and c for a, b, c in pixels(mine, truth, counted))
    either = sum((a or b) and c for a, b, c in pixels(mine, truth, counted))
    assert mask_iou(mine, truth, counted) == pytest.approx(both / either, abs=1e-12)
    assert mask_iou(mine.astype(np.uint8), truth, counted) == mask_iou(mine, truth, counted)


def test_mask_iou_of_empty_masks():
    none, all_ = np.zeros((2, 3), bool), np.ones((2, 3), bool)
    assert mask_iou(none, none) == 1
    assert mask_iou(none, all_) == 0
    assert mask_iou(all_, all_) == 1
    assert mask_iou(all_, none, none) == 1


def slow_curve(rows, thresholds):
    """(precision, recall) of score >= threshold, the highest first."""
    of_object = sum(t for _, t in rows)
    points = []
    for threshold in sorted(thresholds, reverse=True):
        named = [t for s, t in rows if s >= threshold]
        points.append((sum(named) / len(named) if named else 1.0, sum(named) / of_object))
    return points


def slow_area(points):
    area, before = 0.0, 0.0
    for precision, recall in points:
        area += precision * (recall - before)
        before = recall
    return area


def judged(scores, truth, counted):
    return [(s, t) for s, t, c in pixels(scores, truth, counted) if c]


@pytest.mark.parametrize("seed", range(10))
def test_average_precision_by_its_definition(seed):
    scores, truth, counted = composed(np.random.default_rng(seed))
    rows = judged(scores, truth, counted)
    expected = slow_area(slow_curve(rows, {s for s, _ in rows}))
    assert average_precision(scores, truth, counted) == pytest.approx(expected, abs=1e-12)
    assert average_precision(scores * 50 - 9, truth, counted) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("thresholds", [FEW, THRESHOLDS])
def test_pxap_by_its_definition(seed, thresholds):
    rng = np.random.default_rng(seed)
    precision, rows = PixelPrecision(thresholds), []
    for side in range(3, 7):
        picture = composed(rng, (side, 5))
        precision.add(*picture)
        rows += judged(*picture)
    expected = slow_curve(rows, thresholds)
    curve = precision.curve
    assert curve.thresholds.tolist() == sorted(thresholds, reverse=True)
    np.testing.assert_allclose(np.stack([curve.precision, curve.recall], 1), expected, rtol=0, atol=1e-12)
    assert precision.pxap == pytest.approx(slow_area(expected), abs=1e-12)


def test_a_perfect_map_and_its_opposite():
    truth = np.arange(20).reshape(4, 5) < 6
    precision, opposite = PixelPrecision(), PixelPrecision()
    precision.add(truth, truth)
    opposite.add(~truth, truth)
    assert precision.pxap == 1
    assert opposite.pxap == pytest.approx(6 / 20)
    assert average_precision(truth, truth) == 1


def test_without_counted_every_pixel_counts():
    scores, truth, _ = composed(np.random.default_rng(3))
    assert average_precision(scores, truth) == average_precision(scores, truth, np.ones(scores.shape))


def test_precision_of_nothing_is_1():
    precision = PixelPrecision(FEW)
    precision.add([[0.3, 0.6]], np.array([[False, True]]))
    curve = precision.curve
    assert curve.precision.tolist() == [1, 1, 1, 0.5, 0.5]
    assert curve.recall.tolist() == [0, 0, 1, 1, 1]


def test_a_picture_without_the_object_adds_its_misses():
    precision = PixelPrecision()
    precision.add([[1.0, 0.0]], np.array([[True, False]]))
    assert precision.pxap == 1
    precision.add([[1.0, 0.0]], np.array([[False, False]]))
    assert precision.pxap == 0.5


def test_min_max():
    assert min_max([[1, 3], [2, 1]]).tolist() == [[0, 1], [0.5, 0]]
    assert min_max([[4, 4]]).tolist() == [[0, 0]]
    assert min_max(np.array([[1, 3]], np.float32)).dtype == np.float64


NONE = np.zeros((2, 2), bool)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: mask_iou(NONE, np.zeros((2, 3), bool)), r"the mask is \(2, 3\)"),
        (lambda: mask_iou(NONE, np.full((2, 2), 255)), "made of 0 and 1"),
        (lambda: mask_iou(NONE, NONE, NONE[:1]), "counted"),
        (lambda: average_precision(np.eye(2), NONE), "recall is not defined"),
        (lambda: average_precision(np.eye(3), NONE), r"\(2, 2\)"),
        (lambda: PixelPrecision().add([[0, 2.0]], [[True, False]]), r"scores are 0\.\.1"),
        (lambda: PixelPrecision().pxap, "recall is not defined"),
        (lambda: PixelPrecision([0.5]), "ascending from 0"),
        (lambda: PixelPrecision([]), "ascending from 0"),
        (lambda: min_max(np.array([[np.nan]])), "not finite"),
    ],
)
def test_what_is_refused(call, said):
    with pytest.raises(MetricError, match=said):
        call()
