"""Options that the measurements share: how the model is read and run, and which part of a data set is taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onnx_saliency.cli import options
from onnx_saliency.cli.console import note

if TYPE_CHECKING:
    from onnx_saliency.evaluation.datasets import Dataset
    from onnx_saliency.explain import Explainer
    from onnx_saliency.images.choice import Change


@dataclass(frozen=True)
class ModelOptions:
    """How the model is read and run."""

    labels: options.Labels = None
    preprocess: options.Preset = None
    resize: options.Resize = None
    mean: options.Mean = None
    std: options.Std = None
    channels: options.Channels = None
    size: options.Size = None
    input: options.Input = None
    output: options.Output = None
    provider: options.Providers = None
    threads: options.Threads = None
    no_cache: options.NoCache = False
    json: options.Json = False

    @property
    def settings(self) -> dict[str, Any]:
        """What an `Explainer` takes of them."""
        return {
            "preprocess": self.preprocessing,
            "labels": self.labels,
            "input": self.input,
            "output": self.output,
            "providers": self.provider,
            "threads": self.threads,
            "cache": not self.no_cache,
        }

    @property
    def preprocessing(self) -> Change | None:
        """What puts into a preprocessing what was given."""
        return options.preprocessing(
            self.preprocess, resize=self.resize, mean=self.mean, std=self.std, channels=self.channels, size=self.size
        )


@dataclass(frozen=True)
class DatasetOptions(ModelOptions):
    """The same, and which part of a data set is taken."""

    split: Annotated[str | None, typer.Option(help="Part of the data set, such as val.", show_default=False)] = None
    list_file: Annotated[
        Path | None,
        typer.Option(
            "--list",
            metavar="FILE",
            parser=options.named_path,
            help="Use only the pictures listed in this file, in its order: text with one path per line, perhaps "
            "followed by a class, or CSV.",
            show_default=False,
        ),
    ] = None
    offset: Annotated[
        int, typer.Option(help="Added to the data set's class numbers: 1 where the model's class 0 is background.")
    ] = 0
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Use this many pictures, drawn at random. Default: all.", show_default=False),
    ] = None
    skip: Annotated[
        bool, typer.Option(help="Leave out pictures that are missing or damaged, and name them, instead of stopping.")
    ] = False

    def open(self, path: Path, *, boxes: bool) -> Dataset:
        """The part of a data set that was asked for; `boxes`: whether every picture needs one.

        Raises:
            DatasetError: not recognised, incomplete, or without the boxes that are needed.
        """
        from onnx_saliency.evaluation.datasets import open_dataset

        return open_dataset(path, self.split, list_file=self.list_file, boxes=boxes, skip=self.skip)

    def resolve(self, dataset: Dataset, explainer: Explainer) -> Dataset:
        """The part of a data set that was asked for, its classes the model's, and a word on what is left out.

        Raises:
            LabelError: classes that the model does not have.
        """
        from onnx_saliency.evaluation.datasets import draw_examples, resolve_labels
        from onnx_saliency.report.table import counted

        found = resolve_labels(dataset, explainer.classes or 0, explainer.labels, offset=self.offset, skip=self.skip)
        found = found if self.count is None else draw_examples(found, self.count)
        for name, why in found.failed:
            note(f"left out: {name}: {why}")
        note(f"{counted(len(found), 'picture')} of {found.name}, running on {explainer.provider}")
        return found


def facts_of(model: Path, explainer: Explainer, failed: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """What every `results.json` begins with; `failed`: pictures that were left out before, and why."""
    from onnx_saliency.report.run import failures, label_notes

    return {"model": model.name, "notes": label_notes(explainer.labels), "failed": failures(failed)}
