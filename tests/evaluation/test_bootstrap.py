"""Intervals: seeded, paired, and of the width that theory gives."""

import numpy as np
import pytest

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation import bootstrap_difference, bootstrap_mean
from onnx_saliency.evaluation.bootstrap import LEAST, too_few

RNG = np.random.default_rng(0)


def test_by_its_definition():
    values = RNG.random(30)
    draws = np.random.default_rng(5)
    means = sorted(np.mean([values[i] for i in draws.integers(0, 30, 30)]) for _ in range(2001))
    found = bootstrap_mean(values, resamples=2001, level=0.9, seed=5)
    assert found.mean == pytest.approx(values.mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((means[100], means[1900]), abs=1e-12)


def test_many_pictures_are_drawn_in_parts():
    values = RNG.random(300_000)
    draws = np.random.default_rng(1)
    means = [values[draws.integers(0, 300_000, 300_000)].mean() for _ in range(5)]
    found = bootstrap_mean(values, resamples=5, level=0.5, seed=1)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.25, 0.75]), abs=1e-12)


def test_width_is_that_of_the_normal_approximation():
    right = np.arange(1000) % 5 == 0
    found = bootstrap_mean(right)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.2 * 0.8 / 1000), rel=0.05)


def test_seeded():
    values = RNG.random(50)
    assert bootstrap_mean(values) == bootstrap_mean(values)
    assert bootstrap_mean(values) != bootstrap_mean(values, seed=1)


def test_a_pair_is_told_apart_where_single_means_are_not():
    base = RNG.random(80)
    better = base + 0.02
    found = bootstrap_difference(better, base)
    assert found.mean == pytest.approx(0.02)
    assert 0 < found.low <= found.high
    assert bootstrap_mean(better).low < bootstrap_mean(base).high


def test_difference_is_antisymmetric():
    a, b = RNG.random(40), RNG.random(40)
    there, back = bootstrap_difference(a, b), bootstrap_difference(b, a)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low), abs=1e-12)


@pytest.mark.parametrize("count", [1, LEAST - 1])
def test_few_pictures_have_a_mean_and_no_interval(count):
    found = bootstrap_mean([0.5] * count)
    assert found == (0.5, None, None)
    assert not found.is_above(0)
    assert not found.is_below(1)
    assert f"{count} picture(s): too few" in too_few(count)


def test_as_many_have_one_as_rule_chance_out():
    """The sign test: that all point one way is chance in 2 of 2**N cases, at most one in twenty."""
    assert 2 / 2**LEAST < 0.05 < 2 / 2 ** (LEAST - 1)
    found = bootstrap_mean([0.5] * LEAST)
    assert found == (0.5, 0.5, 0.5)
    assert found.is_above(0.4)
    assert not found.is_above(0.5)
    assert found.is_below(0.6)
    assert too_few(LEAST) is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: bootstrap_mean([]), "one finite number per picture"),
        (lambda: bootstrap_mean([[1.0]]), r"\(1, 1\)"),
        (lambda: bootstrap_mean([np.nan]), "finite"),
        (lambda: bootstrap_mean([1], resamples=0), "resamples"),
        (lambda: bootstrap_mean([1], level=1), "level"),
        (lambda: bootstrap_mean([1], seed=-1), "seed"),
        (lambda: bootstrap_difference([1, 2], [1]), "same pictures"),
    ],
)
def test_what_is_refused(call, said):
    with pytest.raises(MetricError, match=said):
        call()
