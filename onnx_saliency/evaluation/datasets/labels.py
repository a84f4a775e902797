"""From what a data set calls its classes to the numbers that the model gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from onnx_saliency.errors import LabelError
from onnx_saliency.evaluation.datasets.collector import bounded
from onnx_saliency.evaluation.datasets.example import Dataset, Label
from onnx_saliency.images import Labels


def resolve_labels(
    dataset: Dataset,
    classes: int,
    labels: Labels | None = None,
    *,
    mapping: Mapping[str, Iterable[Label]] | None = None,
    offset: int = 0,
    skip: bool = False,
) -> Dataset:
    """The data set with every accepted class an index of the model's.

    A name is looked up in `mapping`, then among the model's labels (whatever the case, "_" a space, also as one of the
    names between commas, also by the class's synonyms). A name that several labels share, as the two cranes of
    ImageNet, and all names of a model without labels, go by the class's position, where the data set has as many
    classes as the model, or one less: then class 0 is taken as background.

    Args:
        dataset: of `open_dataset`.
        classes: how many the model has.
        labels: its labels, where it has some.
        mapping: what stands for a name of the data set: indices or names of the model's, as {"dog": range(151, 269)}.
        offset: added to indices of the data set, as 1 for ImageNet's and a model whose class 0 is background.
        skip: leave out examples of which no class is the model's, into `failed`, instead of refusing the whole.

    Raises:
        LabelError: classes that the model does not have; names all of them.
    """
    model = _Model(dataset, classes, labels)
    found: dict[Label, frozenset[int]] = {}
    for label in dict.fromkeys(label for example in dataset for label in sorted(example.accepted, key=str)):
        wanted = (mapping or {}).get(label) if isinstance(label, str) else None
        if wanted is None:
            found[label] = model.find(label + offset if isinstance(label, int) else label)
        else:
            found[label] = frozenset(index for each in wanted for index in model.find(each))
    lost = [label for label, indices in found.items() if not indices]
    resolved = [
        replace(example, accepted=frozenset(index for label in example.accepted for index in found[label]))
        for example in dataset
    ]
    kept = tuple(example for example in resolved if example.accepted)
    if lost and not (skip and kept):
        raise LabelError(
            f"{dataset.name}: {len(lost)} of {len(found)} classes are none of the model's {classes}: "
            f"{bounded(map(repr, lost), lost)}. Give the model's labels, or a mapping from these names to its classes"
        )
    failed = [
        (str(example.image), f"{example.category!r} is no class of the model")
        for example in resolved
        if not example.accepted
    ]
    return replace(dataset, examples=kept, failed=(*dataset.failed, *failed))


class _Model:
    """The model's classes, to be found by index or name."""

    def __init__(self, dataset: Dataset, classes: int, labels: Labels | None) -> None:
        self.count, self.synonyms = classes, dataset.synonyms
        self.has_labels = labels is not None
        self.by_name: dict[str, list[int]] = {}
        self.by_part: dict[str, list[int]] = {}
        for index, name in enumerate(labels.names if labels else ()):
            self.by_name.setdefault(_plain(name), []).append(index)
            for part in name.split(","):
                self.by_part.setdefault(_plain(part), []).append(index)
        background = classes - len(dataset.classes)
        counts = background in (0, 1)
        self.position = {name: i + background for i, name in enumerate(dataset.classes)} if counts else {}

    def find(self, label: Label) -> frozenset[int]:
        """The class, in a set; none when there is none, or no telling which."""
        if isinstance(label, int):
            return frozenset([label] if 0 <= label < self.count else [])
        position = self.position.get(label)
        if not self.has_labels:
            return frozenset([] if position is None else [position])
        for known in (self.by_name, self.by_part):
            for name in (label, *self.synonyms.get(label, ())):
                indices = known.get(_plain(name), [])
                if len(set(indices)) == 1 or position in indices:
                    return frozenset([position] if position in indices and position is not None else indices)
        return frozenset()


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
