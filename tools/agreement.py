"""How far methods agree: a quantised model's maps with its float twin's, and integrated gradients with the score.

    python tools/agreement.py --data ../shared/data

Two tables. The first: Spearman's rank correlation between the maps of a quantised model and of its float twin for the
same class, mean and smallest over the photographs, for each method. The second: integrated gradients' gap of
completeness |Σ values − (S(I) − S(I'))| / |S(I) − S(I')| over the photographs, and what the rule alone would miss.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from scipy.stats import spearmanr

import onnx_saliency as xs
from onnx_saliency.report import write_text

sys.path.append(str(Path(__file__).parents[1] / "tests" / "models"))

TWINS = ("mobilenetv1_0.75_192", "mobilenetv1_0.75_192_qdq")
METHODS = (
    xs.Gradient(),
    xs.Guided(),
    xs.TenCrop(),
    xs.SmoothGrad(),
    xs.IntegratedGradients(steps=32),
    xs.GradCAM(),
)
STEPS = (32, 128)


def correlations(data: Path, pictures: int) -> list[str]:
    """Rows of the first table."""
    from pictures import read_pictures

    images = read_pictures(data, TWINS[0], pictures)
    lines = ["| method | mean | smallest |", "|---|---|---|"]
    for method in METHODS:
        float_, quantised = (xs.Explainer(data / "models" / f"{name}.onnx", method=method) for name in TWINS)
        expected = float_.explain(images)
        found = quantised.explain(images, expected.target)
        ranks = [
            float(spearmanr(e.ravel(), f.ravel()).statistic)
            for e, f in zip(expected.saliency, found.saliency, strict=True)
        ]
        lines.append(f"| {method.name} | {np.mean(ranks):.3f} | {min(ranks):.3f} |")
    return lines


def gaps(data: Path, pictures: int) -> list[str]:
    """Rows of the second table."""
    from pictures import NAMES, read_pictures

    lines = [
        "| net | " + " | ".join(f"{steps} steps, median | largest | rule alone | largest" for steps in STEPS) + " |"
    ]
    lines.append("|---" + "|---:" * 4 * len(STEPS) + "|")
    for name in NAMES:
        images, cells = read_pictures(data, name, pictures), []
        black = xs.Explainer(data / "models" / f"{name}.onnx").explain(np.zeros_like(images[:1])).logits[0]
        for steps in STEPS:
            explainer = xs.Explainer(data / "models" / f"{name}.onnx", method=xs.IntegratedGradients(steps=steps))
            found = explainer.explain(images)
            assert found.gradient is not None  # this method has values and a gap
            assert found.gap is not None
            change = found.score - black[found.target]
            missed = found.gradient.sum(axis=(1, 2, 3), dtype=np.float64) - change
            for gap in np.abs(missed / change), np.abs(found.gap):
                cells += [f"{np.median(gap):.2%}", f"{gap.max():.2%}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main(
    data: Annotated[Path, typer.Option(help="A folder of models and photographs, with models/models.json.")],
    pictures: Annotated[int, typer.Option(min=1, help="How many photographs.")] = 12,
    out: Annotated[Path | None, typer.Option(help="Also write the tables to this file.")] = None,
) -> None:
    """Print both tables."""
    text = "\n".join([*correlations(data, pictures), "", *gaps(data, pictures)]) + "\n"
    Console().print(text, markup=False, highlight=False)
    if out is not None:
        write_text(out, text)


if __name__ == "__main__":
    typer.run(main)
