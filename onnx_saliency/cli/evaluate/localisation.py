"""`evaluate localisation`: masks and boxes, measured on those of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from onnx_saliency.cli import options
from onnx_saliency.cli.console import PARTIAL, counting_bar, fail, out, print_json, print_table, tell_reading
from onnx_saliency.cli.evaluate.asked import DatasetOptions, facts_of


@options.taking(DatasetOptions)
def localisation(
    model: options.ModelFile,
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            parser=options.named_path,
            help="ILSVRC CLS-LOC, CUB-200-2011, Pascal VOC, COCO JSON, or a folder with boxes/*.csv.",
            show_default=False,
        ),
    ],
    output_folder: options.OutputFolder = Path("localisation"),
    cases: Annotated[int, typer.Option(min=0, help="How many of the worst and of the best pictures to show.")] = 6,
    *,
    asked: DatasetOptions,
) -> None:
    """Measure boxes and masks of the recipes, beside simple baselines: a table, every picture's numbers, a page.

    Baselines: whole picture, centred box, the map thresholded, and OpenCV's GrabCut where it is installed; their one
    free number is the best for this data set. Intervals are of 95 %, by paired bootstrap. Needs the extra `segment`.
    Exit code 1 if pictures were left out.

    Example: onnx-saliency evaluate localisation net.onnx birds --labels names.txt
    """
    from onnx_saliency.evaluation.localisation.measure import measure_localisation
    from onnx_saliency.report.localisation import LocalisationPages, extremes
    from onnx_saliency.vision import BEST, SEGMENT_RECIPES, Segmenter

    segmenters = [Segmenter(model, recipe, **asked.settings) for recipe in SEGMENT_RECIPES.values()]
    first = segmenters[0].explainer
    tell_reading(first)
    found = asked.resolve(asked.open(dataset, boxes=True), first)
    with counting_bar("measuring", len(found)) as show:
        result = measure_localisation(segmenters, found, skip=asked.skip, progress=show)
    for _, why in result.failed:
        fail(why)
    failed = [*found.failed, *result.failed]
    pages = LocalisationPages(
        output_folder,
        result,
        BEST.name,
        facts_of(model, first, failed) | {"dataset": found.name, "pictures": len(result)},
    )
    best = result.find(BEST.name)
    shown = [(index, best.pictures[index]) for index in extremes(best, cases)]
    pages.write([(index, segmenters[-1].segment(each.image, each.target)[0]) for index, each in shown])
    if asked.json:
        print_json(pages.as_dict())
    else:
        _print(pages.measured)
        out.print(f"\nAll of it on one page: [bold]{escape(str(output_folder / 'index.html'))}[/]", soft_wrap=True)
    if failed:
        raise typer.Exit(PARTIAL)


def _print(measured: dict[str, Any]) -> None:
    """The table, and that of the maps."""
    from onnx_saliency.report.localisation import COLUMNS, MAP_COLUMNS, cells, map_cells
    from onnx_saliency.vision import BEST

    columns = [column.format(best=BEST.name) for column in COLUMNS]
    rows = [[row["name"], *cells(row, intervals=False)] for row in measured["contenders"]]
    print_table(["", *columns], rows, numbers=columns)
    mark = "* the 95 % interval of the difference leaves out 0; the intervals are in results.json"
    out.print(f"\n{measured['note'] or mark}\n")
    print_table(
        ["map of", *MAP_COLUMNS],
        [[name, *map_cells(row)] for name, row in measured["maps"].items()],
        numbers=MAP_COLUMNS,
    )
