"""Options that several verbs share, and what they mean in Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnx_saliency.errors import SaliencyError

if TYPE_CHECKING:
    from onnx_saliency.images import Preprocess

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="The classifier, an ONNX file.", show_default=False)]
Method = Annotated[str, typer.Option(help="How the score is carried back: gradient.")]
Input = Annotated[str | None, typer.Option("--input", help="Name of the image input, where several could be it.")]
Output = Annotated[str | None, typer.Option("--output", help="Name of the class output, where several could be it.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Providers = Annotated[
    list[str] | None,
    typer.Option("--provider", help="Execution provider, best first: cuda, cpu. Default: CUDA where it works."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads within an operator.")]

Feeds = Annotated[
    list[str] | None,
    typer.Option(
        "--feed",
        metavar="NAME=VALUE",
        help="Value of another input: a number, numbers by commas, or a .npy file.",
    ),
]

Preset = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        help="How pictures become network input: imagenet, inception, caffe, unit, raw255, clip, ... "
        "Default: what the model states, else inception.",
    ),
]
Resize = Annotated[str | None, typer.Option(help="Short side before the centre crop, or 'none' to squash.")]
Mean = Annotated[
    str | None, typer.Option(help="Subtracted from pixels 0..255: one number, or one a channel, by commas.")
]
Std = Annotated[str | None, typer.Option(help="Divided by afterwards: one number, or one a channel, by commas.")]
Channels = Annotated[str | None, typer.Option(help="RGB, BGR or L.")]
Size = Annotated[int | None, typer.Option(min=1, help="Height and width, for networks that take any size.")]


def preprocessing(
    base: Preprocess,
    *,
    resize: str | None,
    mean: str | None,
    std: str | None,
    channels: str | None,
    size: int | None,
) -> Preprocess:
    """Return `base` with what was given on the command line put in.

    Raises:
        SaliencyError: a value that is no number.
        ImageError: values that do not fit together.
    """
    from dataclasses import replace

    changes: dict[str, object] = {}
    if resize is not None:
        changes["resize"] = None if resize.lower() == "none" else _whole(resize, "--resize")
    if mean is not None:
        changes["mean"] = _numbers(mean, "--mean")
    if std is not None:
        changes["std"] = _numbers(std, "--std")
    if channels is not None:
        changes["channels"] = channels.upper()
    if size is not None:
        changes["size"] = (size, size)
    return replace(base, **changes)  # type: ignore[arg-type]  # Preprocess checks each value


def feeds(given: list[str] | None) -> dict[str, Any]:
    """Return the values of `--feed NAME=VALUE` by name.

    Raises:
        SaliencyError: no name, no number, or a file that is no array.
    """
    import numpy as np

    values: dict[str, Any] = {}
    for entry in given or ():
        name, equals, value = entry.partition("=")
        if not (name and equals and value):
            raise SaliencyError(f"--feed takes NAME=VALUE, not {entry!r}.")
        if not value.endswith(".npy"):
            values[name] = _numbers(value, "--feed")
            continue
        try:
            values[name] = np.load(value, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise SaliencyError(f"--feed {name}: {value} cannot be read as an array: {error}") from error
    return values


def _whole(text: str, option: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise SaliencyError(f"{option} takes a number of pixels or 'none', not {text!r}.")
    return int(text)


def _numbers(text: str, option: str) -> float | tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SaliencyError(f"{option} takes numbers separated by commas, not {text!r}.") from None
    return values[0] if len(values) == 1 else values
