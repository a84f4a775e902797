"""Which preprocessing and which labels hold: those given, else those stored in the model, else an assumption said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnx_saliency.errors import ImageError, LabelError
from onnx_saliency.images.labels import Labels, read_labels
from onnx_saliency.images.preprocess import Preprocess, preset

DEFAULT_SIZE = (224, 224)
"""Height and width for networks that take any size."""

_DEFAULT_PRESET = "inception"
_ASSUMED = "assumed"

Change = Callable[[Preprocess], Preprocess]


@dataclass(frozen=True)
class Fallback:
    """What is taken of a model that states no preprocessing, in place of the assumption.

    Attributes:
        preprocess: how pictures become network input.
        source: where that comes from.
        change: puts in what else was given, also where the model states one.
    """

    preprocess: Preprocess
    source: str
    change: Change | None = None


PreprocessChoice = Preprocess | str | Change | Fallback | None


def choose_preprocess(
    given: PreprocessChoice, stored: Mapping[str, str], size: tuple[int | None, int | None]
) -> tuple[Preprocess, str]:
    """Return the preprocessing and where it comes from: "given", "stored in the model" or "assumed".

    Args:
        given: a `Preprocess` or the name of a preset; None takes what is stored, and a function changes that, which
            then is "given", unless the function returns what it got.
        stored: the model's metadata, by this package's keys.
        size: height and width of the network's input, None where open.

    Raises:
        ImageError: no preprocessing, or no such preset.
    """
    known = (size[0] or DEFAULT_SIZE[0], size[1] or DEFAULT_SIZE[1])
    if isinstance(given, Fallback):
        found, source = choose_preprocess(None, stored, size)
        if source == _ASSUMED:
            found, source = given.preprocess, given.source
        return _changed(found, source, given.change, known)
    if callable(given):
        return _changed(*choose_preprocess(None, stored, size), given, known)
    if isinstance(given, Preprocess):
        return given, "given"
    if given is not None:
        if not isinstance(given, str):
            raise ImageError(
                f"preprocess is a Preprocess, the name of a preset or a function, not {type(given).__name__}."
            )
        return preset(given, known), "given"
    if "preprocess" in stored:
        return Preprocess.from_json(stored["preprocess"]), "stored in the model"
    return preset(_DEFAULT_PRESET, known), _ASSUMED


def _changed(found: Preprocess, source: str, change: Change | None, known: tuple[int, int]) -> tuple[Preprocess, str]:
    if change is None:
        return found, source
    base = found if found.height_width else replace(found, size=known)  # a function may need it, as presets do
    made = change(base)
    if not isinstance(made, Preprocess):
        raise ImageError(f"The function given as preprocess returns a Preprocess, not {type(made).__name__}.")
    return (found, source) if made is base else (made, "given")


LabelChoice = Sequence[str] | str | os.PathLike[str] | Labels | None


def choose_labels(given: LabelChoice, stored: Mapping[str, str], classes: int | None) -> Labels | None:
    """Return the class names given, or those stored; None where there are none.

    Args:
        given: names, a file of them, or `Labels` that were fitted to this model before; None takes what is stored.
        stored: the model's metadata, by this package's keys.
        classes: how many the model has, None where that is open.

    Raises:
        LabelError: they cannot be read, or do not fit the number of classes.
    """
    if given is None:
        if "labels" not in stored:
            return None
        names = _stored_labels(stored["labels"])
    elif isinstance(given, Labels) and classes in (None, len(given)):
        return given  # with its note of what was changed
    elif isinstance(given, Labels):
        names = list(given.names)
    elif isinstance(given, str | os.PathLike):
        names = read_labels(Path(given))
    elif isinstance(given, Iterable):
        names = list(given)
    else:
        raise LabelError(f"labels are a list of names or a file of them, not {type(given).__name__}.")
    return Labels.fit(names, classes if classes is not None else len(names))


def _stored_labels(text: str) -> list[str]:
    try:
        names = json.loads(text)
    except json.JSONDecodeError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LabelError(f"The labels stored in the model are no JSON list of names: {text[:80]!r}. Give labels.")
    return names
