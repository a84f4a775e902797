"""Do maps name the pixels that the score depends on? Every ImageNet net of a data folder, methods beside baselines.

    python tools/faithfulness.py --data data --out faithfulness                  # 100 boxed photographs, all nets
    python tools/faithfulness.py --data data --out faithfulness --markdown docs/faithfulness.md
    python tools/faithfulness.py --data data --out blurred --protocol blurred --markdown docs/faithfulness.md

What was measured of a net is kept in the folder `--out`, and a second run goes on with those that are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from nets import Net, find_nets, measure_each, title
from page import renew

import onnx_saliency as xs
from onnx_saliency.cli.contest import METHODS
from onnx_saliency.evaluation.datasets import draw_examples, open_dataset, resolve_labels
from onnx_saliency.evaluation.faithfulness import Case, find_protocol, measure_faithfulness
from onnx_saliency.report.faithfulness import CENTRE, COLUMNS, RANDOM, as_json, best_methods, cells
from onnx_saliency.report.table import shown_interval


def measure(
    net: Net,
    show: Callable[..., None],
    *,
    data: Path,
    count: int,
    protocol: str,
    steps: int | None,
    methods: list[str],
    threads: int | None,
) -> dict[str, Any]:
    """The table of one net, as JSON."""
    explainers = {
        name: xs.Explainer(net.path, method=name, preprocess=net.preprocess, threads=threads) for name in methods
    }
    first = next(iter(explainers.values()))
    dataset = draw_examples(resolve_labels(open_dataset(data), first.classes or 0, offset=net.offset), count)
    cases = [Case(each.image, frozenset(int(label) for label in each.accepted)) for each in dataset]
    result = measure_faithfulness(
        explainers,
        cases,
        find_protocol(protocol, steps=steps),
        progress=lambda done: show(completed=done, total=len(cases)),
    )
    return {"pictures": len(result), **as_json(result)}


def markdown(found: list[dict[str, Any]]) -> str:
    """All contenders, the best methods, and how far they are ahead of the baselines."""
    columns = list(COLUMNS.values())
    lines = [f"| net | map | {' | '.join(columns)} |", "|---|---|" + "---:|" * len(columns)]
    for net in found:
        for i, row in enumerate(net["contenders"]):
            name = f"*{row['name']}*" if row["baseline"] else row["name"]
            marked = [cell.strip().replace("*", "\\*") for cell in cells(row)]
            lines.append(f"| {title(net) if i == 0 else ''} | {name} | {' | '.join(marked)} |")
        lines.append(f"| | **best method** | {' | '.join(best_methods(net))} |")
    lines += ["", f"| net | of | best method | less {RANDOM} | less {CENTRE} |", "|---|---|---|---:|---:|"]
    for net in found:
        rows = {row["name"]: row for row in net["contenders"]}
        asked = [("insertion", "gradient"), *((metric, net["best"][metric]) for metric in ("deletion", "insertion"))]
        for i, (metric, name) in enumerate((metric, name) for metric, name in asked if name):
            leads = [shown_interval(rows[name][f"minus {other}"][metric]) for other in (RANDOM, CENTRE)]
            lines.append(f"| {title(net) if i == 0 else ''} | {metric} | {name} | {' | '.join(leads)} |")
    return "\n".join(lines)


def main(
    data: Annotated[Path, typer.Option(help="Folder of trained models, photographs and boxes.")],
    out: Annotated[Path, typer.Option(help="Folder for a JSON file per net.")] = Path("faithfulness"),
    net: Annotated[list[str] | None, typer.Option(help="Names of models; all ImageNet models without.")] = None,
    count: Annotated[int, typer.Option(min=1, help="So many pictures, drawn at random.")] = 100,
    protocol: Annotated[str, typer.Option(help="As `evaluate faithfulness` takes it.")] = "plain",
    steps: Annotated[int | None, typer.Option(min=1, help="Of both curves, instead of the protocol's own.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="As `evaluate faithfulness` takes it.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads within an operator.")] = None,
    pages: Annotated[Path | None, typer.Option("--markdown", help="A page with the marks of the table.")] = None,
) -> None:
    """Measure nets that are not measured yet, and print the table of all."""
    how = {"count": count, "protocol": protocol, "steps": steps, "methods": method or list(METHODS), "threads": threads}
    found = measure_each(find_nets(data, net), out, partial(measure, data=data, **how))
    table = markdown(found)
    print(table)
    if pages is not None:
        renew(pages, f"faithfulness-{protocol}", f"{table}\n")


if __name__ == "__main__":
    typer.run(main)
