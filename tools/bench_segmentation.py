"""What segmentation costs, beside OpenCV's GrabCut from the same seeds; whether a mask depends on the picture's size.

    python tools/bench_segmentation.py --data data                  # times, one core
    python tools/bench_segmentation.py --data data --halves 200     # masks of pictures, and of the same at half size

Times are of what comes after the map, medians over pictures, in turn in one process. Needs opencv-python-headless.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import typer
from nets import find_nets
from PIL import Image
from rich.console import Console
from rich.table import Table

from onnx_saliency.evaluation.datasets import draw_examples, open_dataset
from onnx_saliency.evaluation.localisation.contenders import ITERATIONS, grab_cut
from onnx_saliency.images import Picture, read_picture
from onnx_saliency.vision import SEGMENT_RECIPES, Segmenter, cut_out

Result = TypeVar("Result")

SMALL, LARGE = (500, 375), (4000, 3000)


def enlarged(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture at another width and height."""
    return Picture(np.asarray(Image.fromarray(picture.pixels).resize(size, Image.Resampling.BICUBIC)), picture.name)


def clock(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that it takes, and what it gives."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def compare_times(segmenter: Segmenter, pictures: list[Picture], console: Console) -> None:
    """Print medians: ours, GrabCut, ours at 12 megapixels."""
    rows = []
    for picture in pictures:
        (seen,), (seen_large,) = (segmenter.look(enlarged(picture, size)) for size in (SMALL, LARGE))
        small, found = clock(partial(cut_out, seen, segmenter.recipe))
        grab, _ = clock(lambda found=found: list(grab_cut(found, (float(ITERATIONS),))))
        large, _ = clock(partial(cut_out, seen_large, segmenter.recipe))
        rows.append((small, grab, large))
    ours, grab, large = (statistics.median(column) for column in zip(*rows, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    table = Table("recipe", "500 x 375, s", "GrabCut, s", "ratio", "4000 x 3000, s", "of half a GrabCut", "peak, MiB")
    numbers = (f"{ours:.3f}", f"{grab:.3f}", f"{ours / grab:.2f}", f"{large:.2f}", f"{large / (grab / 2):.1f}")
    table.add_row(segmenter.recipe.name, *numbers, f"{peak:.0f}")
    console.print(table)


def compare_halves(segmenter: Segmenter, pictures: list[Picture], console: Console) -> None:
    """Print the mean IoU of the masks of pictures and of the same at half size, of the class predicted at full size.

    Once with a map of its own, and once with the map of the whole picture: then what differs is the cut's alone.
    """
    overlaps = []
    for picture in pictures:
        (seen,) = segmenter.look(picture)
        whole = cut_out(seen, segmenter.recipe).mask
        height, width = whole.shape
        half = enlarged(picture, (width // 2, height // 2))
        (seen_half,) = segmenter.look(half, seen.target)
        row = []
        for evidence in (seen_half, replace(seen, picture=half)):
            mask = Image.fromarray(cut_out(evidence, segmenter.recipe).mask)
            again = np.asarray(mask.resize((width, height), Image.Resampling.NEAREST))
            row.append((whole & again).sum() / (whole | again).sum())
        overlaps.append(row)
    own, same = np.mean(overlaps, axis=0)
    console.print(f"{segmenter.recipe.name}: IoU with the mask at half size {own:.3f}, from the same map {same:.3f}")


def main(
    data: Annotated[Path, typer.Option(help="Folder of trained models, photographs and boxes.")],
    net: Annotated[str, typer.Option(help="The model.")] = "squeezenet1.1_fp32",
    count: Annotated[int, typer.Option(min=1, help="Pictures that are timed.")] = 12,
    halves: Annotated[int, typer.Option(min=0, help="Pictures whose mask at half size is compared.")] = 0,
) -> None:
    """Print both for each recipe."""
    (chosen,) = find_nets(data, [net])
    examples = draw_examples(open_dataset(data), halves or count)
    pictures = [read_picture(example.image) for example in examples]
    for recipe in SEGMENT_RECIPES.values():
        segmenter = Segmenter(chosen.path, recipe, preprocess=chosen.preprocess, threads=1)
        (compare_halves if halves else compare_times)(segmenter, pictures, Console())


if __name__ == "__main__":
    typer.run(main)
