"""Options that several verbs share, and what they mean in Python."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints, overload

import typer

from onnx_saliency.errors import SaliencyError

if TYPE_CHECKING:
    from onnx_saliency.exporter import Method as Method_
    from onnx_saliency.exporter import Score
    from onnx_saliency.images import Preprocess
    from onnx_saliency.images.choice import Change


def named_path(text: str) -> Path:
    """A path as it is typed; an empty one, as of a variable that is not set, would be the folder one is in.

    Raises:
        BadParameter: it is empty.
    """
    return Path(named_source(text))


def named_source(text: str) -> str:
    """The same of a file, folder or glob; raises as `named_path` does."""
    if not text:
        raise typer.BadParameter("an empty path was given.")
    return text


ModelFile = Annotated[
    Path,
    typer.Argument(metavar="MODEL", parser=named_path, help="The classifier, an ONNX file.", show_default=False),
]
OutputFolder = Annotated[
    Path, typer.Option("-o", "--out", metavar="FOLDER", parser=named_path, help="Where the results go.")
]
Method = Annotated[
    str,
    typer.Option(
        help="How the map is made: gradient, deconvnet, guided, input_x_gradient, smoothgrad, vargrad, "
        "integrated_gradients, gradcam, layercam, layercam_fused or ten_crop."
    ),
]
Samples = Annotated[int | None, typer.Option(help="smoothgrad, vargrad: number of noisy copies. Default: 25.")]
Noise = Annotated[
    float | None,
    typer.Option(
        help="smoothgrad, vargrad: standard deviation of the noise, as a share of the image's range. Default: 0.15."
    ),
]
Seed = Annotated[int | None, typer.Option(help="smoothgrad, vargrad: random seed of the noise. Default: 0.")]
Steps = Annotated[
    int | None,
    typer.Option(help="integrated_gradients: number of points between the baseline and the picture. Default: 64."),
]
Baseline = Annotated[
    float | None,
    typer.Option(
        help="integrated_gradients: the value of all pixels of the baseline, in the network's range. Default: 0."
    ),
]
AtOnce = Annotated[
    int | None,
    typer.Option(help="smoothgrad, vargrad, integrated_gradients: how many copies of an image are run at once."),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        parser=named_path,
        help="Class names: a text file, one name per line, or JSON.",
        show_default=False,
    ),
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...", parser=named_source, help="Pictures: files, folders, globs.", show_default=False
    ),
]
Layer = Annotated[
    str | None,
    typer.Option(
        help="A layer by its name (inspect --layers): what gradcam and layercam weigh, or what --neuron and --channel "
        "choose from.",
        show_default=False,
    ),
]
Neuron = Annotated[
    str | None,
    typer.Option(
        metavar="C[,Y,X]",
        help="Explain this channel of --layer, at its strongest position or at Y, X, and not a class.",
        show_default=False,
    ),
]
Channel = Annotated[
    int | None, typer.Option(help="Explain the mean of this channel of --layer, and not a class.", show_default=False)
]
Input = Annotated[str | None, typer.Option("--input", help="Name of the image input, where several could be it.")]
Output = Annotated[str | None, typer.Option("--output", help="Name of the class output, where several could be it.")]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Do not keep the rewritten model on disk, nor take it from there.")
]
Precision = Annotated[
    Literal["single", "mixed", "double"],
    typer.Option(
        help="Numbers to compute with: single; mixed, where rounding turns no ReLU and no maximum, which takes "
        "about twice as long; or double, exact but for the rounding of the result, which takes longer."
    ),
]
Providers = Annotated[
    list[str] | None,
    typer.Option(
        "--provider", help="Where to run, best first: cuda, cpu or ONNX Runtime's names. Default: CUDA where it works."
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Number of threads. Default: as ONNX Runtime chooses.")]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Pictures per run at most. Default: 16; on a CPU what is quickest there."),
]
MemoryLimit = Annotated[
    str | None,
    typer.Option(
        metavar="BYTES",
        help="How much memory this process may hold, such as 2GiB; on CUDA, how much of the device's. Fewer "
        "pictures are run "
        "at once where it is small.",
        show_default=False,
    ),
]

Feeds = Annotated[
    list[str] | None,
    typer.Option(
        "--feed",
        metavar="NAME=VALUE",
        help="Value of another input: a number, numbers separated by commas, or a .npy file.",
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
Resize = Annotated[
    str | None,
    typer.Option(
        help="Resize the picture's short side to this many pixels before the centre crop, or 'none' to squash "
        "the whole picture."
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(help="Subtract this from pixels 0..255: one number, or one per channel, separated by commas."),
]
Std = Annotated[
    str | None, typer.Option(help="Divide by this afterwards: one number, or one per channel, separated by commas.")
]
Channels = Annotated[str | None, typer.Option(help="Order of the colour channels: RGB, BGR or L (grey).")]
Size = Annotated[int | None, typer.Option(min=1, help="Height and width, for networks that take any size.")]


def taking(shared: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the fields of a dataclass as options, after its own; it gets them as `asked`, an instance of it."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        own = [each for each in inspect.signature(verb).parameters.values() if each.name != "asked"]
        kind = inspect.Parameter.KEYWORD_ONLY
        theirs = [inspect.Parameter(field.name, kind, default=field.default) for field in fields(shared)]
        hints = get_type_hints(verb, include_extras=True) | get_type_hints(shared, include_extras=True)

        @wraps(verb)
        def call(**given: Any) -> None:
            asked = shared(**{field.name: given.pop(field.name) for field in fields(shared)})
            verb(**given, asked=asked)

        parameters = [each.replace(annotation=hints[each.name]) for each in (*own, *theirs)]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # which Typer reads
        call.__annotations__ = {name: hint for name, hint in hints.items() if name != "asked"}
        return call

    return decorate


def method(name: str, layer: str | None = None, **given: float | None) -> Method_:
    """Return the method called so, with the options that were given.

    Raises:
        MethodError: no such method, or an option that it does not have.
    """
    from onnx_saliency.exporter import METHODS, find_method

    options: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    if layer is not None and name in METHODS and "layer" in METHODS[name].__dataclass_fields__:
        options["layer"] = layer
    return find_method(name, **options)


def score(method: Method_, layer: str | None, neuron: str | None, channel: int | None) -> tuple[Score, int | None]:
    """Return what `--layer`, `--neuron` and `--channel` choose, and the channel: the logit and None without them.

    Raises:
        SaliencyError: options that exclude each other, or a neuron that is no list of numbers.
    """
    from onnx_saliency.exporter import Channel as ChannelScore
    from onnx_saliency.exporter import Neuron as NeuronScore

    if neuron is not None and channel is not None:
        raise SaliencyError("Give --neuron or --channel, not both.")
    if (neuron is not None or channel is not None) and layer is None:
        raise SaliencyError("--neuron and --channel choose from a layer: name it with --layer (inspect --layers).")
    if layer is None or getattr(method, "layer", None) == layer:
        if neuron is not None or channel is not None:
            raise SaliencyError(f"{method.name} weighs --layer; it does not explain a neuron or a channel of it.")
        return "logit", None
    if channel is not None:
        return ChannelScore(layer), channel
    if neuron is None:
        return NeuronScore(layer), None
    numbers = neuron.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise SaliencyError(
            f"--neuron takes a channel, or a channel and its position, as in 12 or 12,5,7, not {neuron!r}."
        )
    first, *position = (int(number) for number in numbers)
    return NeuronScore(layer, tuple(position) or None), first


def sources(images: list[str], folder: Path, names: Callable[[list[Path]], Iterable[str]]) -> list[Path]:
    """The pictures that were named, but for what an earlier run left in `folder` and nobody named.

    names: what the files in `folder` will be called that are made of pictures.

    Raises:
        ImageError: something named gives no picture, or all are results.
        OutputError: a result would take a picture's place.
    """
    from onnx_saliency.errors import ImageError
    from onnx_saliency.images import find_pictures
    from onnx_saliency.report.files import check_overwrite, is_result

    found = [path for path in find_pictures(images) if str(path) in images or not is_result(path, folder)]
    if not found:
        raise ImageError(f"{', '.join(images)}: no pictures but the results of an earlier run.")
    check_overwrite(found, folder, names(found))
    return found


def workers(pictures: int, threads: int | None) -> int:
    """Runs side by side for so many pictures: one for each thread, where there are as many; else all run as one."""
    from onnx_saliency.runtime import usable_cores

    count = threads or usable_cores()
    return count if pictures >= count else 1


@overload
def number_or_name(text: str) -> int | str: ...
@overload
def number_or_name(text: None) -> None: ...
def number_or_name(text: str | None) -> int | str | None:
    """A class as it is typed: a number where it reads as one."""
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]+", text) else text


def preset_like(name: str, base: Preprocess) -> Preprocess:
    """The preset called so, for images of the size that `base` is for."""
    from onnx_saliency.images import preset
    from onnx_saliency.images.choice import DEFAULT_SIZE

    return preset(name, base.height_width or DEFAULT_SIZE)


def preprocessing(
    preset: str | None,
    *,
    resize: str | None = None,
    mean: str | None = None,
    std: str | None = None,
    channels: str | None = None,
    size: int | None = None,
) -> Change | None:
    """What puts into a preprocessing what was given on the command line; None where nothing was.

    It raises ImageError for values that do not fit together.

    Raises:
        SaliencyError: a value that is no number.
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
    if preset is None and not changes:
        return None

    def change(base: Preprocess) -> Preprocess:
        start = base if preset is None else preset_like(preset, base)
        return replace(start, **changes)  # type: ignore[arg-type]  # Preprocess checks each value

    return change


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
