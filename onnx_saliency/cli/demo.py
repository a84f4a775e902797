"""`demo`: the whole of it on the embedded model and pictures, no network needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from onnx_saliency.cli import options
from onnx_saliency.cli.console import note, out, print_table, steps_bar

if TYPE_CHECKING:
    from onnx_saliency.explain import Explainer, Explanation
    from onnx_saliency.report.sheet import Tile


def demo(
    output_folder: options.OutputFolder = Path("demo"),
    no_cache: options.NoCache = False,
) -> None:
    """Explain the pictures that come with the package: map, object, box, class model, an explained model, one page."""
    from onnx_saliency.embedded import default_model, default_pictures
    from onnx_saliency.explain import Explainer
    from onnx_saliency.exporter import export
    from onnx_saliency.images import read_picture
    from onnx_saliency.report import contact_sheet, write_image
    from onnx_saliency.report.page import Figure
    from onnx_saliency.report.results import Results, tiles

    results = Results(output_folder)
    model = default_model()
    explainer = Explainer(model, cache=not no_cache)
    explanation = explainer.explain([read_picture(path) for path in default_pictures()])
    more = _more(explainer, explanation)
    results.add(explainer, explanation, [[Figure(tile.pixels, tile.title) for tile in row] for row in more])
    results.finish(model=str(model), explainer=explainer, failed=[])
    sheet = [tiles(explainer, explanation, i) + row for i, row in enumerate(more)]
    write_image(output_folder / "sheet.png", contact_sheet(sheet, tile_size=260))
    export(model, output_folder / "default.saliency.onnx")

    print_table(
        ("picture", "class", "probability", "files"),
        [
            (Path(row["image"]).name, row["label"], f"{row['probability']:.1%}", Path(row["overlay"]).name)
            for row in results.rows
        ],
        numbers=("probability",),
    )
    out.print(f"\nOne page to look at: [bold]{escape(str(output_folder / 'index.html'))}[/]", soft_wrap=True)
    out.print(f"All on one picture:  [bold]{escape(str(output_folder / 'sheet.png'))}[/]", soft_wrap=True)
    out.print(f"The explained model: [bold]{escape(str(output_folder / 'default.saliency.onnx'))}[/]", soft_wrap=True)


# The pictures' objects are small, down to a tenth of the picture; by the map's mean some spread over all of it.
_SMALL = {"background": 0.4, "background_by": "quantile"}


def _more(explainer: Explainer, explanation: Explanation) -> list[list[Tile]]:
    """The object of each picture with its box, where the extra `segment` is there, and its class's model."""
    from onnx_saliency.errors import RuntimeMissingError
    from onnx_saliency.report.detections import segment_tiles
    from onnx_saliency.report.sheet import Tile
    from onnx_saliency.vision import Segmenter, class_model, find_segment_recipe

    more: list[list[Tile]] = [[] for _ in explanation.pictures]
    segmenter = Segmenter(explainer, find_segment_recipe("best", **_SMALL))
    try:
        for row, picture, target in zip(more, explanation.pictures, explanation.target, strict=True):
            row.append(segment_tiles(segmenter.segment(picture, int(target))[0])[-1])
    except RuntimeMissingError as error:
        note(f"left out: {error}")
    classes = sorted({int(target) for target in explanation.target})
    with steps_bar("class models") as show:
        found = class_model(explainer, classes, recipe="modern", progress=show)
    for row, target in zip(more, explanation.target, strict=True):
        label = explainer.label(int(target))
        row.append(Tile(found.images[classes.index(int(target))], "class model", f"what scores highest as {label}"))
    return more
