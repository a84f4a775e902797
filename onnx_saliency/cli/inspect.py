"""`inspect MODEL`: what was found in the model, and whether it can be explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from onnx_saliency.cli import options
from onnx_saliency.cli.console import FAILED, out, print_facts, print_json, print_table

if TYPE_CHECKING:
    from onnx_saliency.runtime.kernels import Placement


def inspect(
    model: options.ModelFile,
    input: options.Input = None,
    output: options.Output = None,
    layers: Annotated[bool, typer.Option("--layers", help="List the layers that --layer can name.")] = False,
    providers: Annotated[
        list[str] | None,
        typer.Option(
            "--providers", help="Look up which nodes this provider has kernels for: cuda, cpu; as often as wanted."
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show input, layout, score, classes, opset, preprocessing, operators and cost of MODEL.

    Exit code 0 if the model can be explained, 2 if not.

    Example: onnx-saliency inspect net.onnx
    """
    from onnx_saliency.inspection import inspect_model

    found = inspect_model(model, input=input, output=output, providers=providers or ())
    if json:
        print_json(found.as_dict())
    else:
        print_facts(found.facts())
        out.print()
        if layers:
            print_table(("layer", "operator", "shape"), found.layer_rows())
            out.print()
        print_table(
            ("operator", "nodes", "on the path", "backward rule"),
            found.operator_rows(),
            numbers=("nodes", "on the path"),
        )
        out.print()
        for placement in found.placements:
            _print_placement(placement)
        if found.refusal is None:
            out.print("[green]can be explained[/]")
        else:
            out.print(f"[red]cannot be explained[/]: {escape(found.refusal)}", soft_wrap=True)
    if not found.explainable:
        raise typer.Exit(FAILED)


def _print_placement(placement: Placement) -> None:
    print_table(
        ("operator", "nodes", f"not on {placement.provider}", "why"),
        placement.rows(),
        numbers=("nodes", f"not on {placement.provider}"),
    )
    out.print()
    for operator, node, why in placement.elsewhere:
        out.print(f"not on {placement.provider}: {operator} {escape(node)}, {escape(why)}", soft_wrap=True)
    nodes, away = sum(placement.operators.values()), len(placement.elsewhere)
    out.print(
        f"{nodes - away} of {nodes} nodes of the explained model on {placement.provider}, by the kernels of "
        f"{placement.runtime}",
        soft_wrap=True,
    )
    out.print()
