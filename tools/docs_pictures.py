"""Make the pictures of the docs: sheets of the embedded model, and maps of a classifier on licence-free photographs.

    python tools/docs_pictures.py --model mobilenetv2.onnx --labels imagenet1k.txt

The photographs are those of scikit-image that are CC0 or in the public domain (extra `train`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

import onnx_saliency as xs
from onnx_saliency.embedded import default_model, default_pictures
from onnx_saliency.exporter import METHODS
from onnx_saliency.images import Picture, read_picture
from onnx_saliency.report import Tile, contact_sheet, normalise, overlay, signed, write_image
from onnx_saliency.report.activations import activation_sheet
from onnx_saliency.report.results import tiles

PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png")
PICTURE, ACROSS = "telephone", 4
LAYER, CHANNELS = "relu4_out", (0, 1)
WIDEST = 900


def sheet(explainer: xs.Explainer, paths: list[Path], across: int, out: Path) -> None:
    """Write picture, map and overlay of each path, `across` of them a row."""
    explanation = explainer.explain([read_picture(path) for path in paths])
    rows = [tiles(explainer, explanation, i) for i in range(len(explanation))]
    joined = [[tile for row in rows[i : i + across] for tile in row] for i in range(0, len(rows), across)]
    write_image(out, contact_sheet(joined, tile_size=240))


def backpropagations(model: Path, path: Path, out: Path) -> None:
    """Write the signed values and the maps of the three methods that differ at rectifiers."""
    picture = read_picture(path)
    first, second = [Tile(picture.pixels, path.stem)], [Tile(picture.pixels)]
    for name in ("gradient", "deconvnet", "guided"):
        explanation = explain(model, name, picture)
        place, values = explanation.placements[0], explanation.gradient[0]
        restored = np.stack([place.restore(channel) for channel in values], axis=2)
        first.append(Tile(signed(restored), name, "values; grey is 0"))
        second.append(Tile(overlay(picture.pixels, shown(explanation)), "", "map, over the picture"))
    write_image(out, contact_sheet([first, second], tile_size=200))


def methods(model: Path, path: Path, out: Path) -> None:
    """Write the overlay of every method, with its name."""
    picture = read_picture(path)
    tiles = [Tile(picture.pixels, path.stem)]
    for name in METHODS:
        tiles.append(Tile(overlay(picture.pixels, shown(explain(model, name, picture))), name))
    write_image(out, contact_sheet([tiles[i : i + ACROSS] for i in range(0, len(tiles), ACROSS)], tile_size=180))


def explain(model: Path, method: str, picture: Picture) -> xs.Explanation:
    """Explain the predicted class."""
    return xs.Explainer(model, method=method).explain(picture)


def shown(explanation: xs.Explanation) -> npt.NDArray[np.float32]:
    """The map as it is drawn, in the picture's own pixels."""
    return explanation.placements[0].restore(normalise(explanation.saliency[0]))


def main(
    model: Annotated[Path | None, typer.Option(help="An ImageNet classifier.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Its class names.")] = None,
    preprocess: Annotated[str, typer.Option(help="Its preprocessing.")] = "inception",
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("docs/pictures"),
) -> None:
    """Write demo.jpg, backpropagations.jpg, methods.jpg and activations.jpg; with a model photographs.jpg too."""
    sheet(xs.Explainer(default_model()), default_pictures(), 2, out / "demo.jpg")
    picture = next(path for path in default_pictures() if path.stem == PICTURE)
    backpropagations(default_model(), picture, out / "backpropagations.jpg")
    methods(default_model(), picture, out / "methods.jpg")
    found = xs.top_activations(default_model(), default_pictures(), layer=LAYER, channels=CHANNELS, count=4)
    activations = activation_sheet(found.channels, 4)
    activations.thumbnail((WIDEST, WIDEST))
    write_image(out / "activations.jpg", activations)
    if model is not None:
        import skimage

        photographs = [Path(skimage.data_dir) / name for name in PHOTOGRAPHS]
        sheet(xs.Explainer(model, labels=labels, preprocess=preprocess), photographs, 2, out / "photographs.jpg")


if __name__ == "__main__":
    typer.run(main)
