"""Class models: the image that a network scores highest for a class (paper, section 2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.backward import is_expanded
from onnx_saliency.errors import ImageError, ModelError, SaliencyError, TargetError
from onnx_saliency.exporter import Score, read_metadata
from onnx_saliency.exporter.ascent import Range, Recipe, Step, build_step, find_recipe
from onnx_saliency.exporter.ascent.image import KEYS
from onnx_saliency.exporter.ascent.step import IMAGE, KEY, PARAMETERS, SCORES, SLOPE, STEP, TARGET
from onnx_saliency.exporter.scores import SCORES as ALL_SCORES
from onnx_saliency.exporter.scores import score_model
from onnx_saliency.graph import Classifier, ModelSource, find_classifier, load, normalise
from onnx_saliency.images import Labels, Preprocess
from onnx_saliency.images.choice import DEFAULT_SIZE, choose_labels, choose_preprocess
from onnx_saliency.runtime import Iteration, Session

_RESCUES = (0.01, 0.1, 0.5)
"""Standard deviations of the start, tried in turn, of an image whose gradient is zero where it should begin."""

Progress = Callable[[int, int, int, float], None]
"""Told after some steps: images finished before, step, steps, mean score of those under way."""

_TOLD_EVERY = 8  # steps


@dataclass(frozen=True, eq=False)
class ClassModel:
    """Images that maximise scores, one for each of the classes asked for.

    Attributes:
        inputs: float32 (K, ...), in the network's own form, before the mean image is added.
        images: uint8 (K, H, W, 3), the mean image added, ready to look at.
        logits: float32 (K, classes) of `inputs`.
        history: float32 (K, steps), the score that was maximised, at each step; of the view in that step. NaN from
            where it was interrupted on.
        target: int64 (K,), the class, or the channel of a layer.
        recipe: what was done.
        seed: of all random numbers.
        steps: how many steps were taken; fewer than the recipe's where it was interrupted.
        frames: uint8 (F, K, H, W, 3), pictures of the way up, if they were asked for.
        notes: what should be known of single images.
        labels: names of the classes, None where none are known.
        provider: what the network ran on.
    """

    inputs: npt.NDArray[np.float32]
    images: npt.NDArray[np.uint8]
    logits: npt.NDArray[np.float32]
    history: npt.NDArray[np.float32]
    target: npt.NDArray[np.int64]
    recipe: Recipe
    seed: int
    steps: int
    frames: npt.NDArray[np.uint8]
    notes: tuple[str, ...] = ()
    labels: Labels | None = None
    provider: str = "cpu"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def partial(self) -> bool:
        """Whether it was interrupted before its last step."""
        return self.steps < self.recipe.steps

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """Softmax of the logits, (K, classes)."""
        shifted = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        probabilities: npt.NDArray[np.float32] = shifted / shifted.sum(axis=1, keepdims=True)
        return probabilities


def class_model(
    model: ModelSource,
    classes: Sequence[int | str] | int | str | None = None,
    *,
    recipe: str | Recipe = "paper",
    seed: int = 0,
    score: Score | None = None,
    against: int | None = None,
    frames: int = 0,
    size: int | tuple[int, int] | None = None,
    batch_size: int = 16,
    preprocess: Preprocess | str | Callable[[Preprocess], Preprocess] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    input: str | None = None,
    output: str | None = None,
    providers: Sequence[str] | None = None,
    threads: int | None = None,
    feeds: Mapping[str, npt.ArrayLike] | None = None,
    progress: Progress | None = None,
) -> ClassModel:
    """Find for each class the image that the network scores highest: arg max S_c(I) − λ ‖I‖².

    Every step is one run of one graph (`exporter.ascent`), and the images stay on the device. The same seed, provider
    and number of threads give the same images.

    Args:
        model: path, bytes, onnx.ModelProto or onnx_ir.Model.
        classes: numbers or names; None takes all.
        recipe: "paper", "modern", or a `Recipe`.
        seed: of starts and views.
        score: None maximises what the recipe says, the logit; a `Neuron` or a `Channel` of a layer is maximised
            instead, and `classes` are then channels; `Whole` takes 0, as often as images are wanted.
        against: a class whose score is subtracted: what speaks for a class and not for this one.
        frames: how many pictures of the way up are kept.
        size: height and width, for networks that take any; None takes that of the preprocessing.
        batch_size: images at once; halved where memory does not suffice.
        preprocess: how pixels become network input, whose mean is added at the end; None takes what the model stores,
            a function changes that.
        labels: class names, or a file of them; None takes what the model stores.
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.
        providers: "cuda", "cpu" or ONNX Runtime's names, best first; None takes CUDA where it works.
        threads: threads within an operator.
        feeds: values of the model's other inputs.
        progress: told how far it is; scores are copied to the host for that, and for nothing else.

    Raises:
        ModelError: the model cannot be read, differentiated or run.
        TargetError: a class that the model does not have, or none.
        LabelError: a name that no class has.
        RecipeError: no such recipe.
        ImageError: a size that the network does not take.

    Source: Simonyan, Vedaldi, Zisserman 2013, section 2.
    """
    recipe = find_recipe(recipe)
    if batch_size < 1:
        raise SaliencyError(f"batch_size is 1 or more images, not {batch_size}.")
    source = load(model)
    classifier = find_classifier(normalise(source.clone(), expand=is_expanded), input=input, output=output)
    stored = read_metadata(classifier.model.metadata_props)
    given = None if callable(preprocess) else preprocess
    preparation, _ = choose_preprocess(given, stored, classifier.size)
    preparation = preprocess(preparation) if callable(preprocess) else preparation
    names = choose_labels(labels, stored, classifier.classes)
    sides = _size(classifier, size, preparation)
    range_ = _range(preparation, classifier)
    step = build_step(classifier, recipe, range_, sides, score=score or recipe.score, against=against, seed=seed)
    targets = _targets(classes, names, step.width, of_classes=score is None)
    session = Session(step.model, providers=providers, threads=threads)
    judge = Session(score_model(source, input=input, output=output), providers=providers, threads=threads)
    others = {name: np.asarray(value, session.dtype(name)) for name, value in (feeds or {}).items()}

    if against is not None:
        _check_classes([against], step.width, of_classes=score is None)
    ascent = _Ascent(session, step, recipe, seed, others, frames, progress)
    fixed = classifier.batch
    found = ascent.run(targets, fixed or batch_size, fixed=fixed is not None)
    inputs = np.concatenate([part.image for part in found])
    logits = _logits(judge, classifier.image.name or "", inputs, others, fixed)
    return ClassModel(
        inputs=inputs.astype(np.float32),
        images=to_pictures(inputs, range_, classifier.channel_axis),
        logits=logits,
        history=np.concatenate([part.history for part in found]),
        target=targets[: len(inputs)],
        recipe=recipe,
        seed=seed,
        steps=min(part.steps for part in found),
        frames=np.concatenate([to_pictures(part.frames, range_, classifier.channel_axis) for part in found], axis=1),
        notes=tuple(ascent.notes),
        labels=names,
        provider=session.provider,
    )


def to_pictures(inputs: npt.NDArray[Any], range_: Range, channel_axis: int) -> npt.NDArray[np.uint8]:
    """Network input (..., N, C, H, W) or NHWC as pictures to look at, uint8 (..., N, H, W, 3).

    The mean image is added, and what lies outside 0..255 is cut off.
    """
    images = np.moveaxis(inputs.astype(np.float64), channel_axis - 4, -1)
    pixels = images * range_.std + range_.mean
    pixels = pixels[..., ::-1] if range_.reverse else pixels
    pictures: npt.NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return np.repeat(pictures, 3, axis=-1) if pictures.shape[-1] == 1 else pictures


@dataclass(frozen=True, eq=False)
class _Part:
    """A batch that is done, or was interrupted."""

    image: npt.NDArray[Any]
    history: npt.NDArray[np.float32]
    frames: npt.NDArray[Any]
    steps: int


class _Ascent:
    """Batches of images, one after the other."""

    def __init__(
        self,
        session: Session,
        step: Step,
        recipe: Recipe,
        seed: int,
        others: Mapping[str, npt.NDArray[Any]],
        frames: int,
        progress: Progress | None,
    ) -> None:
        self.session, self.step, self.recipe, self.seed = session, step, recipe, seed
        self.others, self.frames, self.progress = others, frames, progress
        self.notes: list[str] = []

    def run(self, targets: npt.NDArray[np.int64], batch: int, *, fixed: bool) -> list[_Part]:
        """Make all images; after an interruption, those that were begun."""
        parts: list[_Part] = []
        done = 0
        while done < len(targets):
            chunk = targets[done : done + batch]
            try:
                part = self._batch(chunk, batch if fixed else len(chunk), done)
            except ModelError as error:
                if fixed or len(chunk) == 1 or not _is_about_memory(error):
                    raise
                batch = max(1, len(chunk) // 2)
                self.notes.append(f"Memory did not suffice for {len(chunk)} images at once; {batch} were made at once.")
                continue
            parts.append(part)
            done += len(chunk)
            if part.steps < self.recipe.steps:  # interrupted
                break
        return parts

    def _batch(self, targets: npt.NDArray[np.int64], width: int, done: int) -> _Part:
        filled = np.resize(targets, width)  # a model of a fixed batch gets its last one filled up with copies
        states = self._start(filled, self.recipe.noise)
        constants = {TARGET: filled, KEY: _keys(filled), **self.others}
        self._rescue(states, constants, filled, len(targets))
        iteration = Iteration(self.session, states, constants)
        frames = []
        kept = {round(each) for each in np.linspace(0, self.recipe.steps, self.frames)}
        try:
            for number in range(self.recipe.steps):
                if number in kept:
                    frames += iteration.outputs([IMAGE])
                iteration.step()
                if self.progress is not None and number % _TOLD_EVERY == 0:
                    score = float(iteration.read(SCORES)[: len(targets), number].mean())
                    self.progress(done, number + 1, self.recipe.steps, score)
        except KeyboardInterrupt:
            pass  # what was made so far is what is asked for
        (image,) = iteration.outputs([IMAGE])
        history = iteration.read(SCORES).astype(np.float32)[: len(targets)]
        history[:, iteration.steps :] = np.nan
        if not np.isfinite(image[: len(targets)]).all():
            raise ModelError("The network computes NaN or infinity on the way up: no image was found. Lower the rate.")
        frames += [image] if self.recipe.steps in kept else []
        stack = np.stack(frames)[:, : len(targets)] if frames else np.empty((0, len(targets), *image.shape[1:]))
        return _Part(image[: len(targets)], history, stack, iteration.steps)

    def _rescue(
        self,
        states: dict[str, npt.NDArray[Any]],
        constants: Mapping[str, npt.NDArray[Any]],
        targets: npt.NDArray[np.int64],
        count: int,
    ) -> None:
        """Let images whose gradient is zero at their start begin from noise, and say so."""
        dead = self._dead(states, constants)[:count]
        for noise in _RESCUES:
            if not dead.any():
                return
            tried, states[PARAMETERS] = dead, states[PARAMETERS].copy()
            states[PARAMETERS][:count][tried] = self._start(targets, noise)[PARAMETERS][:count][tried]
            dead = self._dead(states, constants)[:count]
            if rescued := list(targets[:count][tried & ~dead]):
                self.notes.append(
                    f"Dead start: at {', '.join(map(str, rescued))} the gradient is zero where the ascent should begin, "
                    f"so it began from noise of standard deviation {noise}."
                )
        if dead.any():
            lost = ", ".join(map(str, targets[:count][dead]))
            self.notes.append(
                f"Dead start: at {lost} the gradient is zero, from noise too; the image is no class model."
            )

    def _dead(
        self, states: Mapping[str, npt.NDArray[Any]], constants: Mapping[str, npt.NDArray[Any]]
    ) -> npt.NDArray[np.bool_]:
        (slope,) = Iteration(self.session, states, constants).outputs([SLOPE])
        dead: npt.NDArray[np.bool_] = ~(slope > 0)
        return dead

    def _start(self, targets: npt.NDArray[np.int64], noise: float) -> dict[str, npt.NDArray[Any]]:
        """The first value of each state; an image's noise depends on the seed and its class alone."""
        states: dict[str, npt.NDArray[Any]] = {}
        for name, shape in self.step.states.items():
            full = [len(targets) if isinstance(dim, str) else dim for dim in shape]
            states[name] = np.zeros(full, np.int64 if name == STEP else self.session.dtype(name))
        if noise:
            for k, key in enumerate(_keys(targets)):
                draw = np.random.default_rng([self.seed, int(key)]).standard_normal(states[PARAMETERS].shape[1:])
                states[PARAMETERS][k] = noise * draw
        return states


