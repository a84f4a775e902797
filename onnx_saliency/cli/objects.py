"""What `segment` and `localize` share: the options, and the way from pictures to results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from onnx_saliency.cli import options
from onnx_saliency.cli.console import (
    fail,
    interruptible,
    leave,
    note,
    out,
    print_json,
    print_table,
    progress,
    tell_reading,
)

if TYPE_CHECKING:
    from onnx_saliency.images.choice import Change
    from onnx_saliency.vision import SegmentRecipe


@dataclass(frozen=True)
class SegmentOptions:
    """Options; those of the recipe are called as its fields are, and None keeps its own."""

    recipe: Annotated[str, typer.Option(help="Which settings to start from: paper (section 3.2) or best.")] = "paper"
    method: Annotated[
        str | None, typer.Option(help="The method that makes the map, as explain takes it. Default: the recipe's.")
    ] = None
    views: Annotated[
        list[str] | None,
        typer.Option(
            "--view",
            help="What the network sees of the picture: crop (as preprocessing makes it) or whole (squashed); "
            "give both for both.",
        ),
    ] = None
    mirror: Annotated[
        bool | None,
        typer.Option("--mirror/--no-mirror", help="Average the maps of the picture and of its mirror image."),
    ] = None
    blur: Annotated[
        float | None, typer.Option(help="Blur the map by a Gaussian of this fraction of the picture's longer side.")
    ] = None
    foreground: Annotated[
        float | None, typer.Option(help="Pixels above this quantile of the map are seeds of the object.")
    ] = None
    background: Annotated[
        float | None,
        typer.Option(
            help="Pixels below this quantile of the map, or this share of its mean, are seeds of the background."
        ),
    ] = None
    background_by: Annotated[str | None, typer.Option(help="What --background is given in: quantile or mean.")] = None
    components: Annotated[int | None, typer.Option(help="Number of Gaussians in each colour model.")] = None
    colours: Annotated[str | None, typer.Option(help="Colour space of the colour models: rgb or lab.")] = None
    smoothness: Annotated[
        float | None,
        typer.Option(help="How strongly the cut keeps to edges: the weight of contrast between neighbouring pixels."),
    ] = None
    neighbours: Annotated[int | None, typer.Option(help="How many neighbours a pixel has in the cut: 4 or 8.")] = None
    refits: Annotated[int | None, typer.Option(help="How often the colour models are fitted again to the mask.")] = None
    size: Annotated[
        int | None, typer.Option(help="Make the cut at this size: the picture's longer side in pixels.")
    ] = None
    seed: Annotated[int | None, typer.Option(help="Random seed of the colour models.")] = None
    labels: options.Labels = None
    preprocess: options.Preset = None
    resize: options.Resize = None
    mean: options.Mean = None
    std: options.Std = None
    channels: options.Channels = None
    input_size: Annotated[
        int | None, typer.Option(min=1, help="Height and width of the input, for networks that take any size.")
    ] = None
    input: options.Input = None
    feed: options.Feeds = None
    output: options.Output = None
    provider: options.Providers = None
    threads: options.Threads = None
    no_cache: options.NoCache = False
    json: options.Json = False

    def chosen_recipe(self) -> SegmentRecipe:
        """The recipe, with what was given put in."""
        from onnx_saliency.vision import SegmentRecipe, find_segment_recipe

        own = {field.name for field in fields(SegmentRecipe)} & {field.name for field in fields(self)}
        given = {name: getattr(self, name) for name in own if getattr(self, name) is not None}
        if "views" in given:
            given["views"] = tuple(given["views"])
        return find_segment_recipe(self.recipe, **given)

    @property
    def preprocessing(self) -> Change | None:
        """What puts into the model's preprocessing what was given."""
        return options.preprocessing(
            self.preprocess,
            resize=self.resize,
            mean=self.mean,
            std=self.std,
            channels=self.channels,
            size=self.input_size,
        )


def find_objects(
    model: Path,
    images: list[str],
    folder: Path,
    asked: SegmentOptions,
    *,
    what: str,
    top: int = 1,
    target: int | str | None = None,
) -> None:
    """Find the objects of each picture and write them as they come; a picture that cannot be read is named at the end.

    what: what is being done, for the bar.
    """
    from onnx_saliency.errors import ImageError
    from onnx_saliency.images import read_picture
    from onnx_saliency.report.segmentations import Segmentations, result_names
    from onnx_saliency.vision import Segmenter

    sources = options.sources(images, folder, lambda found: result_names(found, top))
    segmenter = Segmenter(
        model,
        asked.chosen_recipe(),
        top=top,
        preprocess=asked.preprocessing,
        labels=asked.labels,
        input=asked.input,
        output=asked.output,
        providers=asked.provider,
        threads=asked.threads,
        feeds=options.feeds(asked.feed),
        cache=not asked.no_cache,
    )
    explainer = segmenter.explainer
    if target is not None:
        explainer.check_target([target])
    results = Segmentations(folder, segmenter, str(model))
    tell_reading(explainer)
    for line in explainer.notes:
        note(line)
    note(f"recipe {segmenter.recipe.name}, method {explainer.method.name}, running on {explainer.provider}")
    with interruptible() as interruption:
        for source in progress(sources, what):
            try:
                picture = read_picture(source)
            except ImageError as error:
                results.failed.append((str(source), str(error)))
            else:
                results.add(segmenter.segment(picture, target))
    for _, why in results.failed:
        fail(why)
    results.partial = interruption.after(len(results.rows) + len(results.failed), len(sources))
    if results.rows:
        results.finish()
    if asked.json:
        print_json(results.as_dict())
    elif results.rows:
        _print(results.rows)
        out.print(f"\nAll of it on one page: [bold]{escape(str(folder / 'index.html'))}[/]", soft_wrap=True)
    leave(results.partial, results.failed)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    """One row per object; notes where there are any."""
    columns: list[tuple[str, Callable[[dict[str, Any], dict[str, Any]], str]]] = [
        ("picture", lambda row, _: Path(row["image"]).name),
        ("class", lambda _, each: str(each["label"])),
        ("score", lambda _, each: f"{each['score']:.1%}"),
        ("box", lambda _, each: ", ".join(map(str, each["box"]))),
        ("share", lambda _, each: f"{each['share']:.1%}"),
        ("notes", lambda row, each: " ".join([*row["notes"], *each["notes"]])),
    ]
    pairs = [(row, each) for row in rows for each in row["detections"]]
    if not any(row["notes"] or each["notes"] for row, each in pairs):
        del columns[-1]
    cells = [[cell(row, each) for _, cell in columns] for row, each in pairs]
    print_table([name for name, _ in columns], cells, numbers=("score", "share"))
