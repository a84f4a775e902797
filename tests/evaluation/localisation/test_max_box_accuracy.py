"""MaxBoxAcc and V2, against flood filling in plain Python and the thresholds of the authors' code."""

import numpy as np
import pytest

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation import MaxBoxAccuracy, find_components, min_max, sweep
from onnx_saliency.evaluation.localisation.max_box_accuracy import OVERLAPS, THRESHOLDS

FEW = (0.1, 0.35, 0.36, 0.8, 1.0)


def fill(region):
    """(box, size) of each part of 8 neighbours, in reading order."""
    left = {(x, y) for y, row in enumerate(region) for x, on in enumerate(row) if on}
    parts = []
    for y, row in enumerate(region):
        for x, _ in enumerate(row):
            if (x, y) not in left:
                continue
            left.discard((x, y))
            todo, part = [(x, y)], []
            while todo:
                u, v = todo.pop()
                part.append((u, v))
                near = {(u + i, v + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
                left -= near
                todo += near
            xs, ys = [u for u, _ in part], [v for _, v in part]
            parts.append(((min(xs), min(ys), max(xs) + 1, max(ys) + 1), len(part)))
    return parts


def iou(a, b):
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = wide * high if wide > 0 and high > 0 else 0
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def slow_sweep(saliency, truth, thresholds):
    low, high = saliency.min(), saliency.max()
    largest, best = [], []
    for threshold in thresholds:
        parts = fill((saliency - low) / (high - low) >= threshold)
        overlaps = [max(iou(box, true) for true in truth) for box, _ in parts]
        sizes = [size for _, size in parts]
        largest.append(overlaps[sizes.index(max(sizes))])
        best.append(max(overlaps))
    return largest, best


def composed(rng, side=14):
    """A map of a few blobs, and boxes that some of them fill."""
    saliency = rng.random((side, side + 3)) * 0.4
    truth = []
    for _ in range(rng.integers(1, 4)):
        x, y = rng.integers(0, side - 4, 2)
        w, h = rng.integers(2, 7, 2)
        saliency[y : y + h, x : x + w] += rng.random()
        truth.append((x, y, min(x + w, side + 3), min(y + h, side)))
    return saliency, np.array(truth)


@pytest.mark.parametrize("seed", range(15))
def test_components_by_flood_filling(seed):
    rng = np.random.default_rng(seed)
    scores = rng.random((9, 11))
    found = find_components(scores, 0.6)
    expected = fill(scores >= 0.6)
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(box for box, _ in expected)
    assert sorted(found.sizes.tolist()) == sorted(size for _, size in expected)


def test_no_component():
    found = find_components(np.zeros((3, 4)), 0.5)
    assert found.boxes.shape == (0, 4)
    assert found.sizes.shape == (0,)


def test_diagonal_neighbours_are_one_component():
    assert find_components(np.eye(4), 1).boxes.tolist() == [[0, 0, 4, 4]]


@pytest.mark.parametrize("seed", range(15))
def test_sweep_by_its_definition(seed):
    saliency, truth = composed(np.random.default_rng(seed))
    found, expected = sweep(saliency, truth, FEW), slow_sweep(saliency, truth, FEW)
    np.testing.assert_allclose(found.largest, expected[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.best, expected[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [1, 3e-30, 1e300])
@pytest.mark.parametrize("shift", [0, -5])
def test_the_maps_own_range_does_not_matter(scale, shift):
    saliency, truth = composed(np.random.default_rng(4))
    saliency = saliency.round(3)
    expected = sweep(saliency, truth, FEW)
    found = sweep((saliency + shift) * scale, truth, FEW)
    np.testing.assert_array_equal(found.best, expected.best)


def test_a_constant_map_has_no_box():
    found = sweep(np.full((5, 5), 7.0), [[0, 0, 5, 5]])
    assert not found.best.any()
    assert not found.largest.any()


def test_a_range_that_overflows():
    values = np.array([[-1.7e308, 0, 1.7e308]])
    np.testing.assert_allclose(min_max(values), [[0, 0.5, 1]], rtol=1e-12)


def test_thresholds_are_the_grey_levels_of_the_authors_code():
    """There: grey = floor(255 score), kept where grey > int(threshold * 255), thresholds 0 to 1 by 0.001."""
    scores = np.arange(0, 1.0005, 0.0005)
    grey = (scores * 255).astype(np.uint8)
    theirs = {tuple(grey > int(threshold * 255)) for threshold in np.arange(0, 1, 0.001)}
    ours = {tuple(scores >= threshold) for threshold in THRESHOLDS}
    assert theirs == ours


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_of_a_data_set_by_its_definition(seed):
    rng = np.random.default_rng(seed)
    pictures = [composed(rng) for _ in range(12)]
    accuracy = MaxBoxAccuracy(FEW)
    for saliency, truth in pictures:
        accuracy.add(saliency, truth)
    slow = [slow_sweep(*picture, FEW) for picture in pictures]
    v1 = [np.mean([largest[t] >= 0.5 for largest, _ in slow]) for t in range(len(FEW))]
    v2 = {o: max(np.mean([best[t] >= o for _, best in slow]) for t in range(len(FEW))) for o in OVERLAPS}
    assert len(accuracy) == 12
    assert accuracy.max_box_acc == pytest.approx(max(v1), abs=1e-12)
    assert accuracy.by_overlap == pytest.approx(v2, abs=1e-12)
    assert accuracy.max_box_acc_v2 == pytest.approx(np.mean(list(v2.values())), abs=1e-12)
    at = v1.index(max(v1))
    assert accuracy.threshold == FEW[at]
    assert accuracy.right.tolist() == [largest[at] >= 0.5 for largest, _ in slow]


def test_v2_may_take_a_component_that_is_not_the_largest():
    saliency = np.zeros((10, 10))
    saliency[0:6, 0:6] = 1
    saliency[7:10, 7:10] = 1
    accuracy = MaxBoxAccuracy()
    found = accuracy.add(saliency, [[7, 7, 10, 10]])
    assert found.best.tolist() == [1] * 255
    assert accuracy.max_box_acc == 0
    assert accuracy.max_box_acc_v2 == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: MaxBoxAccuracy().max_box_acc, "no pictures"),
        (lambda: MaxBoxAccuracy().max_box_acc_v2, "no pictures"),
        (lambda: MaxBoxAccuracy().right, "no pictures"),
        (lambda: MaxBoxAccuracy([0.0, 0.5]), "ascending, above 0"),
        (lambda: MaxBoxAccuracy([0.5, 0.5]), "ascending"),
        (lambda: MaxBoxAccuracy([]), "ascending"),
        (lambda: MaxBoxAccuracy([np.nan]), "ascending"),
        (lambda: MaxBoxAccuracy(overlaps=()), "overlaps"),
        (lambda: MaxBoxAccuracy(overlaps=(0.3, 1.2)), "overlaps"),
        (lambda: sweep(np.full((2, 2), np.nan), [[0, 0, 1, 1]]), "not finite"),
        (lambda: sweep(np.eye(3), [[0, 0, 1]]), "rows"),
    ],
)
def test_what_is_refused(call, said):
    with pytest.raises(MetricError, match=said):
        call()