def _keys(targets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Which random numbers an image gets: those of its target, whatever the batch; others for each repetition of it."""
    seen: dict[int, int] = {}
    keys = []
    for target in targets:
        seen[int(target)] = seen.get(int(target), -1) + 1
        keys.append((int(target) + 7919 * seen[int(target)]) % KEYS)
    return np.array(keys, np.int64)


def _is_about_memory(error: ModelError) -> bool:
    """The runtime has no type for it."""
    return any(word in str(error).lower() for word in ("memory", "alloc"))


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
    if classifier.channels is not None and classifier.channels != channels:
        raise ImageError(
            f"The network takes {classifier.channels} colour channel(s), the preprocessing makes {channels} "
            f"({preparation.channels}). Set channels to {'L' if classifier.channels == 1 else 'RGB or BGR'}."
        )
    mean, std = (np.broadcast_to(np.asarray(v, np.float64), channels) for v in (preparation.mean, preparation.std))
    return Range(mean, std, reverse=preparation.channels == "BGR")


def _targets(
    classes: Sequence[int | str] | int | str | None, labels: Labels | None, width: int | None, *, of_classes: bool
) -> npt.NDArray[np.int64]:
    """The classes, or channels, by their numbers."""
    if classes is None:
        if width is None:
            raise TargetError("The model leaves the number of classes open, so there are no 'all'. Name some.")
        return np.arange(width)
    given = [classes] if isinstance(classes, int | str | np.integer) else list(classes)
    if not given:
        raise TargetError("No classes were named: give numbers or names, or None for all.")
    numbers = []
    for item in given:
        if isinstance(item, str):
            if labels is None or not of_classes:
                raise TargetError(f"The class {item!r} is a name, and no labels are known. Give labels, or a number.")
            numbers.append(labels.index(item))
        else:
            numbers.append(int(item))
    _check_classes(numbers, width, of_classes=of_classes)
    return np.array(numbers, np.int64)


def _check_classes(numbers: Sequence[int], width: int | None, *, of_classes: bool) -> None:
    beyond = sorted({number for number in numbers if number < 0 or (width is not None and number >= width)})
    if beyond:
        kind = "classes" if of_classes else "channels"
        known = f"{kind} count from 0" if width is None else f"there are {width} {kind}, 0 to {width - 1}"
        raise TargetError(f"No {kind[:-2] if of_classes else 'channel'} {', '.join(map(str, beyond))}: {known}.")


def _logits(
    judge: Session, name: str, inputs: npt.NDArray[Any], others: Mapping[str, npt.NDArray[Any]], batch: int | None
) -> npt.NDArray[np.float32]:
    """Class scores of finished images, batch by batch."""
    width = batch or 16
    parts = []
    for start in range(0, len(inputs), width):
        chunk = inputs[start : start + width]
        filled = np.resize(chunk, (batch or len(chunk), *chunk.shape[1:]))
        feeds = {name: filled, **{key: value for key, value in others.items() if key in judge.inputs}}
        parts.append(judge.run(feeds, [ALL_SCORES])[0][: len(chunk)])
    logits: npt.NDArray[np.float32] = np.concatenate(parts).astype(np.float32)
    return logits
