"""`top-activations MODEL IMAGE...`: the pictures that activate each channel of a layer most, and what in them does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from onnx_saliency.cli import options
from onnx_saliency.cli.console import PARTIAL, fail, note, out, print_json, print_table, progress, tell_reading


def top_activations(
    model: options.ModelFile,
    images: options.Images,
    layer: Annotated[str, typer.Option(help="The layer by its name (inspect --layers).", show_default=False)],
    output_folder: options.OutputFolder = Path("activations"),
    of: Annotated[
        str | None,
        typer.Option(
            "--channels",
            metavar="0,3,12",
            help="The channels, separated by commas. Default: as many as --first says.",
            show_default=False,
        ),
    ] = None,
    first: Annotated[int, typer.Option(help="How many channels to show, from the first on, without --channels.")] = 16,
    count: Annotated[int, typer.Option(help="How many pictures to show per channel.")] = 9,
    method: Annotated[
        str, typer.Option(help="What carries an activation back: deconvnet, guided or gradient.")
    ] = "deconvnet",
    preprocess: options.Preset = None,
    resize: options.Resize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    colours: Annotated[
        str | None, typer.Option("--colours", help="Order of the colour channels: RGB, BGR or L (grey).")
    ] = None,
    size: options.Size = None,
    input: options.Input = None,
    feed: options.Feeds = None,
    output: options.Output = None,
    provider: options.Providers = None,
    threads: options.Threads = None,
    batch_size: options.BatchSize = None,
    no_cache: options.NoCache = False,
    json: options.Json = False,
) -> None:
    """Show what channels of a layer answer to: their strongest pictures, carried back to the pixels, on one page.

    Each picture takes one forward pass, however many the channels (Zeiler & Fergus 2013, section 4.1). Exit code 1 if
    some pictures failed; the others are done.

    Example: onnx-saliency top-activations net.onnx pictures --layer relu4_out --channels 0,3,12
    """
    from onnx_saliency.activations import ActivationSearch
    from onnx_saliency.report.activations import ActivationPages, result_names

    sources = options.sources(images, output_folder, result_names)
    search = ActivationSearch(
        model,
        layer=layer,
        channels=None if of is None else _numbers(of),
        first=first,
        count=count,
        method=method,
        preprocess=options.preprocessing(preprocess, resize=resize, mean=mean, std=std, channels=colours, size=size),
        input=input,
        output=output,
        providers=provider,
        threads=threads,
        batch_size=batch_size,
        feeds=options.feeds(feed),
        cache=not no_cache,
    )
    explainer = search.explainer
    pages = ActivationPages(output_folder, search, str(model))
    tell_reading(explainer)
    if explainer.changed:
        for line in explainer.notes:
            note(line)
    note(f"running on {explainer.provider}")
    for start in progress(range(0, len(sources), explainer.at_once), "looking"):
        search.add(sources[start : start + explainer.at_once])
    for channel in progress(search.channels, "carrying back"):
        pages.add(search.top(channel))
    for _, why in search.failed:
        fail(why)
    if search.seen:
        pages.finish()
    if json:
        print_json(pages.as_dict())
    elif search.seen:
        print_table(*_table(pages.rows), numbers=("channel", "strongest", "weakest"))
        out.print(f"\nAll of it on one page: [bold]{escape(str(output_folder / 'index.html'))}[/]", soft_wrap=True)
    if search.failed:
        raise typer.Exit(PARTIAL)


def _numbers(text: str) -> list[int]:
    from onnx_saliency.errors import SaliencyError

    numbers = text.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise SaliencyError(f"--channels takes numbers of channels by commas, as in 0,3,12, not {text!r}.")
    return [int(number) for number in numbers]


def _table(rows: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and cells: one row per channel."""
    cells: list[tuple[str, ...]] = []
    for row in rows:
        found = row["activations"]
        numbers = (f"{found[0]['activation']:.4g}", f"{found[-1]['activation']:.4g}") if found else ("", "")
        best = Path(found[0]["image"]).name if found else "active in no picture"
        cells.append((str(row["channel"]), *numbers, best))
    return ("channel", "strongest", "weakest", "strongest in"), cells
