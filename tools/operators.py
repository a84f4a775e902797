"""The coverage table: every operator of the standard domain, and what happens to a gradient that reaches it.

python tools/operators.py --markdown docs/operators.md
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import onnx
import typer

from onnx_saliency.backward import classify
from onnx_saliency.backward.registry import refusal_of
from onnx_saliency.report import write_text

CONVERTED = {"Scatter": "converted to ScatterElements", "Upsample": "converted to Resize"}
OLDEST = 7
INTRO = """# Operators

Every operator of the standard ONNX domain, in exactly one class. Made by `tools/operators.py`; a test fails on an
operator in none or two.

- **rule**: a backward rule of its own.
- **expanded**: written out by the standard's definition in other operators, which have rules.
- **zero**: piecewise constant, or no floats come out; no gradient passes.
- **refused**: an error that names the node and the reason.

A rule can refuse a form that it does not serve, such as a convolution whose weight depends on the image; the message
then says which and why. Models below opset 18 are raised to 18 first.

"""


def rows() -> list[tuple[str, str, str, str]]:
    """(operator, versions, class, note) of every operator, sorted."""
    versions: dict[str, list[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            versions.setdefault(schema.name, []).append(schema.since_version)
    table = []
    for name, since in sorted(versions.items()):
        kind = "converted" if name in CONVERTED else classify(name) or "none"
        note = CONVERTED.get(name) or refusal_of(name) or ""
        table.append((name, ", ".join(map(str, sorted(since))), kind, note))
    return table


def markdown() -> str:
    """The page of the docs."""
    table = rows()
    counts = Counter(kind for _, _, kind, _ in table)
    summary = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    lines = [f"{len(table)} operators (onnx {onnx.__version__}): {summary}.", ""]
    lines += ["| operator | versions | class | |", "|---|---|---|---|"]
    lines += [f"| {name} | {since} | {kind} | {note} |" for name, since, kind, note in table]
    return INTRO + "\n".join(lines) + "\n"


def main(to_markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the page here.")] = None) -> None:
    """Print the coverage table, or write it."""
    if to_markdown is None:
        print(markdown())
    else:
        write_text(to_markdown, markdown())


if __name__ == "__main__":
    typer.run(main)
