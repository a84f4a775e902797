"""Put the tables of several runs of the zoo into docs/zoo.md, between its markers.

python tools/zoo_docs.py zoo/results.json zoo-keras/results.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from page import renew
from zoo import Outcome, markdown, summary

PAGE = Path(__file__).parents[1] / "docs" / "zoo.md"


def main(
    results: Annotated[list[Path], typer.Argument(help="results.json of tools/zoo.py and tools/zoo_keras.py.")],
    page: Annotated[Path, typer.Option(help="The page to write.")] = PAGE,
) -> None:
    """Write the summary and the table of all results together."""
    outcomes = [Outcome(**entry) for path in results for entry in json.loads(path.read_text(encoding="utf-8"))]
    outcomes.sort(key=lambda outcome: (outcome.net.split("/")[0] == "keras", outcome.exporter, outcome.net))
    text = f"**{summary(outcomes)}.**\n\n{markdown(outcomes)}"
    renew(page, "zoo", text)
    for outcome in outcomes:
        if outcome.stage in ("rewrite", "gradient") or (outcome.stage == "done" and not outcome.right):
            typer.echo(f"{outcome.net} {outcome.exporter}: {outcome.reason}")


if __name__ == "__main__":
    typer.run(main)
