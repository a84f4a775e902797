"""`demo`: the whole of it on the embedded model and pictures, no network needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from onnx_saliency.cli.console import out, print_table


def demo(
    output_folder: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where the results go.")] = Path(
        "demo"
    ),
) -> None:
    """Explain the pictures that come with the package: maps, overlays, an explained model, one page to look at."""
    from onnx_saliency.embedded import default_model, default_pictures
    from onnx_saliency.explain import Explainer
    from onnx_saliency.exporter import export
    from onnx_saliency.images import read_picture
    from onnx_saliency.report import contact_sheet, write_image
    from onnx_saliency.report.results import Results, tiles

    results = Results(output_folder)
    model = default_model()
    explainer = Explainer(model)
    explanation = explainer.explain([read_picture(path) for path in default_pictures()])
    results.add(explainer, explanation)
    results.finish(model=str(model), explainer=explainer, failed=[])
    rows = [tiles(explainer, explanation, i) for i in range(len(explanation))]
    sheet = [left + right for left, right in zip(rows[::2], rows[1::2], strict=True)]
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
