"""Tables of the pages in docs/, each between two marks on its page, and how the tools put them there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx_saliency.report import write_text


def table(columns: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Rows in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def renew(page: Path, mark: str, text: str) -> None:
    """Put `text` between `<!-- mark -->` and `<!-- /mark -->`, each on a line of its own."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->\n"
    before, rest = page.read_text("utf-8").split(begin)
    _, after = rest.split(end)
    write_text(page, f"{before}{begin}{text}{end}{after}")
