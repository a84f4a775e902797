import pytest

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets import find_dataset, open_dataset, read_folders, resolve_labels
from onnx_saliency.images import Labels


@pytest.fixture
def folders(write):
    """Writes pictures of classes, and returns the folder around them."""

    def call(*names, below=""):
        written = [write(f"{below}{name}", (8, 8)) for name in names]
        return written[0].parents[1]

    return call


def classes(dataset):
    return [(example.image.name, *example.accepted) for example in dataset]


def test_names(folders, write):
    root = folders("tiger cat/b.jpg", "tench/a.png", "tench/c.JPG", below="data/")
    write("data/tench/notes.txt", "no picture")
    write("data/.hidden/x.jpg", (8, 8))
    assert find_dataset(root).name == "a folder for each class"
    dataset = open_dataset(root, boxes=False)
    assert classes(dataset) == [("a.png", "tench"), ("c.JPG", "tench"), ("b.jpg", "tiger cat")]
    assert (dataset.name, dataset.classes) == ("data", ("tench", "tiger cat"))
    found = resolve_labels(dataset, 3, Labels(("tiger cat", "cat", "tench, Tinca tinca")))
    assert [name for name, _ in classes(found)] == ["a.png", "c.JPG", "b.jpg"]
    assert [index for _, index in classes(found)] == [2, 2, 0]


def test_numbers(folders):
    dataset = open_dataset(folders("10/a.jpg", "9/b.jpg"), boxes=False)
    assert classes(dataset) == [("a.jpg", 10), ("b.jpg", 9)]
    assert dataset.classes == ()


def test_synsets_in_the_order_of_a_file_above(folders, write):
    root = folders("n02/a.JPEG", "n01/b.JPEG", below="ILSVRC/train/")
    write("LOC_synset_mapping.txt", "n03 crane\nn02 tench, Tinca tinca\nn01 cock\n")
    write("ILSVRC/synsets.txt", "n01\nn07\n")  # lacks one of the classes
    dataset = open_dataset(root, boxes=False)
    assert dataset.classes == ("n03", "n02", "n01")
    assert dataset.examples[1].category == "tench, Tinca tinca"
    assert classes(resolve_labels(dataset, 3)) == [("b.JPEG", 2), ("a.JPEG", 1)]
    assert classes(resolve_labels(dataset, 3, Labels(("Tinca tinca", "cock", "x")))) == [("b.JPEG", 1), ("a.JPEG", 0)]


def test_splits(folders):
    root = folders("a/1.jpg", "b/2.jpg", below="set/train/").parent
    assert classes(open_dataset(root, boxes=False)) == [("1.jpg", "a"), ("2.jpg", "b")]
    folders("a/3.jpg", below="set/other/")
    with pytest.raises(DatasetError, match="has the splits other, train; name one of them"):
        read_folders(root)
    folders("a/4.jpg", below="set/val/")
    dataset = read_folders(root)
    assert (classes(dataset), dataset.name) == ([("4.jpg", "a")], "set val")
    assert classes(read_folders(root, "other")) == [("3.jpg", "a")]
    with pytest.raises(DatasetError, match="has the splits other, train, val; found 'dev'"):
        read_folders(root, "dev")


def test_a_list_goes_over_all_splits(folders, write):
    root = folders("a/1.jpg", "b/2.jpg", below="set/train/").parent
    folders("a/1.jpg", below="set/val/")
    listed = write("list.txt", "val/a/1.jpg\nb/2.jpg cat\n")
    dataset = open_dataset(root, boxes=False, list_file=listed)
    assert [(e.image.parents[1].name, *e.accepted) for e in dataset] == [("val", "a"), ("train", "cat")]


def test_damaged_pictures(folders, write):
    root = folders("a/1.jpg", "a/2.jpg")
    for name in ("1", "2"):
        write(f"a/{name}.jpg", "none")
    with pytest.raises(DatasetError, match=r"2 things are wrong: .*1\.jpg: not a picture.*2\.jpg: not a picture"):
        read_folders(root)


def test_no_boxes(folders):
    root = folders("a/1.jpg")
    with pytest.raises(DatasetError, match=r"is a folder for each class, without boxes\. CUB-200-2011: want") as caught:
        open_dataset(root)
    assert "CelebA" not in str(caught.value)
