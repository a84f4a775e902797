"""`compare`: which method's maps serve these pictures, by which measure."""

from __future__ import annotations

from pathlib import Path

import typer

from onnx_saliency.cli import options
from onnx_saliency.cli.console import PARTIAL, note, tell_reading
from onnx_saliency.cli.contest import Methods, ProtocolName, Shown, Steps, build_explainers, measure
from onnx_saliency.cli.evaluate.asked import ModelOptions, facts_of


@options.taking(ModelOptions)
def compare(
    model: options.ModelFile,
    images: options.Images,
    method: Methods = None,
    protocol: ProtocolName = "plain",
    steps: Steps = None,
    output_folder: options.OutputFolder = Path("comparison"),
    shown: Shown = 6,
    *,
    asked: ModelOptions,
) -> None:
    """Put methods side by side on pictures of your own: a table of methods and metrics, and one page with their maps.

    No labels are needed: what is explained is the class that the model predicts. Exit code 1 if some pictures failed;
    the others are done.

    Example: onnx-saliency compare net.onnx photographs --method gradient --method gradcam
    """
    from dataclasses import replace

    from onnx_saliency.evaluation.faithfulness import Case, find_protocol
    from onnx_saliency.report.faithfulness import CURVES
    from onnx_saliency.report.table import counted

    chosen = replace(find_protocol(protocol, steps=steps), target="predicted")
    cases = [Case(source) for source in options.sources(images, output_folder, lambda _: CURVES.values())]
    explainers = build_explainers(model, method, asked.settings)
    first = next(iter(explainers.values()))
    tell_reading(first)
    note(f"{counted(len(cases), 'picture')}, running on {first.provider}")
    left_out = measure(
        explainers,
        cases,
        chosen,
        output_folder,
        title="Methods side by side",
        facts=facts_of(model, first),
        shown=shown,
        json=asked.json,
        skip=True,
    )
    if left_out:
        raise typer.Exit(PARTIAL)
