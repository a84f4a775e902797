"""The table of methods in docs/methods.md, made from what each method's class says of itself.

python tools/methods.py --markdown docs/methods.md
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from onnx_saliency.exporter import METHODS, Method
from onnx_saliency.report import write_text


def table() -> str:
    """One row a method."""
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


def renew(page: Path, mark: str, text: str) -> None:
    """Put `text` between `<!-- mark -->` and `<!-- /mark -->`, each on a line of its own."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->\n"
    before, rest = page.read_text("utf-8").split(begin)
    _, after = rest.split(end)
    write_text(page, f"{before}{begin}{text}{end}{after}")


if __name__ == "__main__":
    typer.run(main)
