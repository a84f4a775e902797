"""The step of the ascent for a model: for `class_model`, and as a model of its own for use elsewhere."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnx_saliency.backward import Profile
from onnx_saliency.classes import check_known
from onnx_saliency.errors import ImageError
from onnx_saliency.exporter import Score, read_metadata
from onnx_saliency.exporter.ascent import Range, Recipe, Step, build_step, find_recipe
from onnx_saliency.exporter.classifier import read_classifier
from onnx_saliency.exporter.files import check_writable, save
from onnx_saliency.exporter.metadata import write_metadata
from onnx_saliency.exporter.objective import describe_score
from onnx_saliency.graph import Classifier, ModelSource, load
from onnx_saliency.images import Labels, Preprocess
from onnx_saliency.images.choice import DEFAULT_SIZE, LabelChoice, PreprocessChoice, choose_labels, choose_preprocess
from onnx_saliency.targets import TargetReader


@dataclass(frozen=True)
class Prepared:
    """A model that is ready for the ascent.

    Attributes:
        classifier: what was found; its model is the step's.
        preprocess: how pixels become the network's input.
        step: the graph and what it carries.
        targets: reads classes, or channels of a layer.
        against: what is subtracted, by its number.
    """

    classifier: Classifier
    preprocess: Preprocess
    step: Step
    targets: TargetReader
    against: int | None

    @property
    def labels(self) -> Labels | None:
        """Names of the classes, None where none are known."""
        return self.targets.labels


def export_step(
    model: ModelSource,
    path: str | os.PathLike[str] | None = None,
    *,
    recipe: str | Recipe = "paper",
    score: Score | None = None,
    against: int | str | None = None,
    seed: int = 0,
    size: int | tuple[int, int] | None = None,
    preprocess: PreprocessChoice = None,
    input: str | None = None,
    output: str | None = None,
) -> onnx.ModelProto | None:
    """Write one step of the ascent as a model of its own, in standard ONNX operators only: a loop makes class models.

    It takes, for K images of which `target` int64 [K] says what each is to show:

    - `parameters` float32 [K, C, H, W], of the images; zeros, or noise of the recipe's standard deviation, at first;
    - `mean`, `square` float32 [K, C, H, W], zeros at first: those of Adam, only with it;
    - `step` int64 [1], 0 at first;
    - `scores` float32 [K, steps], zeros at first: the score at each step taken;
    - `key` int64 [K], which random views an image gets, if the recipe has any: any numbers, such as `target`;
    - the model's inputs besides the image.

    It gives `next/parameters` and so on, to be handed in the next time; `image`, the network's input that these
    `parameters` stand for; and `slope` float32 [K], the largest gradient of the score: 0 where it is a dead start.
    All float32 is float64 for double models. Steps beyond the recipe's repeat its last column of `scores`.
    Deterministic: the same model gives the same bytes.

    Args:
        model: path, bytes, onnx.ModelProto or onnx_ir.Model.
        path: where to write; None returns a ModelProto.
        recipe: "paper", "modern", or a `Recipe`.
        score: as of `class_model`.
        against: a class whose score is subtracted, by number, or by a name that the model stores.
        seed: of the views.
        size: height and width, for networks that take any.
        preprocess: as of `class_model`; it is stored in the result.
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.

    Raises:
        ModelError: the model cannot be read or differentiated.
        RecipeError: no such recipe.
        TargetError: a class that the model does not have.
        ImageError: a size that the network does not take.
        ExportError: an input besides the image has a name that is added.
        OutputError: `path` cannot be written; nothing is left behind.

    Source: Simonyan, Vedaldi, Zisserman 2013, section 2.
    """
    if path is not None:
        check_writable(Path(path), model)
    recipe = find_recipe(recipe)
    prepared = prepare_step(
        load(model),
        recipe,
        score=score,
        against=against,
        seed=seed,
        size=size,
        preprocess=preprocess,
        input=input,
        output=output,
    )
    facts = {
        "version": version("onnx-saliency"),
        "method": "ascent",
        "recipe": json.dumps(asdict(recipe)),
        "score": describe_score(score or recipe.score),
        "seed": str(seed),
        "preprocess": prepared.preprocess.to_json(),
    }
    result = prepared.step.model
    facts |= {} if prepared.against is None else {"against": str(prepared.against)}
    write_metadata(result.metadata_props, facts)
    if path is None:
        return ir.to_proto(result)
    save(result, Path(path))
    return None


def prepare_step(
    source: ir.Model,
    recipe: Recipe,
    *,
    score: Score | None,
    against: int | str | None,
    seed: int,
    size: int | tuple[int, int] | None,
    preprocess: PreprocessChoice,
    input: str | None,
    output: str | None,
    labels: LabelChoice = None,
    profile: Profile = "portable",
) -> Prepared:
    """Find the classifier in a copy of `source` and build its step; arguments as of `class_model` and `build_step`."""
    classifier = read_classifier(source.clone(), input=input, output=output)
    stored = read_metadata(classifier.model.metadata_props)
    chosen, _ = choose_preprocess(preprocess, stored, classifier.size)
    range_ = _range(chosen, classifier)
    sides = _size(classifier, size, chosen)
    objective = score or recipe.score
    names = choose_labels(labels, stored, classifier.classes)
    targets = TargetReader(names, None, of_classes=isinstance(objective, str))
    other = None if against is None else targets.number(against)
    step = build_step(classifier, recipe, range_, sides, score=objective, against=other, seed=seed, profile=profile)
    targets = replace(targets, width=step.width)  # which is known with the step
    if other is not None:
        check_known([other], targets.width, of_classes=targets.of_classes)
    return Prepared(classifier, chosen, step, targets, other)


def _size(classifier: Classifier, given: int | tuple[int, int] | None, preparation: Preprocess) -> tuple[int, int]:
    """Height and width of the images."""
    asked = (given, given) if isinstance(given, int) else given
    if asked is not None:
        if any(side < 1 for side in asked):
            raise ImageError(f"An image is 1 pixel or more high and wide, not {asked[0]} x {asked[1]}.")
        fixed = [side for side, wanted in zip(classifier.size, asked, strict=True) if side not in (None, wanted)]
        if fixed:
            takes = " x ".join("any" if side is None else str(side) for side in classifier.size)
            raise ImageError(f"The network takes images of {takes}, not of {asked[0]} x {asked[1]}.")
    chosen = asked or preparation.height_width or DEFAULT_SIZE
    height, width = classifier.size
    return height or chosen[0], width or chosen[1]


def _range(preparation: Preprocess, classifier: Classifier) -> Range:
    channels = len(preparation.channels)
    preparation.check_channels(classifier.channels)
    mean, std = (np.broadcast_to(np.asarray(v, np.float64), channels) for v in (preparation.mean, preparation.std))
    return Range(mean, std, reverse=preparation.channels == "BGR")
