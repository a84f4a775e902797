"""`evaluate faithfulness`: insertion, deletion and their like, by a protocol that prints itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnx_saliency.cli import options
from onnx_saliency.cli.console import PARTIAL, tell_reading
from onnx_saliency.cli.contest import Methods, ProtocolName, Shown, Steps, build_explainers, measure
from onnx_saliency.cli.evaluate.asked import DatasetOptions, facts_of


@options.taking(DatasetOptions)
def faithfulness(
    model: options.ModelFile,
    dataset: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            parser=options.named_path,
            help="CelebA, VGGFace2, CUB-200-2011, ILSVRC, Pascal VOC, COCO JSON, a folder per class, or a CSV file of "
            "pictures and classes.",
            show_default=False,
        ),
    ],
    protocol: ProtocolName = "plain",
    steps: Steps = None,
    method: Methods = None,
    output_folder: options.OutputFolder = Path("faithfulness"),
    shown: Shown = 4,
    *,
    asked: DatasetOptions,
) -> None:
    """Measure whether maps name the pixels that the score depends on: insertion, deletion and more.

    Each method stands beside a random order, the centre first, and Sobel's edges, which know nothing of the model.
    Intervals are of 95 %, by paired bootstrap. The protocol prints itself beside the numbers. Exit code 1 if pictures
    were left out.

    Example: onnx-saliency evaluate faithfulness net.onnx birds --protocol smdl-cub --list eval.txt
    """
    from onnx_saliency.evaluation.faithfulness import Case, find_protocol
    from onnx_saliency.images.choice import Fallback

    chosen = find_protocol(protocol, steps=steps)
    settings = asked.settings
    if chosen.preprocess is not None:
        settings["preprocess"] = Fallback(chosen.preprocess, f"protocol {chosen.name}", asked.preprocessing)
    explainers = build_explainers(model, method, settings)
    first = next(iter(explainers.values()))
    tell_reading(first)
    found = asked.resolve(asked.open(dataset, boxes=False), first)
    cases = [Case(each.image, frozenset(int(label) for label in each.accepted)) for each in found]
    left_out = measure(
        explainers,
        cases,
        chosen,
        output_folder,
        title="Faithfulness",
        facts=facts_of(model, first) | {"dataset": found.name},
        shown=shown,
        json=asked.json,
        skip=asked.skip,
        failed=found.failed,
    )
    if left_out:
        raise typer.Exit(PARTIAL)
