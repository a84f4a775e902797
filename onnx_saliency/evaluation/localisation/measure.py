"""Recipes for localisation and simple baselines, measured side by side on a data set's boxes and masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from onnx_saliency.errors import ImageError
from onnx_saliency.evaluation.arrays import min_max
from onnx_saliency.evaluation.bootstrap import Interval, bootstrap_difference, bootstrap_mean
from onnx_saliency.evaluation.datasets import Dataset, Example, read_mask
from onnx_saliency.evaluation.datasets.example import Mask
from onnx_saliency.evaluation.localisation.boxes import OVERLAP, best_iou, pointing_game
from onnx_saliency.evaluation.localisation.contenders import Baseline, baselines
from onnx_saliency.evaluation.localisation.max_box_accuracy import MaxBoxAccuracy
from onnx_saliency.evaluation.localisation.pixels import PixelPrecision, mask_iou
from onnx_saliency.evaluation.named import by_name
from onnx_saliency.evaluation.reading import Failed, read_or_leave_out
from onnx_saliency.images import Picture as ReadPicture
from onnx_saliency.images import read_picture
from onnx_saliency.vision import Segmentation, Segmenter, bounding_box, cut_out

GUESSES = 5
_MAP_SIDE = 128  # longer side at which maps are swept: a sweep's time grows with its pixels

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """One contender on one picture, for each value of its free number.

    Attributes:
        image: the file.
        box_iou: float64 (numbers,), of the true class's box with the best true box.
        mask_iou: float64 (numbers,), of its mask; NaN where the data set has none.
        right: bool (numbers, 5), which of the five best guesses are right: class and box.
        target: the true class.
    """

    image: Path
    box_iou: Floats
    mask_iou: Floats
    right: npt.NDArray[np.bool_]
    target: int


@dataclass(frozen=True)
class Contender:
    """A recipe or a baseline, and how it did on each picture.

    Attributes:
        name: in tables.
        numbers: what its free number may be; one for a recipe.
        pictures: one an example, in the data set's order.
    """

    name: str
    numbers: tuple[float, ...]
    pictures: list[Picture] = field(default_factory=list)

    @property
    def boxes(self) -> Floats:
        """IoU of the true class's box, (N,), by the number whose mean is highest."""
        return _best(np.array([each.box_iou for each in self.pictures]))

    @property
    def masks(self) -> Floats:
        """IoU of the true class's mask, of pictures that have one, by the number whose mean is highest."""
        rows = np.array([each.mask_iou for each in self.pictures])
        return _best(rows[~np.isnan(rows[:, 0])])

    @property
    def known(self) -> Floats:
        """Whether the true class's box is right, (N,), by the number whose mean is highest (GT-known accuracy)."""
        return _best(np.array([each.box_iou >= OVERLAP for each in self.pictures], np.float64))

    def wrong(self, top: int) -> Floats:
        """Whether none of the first `top` guesses is right, (N,), by the number whose mean is lowest."""
        right = np.array([each.right[:, :top].any(axis=1) for each in self.pictures], np.float64)
        return 1 - _best(right)


_MEASURES = {name: attrgetter(name) for name in ("boxes", "masks", "known")}


@dataclass
class MapMeasures:
    """What is measured of a map itself: MaxBoxAcc and V2, PxAP, and the pointing game."""

    boxes: MaxBoxAccuracy = field(default_factory=MaxBoxAccuracy)
    pixels: PixelPrecision = field(default_factory=PixelPrecision)
    pointing: list[bool] = field(default_factory=list)
    masks: int = 0


@dataclass(frozen=True)
class Localisation:
    """The measures of a model on a data set.

    Attributes:
        contenders: recipes first, then baselines, which read the first recipe's map and seeds.
        maps: of each recipe's map.
        top: for each recipe, share of pictures whose true class is the first guess, and among the first five.
        failed: (name, reason) of pictures that were left out because they, or their masks, cannot be read.
    """

    contenders: list[Contender]
    maps: Mapping[str, MapMeasures]
    top: Mapping[str, tuple[float, float]]
    failed: Failed = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.contenders[0].pictures)

    def difference(self, first: str, second: str, measure: str) -> Interval:
        """Mean of a measure ("boxes", "masks", "known") of one contender less that of another, paired."""
        of = by_name(_MEASURES, measure, "measure")
        a, b = (of(self.find(name)) for name in (first, second))
        return bootstrap_difference(a, b)

    def find(self, name: str) -> Contender:
        """The contender with this name; MetricError where there is none."""
        return by_name({each.name: each for each in self.contenders}, name, "contender")


