"""`localize MODEL IMAGE...`: a mask and a box for each of a picture's best classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnx_saliency.cli import options
from onnx_saliency.cli.objects import SegmentOptions, find_objects


@options.taking(SegmentOptions)
def localize(
    model: options.ModelFile,
    images: options.Images,
    output_folder: options.OutputFolder = Path("localization"),
    top: Annotated[
        int, typer.Option(min=1, help="Find the objects of this many classes of each picture, the likeliest ones.")
    ] = 5,
    *,
    asked: SegmentOptions,
) -> None:
    """Find the objects of each picture's best classes: boxes and masks as JSON, CSV and COCO, one page.

    A map, a mask and a box per class. Needs the extra `segment`. Exit code 1 if some pictures failed; the others are
    done.

    Example: onnx-saliency localize net.onnx pictures --top 3 --recipe best --labels names.txt
    """
    find_objects(model, images, output_folder, asked, what="localizing", top=top)
