"""Make the pictures of the docs: the sheet of README.md, and maps of a classifier on licence-free photographs.

    python tools/docs_pictures.py --model mobilenetv2.onnx --labels imagenet1k.txt

The photographs are those of scikit-image that are CC0 or in the public domain (extra `train`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import skimage
import typer

import onnx_saliency as xs
from onnx_saliency.embedded import default_model, default_pictures
from onnx_saliency.images import read_picture
from onnx_saliency.report import contact_sheet, write_image
from onnx_saliency.report.results import tiles

PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png")


def sheet(explainer: xs.Explainer, paths: list[Path], across: int, out: Path) -> None:
    """Write picture, map and overlay of each path, `across` of them a row."""
    explanation = explainer.explain([read_picture(path) for path in paths])
    rows = [tiles(explainer, explanation, i) for i in range(len(explanation))]
    joined = [[tile for row in rows[i : i + across] for tile in row] for i in range(0, len(rows), across)]
    write_image(out, contact_sheet(joined, tile_size=240))


def main(
    model: Annotated[Path | None, typer.Option(help="An ImageNet classifier.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Its class names.")] = None,
    preprocess: Annotated[str, typer.Option(help="Its preprocessing.")] = "inception",
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("docs/pictures"),
) -> None:
    """Write demo.jpg, and photographs.jpg where a model is given."""
    sheet(xs.Explainer(default_model()), default_pictures(), 2, out / "demo.jpg")
    if model is not None:
        photographs = [Path(skimage.data_dir) / name for name in PHOTOGRAPHS]
        sheet(xs.Explainer(model, labels=labels, preprocess=preprocess), photographs, 2, out / "photographs.jpg")


if __name__ == "__main__":
    typer.run(main)
