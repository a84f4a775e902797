"""The minimum cut against every labelling of tiny pictures, mixtures against SciPy and scikit-learn.

energy  Σ_p l_p d_p + λ Σ_(p,q) [l_p ≠ l_q] exp(−‖x_p − x_q‖² / 2⟨‖x_p − x_q‖²⟩) / dist(p, q)
"""

from itertools import product

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from onnx_saliency.vision.graphcut import Mixture, bounding_box, fit_mixture, largest_component, minimum_cut


def neighbouring(height, width, neighbours):
    """Every pair of pixels at most one apart, once."""
    pixels = list(product(range(height), range(width)))
    reach = 1 if neighbours == 4 else np.sqrt(2)
    return [(p, q) for p in pixels for q in pixels if p < q and np.hypot(p[0] - q[0], p[1] - q[1]) <= reach + 1e-9]


def links(colours, open_, neighbours):
    """Pairs of which not both are decided, and w."""
    pairs = [(p, q) for p, q in neighbouring(*open_.shape, neighbours) if open_[p] or open_[q]]
    squares = [float(((colours[p].astype(float) - colours[q]) ** 2).sum()) for p, q in pairs]
    mean = np.mean(squares) if pairs else 0
    contrast = [np.exp(-square / (2 * mean)) if mean else 1.0 for square in squares]
    return [(p, q, w / np.hypot(p[0] - q[0], p[1] - q[1])) for (p, q), w in zip(pairs, contrast, strict=True)]


def energy(labels, open_, cost, pairs, smoothness):
    data = sum(d for d, label in zip(cost, labels[open_], strict=True) if label)
    return data + smoothness * sum(w for p, q, w in pairs if labels[p] != labels[q])


def least(colours, open_, cost, label, smoothness, neighbours):
    """The energies of all labellings, the least and the next to it."""
    pairs = links(colours, open_, neighbours)
    found = []
    for choice in product([False, True], repeat=int(open_.sum())):
        labels = label.copy()
        labels[open_] = choice
        found.append((energy(labels, open_, cost, pairs, smoothness), labels))
    return min(found, key=lambda each: each[0])


@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (2, 2), (3, 3), (3, 4)])
@pytest.mark.parametrize("decided", [0.0, 0.3, 0.8])
def test_no_labelling_costs_less(size, neighbours, decided):
    for seed in range(4):
        rng = np.random.default_rng([seed, *size])
        colours = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        open_, label = rng.random(size) >= decided, rng.random(size) < 0.5
        cost = rng.normal(0, 2, int(open_.sum())).astype(np.float32)
        smoothness = float(rng.choice([0.0, 0.5, 2.0, 50.0]))
        found = minimum_cut(colours, open_, cost, label, smoothness=smoothness, neighbours=neighbours)
        best, labels = least(colours, open_, cost, label, smoothness, neighbours)
        np.testing.assert_array_equal(found[~open_], label[~open_])
        pairs = links(colours, open_, neighbours)
        assert energy(found, open_, cost, pairs, smoothness) == pytest.approx(best, abs=1e-4)
        if smoothness == 0:
            np.testing.assert_array_equal(found, labels)


@pytest.mark.parametrize("neighbours", [4, 8])
def test_one_colour_has_no_contrast(neighbours):
    rng = np.random.default_rng(1)
    colours, open_ = np.full((3, 3, 3), 90, np.uint8), np.ones((3, 3), bool)
    open_[0, 0] = open_[2, 2] = False
    label = np.eye(3, dtype=bool)
    label[2, 2] = False
    cost = rng.normal(0, 1, 7).astype(np.float32)
    found = minimum_cut(colours, open_, cost, label, smoothness=0.4, neighbours=neighbours)
    pairs = links(colours, open_, neighbours)
    best, _ = least(colours, open_, cost, label, 0.4, neighbours)
    assert energy(found, open_, cost, pairs, 0.4) == pytest.approx(best, abs=1e-5)


def test_what_is_given_is_not_written_to():
    colours, open_, label = np.zeros((2, 3, 3), np.uint8), np.ones((2, 3), bool), np.ones((2, 3), bool)
    found = minimum_cut(colours, open_, np.full(6, 5, np.float32), label)
    assert not found.any()
    assert label.all()
    nothing = minimum_cut(colours, ~open_, np.empty(0, np.float32), label)
    assert nothing.all()
    assert nothing is not label


