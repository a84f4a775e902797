"""The order of pixels, ties among them, and the maps that know nothing."""

import numpy as np
import pytest

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation.faithfulness import BASELINES, rank_pixels


@pytest.mark.parametrize("ties", ["random", "first", "last"])
def test_without_ties_all_agree(ties):
    saliency = np.random.default_rng(0).permutation(35).reshape(7, 5)
    np.testing.assert_array_equal(rank_pixels(saliency, ties), 34 - saliency)


def test_ties_by_place():
    saliency = np.array([[1.0, 2.0, 1.0], [2.0, 1.0, 0.0]])
    assert rank_pixels(saliency, "first").tolist() == [[2, 0, 3], [1, 4, 5]]
    assert rank_pixels(saliency, "last").tolist() == [[4, 1, 3], [0, 2, 5]]


def test_ties_by_a_draw_favour_no_place():
    """A map that says nothing must score as a random order, not as one from the top or the bottom."""
    ranks = np.stack([rank_pixels(np.zeros((4, 3)), seed=(0, seed)) for seed in range(4000)])
    assert (np.sort(ranks.reshape(4000, -1), axis=1) == np.arange(12)).all()
    assert abs(ranks.mean(axis=0) - 5.5).max() < 5 * np.sqrt(143 / 12 / 4000)
    plateau = np.zeros((4, 3))
    plateau[3, 2] = 1
    assert all(rank_pixels(plateau, seed=seed)[3, 2] == 0 for seed in range(20))


def test_a_draw_comes_again():
    np.testing.assert_array_equal(rank_pixels(np.zeros((9, 9)), seed=3), rank_pixels(np.zeros((9, 9)), seed=3))
    assert (rank_pixels(np.zeros((9, 9)), seed=3) != rank_pixels(np.zeros((9, 9)), seed=4)).any()


@pytest.mark.parametrize(("saliency", "ties"), [([1.0, 2.0], "first"), ([[np.nan]], "first"), ([[1.0]], "none")])
def test_what_has_no_order(saliency, ties):
    with pytest.raises(MetricError):
        rank_pixels(saliency, ties)


def test_maps_that_know_nothing_of_the_model():
    image = np.zeros((3, 9, 7))
    image[:, :, 4:] = 1
    found = {name: make(image, 0) for name, make in BASELINES.items()}
    assert {each.shape for each in found.values()} == {(9, 7)}
    assert np.sort(found["random order"].ravel()).tolist() == list(range(63))
    assert (found["random order"] != BASELINES["random order"](image, 1)).any()
    order = rank_pixels(found["centre first"], "first")
    assert order[4, 3] == 0
    assert set(order[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()) == {59, 60, 61, 62}
    assert (found["Sobel edges"][:, [3, 4]] > 0).all()
    assert (found["Sobel edges"][:, [0, 1, 6]] == 0).all()
