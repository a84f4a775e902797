"""Boxes and pointing, against definitions that count pixels one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_saliency.errors import MetricError, SaliencyError
from onnx_saliency.evaluation import (
    best_iou,
    box_iou,
    localisation_error,
    peak,
    pointing_game,
    right_boxes,
    right_guesses,
)

SIDE = 12
EMPTY = np.zeros((0, 4))


def pixels_of(box):
    xmin, ymin, xmax, ymax = box
    return {(x, y) for x in range(SIDE) for y in range(SIDE) if xmin <= x < xmax and ymin <= y < ymax}


def iou_by_counting(a, b):
    a, b = pixels_of(a), pixels_of(b)
    return len(a & b) / len(a | b) if a and b else 0.0


def random_boxes(rng, count):
    return rng.integers(0, SIDE + 1, (count, 4))  # every other one is degenerate


@pytest.mark.parametrize("seed", range(20))
def test_iou_counts_pixels(seed):
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, 7), random_boxes(rng, 5)
    expected = [[iou_by_counting(x, y) for y in b] for x in a]
    np.testing.assert_allclose(box_iou(a, b), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(best_iou(a, b), np.max(expected, axis=1), rtol=0, atol=1e-12)
    for overlap in (0.3, 0.5, 1.0):
        assert right_boxes(a, b, overlap).tolist() == [max(row) >= overlap for row in expected]


coordinate = st.floats(-1e6, 1e6, allow_nan=False)
box = st.tuples(coordinate, coordinate, coordinate, coordinate)
proper = st.builds(
    lambda x, y, w, h: (x, y, x + w, y + h),
    *(st.floats(-1e4, 1e4),) * 2,
    *(st.floats(0.5, 1e4),) * 2,
)


@given(box, box)
def test_iou_is_symmetric_and_in_range(a, b):
    there, back = box_iou([a], [b])[0, 0], box_iou([b], [a])[0, 0]
    assert there == back
    assert 0 <= there <= 1 + 1e-12


@given(proper)
def test_iou_with_itself(a):
    assert box_iou([a], [a])[0, 0] == pytest.approx(1, abs=1e-9)


@given(proper, st.floats(-100, 100), st.floats(-100, 100), st.floats(0.1, 10))
def test_iou_does_not_change_when_both_move_or_grow(a, dx, dy, scale):
    a = np.array(a)
    b = a + np.array([1, -1, 2, 0.25])
    moved = [(each + np.array([dx, dy, dx, dy])) * scale for each in (a, b)]
    assert box_iou([moved[0]], [moved[1]])[0, 0] == pytest.approx(box_iou([a], [b])[0, 0], abs=1e-6)


@given(proper, st.floats(0, 1), st.floats(0, 1))
def test_iou_of_a_part_is_its_share(a, across, down):
    xmin, ymin, xmax, ymax = a
    part = (xmin, ymin, xmin + (xmax - xmin) * across, ymin + (ymax - ymin) * down)
    assert box_iou([a], [part])[0, 0] == pytest.approx(across * down, abs=1e-6)


def test_no_boxes_at_all():
    assert box_iou(EMPTY, [[0, 0, 1, 1]]).shape == (0, 1)
    assert box_iou([[0, 0, 1, 1]], []).shape == (1, 0)
    assert best_iou([[0, 0, 1, 1]], []).tolist() == [0]
    assert right_boxes([], [[0, 0, 1, 1]]).shape == (0,)


def test_a_box_without_area_meets_nothing():
    line = [[3, 3, 3, 9]]
    assert box_iou(line, line)[0, 0] == 0
    assert box_iou([[5, 5, 2, 2]], [[0, 0, 9, 9]])[0, 0] == 0


def test_exactly_half_is_right():
    assert right_boxes([[0, 0, 10, 10]], [[0, 0, 10, 5]]).tolist() == [True]


TRUTH = [[0, 0, 10, 10], [20, 20, 30, 30]]
CLASSES = [7, 3, 5, 3]
BOXES = [[0, 0, 10, 10], [0, 0, 2, 2], [0, 0, 10, 9], [20, 20, 30, 29]]


def test_a_guess_wants_class_and_box():
    assert right_guesses(CLASSES, BOXES, {3}, TRUTH).tolist() == [False, False, False, True]
    assert right_guesses(CLASSES, BOXES, {3, 5}, TRUTH).tolist() == [False, False, True, True]
    assert right_guesses(CLASSES, BOXES, (), TRUTH).tolist() == [False] * 4
    assert right_guesses([], [], {3}, TRUTH).tolist() == []


@pytest.mark.parametrize("seed", range(10))
def test_localisation_error_by_its_definition(seed):
    """ILSVRC: the least over the guesses of max(class wrong, box wrong), averaged over pictures."""
    rng = np.random.default_rng(seed)
    rights, errors = [], {1: [], 5: []}
    for _ in range(9):
        classes, truth = rng.integers(0, 3, 5), np.array([[0, 0, 5, 6], [4, 3, 10, 12]])
        boxes = (truth[rng.integers(0, 2, 5)] + rng.integers(-2, 3, (5, 4))).clip(0, SIDE)
        rights.append(right_guesses(classes, boxes, {1}, truth))
        for top in errors:
            costs = [
                max(int(k != 1), int(max(iou_by_counting(b, t) for t in truth) < 0.5))
                for k, b in zip(classes[:top], boxes[:top], strict=True)
            ]
            errors[top].append(min(costs))
    assert np.mean(errors[1]) > np.mean(errors[5])
    for top, costs in errors.items():
        assert localisation_error(rights, top) == pytest.approx(np.mean(costs), abs=1e-12)


def test_error_of_fewer_guesses_than_asked_for():
    assert localisation_error([[True], [False], []], 5) == pytest.approx(2 / 3)


def points_by_drawing(saliency, truth, tolerance):
    """The source's: a disc about the brightest pixel touches the object's pixels."""
    y, x = np.unravel_index(saliency.argmax(), saliency.shape)
    return any(
        (x - u) ** 2 + (y - v) ** 2 <= tolerance**2
        for b in truth
        for u in range(SIDE)
        for v in range(SIDE)
        if b[0] <= u + 0.5 < b[2] and b[1] <= v + 0.5 < b[3]
    )


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 3])
def test_pointing_game_by_drawing(seed, tolerance):
    rng = np.random.default_rng(seed)
    saliency, truth = rng.random((SIDE, SIDE)), random_boxes(rng, 2)
    if seed % 2:
        truth = truth + rng.random((2, 4)).round(1)
        truth = truth[(truth[:, 2:] - truth[:, :2] > 1).all(axis=1)].clip(0, SIDE)
    assert pointing_game(saliency, truth, tolerance) == points_by_drawing(saliency, truth, tolerance)


def test_the_brightest_pixel():
    saliency = np.zeros((4, 6))
    saliency[1, 5] = saliency[2, 0] = 3
    assert peak(saliency) == (5, 1)
    assert pointing_game(saliency, [[5, 1, 6, 2]])
    assert not pointing_game(saliency, [[0, 2, 5, 4]])
    assert pointing_game(-saliency, [[0, 0, 1, 1]])


def test_a_constant_map_points_nowhere():
    assert peak(np.ones((3, 3))) is None
    assert not pointing_game(np.ones((3, 3)), [[0, 0, 3, 3]])


@pytest.mark.parametrize(("sliver", "pixel"), [((2.6, 2.9), 2), ((2.6, 3.4), 3), ((2.6, 3.2), 2), ((3.1, 3.3), 3)])
def test_a_sliver_between_two_middles_is_the_pixel_of_its_own(sliver, pixel):
    for x in range(6):
        saliency = np.zeros((5, 6))
        saliency[2, x] = 1
        for tolerance in (0, 1, 2):
            hit = pointing_game(saliency, [[sliver[0], 0, sliver[1], 5]], tolerance)
            assert hit == (abs(x - pixel) <= tolerance)


def test_a_box_without_area_is_not_pointed_at():
    assert not pointing_game(np.eye(3), [[0, 0, 0, 3], [2, 2, 1, 1]], tolerance=9)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: box_iou([0, 0, 1, 1], EMPTY), r"an array \(B, 4\); found \(4,\)"),
        (lambda: box_iou([[0, 0, 1]], EMPTY), r"found \(1, 3\)"),
        (lambda: box_iou([[0, 0, np.nan, 1], [0, 0, 1, 1]], EMPTY), "1 boxes are not finite"),
        (lambda: right_boxes(EMPTY, EMPTY, 0), "above 0 and at most 1; found 0"),
        (lambda: right_guesses([1], EMPTY, {1}, EMPTY), "for 0 boxes"),
        (lambda: right_guesses([1.0], [[0, 0, 1, 1]], {1}, EMPTY), "classes float64"),
        (lambda: localisation_error([], 1), "no pictures"),
        (lambda: localisation_error([[True]], 0), "found 0"),
        (lambda: pointing_game(np.zeros((2, 2, 1)), EMPTY), r"found \(2, 2, 1\)"),
        (lambda: pointing_game(np.array([[0, np.inf]]), EMPTY), "1 of the map's 2 pixels"),
        (lambda: pointing_game(np.eye(2), EMPTY, -1), "0 or more pixels; found -1"),
        (lambda: peak(np.zeros((0, 3))), r"found \(0, 3\)"),
    ],
)
def test_what_is_refused(call, said):
    with pytest.raises(MetricError, match=said) as caught:
        call()
    assert isinstance(caught.value, SaliencyError)
