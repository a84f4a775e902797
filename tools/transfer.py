"""Does a class model show the class, or only fool its own net? Every net's class models through every other net.

    python tools/transfer.py --data ../shared/data                          # both recipes, 20 random classes
    python tools/transfer.py --data ../shared/data --net mobilenetv2_1.0_224 --classes 4

For each ImageNet model of the data folder (`models/models.json` says how each wants its pictures): class models of
random classes; whether the class is the net's own first prediction, of the network input and again of the finished
8-bit picture; how much higher the logit is than that of any photograph in the folder; and how often the finished
picture, prepared as each other net prepares pictures, has the class among that net's five best.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from nets import Net, find_nets
from PIL import Image
from rich.console import Console

import onnx_saliency as xs
from onnx_saliency.exporter.ascent import find_recipe
from onnx_saliency.report import contact_sheet, write_image, write_json, write_text
from onnx_saliency.report.sheet import Tile

BEST = 5


@dataclass(frozen=True)
class Row:
    """One net's class models by one recipe.

    Attributes:
        own: share of classes that are the net's first prediction on its own class model.
        again: the same of the finished 8-bit picture.
        above: share of classes whose logit ends above that of every photograph.
        transfer: for each other net, the share of classes among its five best.
        seconds: what it took.
    """

    recipe: str
    net: str
    own: float
    again: float
    above: float
    transfer: dict[str, float]
    seconds: float

    @property
    def mean(self) -> float:
        """Mean transfer to the other nets."""
        return float(np.mean(list(self.transfer.values())))


class Judges:
    """The nets that look at pictures, each built once."""

    def __init__(self, nets: list[Net]) -> None:
        self._explainers = {net.name: xs.Explainer(net.path, preprocess=net.preprocess) for net in nets}

    def logits(self, net: Net, pictures: Any) -> npt.NDArray[np.float32]:
        """Scores of pictures, prepared as the net prepares them."""
        return self._explainers[net.name].explain(pictures, 0).logits


def highest(net: Net, judges: Judges, photographs: list[Path]) -> npt.NDArray[np.float32]:
    """The highest logit that any photograph reaches, for each class."""
    best = [judges.logits(net, photographs[i : i + 64]).max(axis=0) for i in range(0, len(photographs), 64)]
    highest_: npt.NDArray[np.float32] = np.max(best, axis=0)
    return highest_


def measure(
    net: Net,
    nets: list[Net],
    judges: Judges,
    classes: npt.NDArray[np.int64],
    recipe: Any,
    photographs: list[Path],
    out: Path,
) -> Row:
    """Make class models of one net and show them to all."""
    start = time.perf_counter()
    made = xs.class_model(net.path, list(map(int, classes + net.offset)), recipe=recipe, preprocess=net.preprocess)
    seconds = time.perf_counter() - start
    pictures = [Image.fromarray(pixels) for pixels in made.images]
    places = {other.name: _places(judges.logits(other, pictures), classes + other.offset) for other in nets}
    rows = np.arange(len(classes))
    reached = made.logits[rows, classes + net.offset]
    seen = highest(net, judges, photographs)[classes + net.offset] if photographs else np.full(len(classes), -np.inf)
    tiles = [Tile(pixels, f"class {c}") for pixels, c in zip(made.images, classes, strict=True)]
    sheet = contact_sheet([tiles[i : i + 5] for i in range(0, len(tiles), 5)], tile_size=224)
    write_image(out / f"{recipe.name}-{net.name}.jpg", sheet)
    return Row(
        recipe=recipe.name,
        net=net.name,
        own=float((_places(made.logits, classes + net.offset) == 0).mean()),
        again=float((places[net.name] == 0).mean()),
        above=float((reached > seen).mean()),
        transfer={other.name: float((places[other.name] < BEST).mean()) for other in nets if other is not net},
        seconds=seconds,
    )


def _places(logits: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many classes score higher than the one asked for."""
    own = logits[np.arange(len(logits)), classes][:, None]
    places: npt.NDArray[np.int64] = (logits > own).sum(axis=1)
    return places


def markdown(rows: list[Row]) -> str:
    """The table of the docs."""
    nets = list(dict.fromkeys(row.net for row in rows))
    lines = [
        f"| recipe | class models of | own | own, 8-bit | above photographs | {' | '.join(nets)} | mean |",
        "|---" * (len(nets) + 6) + "|",
    ]
    for row in rows:
        shares = [f"{row.transfer[net]:.0%}" if net in row.transfer else "–" for net in nets]
        figures = [f"{row.own:.0%}", f"{row.again:.0%}", f"{row.above:.0%}", *shares, f"**{row.mean:.0%}**"]
        lines.append(f"| {row.recipe} | {row.net} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def main(
    data: Annotated[Path, typer.Option(help="A folder of models and photographs, with models/models.json.")],
    out: Annotated[Path, typer.Option(help="Folder for transfer.json, transfer.md and contact sheets.")] = Path(
        "transfer"
    ),
    net: Annotated[list[str] | None, typer.Option(help="Class models of this net only; as often as wanted.")] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="paper, modern. Default: both.")] = None,
    classes: Annotated[int, typer.Option(min=1, help="How many random classes.")] = 20,
    steps: Annotated[int | None, typer.Option(help="Instead of the recipe's own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which classes.")] = 0,
    photographs: Annotated[int, typer.Option(min=0, help="How many photographs the logits are held against.")] = 400,
) -> None:
    """Make the class models, show them to all nets, print the table."""
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    nets = find_nets(data)
    judges = Judges(nets)
    chosen = np.sort(np.random.default_rng(seed).choice(1000, classes, replace=False))
    shown = sorted((data / "images" / "imagenet_train_sample").glob("*.jpg"))[:photographs]
    rows: list[Row] = []
    for name in recipe or ["paper", "modern"]:
        used = find_recipe(name) if steps is None else replace(find_recipe(name), steps=steps)
        for each in nets:
            if net and each.name not in net:
                continue
            rows.append(measure(each, nets, judges, chosen, used, shown, out))
            row = rows[-1]
            console.print(
                f"{name} {each.name}: own {row.own:.0%}, 8-bit {row.again:.0%}, above photographs {row.above:.0%}, "
                f"transfer {row.mean:.0%}, {row.seconds:.0f} s",
                highlight=False,
            )
            write_json(out / "transfer.json", [asdict(each) for each in rows])
    write_text(out / "transfer.md", markdown(rows))
    console.print(f"\n{out / 'transfer.md'}")


if __name__ == "__main__":
    typer.run(main)
