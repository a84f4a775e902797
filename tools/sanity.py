"""Which methods' maps follow the network? Sanity checks of the ImageNet nets on photographs.

    python tools/sanity.py --data data --out sanity --markdown docs/sanity.md
    python tools/sanity.py --data data --out sanity --net squeezenet1.1_fp32 --count 8
    python tools/sanity.py --picture docs/pictures/sanity.jpg

What was measured of a net is kept in the folder `--out`, and a second run goes on with those that are missing. The
picture is of the embedded model and one of its pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from nets import Net, find_nets, measure_each
from page import renew

from onnx_saliency.embedded import default_model, default_pictures
from onnx_saliency.evaluation.sanity import METHODS, check_sanity
from onnx_saliency.images import read_picture
from onnx_saliency.report import write_image
from onnx_saliency.report.sanity import COLUMNS, as_json, cells, map_sheet

STATES = 6  # of the network, in the picture
PICTURE = "telephone"


def measure(net: Net, show: Callable[..., None], *, data: Path, count: int, **options: Any) -> dict[str, Any]:
    """The checks of one net, as JSON."""
    files = sorted((data / "images" / "imagenet_train_sample").glob("*.jpg"))
    chosen = [files[i * len(files) // count] for i in range(count)]
    result = check_sanity(
        net.path,
        chosen,
        preprocess=net.preprocess,
        progress=lambda done, total: show(completed=done, total=total),
        **options,
    )
    return {"pictures": count, **as_json(result)}


def markdown(found: list[dict[str, Any]]) -> str:
    """A row per net and method."""
    columns = [column.format(first=METHODS[0]) for column in COLUMNS]
    lines = [f"| net | | {' | '.join(columns)} |", "|---|---|" + "---:|" * (len(columns) - 1) + "---|"]
    for net in found:
        layers = net["stages"][-1]["randomised"], net["stages"][net["upper_stages"] - 1]["randomised"]
        title = f"{net['net']}, {layers[0]} layers, {layers[1]} upper"
        for i, row in enumerate(net["methods"]):
            lines.append(f"| {'' if i else title} | {row['method']} | {' | '.join(cells(row))} |")
    return "\n".join(lines)


def draw(out: Path) -> None:
    """Write the maps of an embedded picture over ever more random layers."""
    picture = read_picture(next(path for path in default_pictures() if path.stem == PICTURE))
    result = check_sanity(default_model(), [picture], independent=False, threads=1)
    write_image(out, map_sheet(result, picture.pixels, STATES))


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of trained models and photographs.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for a JSON file per net.")] = Path("sanity"),
    net: Annotated[list[str] | None, typer.Option(help="Names of models; all ImageNet models without.")] = None,
    count: Annotated[int, typer.Option(min=1, help="So many photographs, evenly taken.")] = 30,
    stages: Annotated[int, typer.Option(min=1, help="In so many steps the layers are randomised.")] = 12,
    draw_: Annotated[str, typer.Option("--draw", help="New weights: normal or permutation.")] = "normal",
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads within an operator.")] = None,
    pages: Annotated[Path | None, typer.Option("--markdown", help="A page with the marks of the table.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the picture of the docs, too.")] = None,
) -> None:
    """Check nets that are not checked yet, and print the table of all."""
    if picture is not None:
        draw(picture)
    if data is None:
        return
    how = {"count": count, "stages": stages, "draw": draw_, "seed": seed, "threads": threads}
    found = measure_each(find_nets(data, net), out, partial(measure, data=data, **how))
    table = markdown(found)
    print(table)
    if pages is not None:
        renew(pages, "sanity", f"{table}\n")


if __name__ == "__main__":
    typer.run(main)
