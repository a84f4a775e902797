"""Make the pictures of the docs: sheets of the embedded model, and maps of a classifier on licence-free photographs.

    python tools/docs_pictures.py --model mobilenetv2.onnx --labels imagenet1k.txt

Also prints what docs/class-models.md says of soft-max and logit: of the embedded model, and of the one given.

The photographs are those of scikit-image that are CC0 or in the public domain (extra `train`).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

import onnx_saliency as xs
from onnx_saliency.embedded import default_model, default_pictures
from onnx_saliency.evaluation.faithfulness import Case, find_protocol, measure_faithfulness
from onnx_saliency.evaluation.faithfulness.protocol import MODES
from onnx_saliency.exporter import METHODS
from onnx_saliency.exporter.ascent import find_recipe
from onnx_saliency.images import Picture, read_picture
from onnx_saliency.report import Tile, contact_sheet, normalise, overlay, signed, write_image
from onnx_saliency.report.activations import activation_sheet
from onnx_saliency.report.detections import detections, object_tiles, segment_tiles
from onnx_saliency.report.faithfulness import draw_curves
from onnx_saliency.report.results import tiles
from onnx_saliency.vision import SEGMENT_RECIPES, find_segment_recipe

PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png")
PICTURE, ACROSS = "telephone", 4
LAYER, CHANNELS = "relu4_out", (0, 1)
WIDEST, CLASS_MODELS_WIDEST = 900, 800  # noise takes more bytes
CLASSES = 16
SEGMENTED, LOCALIZED = "cat", "star-anchor"  # one object; two of them
SMALL = 0.4  # share of the map that is background of small objects
SIDE = 220
MEASURED = ("gradient", "guided", "integrated_gradients", "smoothgrad", "gradcam", "layercam_fused")


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


def class_models(model: Path, out: Path) -> None:
    """Write the modern class models of all classes."""
    found = xs.class_model(model, recipe="modern")
    tiles = [Tile(pixels, name(found, k)) for k, pixels in enumerate(found.images)]
    picture = contact_sheet([tiles[i : i + 2 * ACROSS] for i in range(0, len(tiles), 2 * ACROSS)], tile_size=128)
    picture.thumbnail((CLASS_MODELS_WIDEST, CLASS_MODELS_WIDEST))
    write_image(out, picture)


def segmentations(model: Path, pictures: dict[str, Path], out: Path) -> None:
    """Write picture, map, seeds and object by both recipes, and below them two objects of one picture."""
    rows = []
    for recipe in SEGMENT_RECIPES:
        first, *others = segment_tiles(xs.segment(model, pictures[SEGMENTED], recipe=recipe), SIDE)
        rows.append([replace(first, title=f"{first.title}, by {recipe}"), *others])
    recipe = find_segment_recipe("best", background=SMALL, background_by="quantile")
    (found,) = xs.localize(model, pictures[LOCALIZED], top=2, recipe=recipe)
    how = f"by best, {SMALL:.0%} of the map background"
    rows.append([Tile(detections(found, SIDE), "two best classes", how), *object_tiles(found, SIDE)])
    write_image(out, contact_sheet(rows, tile_size=SIDE))


def faithfulness(model: Path, pictures: list[Path], out: Path) -> None:
    """Write the curves of deletion and insertion, one above the other."""
    explainers = {name: xs.Explainer(model, method=name) for name in MEASURED}
    cases = [Case(path) for path in pictures]
    result = measure_faithfulness(explainers, cases, find_protocol("plain"))
    write_image(out, np.concatenate([draw_curves(result, mode) for mode in MODES]))


def softmax_or_logit(model: Path, out: Path | None = None, **options: Any) -> str:
    """Maximise the logit, and the probability instead: write the first images of both, return the figures of all."""
    paper = find_recipe("paper")
    width = xs.class_model(model, 0, recipe=replace(paper, steps=1), **options).logits.shape[1]
    classes = np.unique(np.linspace(0, width - 1, min(width, CLASSES)).round().astype(int))
    rows, lines = [], []
    for decay, score in product((paper.weight_decay, 0.0), ("logit", "probability")):
        found = xs.class_model(model, classes, recipe=replace(paper, weight_decay=decay, score=score), **options)
        own = found.logits[np.arange(len(found)), found.target]
        others = (found.logits.sum(axis=1) - own) / (width - 1)
        probability = found.probabilities[np.arange(len(found)), found.target]
        figures = (f"{own.mean():.1f}", f"{others.mean():.1f}", f"{probability.mean():.1%}")
        lines.append(f"| {score} | {decay:g} | " + " | ".join(figures) + " |")
        shown = range(min(ACROSS, len(found)))
        rows.append([Tile(found.images[k], name(found, k), f"{score} maximised: logit {own[k]:.1f}") for k in shown])
    if out is not None:
        write_image(out, contact_sheet(rows[2:], tile_size=144))  # without decay: a difference of the score alone
    columns = ("maximised", "decay", "logit", "mean of the other logits", "probability")
    head = f"| {' | '.join(columns)} |\n|" + "---|" * len(columns)
    return "\n".join([f"{model.name}, {len(classes)} of {width} classes:", "", head, *lines, ""])


def name(found: xs.ClassModel, k: int) -> str:
    """The class of an image."""
    target = int(found.target[k])
    return f"class {target}" if found.labels is None else found.labels.short_name(target)


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
    """Write all pictures; photographs.jpg with a model only."""
    sheet(xs.Explainer(default_model()), default_pictures(), 2, out / "demo.jpg")
    picture = next(path for path in default_pictures() if path.stem == PICTURE)
    backpropagations(default_model(), picture, out / "backpropagations.jpg")
    methods(default_model(), picture, out / "methods.jpg")
    found = xs.top_activations(default_model(), default_pictures(), layer=LAYER, channels=CHANNELS, count=4)
    activations = activation_sheet(found.channels, 4)
    activations.thumbnail((WIDEST, WIDEST))
    write_image(out / "activations.jpg", activations)
    segmentations(default_model(), {path.stem: path for path in default_pictures()}, out / "segmentation.jpg")
    class_models(default_model(), out / "class-models.jpg")
    faithfulness(default_model(), default_pictures(), out / "faithfulness.png")
    print(softmax_or_logit(default_model(), out / "softmax-or-logit.jpg"))
    if model is not None:
        print(softmax_or_logit(model, labels=labels, preprocess=preprocess))
        import skimage

        photographs = [Path(skimage.data_dir) / name for name in PHOTOGRAPHS]
        sheet(xs.Explainer(model, labels=labels, preprocess=preprocess), photographs, 2, out / "photographs.jpg")


if __name__ == "__main__":
    typer.run(main)
