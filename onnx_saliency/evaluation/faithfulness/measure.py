"""Maps of several methods, and of none, measured side by side on the same pictures by one protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.errors import ImageError, MetricError
from onnx_saliency.evaluation.arrays import min_max
from onnx_saliency.evaluation.bootstrap import LEAST, Interval, bootstrap_difference
from onnx_saliency.evaluation.faithfulness.curves import area_under, fills, perturbation_curve
from onnx_saliency.evaluation.faithfulness.order import BASELINES, rank_pixels
from onnx_saliency.evaluation.faithfulness.protocol import MODES, Mode, Protocol
from onnx_saliency.evaluation.faithfulness.scorer import Scorer
from onnx_saliency.evaluation.faithfulness.subsets import (
    Subsets,
    draw_scattered,
    draw_squares,
    infidelity,
    sensitivity_n,
)
from onnx_saliency.evaluation.named import by_name
from onnx_saliency.evaluation.reading import Failed, read_or_leave_out
from onnx_saliency.explain import Explainer
from onnx_saliency.images import Picture, read_picture

Floats = npt.NDArray[np.float64]
Map = npt.NDArray[Any]

LOWER, HIGHER = "lower", "higher"
METRICS: dict[str, str] = {
    "deletion": LOWER,
    "insertion": HIGHER,
    "average_drop": LOWER,
    "average_increase": HIGHER,
    "infidelity": LOWER,
    "sensitivity_n": HIGHER,
}
"""What is measured, and which way is better."""


@dataclass(frozen=True)
class Case:
    """A picture and the classes that are right for it; none where its own prediction is what is explained."""

    image: Any
    accepted: frozenset[int] = frozenset()


@dataclass
class Contender:
    """A method or a baseline, and how it did on each picture.

    Attributes:
        name: in tables.
        baseline: whether it knows nothing of the model.
        curves: of each mode, a float64 (T,) a picture.
        values: of each metric, a number per picture.
    """

    name: str
    baseline: bool = False
    curves: dict[Mode, list[Floats]] = field(default_factory=lambda: {mode: [] for mode in MODES})
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in METRICS})

    def mean_curve(self, mode: Mode) -> Floats:
        """The mean over pictures, float64 (T,)."""
        curve: Floats = np.mean(self.curves[mode], axis=0)
        return curve

    def measure(self, name: str) -> Floats:
        """A metric's numbers, float64 (N,); MetricError where there is no such metric."""
        return np.array(by_name(self.values, name, "metric"))


@dataclass(frozen=True)
class Faithfulness:
    """What was measured.

    Attributes:
        protocol: by which.
        contenders: methods in the order given, then baselines.
        images: names of the pictures.
        targets: the class of each.
        failed: (name, reason) of pictures that were left out because they cannot be read.
    """

    protocol: Protocol
    contenders: tuple[Contender, ...]
    images: list[str] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    failed: Failed = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def find(self, name: str) -> Contender:
        """The contender with this name; MetricError where there is none."""
        return by_name({each.name: each for each in self.contenders}, name, "contender")

    def difference(self, first: str, second: str, metric: str) -> Interval:
        """Mean of a metric of one contender less that of another, and its interval: paired, by picture."""
        return bootstrap_difference(self.find(first).measure(metric), self.find(second).measure(metric))

    def best(self, metric: str) -> str | None:
        """The method that is best by the mean, the first of equal ones; baselines do not count.

        None where all are equal, and of fewer pictures than an interval takes.
        """
        sign = 1 if by_name(METRICS, metric, "metric") == HIGHER else -1
        if len(self) < LEAST:
            return None
        means = {each.name: sign * each.measure(metric).mean() for each in self.contenders if not each.baseline}
        alike = len(means) > 1 and len(set(means.values())) == 1
        return None if alike else max(means, key=lambda name: means[name])


