"""Infidelity and sensitivity-n against their definitions, and the parts that they are taken of."""

import numpy as np
import pytest

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation.faithfulness import draw_scattered, draw_squares, infidelity, sensitivity_n


@pytest.mark.parametrize("draw", [draw_scattered, draw_squares])
@pytest.mark.parametrize("size", [(30, 21), (9, 5), (1, 40), (1, 1)])
def test_parts_are_of_whole_cells_and_never_empty(draw, size):
    parts = draw(*size, seed=1)
    assert parts.cell.shape == size
    assert (parts.removed.sum(axis=1) == parts.size).all()
    assert parts.size.min() >= 1
    gone = parts.ranks < 1
    assert gone.shape == (len(parts.size), *size)
    for row, removed in zip(gone, parts.removed, strict=True):
        assert set(parts.cell[row].tolist()) == set(np.flatnonzero(removed).tolist())


def test_squares_are_squares():
    parts = draw_squares(28, 28, seed=2)
    for removed in parts.ranks < 1:
        rows, columns = np.flatnonzero(removed.any(axis=1)), np.flatnonzero(removed.any(axis=0))
        assert removed[np.ix_(rows, columns)].all()
        assert len(rows) == len(columns) == np.ptp(rows) + 1 == np.ptp(columns) + 1
    assert len({int(each) for each in parts.size}) > 3


def test_the_same_seed_draws_the_same_parts():
    for draw in (draw_scattered, draw_squares):
        np.testing.assert_array_equal(draw(30, 20, seed=(0, 3)).removed, draw(30, 20, seed=(0, 3)).removed)
        assert (draw(30, 20, seed=(0, 3)).removed != draw(30, 20, seed=(0, 4)).removed).any()


def slow_sums(parts, saliency):
    return np.array([sum(saliency[y, x] for y, x in np.argwhere(gone)) for gone in parts.ranks < 1])


def test_sensitivity_n_is_the_mean_of_correlations():
    rng = np.random.default_rng(0)
    parts, saliency = draw_scattered(20, 30, seed=1), rng.random((20, 30))
    drops = rng.standard_normal(len(parts.size)) + slow_sums(parts, saliency)
    each = [
        np.corrcoef(slow_sums(parts, saliency)[parts.size == n], drops[parts.size == n])[0, 1]
        for n in sorted(set(parts.size.tolist()))
    ]
    assert sensitivity_n(parts, saliency, drops) == pytest.approx(np.mean(each), abs=1e-6)


def test_infidelity_is_the_least_mean_square():
    rng = np.random.default_rng(0)
    parts, saliency = draw_squares(20, 30, seed=1), rng.random((20, 30))
    drops = rng.standard_normal(len(parts.size)) * 20 + slow_sums(parts, saliency)
    sums = slow_sums(parts, saliency)
    (beta,), *_ = np.linalg.lstsq(sums[:, None], drops, rcond=None)
    expected = np.mean((beta * sums - drops) ** 2) / np.mean(drops**2)
    assert 0.05 < expected < 0.95
    assert infidelity(parts, saliency, drops) == pytest.approx(expected, abs=1e-6)
    nearby = [np.mean((b * sums - drops) ** 2) / np.mean(drops**2) for b in (0.9 * beta, 1.1 * beta)]
    assert min(nearby) > expected


def test_a_map_that_foretells_the_drops_has_the_best_values_whatever_its_scale():
    for draw, measure, best in ((draw_scattered, sensitivity_n, 1.0), (draw_squares, infidelity, 0.0)):
        parts, saliency = draw(20, 30, seed=1), np.random.default_rng(5).random((20, 30))
        drops = slow_sums(parts, saliency)
        assert measure(parts, saliency, drops) == pytest.approx(best, abs=1e-9)
        assert measure(parts, saliency * 1e-6, drops) == pytest.approx(best, abs=1e-9)


def test_maps_and_scores_that_say_nothing():
    scattered, squares = draw_scattered(20, 30), draw_squares(20, 30)
    drops = np.random.default_rng(0).standard_normal(len(scattered.size))
    assert sensitivity_n(scattered, np.zeros((20, 30)), drops) == 0
    assert sensitivity_n(scattered, np.random.default_rng(0).random((20, 30)), np.zeros_like(drops)) == 0
    assert infidelity(squares, np.zeros((20, 30)), drops[: len(squares.size)]) == 1
    assert infidelity(squares, np.ones((20, 30)), np.zeros(len(squares.size))) == 0
    with pytest.raises(MetricError):
        infidelity(squares, np.full((20, 30), np.nan), drops[: len(squares.size)])
