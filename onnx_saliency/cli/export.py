"""`export MODEL -o OUT`: write the explained model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnx_saliency.cli import options
from onnx_saliency.cli.console import out, print_json


def export(
    model: options.ModelFile,
    output_file: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="OUT", help="Where to write. Default: MODEL.saliency.onnx beside it."),
    ] = None,
    method: options.Method = "gradient",
    score: Annotated[str, typer.Option(help="'logit', before a final Softmax or Sigmoid, or 'probability'.")] = "logit",
    target: Annotated[
        int | None, typer.Option(min=0, help="Bake this class in; default: an input `target`, -1 the predicted class.")
    ] = None,
    require_target: Annotated[bool, typer.Option(help="Make `target` an input without a default.")] = False,
    input: options.Input = None,
    output: options.Output = None,
    preprocess: options.Preset = None,
    check: Annotated[bool, typer.Option(help="Compare the outputs of both models on a random input.")] = True,
    json: options.Json = False,
) -> None:
    """Write MODEL with a saliency output: an ordinary ONNX model, standard operators only.

    Example: onnx-saliency export net.onnx -o net.saliency.onnx
    """
    from onnx_saliency.errors import SaliencyError
    from onnx_saliency.export import export as export_model
    from onnx_saliency.images import preset

    if score not in ("logit", "probability"):
        raise SaliencyError(f"--score is logit or probability, not {score!r}.")
    path = output_file or model.with_suffix(".saliency.onnx")
    export_model(
        model,
        path,
        method=method,
        score=score,  # type: ignore[arg-type]  # one of the two, as just checked
        target=target if target is not None else "required" if require_target else "default",
        input=input,
        output=output,
        preprocess=preset(preprocess, (224, 224)) if preprocess else None,
        check=check,
    )
    size = path.stat().st_size
    if json:
        print_json({"model": str(model), "explained": str(path), "bytes": size, "method": method, "score": score})
    else:
        out.print(f"{path}  {size / 1e6:.1f} MB, outputs saliency and input_gradient", soft_wrap=True)
