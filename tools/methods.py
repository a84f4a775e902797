"""The table of methods in docs/methods.md, made from what each method's class says of itself.

python tools/methods.py --markdown docs/methods.md
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer
from page import renew

from onnx_saliency.exporter import METHODS, Method


def table() -> str:
    """One row per method."""
    lines = ["| method | exact gradient | passes | layer | options | source |", "|---|---|---|---|---|---|"]
    return "\n".join([*lines, *map(_row, METHODS.values())]) + "\n"


def _row(method: type[Method]) -> str:
    options = [field.name for field in fields(method) if field.name != "layer"]
    layer = "the last that is a picture, or `--layer`" if len(options) < len(fields(method)) else ""
    exact = "yes" if method.exact else "no"
    return f"| `{method.name}` | {exact} | {method.passes} | {layer} | {', '.join(options)} | {method.source} |"


def main(to_markdown: Annotated[Path | None, typer.Option("--markdown", help="Renew it in this page.")] = None) -> None:
    """Print the table, or put it in its place on a page."""
    if to_markdown is None:
        print(table())
        return
    renew(to_markdown, "methods", table())


if __name__ == "__main__":
    typer.run(main)
