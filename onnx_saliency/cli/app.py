"""`onnx-saliency`: the verbs together, and what all of them do with errors."""

from __future__ import annotations

import errno
import io
import sys
import warnings
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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
from onnx_saliency.cli.console import FAILED, INTERRUPTED, PARTIAL, fail, note
from onnx_saliency.errors import SaliencyError


class _Verbs(TyperGroup):
    """The verbs, of which an interrupted one says so: Typer would leave without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("interrupted")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Verbs,
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
        try:
            app(prog_name="onnx-saliency")  # also when started as a module
        finally:
            sys.stdout.flush()  # what is left to the interpreter's end can no longer be told of
    except SaliencyError as error:
        fail(str(error))
        sys.exit(FAILED)
    except OSError as error:
        if error.filename is not None:  # of a file that was opened by its name, and no stream
            raise
        sys.stdout = io.StringIO()  # else the interpreter's end tries once more, and complains once more
        if error.errno == errno.EPIPE:  # the reader has seen enough, as `head` does
            sys.exit(PARTIAL)
        with suppress(OSError):  # the error stream may lead to the same full disk
            fail(f"the results cannot be printed: {error.strerror or error}. Free space, or print elsewhere.")
        sys.exit(FAILED)
