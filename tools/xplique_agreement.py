"""Deletion and insertion beside those of Xplique itself: the same maps, the same model through a callable.

    python tools/xplique_agreement.py --data data --count 12 --markdown docs/faithfulness.md

Needs Xplique, whose wheel asks for TensorFlow with CUDA; without it, on a CPU:

    pip install "tensorflow-cpu>=2.18,<=2.20" deprecated einops matplotlib opencv-python-headless
    pip install scikit-image scikit-learn
    pip install --no-deps "xplique>=2" "tensorflow-probability<=0.25" tf-keras dm-tree decorator cloudpickle
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from nets import Net, find_nets
from page import renew

import onnx_saliency as xs
from onnx_saliency.evaluation.datasets import draw_examples, open_dataset, resolve_labels
from onnx_saliency.evaluation.faithfulness import Case, Faithfulness, find_protocol, measure_faithfulness, rank_pixels
from onnx_saliency.images import read_picture

METHODS = ("gradient", "integrated_gradients", "gradcam")


def measure_both(net: Net, data: Path, count: int) -> list[tuple[str, str, float, float, float]]:
    """Method, mode, our area, Xplique's of the map, and of the map's ranks.

    Xplique sorts by NumPy's default, which leaves equal pixels in an order of its own on each machine; ranks have none.
    """
    from xplique.metrics import Deletion, Insertion

    explainers = {name: xs.Explainer(net.path, method=name, preprocess=net.preprocess) for name in METHODS}
    first = explainers["gradient"]
    dataset = draw_examples(resolve_labels(open_dataset(data), first.classes or 0, offset=net.offset), count)
    cases = [Case(each.image, frozenset(int(label) for label in each.accepted)) for each in dataset]
    ours = measure_faithfulness(explainers, cases, find_protocol("xplique"))
    images, _, _ = first.prepare([read_picture(each.image) for each in cases])
    model = _callable(net, first)
    rows = []
    for name, explainer in explainers.items():
        maps = explainer.explain(images, ours.targets).saliency
        ranks = -np.stack([rank_pixels(each, "last") for each in maps]).astype(np.float32)
        for mode, metric in (("deletion", Deletion), ("insertion", Insertion)):
            theirs = metric(
                model, _channels_last(images, first), np.eye(first.classes or 0)[ours.targets], batch_size=8
            )
            rows.append((name, mode, _area(ours, name, mode), float(theirs(maps)), float(theirs(ranks))))
    return rows


def _callable(net: Net, explainer: xs.Explainer) -> Any:
    """The file itself in ONNX Runtime, for arrays with the channels last."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(net.path), providers=["CPUExecutionProvider"])
    one_by_one = explainer.batch == 1

    def answer(batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        array = batch if explainer.layout == "NHWC" else np.ascontiguousarray(np.moveaxis(batch, -1, 1))
        parts = np.split(array, len(array)) if one_by_one else [array]
        outputs = [session.run(None, {explainer.input: part})[0].reshape(len(part), -1) for part in parts]
        return np.concatenate(outputs)

    return answer


def _channels_last(images: npt.NDArray[Any], explainer: xs.Explainer) -> npt.NDArray[Any]:
    return images if explainer.layout == "NHWC" else np.moveaxis(images, 1, -1)


def _area(result: Faithfulness, name: str, mode: str) -> float:
    return float(result.find(name).measure(mode).mean())


def main(
    data: Annotated[Path, typer.Option(help="Folder of trained models, photographs and boxes.")],
    net: Annotated[list[str] | None, typer.Option(help="Names of models; all ImageNet models without.")] = None,
    count: Annotated[int, typer.Option(min=1, help="So many pictures, drawn at random.")] = 12,
    pages: Annotated[Path | None, typer.Option("--markdown", help="A page with the marks of the table.")] = None,
) -> None:
    """Measure both and print the table."""
    lines = ["| net | map | | ours | Xplique | apart | ties alike |", "|---|---|---|---:|---:|---:|---:|"]
    for each in find_nets(data, net):
        for i, (name, mode, ours, theirs, of_ranks) in enumerate(measure_both(each, data, count)):
            shown = f"{ours:.4f} | {theirs:.4f} | {abs(ours - theirs):.1e} | {abs(ours - of_ranks):.1e}"
            lines.append(f"| {each.name if i == 0 else ''} | {name} | {mode} | {shown} |")
    versions = ", ".join(f"{name} {version(name)}" for name in ("xplique", "tensorflow-cpu", "onnxruntime", "numpy"))
    table = "\n".join([*lines, "", f"{count} pictures, protocol `xplique`; {versions}."])
    print(table)
    if pages is not None:
        renew(pages, "xplique", f"{table}\n")


if __name__ == "__main__":
    typer.run(main)
