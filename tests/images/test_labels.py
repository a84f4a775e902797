import json

import pytest

from onnx_saliency.errors import LabelError
from onnx_saliency.images.labels import Labels, read_labels

THOUSAND = [f"thing {i}" for i in range(1000)]


def written(tmp_path, content, name="labels.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


@pytest.mark.parametrize(
    "content",
    ["cat\ndog\nÄffchen", "cat\ndog\nÄffchen\n", "cat\r\ndog\r\nÄffchen\r\n\r\n", "\ufeffcat \n dog\nÄffchen\n\n\n"],
)
def test_one_name_a_line(tmp_path, content):
    assert read_labels(written(tmp_path, content)) == ["cat", "dog", "Äffchen"]


def test_of_synset_lines_the_first_name(tmp_path):
    text = "n01440764 tench, Tinca tinca\nn01443537\tgoldfish\nn02085620 Chihuahua\n"
    assert read_labels(str(written(tmp_path, text))) == ["tench", "goldfish", "Chihuahua"]


def test_other_lines_are_names_as_they_stand(tmp_path):
    text = "tench, Tinca tinca\nn01440764\nParis, France"
    assert read_labels(written(tmp_path, text)) == ["tench, Tinca tinca", "n01440764", "Paris, France"]


@pytest.mark.parametrize("name", ["labels.json", "labels.txt"])
@pytest.mark.parametrize(
    "data",
    [
        ["tench", "dog"],
        {"0": "tench", "1": "dog"},
        {"1": "dog", "0": "tench"},
        {"0": ["n01440764", "tench"], "1": ["n02084071", "dog"]},
        {"architectures": ["ViT"], "id2label": {"0": "tench", "1": "dog"}},
    ],
)
def test_json(tmp_path, name, data):
    assert read_labels(written(tmp_path, json.dumps(data, indent=1), name)) == ["tench", "dog"]


def test_a_line_in_brackets_is_not_json(tmp_path):
    assert read_labels(written(tmp_path, "[unknown]\ncat\n")) == ["[unknown]", "cat"]


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "labels.txt", "is empty"),
        (b"\n \n", "labels.txt", "is empty"),
        (b"cat\n\ndog\n \nowl", "labels.txt", "no name on line 2, 4"),
        (b"caf\xe9\n", "labels.txt", "not UTF-8"),
        (b'{"0": "cat"', "labels.json", "is not JSON"),
        (b'"cat"', "labels.json", "want a JSON list"),
        (b"[]", "labels.json", "want a JSON list"),
        (b"{}", "labels.json", "want a JSON list"),
        (b'{"0": "cat", "2": "dog"}', "labels.json", "missing 1"),
        (b'{"cat": 0, "dog": 1}', "labels.json", "missing 0, 1"),
        (b'["cat", 7]', "labels.json", "class 1 has no name, found 7"),
        (b'["cat", " "]', "labels.json", "class 1 has no name"),
    ],
)
def test_files_that_are_no_labels(tmp_path, content, name, said):
    with pytest.raises(LabelError) as caught:
        read_labels(written(tmp_path, content, name))
    assert said in str(caught.value)
    assert name in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(LabelError, match=r"gone\.txt: cannot be read"):
        read_labels(tmp_path / "gone.txt")
    with pytest.raises(LabelError, match="cannot be read"):
        read_labels(tmp_path)


def test_names_that_fit():
    labels = Labels.fit(["cat", "dog"], 2)
    assert (labels.names, labels.note, len(labels)) == (("cat", "dog"), None, 2)


def test_background_first():
    labels = Labels.fit(THOUSAND, 1001)
    assert len(labels) == 1001
    assert labels.name(0) == "background"
    assert [labels.name(i + 1) for i in range(1000)] == THOUSAND
    assert "1000 names for 1001 classes" in labels.note


def test_background_left_out():
    labels = Labels.fit(["Background", *THOUSAND], 1000)
    assert list(labels.names) == THOUSAND
    assert "'Background'" in labels.note


@pytest.mark.parametrize(
    ("names", "classes"),
    [(THOUSAND, 999), (THOUSAND, 10), (["first", *THOUSAND], 1000), (["cat", "dog"], 3), ([], 5)],
)
def test_any_other_difference_is_an_error_with_both_numbers(names, classes):
    with pytest.raises(LabelError, match=f"{len(names)} label names, but the model has {classes} classes"):
        Labels.fit(names, classes)


@pytest.mark.parametrize("index", [-1, 2])
def test_no_such_class(index):
    with pytest.raises(LabelError, match=rf"no class {index}: the classes are 0\.\.1"):
        Labels(("cat", "dog")).name(index)


def test_short_name():
    labels = Labels(("tench, Tinca tinca", "goldfish"))
    assert [labels.short_name(0), labels.short_name(1)] == ["tench", "goldfish"]


ANIMALS = Labels(
    ("tench, Tinca tinca", "Crane", "crane", "maillot", "maillot, tank suit", "great grey owl, great gray owl")
)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("tench, Tinca tinca", 0),
        ("tench", 0),
        ("TINCA TINCA", 0),
        ("Crane", 1),
        ("crane", 2),
        ("maillot", 3),
        ("tank suit", 4),
        (" Great Gray Owl ", 5),
    ],
)
def test_class_by_name(name, index):
    assert ANIMALS.index(name) == index


def test_class_by_a_name_that_two_have():
    with pytest.raises(LabelError, match=r"2 classes are called 'CRANE': 1 \(Crane\), 2 \(crane\)"):
        ANIMALS.index("CRANE")


def test_class_by_a_name_that_none_has():
    with pytest.raises(LabelError, match=r"no class is called 'mailot'; the closest are maillot"):
        ANIMALS.index("mailot")
    with pytest.raises(LabelError, match="no name comes close"):
        ANIMALS.index("xyz")
    with pytest.raises(LabelError, match="no class is called ''"):
        ANIMALS.index("")
