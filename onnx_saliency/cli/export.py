"""`export MODEL -o OUT`: write the explained model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from onnx_saliency.cli import options
from onnx_saliency.cli.console import out, print_json
from onnx_saliency.errors import SaliencyError

if TYPE_CHECKING:
    from onnx_saliency.images import Preprocess


def export(
    context: typer.Context,
    model: options.ModelFile,
    output_file: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="OUT",
            parser=options.named_path,
            help="Where to write. Default: MODEL.saliency.onnx beside it.",
        ),
    ] = None,
    method: options.Method = "gradient",
    samples: options.Samples = None,
    noise: options.Noise = None,
    seed: options.Seed = None,
    steps: options.Steps = None,
    baseline: options.Baseline = None,
    at_once: options.AtOnce = None,
    layer: options.Layer = None,
    neuron: options.Neuron = None,
    channel: options.Channel = None,
    score: Annotated[
        str, typer.Option(help="Which score to explain: 'logit', before a final Softmax or Sigmoid, or 'probability'.")
    ] = "logit",
    target: Annotated[
        int | None,
        typer.Option(
            min=0, help="Always explain this class. Default: add an input `target`, of which -1 is the predicted class."
        ),
    ] = None,
    against: Annotated[
        int | None, typer.Option(min=0, help="Subtract this class's score, to show what favours the class over it.")
    ] = None,
    several: Annotated[
        int | None,
        typer.Option(
            min=1, help="Explain this many classes of each image; `target` then takes as many, by default the best."
        ),
    ] = None,
    require_target: Annotated[bool, typer.Option(help="Make `target` an input without a default.")] = False,
    input: options.Input = None,
    output: options.Output = None,
    preprocess: options.Preset = None,
    of: Annotated[
        list[str] | None, typer.Option(metavar="OUTPUT", help="With --wrt, of any graph: differentiate this output.")
    ] = None,
    wrt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT", help="With --of, of any graph: differentiate by this input; adds the output grad_INPUT."
        ),
    ] = None,
    ascent: Annotated[
        bool,
        typer.Option("--ascent", help="Write one step of class-model as a model of its own, to MODEL.ascent.onnx."),
    ] = False,
    recipe: Annotated[str, typer.Option(help="With --ascent: the recipe, paper or modern.")] = "paper",
    size: Annotated[
        int | None, typer.Option(min=1, help="With --ascent: height and width, for networks that take any size.")
    ] = None,
    profile: Annotated[
        Literal["portable", "cpu", "cuda"],
        typer.Option(help="Write for any runtime (portable), or for ONNX Runtime on this device: cpu, cuda."),
    ] = "portable",
    precision: options.Precision = "single",
    check: Annotated[bool, typer.Option(help="Compare the outputs of both models on a random input.")] = True,
    json: options.Json = False,
) -> None:
    """Write MODEL with a saliency output: an ordinary ONNX model, standard operators only.

    Example: onnx-saliency export net.onnx -o net.saliency.onnx

    With --of and --wrt, gradients of any graph's outputs by its inputs instead, to MODEL.vjp.onnx.

    Example: onnx-saliency export forces.onnx --of energy --wrt positions

    With --ascent, one step of the gradient ascent of class-model.

    Example: onnx-saliency export net.onnx --ascent --recipe modern
    """
    if of or wrt:
        _refuse_others(
            context, ("of", "wrt", "check"), "of image classifiers only, and not together with --of and --wrt"
        )
        _vjp(model, output_file, of or [], wrt or [], check=check, json=json)
        return
    if ascent:
        own = ("ascent", "recipe", "against", "seed", "size", "input", "output", "preprocess")
        _refuse_others(context, own, "not together with --ascent")
        _ascent(model, output_file, recipe, against, seed or 0, size, input, output, preprocess, json=json)
        return
    if given := _given(context, ("recipe", "size")):
        raise SaliencyError(f"{', '.join(given)}: with --ascent only.")
    from onnx_saliency.exporter import export as export_model
    from onnx_saliency.exporter.methods.cam import ActivationMap

    if score not in ("logit", "probability"):
        raise SaliencyError(f"--score is logit or probability, not {score!r}.")
    if target is not None and require_target:
        raise SaliencyError("Give --target or --require-target, not both.")
    chosen = options.method(
        method, layer, samples=samples, noise=noise, seed=seed, steps=steps, baseline=baseline, at_once=at_once
    )
    of_layer, number = options.score(chosen, layer, neuron, channel)
    if of_layer != "logit" and (target is not None or score != "logit"):
        raise SaliencyError("--neuron and --channel choose what is explained; --target and --score are of classes.")
    target = number if number is not None else target
    path = output_file or model.parent / f"{model.stem or 'model'}.saliency.onnx"
    export_model(
        model,
        path,
        method=chosen,
        score=score if of_layer == "logit" else of_layer,  # type: ignore[arg-type]  # as just checked
        target=target if target is not None else "required" if require_target else "default",
        against=against,
        several=several,
        input=input,
        output=output,
        preprocess=_recipe(preprocess) if preprocess else None,
        profile=profile,
        precision=precision,
        check=check,
    )
    size = path.stat().st_size
    if json:
        print_json({"model": str(model), "explained": str(path), "bytes": size, "method": method, "score": score})
    else:
        made = "saliency" if isinstance(chosen, ActivationMap) else f"saliency and {chosen.result}"
        out.print(f"{escape(str(path))}  {size / 1e6:.1f} MB, outputs {made}", soft_wrap=True)


def _given(context: typer.Context, names: Collection[str]) -> list[str]:
    """Those of the parameters `names` that were given on the command line, as they are written there."""
    return [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in names
        and (source := context.get_parameter_source(parameter.name)) is not None
        and source.name != "DEFAULT"
    ]


def _refuse_others(context: typer.Context, own: Collection[str], why: str) -> None:
    """Refuse all options that were given and are neither of every kind of export nor one of its `own`."""
    names = {parameter.name for parameter in context.command.params if parameter.name is not None}
    if given := _given(context, names - {"model", "output_file", "json", *own}):
        raise SaliencyError(f"{', '.join(given)}: {why}.")


def _ascent(
    model: Path,
    output_file: Path | None,
    recipe: str,
    against: int | None,
    seed: int,
    size: int | None,
    input: str | None,
    output: str | None,
    preprocess: str | None,
    *,
    json: bool,
) -> None:
    """One step of the gradient ascent."""
    import onnx

    from onnx_saliency.vision import export_step

    path = output_file or model.parent / f"{model.stem or 'model'}.ascent.onnx"
    export_step(
        model,
        path,
        recipe=recipe,
        against=against,
        seed=seed,
        size=size,
        preprocess=options.preprocessing(preprocess),
        input=input,
        output=output,
    )
    graph = onnx.load(path, load_external_data=False).graph
    inputs, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
    _tell(model, path, "ascent", inputs, outputs, json=json)


def _tell(model: Path, path: Path, kind: str, inputs: list[str], outputs: list[str], *, json: bool) -> None:
    """Print what was written, and what it takes and gives."""
    size = path.stat().st_size
    if json:
        print_json({"model": str(model), kind: str(path), "bytes": size, "inputs": inputs, "outputs": outputs})
    else:
        added = f"inputs {', '.join(inputs)}; outputs {', '.join(outputs)}"
        out.print(f"{escape(str(path))}  {size / 1e6:.1f} MB, {escape(added)}", soft_wrap=True)


def _vjp(
    model: Path,
    output_file: Path | None,
    of: list[str],
    wrt: list[str],
    *,
    check: bool,
    json: bool,
) -> None:
    """Gradients of any graph."""
    from onnx_saliency.exporter.vjp import cotangent_name, gradient_name, vjp

    if not (of and wrt):
        raise SaliencyError("Give --of OUTPUT and --wrt INPUT together, each as often as needed.")
    path = output_file or model.parent / f"{model.stem or 'model'}.vjp.onnx"
    vjp(model, path, outputs=of, inputs=wrt, check=check)
    inputs = [cotangent_name(name) for name in dict.fromkeys(of)]
    outputs = [gradient_name(name) for name in dict.fromkeys(wrt)]
    _tell(model, path, "vjp", inputs, outputs, json=json)


def _recipe(name: str) -> Callable[[tuple[int | None, int | None]], Preprocess]:
    """The preset for the network's size, 224 where that is open."""
    from onnx_saliency.images import preset

    return lambda size: preset(name, (size[0] or 224, size[1] or 224))
