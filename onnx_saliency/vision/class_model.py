"""Class models: the image that a network scores highest for a class (paper, section 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnx_saliency.backward import profile_for
from onnx_saliency.classes import check_apart
from onnx_saliency.errors import ModelError, SaliencyError, TargetError
from onnx_saliency.explain import Explainer, sessions_like, with_settings
from onnx_saliency.exporter import Score
from onnx_saliency.exporter.ascent import Recipe, Step, find_recipe
from onnx_saliency.exporter.ascent.image import KEYS
from onnx_saliency.exporter.ascent.step import IMAGE, KEY, PARAMETERS, SCORES, SLOPE, STEP, TARGET
from onnx_saliency.exporter.scores import SCORES as ALL_SCORES
from onnx_saliency.exporter.scores import score_model
from onnx_saliency.graph import ModelSource, load
from onnx_saliency.images import Labels, to_pixels
from onnx_saliency.images.choice import LabelChoice, PreprocessChoice
from onnx_saliency.numeric import is_integer
from onnx_saliency.probability import probabilities
from onnx_saliency.runtime import Batches, Iteration, Session, first_provider
from onnx_saliency.targets import TargetReader
from onnx_saliency.vision.step import prepare_step

_RESCUES = (0.01, 0.1, 0.5)
"""Standard deviations of the start, tried in turn, of an image whose gradient is zero where it should begin."""

Progress = Callable[[int, int, int, float], None]
"""Told after some steps: images finished before, step, steps, mean score of those under way."""

_TOLD_EVERY = 8  # steps
_AT_ONCE = 16  # images


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
        partial: whether it was interrupted: before the last step, or before all images were begun.
        activation: what the network ends in, "Softmax", "LogSoftmax" or "Sigmoid"; None where it ends in the logits.
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
    partial: bool = False
    activation: str | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """Of the classes, (K, classes): the sigmoid of each logit of a network that ends in Sigmoid, else a softmax."""
        return probabilities(self.logits, self.activation)


def class_model(
    model: ModelSource | Explainer,
    classes: Sequence[int | str] | int | str | None = None,
    *,
    recipe: str | Recipe = "paper",
    seed: int = 0,
    score: Score | None = None,
    against: int | str | None = None,
    frames: int = 0,
    size: int | tuple[int, int] | None = None,
    batch_size: int | None = None,
    preprocess: PreprocessChoice = None,
    labels: LabelChoice = None,
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
        model: path, bytes, onnx.ModelProto or onnx_ir.Model; or an `Explainer`, whose model and settings are taken
            where the options below leave them open; but for its precision, a CUDA graph, and the memory limit of a CPU.
        classes: numbers or names; None takes all.
        recipe: "paper", "modern", or a `Recipe`.
        seed: of starts and views.
        score: None maximises what the recipe says, the logit; a `Neuron` or a `Channel` of a layer is maximised
            instead, and `classes` are then channels; `Whole` takes 0, as often as images are wanted.
        against: a class, by number or name, whose score is subtracted: what speaks for a class and not for this one.
        frames: how many pictures of the way up are kept.
        size: height and width, for networks that take any; None takes that of the preprocessing.
        batch_size: images at once; halved where memory does not suffice. None: 16.
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
        TargetError: a class that the model does not have, or none, or one against itself.
        LabelError: a name that no class has.
        RecipeError: no such recipe.
        ImageError: a size that the network does not take.

    Source: Simonyan, Vedaldi, Zisserman 2013, section 2.
    """
    recipe = find_recipe(recipe)
    for name, number, least in (("batch_size", batch_size, 1), ("frames", frames, 0), ("seed", seed, 0)):
        if not is_integer(number, least) and not (name == "batch_size" and number is None):
            raise SaliencyError(f"{name} is a whole number, {least} or more, not {number!r}.")
    given: dict[str, Any] = {"preprocess": preprocess, "labels": labels, "input": input, "output": output}
    given |= {"providers": providers, "threads": threads, "feeds": feeds, "batch_size": batch_size}
    model, chosen = with_settings(model, given)
    source = load(model)
    named = {"input": chosen["input"], "output": chosen["output"]}
    runs_on = sessions_like(chosen)
    prepared = prepare_step(
        source,
        recipe,
        score=score,
        against=against,
        seed=seed,
        size=size,
        preprocess=chosen["preprocess"],
        labels=chosen["labels"],
        profile=profile_for(first_provider(runs_on["providers"])),
        **named,
    )
    classifier, step, names = prepared.classifier, prepared.step, prepared.labels
    targets = _targets(classes, prepared.targets)
    if prepared.against is not None and classes is not None:
        check_apart(targets, prepared.against, of_classes=prepared.targets.of_classes)
    session = Session(step.model, **runs_on)
    judge = Session(score_model(source, **named), **runs_on)
    others = session.other_inputs({*step.states, TARGET, KEY}, chosen["feeds"] or {})

    ascent = _Ascent(session, step, recipe, seed, others, frames, progress)
    found = ascent.run(targets, classifier.batch or chosen["batch_size"] or _AT_ONCE, classifier.batch or 1)
    inputs = np.concatenate([part.image for part in found])
    logits = _logits(judge, classifier.image.name or "", inputs, others, classifier.batch)
    return ClassModel(
        inputs=inputs.astype(np.float32),
        images=to_pixels(inputs, prepared.preprocess, classifier.layout),
        logits=logits,
        history=np.concatenate([part.history for part in found]),
        target=targets[: len(inputs)],
        recipe=recipe,
        seed=seed,
        steps=min(part.steps for part in found),
        frames=np.concatenate(
            [to_pixels(part.frames, prepared.preprocess, classifier.layout) for part in found], axis=1
        ),
        notes=tuple(ascent.notes),
        labels=names,
        provider=session.provider,
        partial=found[-1].interrupted or len(inputs) < len(targets),
        activation=classifier.activation,
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """A batch that is done, or was interrupted."""

    image: npt.NDArray[Any]
    history: npt.NDArray[np.float32]
    frames: npt.NDArray[Any]
    steps: int
    interrupted: bool
    notes: tuple[str, ...]


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

    def run(self, targets: npt.NDArray[np.int64], batch: int, least: int) -> list[_Part]:
        """Make all images, so many at once; after an interruption, those that were begun.

        Raises:
            KeyboardInterrupt: nothing was made yet.
        """
        parts: list[_Part] = []
        keys = _keys(targets)
        batches = Batches(len(targets), batch, least)
        asked = batches.batch

        def make(chunk: slice) -> _Part:
            width = max(least, chunk.stop - chunk.start)
            return self._batch(targets[chunk], keys[chunk], width, chunk.start)

        try:
            for part in batches.run(make):
                parts.append(part)
                if part.interrupted:
                    break
        except KeyboardInterrupt:
            if not parts:
                raise
        done = sum(len(part.image) for part in parts)
        if batches.batch < asked:
            self.notes.append(f"Memory did not suffice for {asked} images at once; {batches.batch} were made at once.")
        if done < len(targets):
            self.notes.append(f"Interrupted before {len(targets) - done} of {len(targets)} images were begun.")
        self.notes += [note for part in parts for note in part.notes]
        return parts

    def _batch(self, targets: npt.NDArray[np.int64], keys: npt.NDArray[np.int64], width: int, done: int) -> _Part:
        count = len(targets)
        constants = {  # a model of a fixed batch gets its last one filled up with copies
            TARGET: np.resize(targets, width),
            KEY: np.resize(keys, width),
            **self.others,
        }
        states = self._start(constants[KEY], self.recipe.noise)
        notes, dead = self._rescue(states, constants, count)
        iteration = Iteration(self.session, states, constants)
        frames: list[npt.NDArray[Any]] = []
        kept = {round(each) for each in np.linspace(self.recipe.steps, 0, self.frames)}
        interrupted = False
        try:
            for number in range(self.recipe.steps):
                if number in kept:
                    frames += iteration.outputs([IMAGE])
                iteration.step()
                if self.progress is not None and (number % _TOLD_EVERY == 0 or iteration.steps == self.recipe.steps):
                    score = float(iteration.read(SCORES)[:count, number].mean())
                    self.progress(done, iteration.steps, self.recipe.steps, score)
        except KeyboardInterrupt:  # what was made so far is what is asked for
            if not iteration.steps:
                raise
            interrupted = True
        (image,) = iteration.outputs([IMAGE])
        history = iteration.read(SCORES).astype(np.float32)[:count]
        finite = np.isfinite(image[:count]).all() and np.isfinite(history).all()  # of steps not taken it holds 0
        history[:, iteration.steps :] = np.nan
        if not finite:
            raise ModelError("The network computes NaN or infinity on the way up: no image was found. Lower the rate.")
        if not interrupted and self.recipe.steps > 1 and (flat := (history[:, -1] <= history[:, 0]) & ~dead).any():
            notes.append(
                f"The score of {_listed(targets[flat])} is not higher at the end than at the start: the image is no "
                "class model. More steps, another rate or a smaller penalty may help."
            )
        frames += [image] * (len(kept) - len(frames))
        stack = np.stack(frames)[:, :count] if frames else np.empty((0, count, *image.shape[1:]))
        return _Part(image[:count], history, stack, iteration.steps, interrupted, tuple(notes))

    def _rescue(
        self, states: dict[str, npt.NDArray[Any]], constants: Mapping[str, npt.NDArray[Any]], count: int
    ) -> tuple[list[str], npt.NDArray[np.bool_]]:
        """Let those of the first `count` images whose gradient is zero at their start begin from noise, and say so.

        Returns the notes, and which are dead from noise too.
        """
        notes: list[str] = []
        targets = constants[TARGET][:count]
        dead = self._dead(states, constants)[:count]
        for noise in (noise for noise in _RESCUES if noise > self.recipe.noise):
            if not dead.any():
                break
            tried = np.flatnonzero(dead)
            states[PARAMETERS][tried] = self._start(constants[KEY][tried], noise)[PARAMETERS]
            dead = self._dead(states, constants)[:count]
            if rescued := [targets[k] for k in tried if not dead[k]]:
                notes.append(
                    f"Dead start: at {_listed(rescued)} the gradient is zero where the ascent should begin, so it "
                    f"began from noise of standard deviation {noise}."
                )
        if dead.any():
            notes.append(
                f"Dead start: at {_listed(targets[dead])} the gradient is zero, from noise too; the image is no class "
                "model."
            )
        return notes, dead

    def _dead(
        self, states: Mapping[str, npt.NDArray[Any]], constants: Mapping[str, npt.NDArray[Any]]
    ) -> npt.NDArray[np.bool_]:
        (slope,) = Iteration(self.session, states, constants).outputs([SLOPE])
        dead: npt.NDArray[np.bool_] = ~(slope > 0)
        return dead

    def _start(self, keys: npt.NDArray[np.int64], noise: float) -> dict[str, npt.NDArray[Any]]:
        """The first value of each state of images of these keys; an image's noise depends on the seed and its key."""
        states: dict[str, npt.NDArray[Any]] = {}
        for name, shape in self.step.states.items():
            full = (1,) if name == STEP else (len(keys), *(dim for dim in shape[1:] if isinstance(dim, int)))
            states[name] = np.zeros(full, self.session.dtype(name))
        if noise:
            for k, key in enumerate(keys):
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


def _listed(targets: Sequence[int] | npt.NDArray[np.int64]) -> str:
    return ", ".join(map(str, targets))


def _targets(classes: Sequence[int | str] | int | str | None, reader: TargetReader) -> npt.NDArray[np.int64]:
    """The classes, or channels, by their numbers."""
    if classes is None:
        if reader.width is None:
            raise TargetError("The model leaves the number of classes open, so there are no 'all'. Name some.")
        return np.arange(reader.width)
    given = [classes] if isinstance(classes, int | str | np.integer) else list(classes)
    if not given:
        raise TargetError("No classes were named: give numbers or names, or None for all.")
    return reader.read_one_each(given, len(given))


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
