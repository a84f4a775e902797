"""How well do class models of no boxes find boxes? Recipes and baselines on boxed photographs, every ImageNet net.

    python tools/localisation.py --data data --out localisation                 # all nets, all pictures
    python tools/localisation.py --data data --out localisation --markdown docs/segmentation.md

What was measured of a net is kept in the folder `--out`, and a second run goes on with those that are missing.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from transfer import find_nets

from onnx_saliency.evaluation.datasets import open_dataset, resolve_labels
from onnx_saliency.evaluation.localise import Localisation, measure_localisation, summary
from onnx_saliency.report import write_json, write_text
from onnx_saliency.vision import SEGMENT_RECIPES, Segmenter

BEST = "best"
_MARKS = ("<!-- localisation -->", "<!-- /localisation -->")


def measure(net: Any, data: Path, count: int | None, threads: int | None, progress: Progress) -> dict[str, Any]:
    """The table of one net, as JSON."""
    segmenters = [Segmenter(net.path, recipe, preprocess=net.preprocess, threads=threads) for recipe in SEGMENT_RECIPES]
    dataset = resolve_labels(open_dataset(data), segmenters[0].explainer.classes or 0, offset=net.offset)
    if count is not None:
        chosen = np.random.default_rng(0).choice(len(dataset), count, replace=False)
        dataset = replace(dataset, examples=tuple(dataset.examples[i] for i in sorted(chosen)))
    task = progress.add_task(net.name, total=len(dataset))
    result = measure_localisation(segmenters, dataset, progress=lambda done: progress.update(task, completed=done))
    return {"net": net.name, "pictures": len(dataset), **as_json(result)}


def as_json(result: Localisation) -> dict[str, Any]:
    """What was measured: a row a contender, the differences to the best recipe, and the measures of the maps."""
    rows = summary(result)
    for row in rows:
        if row["name"] != BEST:
            row["best_minus"] = {
                measure: result.difference(BEST, row["name"], measure)._asdict() for measure in ("boxes", "masks")
            }
    maps = {
        name: {
            "max_box_acc": each.boxes.max_box_acc,
            "max_box_acc_v2": each.boxes.max_box_acc_v2,
            "pxap": each.pixels.pxap if each.masks else None,
            "pointing_game": float(np.mean(each.pointing)),
        }
        for name, each in result.maps.items()
    }
    return {"contenders": rows, "maps": maps, "classified": dict(result.top)}


def markdown(found: list[dict[str, Any]]) -> str:
    """Two tables: contenders, and maps."""
    head = "known class | top-1 error | top-5 error | box IoU | mask IoU | best − it, boxes | best − it, masks"
    lines = [f"| net | | {head} |", "|---|---|" + "---:|" * 7]
    for net in found:
        for i, row in enumerate(net["contenders"]):
            name = f"**{row['name']}**" if row["name"] in SEGMENT_RECIPES else row["name"]
            cells = [f"{row[key]['mean']:.3f}" for key in ("known_class", "top1_error", "top5_error", "box_iou")]
            cells.append(f"{row['mask_iou']['mean']:.3f}" if "mask_iou" in row else "")
            cells += [_signed(row["best_minus"][key]) if "best_minus" in row else "" for key in ("boxes", "masks")]
            lines.append(f"| {net['net'] if i == 0 else ''} | {name} | {' | '.join(cells)} |")
    lines += ["", "| net | map of | MaxBoxAcc | MaxBoxAccV2 | PxAP | pointing game |", "|---|---|" + "---:|" * 4]
    for net in found:
        for name, row in net["maps"].items():
            lines.append(f"| {net['net']} | {name} | " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")
    return "\n".join(lines)


def _signed(interval: dict[str, float]) -> str:
    return f"{interval['mean']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]"


def main(
    data: Annotated[Path, typer.Option(help="Folder of trained models, photographs, boxes and masks.")],
    out: Annotated[Path, typer.Option(help="Folder for a JSON file a net.")] = Path("localisation"),
    net: Annotated[list[str] | None, typer.Option(help="Names of models; all ImageNet models without.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="So many pictures, drawn at random; else all.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads within an operator.")] = None,
    pages: Annotated[Path | None, typer.Option("--markdown", help="A page with the marks of the table.")] = None,
) -> None:
    """Measure nets that are not measured yet, and print the table of all."""
    out.mkdir(parents=True, exist_ok=True)
    nets = [each for each in find_nets(data) if not net or each.name in net]
    with Progress(console=Console(stderr=True)) as progress:
        for each in nets:
            if not (out / f"{each.name}.json").exists():
                write_json(out / f"{each.name}.json", measure(each, data, count, threads, progress))
    found = [json.loads((out / f"{each.name}.json").read_text(encoding="utf-8")) for each in nets]
    table = markdown(found)
    print(table)
    if pages is not None:
        before, _, rest = pages.read_text(encoding="utf-8").partition(_MARKS[0])
        after = rest.partition(_MARKS[1])[2]
        write_text(pages, f"{before}{_MARKS[0]}\n{table}\n{_MARKS[1]}{after}")


if __name__ == "__main__":
    typer.run(main)
