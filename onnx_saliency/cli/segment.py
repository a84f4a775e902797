"""`segment MODEL IMAGE...`: the object of a class, cut out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnx_saliency.cli import options
from onnx_saliency.cli.objects import SegmentOptions, find_objects


@options.taking(SegmentOptions)
def segment(
    model: options.ModelFile,
    images: options.Images,
    output_folder: options.OutputFolder = Path("segmentation"),
    target: Annotated[
        str | None,
        typer.Option("--class", metavar="C", help="The class, number or name. Default: the predicted class."),
    ] = None,
    *,
    asked: SegmentOptions,
) -> None:
    """Cut out the object of each picture's class: masks, boxes as JSON, CSV and COCO, one page.

    The network was never shown a mask: its map gives the seeds of a minimum cut. Needs the extra `segment`. Exit code 1
    if some pictures failed; the others are done.

    Example: onnx-saliency segment net.onnx dog.jpg --recipe best --labels names.txt
    """
    find_objects(model, images, output_folder, asked, what="segmenting", target=options.number_or_name(target))
