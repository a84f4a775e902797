"""`class-model MODEL --class C`: what the network thinks a class looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from onnx_saliency.cli import options
from onnx_saliency.cli.console import PARTIAL, fail, note, out, print_json, print_table, steps_bar
from onnx_saliency.errors import SaliencyError

if TYPE_CHECKING:
    from onnx_saliency.exporter import Score
    from onnx_saliency.exporter.ascent import Recipe


def class_model(
    model: options.ModelFile,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="C", help="The class to show, a number or name; as often as wanted."),
    ] = None,
    all_classes: Annotated[bool, typer.Option("--all", help="Make an image of every class.")] = False,
    output_folder: options.OutputFolder = Path("class-models"),
    recipe: Annotated[str, typer.Option(help="Which settings to start from: paper (section 2) or modern.")] = "paper",
    steps: Annotated[int | None, typer.Option(help="Number of steps.")] = None,
    rate: Annotated[float | None, typer.Option(help="Length of a step.")] = None,
    cool: Annotated[float | None, typer.Option(help="Share of the steps over which the rate falls to 0.")] = None,
    l2: Annotated[
        float | None, typer.Option("--lambda", help="Weight of the penalty on the image's squared norm.")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Shrink the image at each step by this share, times the rate.")
    ] = None,
    tv: Annotated[float | None, typer.Option(help="Weight of the penalty on total variation, which smooths.")] = None,
    hinge: Annotated[
        float | None, typer.Option(help="Weight of the penalty on a runner-up's lead over the class.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Lead over the runner-up, as a share of the class's score, at which the hinge switches off."),
    ] = None,
    leak: Annotated[
        float | None, typer.Option(help="Share of the gradient that is let through rectifiers that are off.")
    ] = None,
    residual: Annotated[
        float | None, typer.Option(help="Share of the gradient that goes into branches of residual sums.")
    ] = None,
    jitter: Annotated[float | None, typer.Option(help="Move the views by up to this fraction of the side.")] = None,
    scale: Annotated[float | None, typer.Option(help="Enlarge or shrink the views by up to this factor.")] = None,
    rotate: Annotated[float | None, typer.Option(help="Turn the views by up to this many degrees.")] = None,
    mirror: Annotated[bool | None, typer.Option("--mirror/--no-mirror", help="Mirror half of the views.")] = None,
    colour: Annotated[
        float | None,
        typer.Option(help="How strongly the views are recoloured: gains of up to e to the power of this, and shifts."),
    ] = None,
    blur: Annotated[float | None, typer.Option(help="Gaussian blur of the views at the first step, in pixels.")] = None,
    blur_end: Annotated[
        float | None, typer.Option(help="Gaussian blur of the views at the last step, in pixels. Default: 0.")
    ] = None,
    grain: Annotated[float | None, typer.Option(help="Standard deviation of the noise added to the views.")] = None,
    decay: Annotated[
        float | None,
        typer.Option(help="Damp high frequencies of the image by 1 / frequency to this power; modern only."),
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="Standard deviation of the noise that the image starts from.")
    ] = None,
    diversity: Annotated[
        float | None, typer.Option(help="With --layer: weight of the penalty on images that are alike.")
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="What to maximise: logit or probability. Default: the recipe's, the logit.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="C", help="Subtract this class's score, to show what favours the class over it."),
    ] = None,
    layer: options.Layer = None,
    neuron: Annotated[
        list[int] | None,
        typer.Option(
            help="Maximise this channel of --layer at its strongest position; as often as wanted.", show_default=False
        ),
    ] = None,
    channel: Annotated[
        list[int] | None,
        typer.Option(help="Maximise the mean of this channel of --layer; as often as wanted.", show_default=False),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="How many images to make of the whole --layer, without --neuron or --channel.")
    ] = 1,
    size: Annotated[int | None, typer.Option(help="Height and width, for networks that take any size.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    animate: Annotated[bool, typer.Option("--animate", help="Also write the ascent as an animated picture.")] = False,
    labels: options.Labels = None,
    preprocess: options.Preset = None,
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    input: options.Input = None,
    feed: options.Feeds = None,
    output: options.Output = None,
    provider: options.Providers = None,
    threads: options.Threads = None,
    batch_size: Annotated[int, typer.Option(min=1, help="How many images are made at once.")] = 16,
    json: options.Json = False,
) -> None:
    """Find the image that the network scores highest for a class: gradient ascent on the image.

    Interrupted, it writes what it has, marked as partial; exit code 1.

    Example: onnx-saliency class-model net.onnx --class 3 --class cat --recipe modern --labels names.txt
    """
    from onnx_saliency.report.class_models import ClassModels, notes
    from onnx_saliency.vision import class_model as make

    targets, of_layer = _targets(classes, layer, neuron, channel, count, all_classes=all_classes)
    parts = {
        "steps": steps,
        "rate": rate,
        "cool": cool,
        "l2": l2,
        "weight_decay": weight_decay,
        "tv": tv,
        "hinge": hinge,
        "margin": margin,
        "leak": leak,
        "residual": residual,
        "jitter": jitter,
        "scale": scale,
        "rotate": rotate,
        "mirror": mirror,
        "colour": colour,
        "blur": blur,
        "blur_end": blur_end,
        "grain": grain,
        "decay": decay,
        "noise": noise,
        "diversity": diversity,
        "score": score,
    }
    chosen = _recipe(recipe, {name: value for name, value in parts.items() if value is not None})
    results = ClassModels(output_folder)
    with steps_bar("ascending") as show:
        found = make(
            model,
            targets,
            recipe=chosen,
            seed=seed,
            score=of_layer,
            against=options.number_or_name(against),
            frames=_FRAMES if animate else 0,
            size=size,
            batch_size=batch_size,
            preprocess=options.preprocessing(preprocess, mean=mean, std=std, channels=channels),
            labels=labels,
            input=input,
            output=output,
            providers=provider,
            threads=threads,
            feeds=options.feeds(feed),
            progress=show,
        )
    rows = results.write(found, model=str(model), of=of_layer)
    for line in notes(found):
        note(line)
    note(f"recipe {found.recipe.name}, {found.steps} steps, seed {seed}, on {found.provider}")
    if found.partial:
        fail(f"interrupted after {found.steps} of {found.recipe.steps} steps: the results are partial")
    if json:
        print_json({"recipe": found.recipe.name, "seed": seed, "partial": found.partial, "class_models": rows})
    else:
        columns = ("class", "score", "logit", "probability", "file")
        cells = [
            (
                row["label"],
                f"{row['start']:.3g} to {row['end']:.3g}",
                _number(row["logit"], ".2f"),
                _number(row["probability"], ".1%"),
                row["file"],
            )
            for row in rows
        ]
        print_table(columns, cells, numbers=columns[1:4])
        out.print(f"\nAll on one page: [bold]{escape(str(output_folder / 'index.html'))}[/]", soft_wrap=True)
    if found.partial:
        raise typer.Exit(PARTIAL)


_FRAMES = 40  # of an animated picture


def _number(value: float | None, form: str) -> str:
    """Of a layer there is neither logit nor probability."""
    return "" if value is None else format(value, form)


def _targets(
    classes: list[str] | None,
    layer: str | None,
    neuron: list[int] | None,
    channel: list[int] | None,
    count: int,
    *,
    all_classes: bool,
) -> tuple[Sequence[int | str] | None, Score | None]:
    """What is maximised: classes, or channels of a layer, or all of it; None for all classes.

    Raises:
        SaliencyError: nothing was named, or things that exclude each other.
    """
    from onnx_saliency.exporter import Channel, Neuron, Whole

    if layer is None:
        if neuron or channel:
            raise SaliencyError("--neuron and --channel choose from a layer: name it with --layer (inspect --layers).")
        if bool(classes) == all_classes:
            raise SaliencyError("Name classes with --class C, or take --all of them.")
        names = None if all_classes else [options.number_or_name(each) for each in classes or ()]
        return names, None
    if classes or all_classes or (neuron and channel):
        raise SaliencyError("Give classes, or --layer with --neuron or --channel or neither, not several of them.")
    if neuron:
        return neuron, Neuron(layer)
    return (channel, Channel(layer)) if channel else ([0] * count, Whole(layer))


def _recipe(name: str, parts: dict[str, Any]) -> Recipe:
    """The recipe called so, with what was given put in."""
    from onnx_saliency.exporter.ascent import find_recipe

    return replace(find_recipe(name), **parts)
