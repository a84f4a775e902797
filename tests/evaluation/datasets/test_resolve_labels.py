"""Names of the data set to classes of the model."""

from pathlib import Path

import numpy as np
import pytest

from onnx_saliency.errors import LabelError
from onnx_saliency.evaluation.datasets import Dataset, Example, resolve_labels
from onnx_saliency.images import Labels

SYNSETS = {
    "n1": ("crane, bird", "crane", "bird"),
    "n2": ("crane, machine", "crane", "machine"),
    "n3": ("tiger cat", "tiger cat"),
}


def dataset(*accepted, classes=(), synonyms=None):
    examples = tuple(
        Example(Path(f"{i}.jpg"), frozenset(labels), np.zeros((1, 4)), f"kind {i}") for i, labels in enumerate(accepted)
    )
    return Dataset("composed", examples, tuple(classes), synonyms or {})


def resolved(*arguments, **options):
    return [sorted(example.accepted) for example in resolve_labels(*arguments, **options)]


def test_indices_stay():
    assert resolved(dataset([3, 4], [0]), 5) == [[3, 4], [0]]
    assert resolved(dataset([3, 4], [0]), 6, offset=1) == [[4, 5], [1]]


def test_names_among_labels():
    labels = Labels(("tench, Tinca tinca", "Black_footed Albatross", "cat"))
    found = resolved(dataset(["Tinca tinca"], ["black footed albatross"], ["CAT", "tench"]), 3, labels)
    assert found == [[0], [1], [0, 2]]


def test_synonyms():
    birds = dataset(["001.Wren"], synonyms={"001.Wren": ("Wren", "House Wren")})
    assert resolved(birds, 2, Labels(("sparrow", "house wren, Troglodytes"))) == [[1]]


def test_labels_that_two_classes_share_go_by_position():
    pictures = dataset(["n1"], ["n2"], ["n3"], classes=SYNSETS, synonyms=SYNSETS)
    assert resolved(pictures, 3, Labels(("crane", "crane", "tiger cat"))) == [[0], [1], [2]]
    assert resolved(pictures, 4, Labels(("background", "crane", "crane", "tiger cat"))) == [[1], [2], [3]]


def test_names_come_before_position():
    pictures = dataset(["n1"], ["n3"], classes=SYNSETS, synonyms=SYNSETS)
    assert resolved(pictures, 3, Labels(("tiger cat", "bird", "machine"))) == [[1], [0]]


def test_without_labels_by_position():
    pictures = dataset(["n1"], ["n3"], classes=SYNSETS)
    assert resolved(pictures, 3) == [[0], [2]]
    assert resolved(pictures, 4) == [[1], [3]]
    with pytest.raises(LabelError, match="2 of 2 classes are none of the model's 10: 'n1', 'n3'"):
        resolve_labels(pictures, 10)


def test_a_whole_label_comes_before_a_part_of_one():
    assert resolved(dataset(["crane"]), 3, Labels(("crane, bird", "crane", "tench"))) == [[1]]
    cats = dataset(["n1"], synonyms={"n1": ("panther", "jaguar")})
    assert resolved(cats, 2, Labels(("jaguar", "leopard, panther"))) == [[0]]


def test_mapping():
    pictures = dataset(["dog"], ["cat"], ["tiger cat"])
    labels = Labels(("tabby", "tiger cat", "pug", "beagle"))
    assert resolved(pictures, 4, labels, mapping={"dog": [2, "beagle"], "cat": ["tabby"]}) == [[2, 3], [0], [1]]


def test_everything_that_is_not_found():
    pictures = dataset(["crane"], [9], ["gone"], ["tabby"])
    labels = Labels(("crane", "crane", "tabby"))
    with pytest.raises(LabelError) as caught:
        resolve_labels(pictures, 3, labels)
    assert "3 of 4 classes are none of the model's 3: 'crane', 9, 'gone'" in str(caught.value)
    rest = resolve_labels(pictures, 3, labels, skip=True)
    assert [e.image.name for e in rest] == ["3.jpg"]
    assert rest.failed[0] == ("0.jpg", "'kind 0' is no class of the model")
    assert len(rest.failed) == 3


def test_one_class_of_several_is_enough_when_skipping():
    assert resolved(dataset([1, 99]), 3, skip=True) == [[1]]