def measure_localisation(
    segmenters: Sequence[Segmenter],
    dataset: Dataset,
    *,
    others: Iterable[Baseline] | None = None,
    skip: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Localisation:
    """Run recipes and baselines on every picture of a data set.

    Of classes that all count as right for a picture, the one that the model finds likeliest is the true class.

    Args:
        segmenters: of one model, a recipe each, `top` 1.
        dataset: its classes resolved to the model's (`resolve_labels`).
        others: baselines; None takes all of `baselines()`.
        skip: leave out pictures that cannot be read, or whose mask cannot, into `failed`, instead of refusing the
            whole.
        progress: told how many pictures are done.

    Raises:
        DatasetError, ImageError: a picture or mask cannot be read, or, skipping them, none can.
    """
    chosen = list(baselines() if others is None else others)
    simple = [  # one that reads no map is the same for all recipes
        [
            each if place == 0 else replace(each, name=f"{segmenter.recipe.name}: {each.name}")
            for each in chosen
            if place == 0 or each.of_map
        ]
        for place, segmenter in enumerate(segmenters)
    ]
    names = [each.recipe.name for each in segmenters]
    contenders = {name: Contender(name, (0.0,)) for name in names}
    contenders |= {each.name: Contender(each.name, each.numbers) for group in simple for each in group}
    maps = {name: MapMeasures() for name in names}
    hits: dict[str, list[tuple[bool, bool]]] = {name: [] for name in names}
    failed: Failed = []
    for done, example in enumerate(dataset, 1):
        files = read_or_leave_out(partial(_read, example), example.image, failed if skip else None)
        if progress is not None:
            progress(done)
        if files is None:
            continue
        picture, truth = files
        for name, segmenter, group in zip(names, segmenters, simple, strict=True):
            found, guesses = _segment_accepted(segmenter, picture, example)
            hits[name].append((guesses[0] in example.accepted, bool(example.accepted & set(guesses))))
            contenders[name].pictures.append(_judge(example, truth, found, guesses, [[each.mask] for each in found]))
            _measure_map(maps[name], found[0], example, truth)
            for each in group:
                masks = [list(each.masks(of_class, each.numbers)) for of_class in found]
                contenders[each.name].pictures.append(_judge(example, truth, found, guesses, masks))
    if len(failed) == len(dataset) and failed:
        raise ImageError(f"None of the {len(failed)} pictures can be read: {failed[0][1]}")
    shares = {
        name: (float(np.mean([first for first, _ in rows])), float(np.mean([five for _, five in rows])))
        for name, rows in hits.items()
    }
    return Localisation(list(contenders.values()), maps, shares, failed)


def _read(example: Example) -> tuple[ReadPicture, Mask | None]:
    """The picture, and its mask where it has one."""
    return read_picture(example.image), read_mask(example) if example.mask else None


def _segment_accepted(
    segmenter: Segmenter, picture: ReadPicture, example: Example
) -> tuple[list[Segmentation], list[int]]:
    """Segment the likeliest of the accepted classes, and those others that are among the five best guesses."""
    classes = sorted(int(label) for label in example.accepted)
    (first,) = segmenter.look(picture, classes[0])
    guesses = np.argsort(-first.probabilities, kind="stable")[:GUESSES].tolist()
    likeliest = max(classes, key=lambda index: float(first.probabilities[index]))
    wanted = [likeliest, *(index for index in guesses if index in example.accepted and index != likeliest)]
    seen = [first if index == first.target else segmenter.look(picture, index)[0] for index in wanted]
    return [cut_out(evidence, segmenter.recipe) for evidence in seen], guesses


def _judge(
    example: Example,
    truth: Any,
    found: Sequence[Segmentation],
    guesses: Sequence[int],
    masks: Sequence[Sequence[npt.NDArray[np.bool_]]],
) -> Picture:
    """The masks of the true class (the first) and the other guesses that are accepted, one for each number."""
    boxes = [[bounding_box(mask) for mask in of_class] for of_class in masks]
    overlaps = [best_iou(of_class, example.boxes) for of_class in boxes]
    right = np.zeros((len(overlaps[0]), GUESSES), bool)
    for segmentation, of_class in zip(found, overlaps, strict=True):
        if segmentation.target in guesses:
            right[:, guesses.index(segmentation.target)] = of_class >= OVERLAP
    pixels = [np.nan if truth is None else mask_iou(mask, truth.object, truth.counted) for mask in masks[0]]
    return Picture(example.image, overlaps[0], np.array(pixels), right, found[0].target)


def _measure_map(measures: MapMeasures, found: Segmentation, example: Example, truth: Any) -> None:
    height, width = found.saliency.shape
    measures.pointing.append(pointing_game(found.saliency, example.boxes))
    if truth is not None:
        measures.pixels.add(min_max(found.saliency), truth.object, truth.counted)
        measures.masks += 1
    shrink = min(1.0, _MAP_SIDE / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = np.asarray(Image.fromarray(found.saliency).resize(size, Image.Resampling.BOX))
    across, down = size[0] / width, size[1] / height
    measures.boxes.add(small, example.boxes * [across, down, across, down])


def _best(rows: Floats) -> Floats:
    """The column of the highest mean."""
    best: Floats = rows[:, int(rows.sum(axis=0).argmax())]
    return best


def summary(result: Localisation) -> list[dict[str, Any]]:
    """A row per contender: means and their intervals, of boxes and, where the data set has them, of masks."""
    rows = []
    for each in result.contenders:
        row: dict[str, Any] = {"name": each.name, "known_class": bootstrap_mean(each.known)._asdict()}
        row |= {f"top{top}_error": bootstrap_mean(each.wrong(top))._asdict() for top in (1, 5)}
        row["box_iou"] = bootstrap_mean(each.boxes)._asdict()
        if len(each.masks):
            row["mask_iou"] = bootstrap_mean(each.masks)._asdict()
        rows.append(row)
    return rows
