"""How well does a net that never saw a box find them? Recipes and baselines on boxed photographs, every ImageNet net.

    python tools/localisation.py --data data --out localisation                 # all nets, all pictures
    python tools/localisation.py --data data --out localisation --markdown docs/segmentation.md

What was measured of a net is kept in the folder `--out`, and a second run goes on with those that are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from nets import Net, find_nets, measure_each, title
from page import renew

from onnx_saliency.evaluation.datasets import draw_examples, open_dataset, resolve_labels
from onnx_saliency.evaluation.localisation.measure import measure_localisation
from onnx_saliency.report.localisation import COLUMNS, MAP_COLUMNS, as_json, cells, map_cells
from onnx_saliency.vision import BEST, SEGMENT_RECIPES, Segmenter


def measure(
    net: Net, show: Callable[..., None], *, data: Path, count: int | None, threads: int | None
) -> dict[str, Any]:
    """The table of one net, as JSON."""
    segmenters = [Segmenter(net.path, recipe, preprocess=net.preprocess, threads=threads) for recipe in SEGMENT_RECIPES]
    dataset = resolve_labels(open_dataset(data), segmenters[0].explainer.classes or 0, offset=net.offset)
    dataset = dataset if count is None else draw_examples(dataset, count)
    result = measure_localisation(segmenters, dataset, progress=lambda done: show(completed=done, total=len(dataset)))
    return {"pictures": len(dataset), **as_json(result, BEST.name)}


def markdown(found: list[dict[str, Any]]) -> str:
    """Two tables: contenders, and maps."""
    columns = [column.format(best=BEST.name) for column in COLUMNS]
    lines = [f"| net | | {' | '.join(columns)} |", "|---|---|" + "---:|" * len(columns)]
    for net in found:
        for i, row in enumerate(net["contenders"]):
            name = f"**{row['name']}**" if row["name"] in SEGMENT_RECIPES else row["name"]
            lines.append(f"| {title(net) if i == 0 else ''} | {name} | {' | '.join(cells(row))} |")
    lines += ["", f"| net | map of | {' | '.join(MAP_COLUMNS)} |", "|---|---|" + "---:|" * len(MAP_COLUMNS)]
    for net in found:
        for i, (name, row) in enumerate(net["maps"].items()):
            lines.append(f"| {title(net) if i == 0 else ''} | {name} | {' | '.join(map_cells(row))} |")
    return "\n".join(lines)


def main(
    data: Annotated[Path, typer.Option(help="Folder of trained models, photographs, boxes and masks.")],
    out: Annotated[Path, typer.Option(help="Folder for a JSON file per net.")] = Path("localisation"),
    net: Annotated[list[str] | None, typer.Option(help="Names of models; all ImageNet models without.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="So many pictures, drawn at random; else all.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads within an operator.")] = None,
    pages: Annotated[Path | None, typer.Option("--markdown", help="A page with the marks of the table.")] = None,
) -> None:
    """Measure nets that are not measured yet, and print the table of all."""
    found = measure_each(find_nets(data, net), out, partial(measure, data=data, count=count, threads=threads))
    table = markdown(found)
    print(table)
    if pages is not None:
        renew(pages, "localisation", f"{table}\n")


if __name__ == "__main__":
    typer.run(main)
