"""How far a mean over pictures, or the difference of two methods on the same pictures, could be chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from onnx_saliency.errors import MetricError

RESAMPLES = 10_000
LEVEL = 0.95
_AT_ONCE = 1 << 20  # numbers drawn at a time


LEAST = 6
"""Pictures that an interval takes. That 6 all point one way is chance in 2 of 2**6 cases, 3 %; of 5 in 6 %, more than
the level allows (the sign test). Resampling cannot know: where all point one way, so does every mean of them, and one
picture has no spread at all."""


class Interval(NamedTuple):
    """A mean and the interval that resampled pictures put it in; `low` and `high` are None of too few pictures."""

    mean: float
    low: float | None
    high: float | None

    def is_above(self, value: float) -> bool:
        """Whether there is an interval, and all of it lies above a value."""
        return self.low is not None and self.low > value

    def is_below(self, value: float) -> bool:
        """Whether there is an interval, and all of it lies below a value."""
        return self.high is not None and self.high < value


def too_few(pictures: int) -> str | None:
    """What to say of results of so few pictures that they have no intervals; None of enough."""
    if pictures >= LEAST:
        return None
    return f"{pictures} picture(s): too few to tell methods apart. Intervals and marks take {LEAST} or more."


def bootstrap_mean(
    values: npt.ArrayLike, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """The mean over pictures and its percentile bootstrap interval; the same seed gives the same interval.

    Fewer than `LEAST` pictures have a mean and no interval.

    Args:
        values: (N,), a number or a truth value per picture.
        resamples: how often N pictures are drawn again, with replacement.
        level: the share of resampled means inside, above 0 and below 1.
        seed: of the draws, 0 or more.

    Raises:
        MetricError: no values, values that are not finite, or an option out of range.

    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.
    """
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or not sample.size or not np.isfinite(sample).all():
        raise MetricError(f"an interval wants one finite number per picture, (N,); found {sample.shape}")
    if resamples < 1 or not 0 < level < 1 or seed < 0:
        raise MetricError(
            "an interval wants 1 or more resamples, a level between 0 and 1 and a seed of 0 or more; "
            f"found {resamples}, {level}, {seed}"
        )
    if sample.size < LEAST:
        return Interval(float(sample.mean()), None, None)
    draws = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // sample.size)
    means = np.concatenate(
        [
            sample[draws.integers(0, sample.size, (min(rows, resamples - done), sample.size))].mean(axis=1)
            for done in range(0, resamples, rows)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sample.mean()), float(low), float(high))


def bootstrap_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """The mean of `first` minus that of `second` and its interval, paired: both are of the same pictures, in one order.

    An interval that leaves out 0 says that the two methods differ on pictures like these. Options and errors are those
    of `bootstrap_mean`; MetricError also when the two are not of as many pictures.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape:
        raise MetricError(f"a pair wants the same pictures twice; found {a.shape} and {b.shape}")
    return bootstrap_mean(a - b, resamples=resamples, level=level, seed=seed)
