"""`evaluate ...`: how good maps are, measured on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from onnx_saliency.cli import options
from onnx_saliency.cli.console import counting_bar, note, out, print_json, print_table

evaluate = typer.Typer(no_args_is_help=True, help="Measure maps on a data set of your own.")


@evaluate.command()
def localisation(
    model: options.ModelFile,
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            help="ILSVRC CLS-LOC, CUB-200-2011, Pascal VOC, COCO JSON, or a folder with boxes/*.csv.",
            show_default=False,
        ),
    ],
    output_folder: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where the results go.")] = Path(
        "localisation"
    ),
    split: Annotated[str | None, typer.Option(help="Part of the data set, such as val.", show_default=False)] = None,
    offset: Annotated[
        int, typer.Option(help="Added to the data set's class numbers: 1 where the model's class 0 is background.")
    ] = 0,
    count: Annotated[
        int | None, typer.Option(min=1, help="So many pictures, drawn at random. Default: all.", show_default=False)
    ] = None,
    skip: Annotated[bool, typer.Option(help="Leave out pictures that are missing or wrong, and say so.")] = False,
    cases: Annotated[int, typer.Option(min=0, help="Worst and best pictures on the page, of each.")] = 6,
    labels: options.Labels = None,
    preprocess: options.Preset = None,
    resize: options.Resize = None,
    mean: options.Mean = None,
    std: options.Std = None,
    channels: options.Channels = None,
    size: options.Size = None,
    input: options.Input = None,
    output: options.Output = None,
    provider: options.Providers = None,
    threads: options.Threads = None,
    no_cache: options.NoCache = False,
    json: options.Json = False,
) -> None:
    """Measure boxes and masks of the recipes, beside simple baselines: a table, every picture's numbers, a page.

    Baselines: whole picture, centred box, the map thresholded, and OpenCV's GrabCut where it is installed; their one
    free number is the best for this data set. Intervals are of 95 %, by paired bootstrap. Needs the extra `segment`.

    Example: onnx-saliency evaluate localisation net.onnx birds --labels names.txt
    """
    from onnx_saliency.evaluation.datasets import open_dataset, resolve_labels
    from onnx_saliency.evaluation.localise import draw_examples, measure_localisation
    from onnx_saliency.report.localisation import (
        COLUMNS,
        MAP_COLUMNS,
        LocalisationPages,
        cells,
        extremes,
        map_cells,
    )
    from onnx_saliency.vision import BEST, SEGMENT_RECIPES, Segmenter

    segmenters = [
        Segmenter(
            model,
            recipe,
            preprocess=preprocess,
            labels=labels,
            input=input,
            output=output,
            providers=provider,
            threads=threads,
            cache=not no_cache,
        )
        for recipe in SEGMENT_RECIPES.values()
    ]
    explainer = segmenters[0].explainer
    for each in segmenters:
        each.explainer.preprocess = options.preprocessing(
            each.explainer.preprocess, resize=resize, mean=mean, std=std, channels=channels, size=size
        )
    found = open_dataset(dataset, split, skip=skip)
    found = resolve_labels(found, explainer.classes or 0, explainer.labels, offset=offset, skip=skip)
    found = found if count is None else draw_examples(found, count)
    for name, why in found.failed:
        note(f"left out: {name}: {why}")
    note(f"preprocessing ({explainer.preprocess_source}): {explainer.preprocess}")
    note(f"{len(found)} pictures of {found.name}, running on {explainer.provider}")
    with counting_bar("measuring", len(found)) as show:
        result = measure_localisation(segmenters, found, progress=show)
    pages = LocalisationPages(
        output_folder,
        result,
        BEST.name,
        {"model": model.name, "dataset": found.name, "pictures": len(found), "failed": [list(x) for x in found.failed]},
    )
    best = result.find(BEST.name)
    shown = [(index, best.pictures[index]) for index in extremes(best, cases)]
    pages.write([(index, segmenters[-1].segment(each.image, each.target)[0]) for index, each in shown])
    if json:
        print_json(pages.as_dict())
        return
    columns = [column.format(best=BEST.name) for column in COLUMNS]
    rows = [[row["name"], *cells(row, intervals=False)] for row in pages.measured["contenders"]]
    print_table(["", *columns], rows, numbers=columns, whole=[""])
    out.print("\n* the 95 % interval of the difference leaves out 0; the intervals are in results.json\n")
    print_table(
        ["map of", *MAP_COLUMNS],
        [[name, *map_cells(row)] for name, row in pages.measured["maps"].items()],
        numbers=MAP_COLUMNS,
    )
    out.print(f"\nAll of it on one page: [bold]{escape(str(output_folder / 'index.html'))}[/]", soft_wrap=True)