# --- mixtures ------------------------------------------------------------------------------------


def blobs(count=400, seed=0):
    """Colours of three clusters, in a random order."""
    rng = np.random.default_rng(seed)
    means = np.array([[40, 60, 200], [200, 180, 30], [120, 120, 120]])
    drawn = rng.normal(means[rng.integers(0, 3, count)], [12, 5, 20])
    return np.clip(drawn.round(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("components", [1, 3, 5])
def test_density_of_a_mixture(components):
    colours = blobs()
    model = GaussianMixture(components, reg_covar=1.0, random_state=0).fit(colours.astype(float))
    points = np.random.default_rng(2).integers(0, 256, (300, 3), dtype=np.uint8)
    found = Mixture(model.weights_, model.means_, model.precisions_cholesky_).log_density(points)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model.score_samples(points.astype(float)), rtol=1e-4, atol=1e-3)
    each = [
        np.log(weight) + multivariate_normal(mean, covariance).logpdf(points.astype(float))
        for weight, mean, covariance in zip(model.weights_, model.means_, model.covariances_, strict=True)
    ]
    np.testing.assert_allclose(found, logsumexp(each, axis=0), rtol=1e-4, atol=1e-3)


def test_a_fitted_mixture_finds_clusters():
    fitted = fit_mixture(blobs(), 3)
    assert fitted.weights.sum() == pytest.approx(1)
    order = np.argsort(fitted.means[:, 0])
    np.testing.assert_allclose(fitted.means[order], [[40, 60, 200], [120, 120, 120], [200, 180, 30]], atol=8)
    covariances = [np.linalg.inv(factor @ factor.T) for factor in fitted.factors[order]]
    np.testing.assert_allclose(np.sqrt([np.diag(each) for each in covariances]), [[12, 5, 20]] * 3, rtol=0.3)


def test_one_colour_is_one_gaussian_of_a_step():
    for count in (1, 50):
        fitted = fit_mixture(np.full((count, 3), 77, np.uint8), 5)
        points = np.array([[77, 77, 77], [78, 77, 75]], np.uint8)
        expected = multivariate_normal([77, 77, 77], np.eye(3)).logpdf(points)
        np.testing.assert_allclose(fitted.log_density(points), expected, rtol=1e-5)


@pytest.mark.parametrize("colours", [2, 3, 7])
@pytest.mark.parametrize("times", [1, 20])
def test_fewer_colours_than_components(colours, times):
    few = np.repeat(np.arange(colours, dtype=np.uint8)[:, None] * [30, 11, 5], times, axis=0).astype(np.uint8)
    fitted = fit_mixture(few, 5)
    assert len(fitted.weights) == min(colours, 5)
    assert np.isfinite(fitted.log_density(few)).all()
    assert (fitted.log_density(few) > fitted.log_density(few + np.uint8(60))).all()


def test_the_seed_decides():
    colours = np.random.default_rng(0).integers(0, 256, (5000, 3), dtype=np.uint8)
    first, again, other = (fit_mixture(colours, 4, seed) for seed in (1, 1, 2))
    for name in ("weights", "means", "factors"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.means, other.means)


# --- components and boxes ------------------------------------------------------------------------


def test_the_largest_component():
    mask = np.zeros((6, 8), bool)
    mask[0, 0:2] = True
    mask[2:4, 5:8] = True
    mask[4, 4] = True  # joined at a corner
    found = largest_component(mask)
    assert found.sum() == 7
    assert found[4, 4]
    assert not found[0].any()
    mask[:] = False
    mask[1, 1] = mask[4, 6] = True
    np.testing.assert_array_equal(np.argwhere(largest_component(mask)), [[1, 1]])
    assert not largest_component(np.zeros((3, 3), bool)).any()


def test_a_box_around_a_mask():
    mask = np.zeros((6, 8), bool)
    assert bounding_box(mask) == (0, 0, 0, 0)
    mask[2, 3] = True
    assert bounding_box(mask) == (3, 2, 4, 3)
    mask[5, 0] = True
    assert bounding_box(mask) == (0, 2, 4, 6)
    assert bounding_box(np.ones((1, 5), bool)) == (0, 0, 5, 1)
