"""`onnx-saliency`: the verbs together, and what all of them do with errors."""

from __future__ import annotations

import io
import sys
import warnings
from typing import Annotated

import typer

from onnx_saliency.cli import (
    class_model,
    compare,
    demo,
    evaluate,
    explain,
    export,
    inspect,
    localize,
    segment,
    top_activations,
)
from onnx_saliency.cli.console import FAILED, fail, note
from onnx_saliency.errors import SaliencyError

app = typer.Typer(
    help="See where an image classifier's answer comes from, on the ONNX file itself.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command()(class_model.class_model)
app.command()(compare.compare)
app.command()(demo.demo)
app.add_typer(evaluate.evaluate, name="evaluate")
app.command()(explain.explain)
app.command()(export.export)
app.command()(inspect.inspect)
app.command()(localize.localize)
app.command()(segment.segment)
app.command()(top_activations.top_activations)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("onnx-saliency"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line: errors on the error stream, exit code 0, 1 (some inputs failed) or 2."""
    for stream in (sys.stdout, sys.stderr):  # a file name need not be text, nor a terminal know every letter
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_: note(f"warning: {message}")
    try:
        app(prog_name="onnx-saliency")  # also when started as a module
    except SaliencyError as error:
        fail(str(error))
        sys.exit(FAILED)
    except KeyboardInterrupt:
        fail("interrupted")
        sys.exit(130)