def measure_faithfulness(
    explainers: Mapping[str, Explainer],
    cases: Sequence[Case] | Iterable[Case],
    protocol: Protocol,
    *,
    batch_size: int = 16,
    seed: int = 0,
    skip: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Faithfulness:
    """Measure the maps of several explainers of one model, and of the baselines, on the same pictures.

    Of classes that all count as right for a picture, the one that the model finds likeliest is the target.

    Args:
        explainers: by the name of each in tables; they prepare pictures alike.
        cases: pictures and their classes.
        protocol: of deletion and insertion; the other metrics take its score and its fill for deletion.
        batch_size: perturbed images a run, where the model leaves it open.
        seed: of ties, of the random order and of the parts that are removed.
        skip: leave out pictures that cannot be read, into `failed`, instead of refusing the whole.
        progress: told how many pictures are done.

    Raises:
        MetricError: no explainer, or no picture.
        ImageError: a picture that cannot be read, or, skipping them, none that can.
        ModelError, TargetError: as `Explainer.explain` does.
    """
    listed = list(cases)
    if not explainers or not listed:
        raise MetricError(f"faithfulness wants methods and pictures; found {len(explainers)} and {len(listed)}")
    first = next(iter(explainers.values()))
    scorer = Scorer(first, batch_size=batch_size)
    contenders = [Contender(name) for name in explainers] + [Contender(name, True) for name in BASELINES]
    result = Faithfulness(protocol, tuple(contenders))
    for done, case in enumerate(listed, 1):
        picture = read_or_leave_out(partial(_read, case), case.image, result.failed if skip else None)
        if picture is not None:
            image, _, _ = first.prepare(picture)
            target = _target(scorer, protocol, image, case.accepted, first)
            number = len(result)
            plain = image[0] if first.layout == "NCHW" else np.moveaxis(image[0], -1, 0)
            maps: dict[str, Map] = {name: each.explain(image, target).saliency[0] for name, each in explainers.items()}
            maps |= {name: make(plain, (seed, number)) for name, make in BASELINES.items()}
            _measure_picture(result, scorer, first, image, target, maps, (seed, number))
            result.images.append(picture.name)
            result.targets.append(target)
        if progress is not None:
            progress(done)
    if not len(result):
        raise ImageError(f"None of the {len(listed)} pictures can be read: {result.failed[0][1]}")
    return result


def _read(case: Case) -> Picture:
    return case.image if isinstance(case.image, Picture) else read_picture(case.image)


def _target(
    scorer: Scorer, protocol: Protocol, image: npt.NDArray[Any], accepted: frozenset[int], explainer: Explainer
) -> int:
    """The class that is explained."""
    height, width = explainer.size
    logits = scorer.score(image, image, np.zeros((height, width), np.int32), np.zeros(1, np.int32)).logits[0]
    if protocol.target == "predicted" or not accepted:
        return int(logits.argmax())
    return max(sorted(accepted), key=lambda index: float(logits[index]))


def _measure_picture(
    result: Faithfulness,
    scorer: Scorer,
    explainer: Explainer,
    image: npt.NDArray[Any],
    target: int,
    maps: Mapping[str, Map],
    seed: tuple[int, int],
) -> None:
    protocol = result.protocol
    channel_axis = 1 if explainer.layout == "NCHW" else 3
    fill = fills(protocol, image, explainer.preprocess, channel_axis)
    size = next(iter(maps.values())).shape
    scattered, squares = draw_scattered(*size, seed=seed), draw_squares(*size, seed=seed)

    def without(parts: Subsets) -> Floats:
        scores = scorer.score(image, fill["deletion"], parts.ranks, np.ones(len(parts.size), np.int32))
        return scores.of(target, protocol.score)

    without_scattered, without_squares = without(scattered), without(squares)
    for contender in result.contenders:
        saliency = maps[contender.name]
        ranks = rank_pixels(saliency, protocol.ties, seed)
        for mode in MODES:
            curve = perturbation_curve(scorer, image, ranks, target, mode, protocol, fill[mode])
            contender.curves[mode].append(curve)
            contender.values[mode].append(area_under(curve))
        whole = float(contender.curves["deletion"][-1][0])
        kept = _kept(scorer, image, fill["deletion"], saliency, channel_axis, target, protocol)
        contender.values["average_drop"].append(max(0.0, whole - kept) / whole if whole > 0 else 0.0)
        contender.values["average_increase"].append(float(kept > whole))
        contender.values["infidelity"].append(infidelity(squares, saliency, whole - without_squares))
        contender.values["sensitivity_n"].append(sensitivity_n(scattered, saliency, whole - without_scattered))


def _kept(
    scorer: Scorer,
    image: npt.NDArray[Any],
    fill: npt.NDArray[Any],
    saliency: Map,
    channel_axis: int,
    target: int,
    protocol: Protocol,
) -> float:
    """The score where each pixel is kept by its share of the map (Chattopadhay et al. 2018, section 4)."""
    share = np.expand_dims(min_max(saliency), (0, channel_axis))
    mixed = fill + share * (image.astype(np.float64) - fill)
    mixed = (mixed.round() if image.dtype.kind in "iu" else mixed).astype(image.dtype)
    scores = scorer.score(mixed, fill, np.zeros(saliency.shape, np.int32), np.zeros(1, np.int32))
    return float(scores.of(target, protocol.score)[0])
