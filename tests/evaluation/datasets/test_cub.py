import numpy as np
import pytest

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets import find_dataset, open_dataset, read_cub, read_mask

FILES = {
    "images.txt": "1 001.Crested_Auklet/a 1.jpg\n2 001.Crested_Auklet/b.jpg\n3 002.Wren/c.jpg\n",
    "bounding_boxes.txt": "1 2.0 3.0 10.0 5.0\n2 0.0 0.0 20.0 10.0\n3 1.0 1.0 4.5 4.0\n",
    "image_class_labels.txt": "1 1\n2 1\n3 2\n",
    "classes.txt": "1 001.Crested_Auklet\n2 002.Wren\n",
    "train_test_split.txt": "1 0\n2 1\n3 0\n",
}


@pytest.fixture
def cub(tmp_path, write):
    for name, text in FILES.items():
        write(f"CUB_200_2011/{name}", text)
    for name in ("001.Crested_Auklet/a 1", "001.Crested_Auklet/b", "002.Wren/c"):
        write(f"CUB_200_2011/images/{name}.jpg", (20, 10))
    return tmp_path / "CUB_200_2011"


@pytest.mark.parametrize("below", ["", "CUB_200_2011"])
@pytest.mark.parametrize(("split", "names"), [(None, ["a 1", "c"]), ("train", ["b"]), ("all", ["a 1", "b", "c"])])
def test_splits(cub, below, split, names):
    assert find_dataset(cub.parent / below).name == "CUB-200-2011"
    assert [e.image.stem for e in open_dataset(cub.parent / below, split)] == names


def test_an_example(cub):
    dataset = read_cub(cub)
    auklet, wren = dataset
    assert dataset.name == "CUB-200-2011 test"
    assert auklet.boxes.tolist() == [[2, 3, 12, 8]]
    assert wren.boxes.tolist() == [[1, 1, 5.5, 5]]
    assert (auklet.category, auklet.accepted) == ("001.Crested_Auklet", {"001.Crested_Auklet"})
    assert dataset.classes == ("001.Crested_Auklet", "002.Wren")
    assert dataset.synonyms["001.Crested_Auklet"] == ("Crested_Auklet", "Crested Auklet")
    assert auklet.mask is None
    with pytest.raises(DatasetError, match="has no mask"):
        read_mask(auklet)


@pytest.mark.parametrize("place", ["segmentations", "CUB_200_2011/segmentations"])
def test_masks_by_majority(cub, write, place):
    values = np.zeros((10, 20), int)
    values[1:3, 4:9], values[5] = 255, 51
    values[6] = 153
    write(f"{place}/001.Crested_Auklet/a 1.png", values)
    with pytest.raises(DatasetError, match=r"1 file is missing: .*segmentations/002\.Wren/c\.png"):
        read_cub(cub)
    mask = read_mask(read_cub(cub, skip=True).examples[0])
    assert mask.object.sum() == 10 + 20
    assert mask.counted.all()


def test_all_files_that_are_missing(cub):
    for name in ("classes.txt", "bounding_boxes.txt"):
        (cub / name).unlink()
    assert find_dataset(cub).name == "CUB-200-2011"
    with pytest.raises(DatasetError) as caught:
        read_cub(cub)
    assert f"2 files are missing: {cub}/bounding_boxes.txt, {cub}/classes.txt" in str(caught.value)
    assert "want the folder CUB_200_2011 with images.txt" in str(caught.value)


def test_lines_that_are_missing_or_wrong(cub, write):
    write("CUB_200_2011/bounding_boxes.txt", "1 2.0 x 10.0 5.0\n2 0 0 9 9\n")
    write("CUB_200_2011/image_class_labels.txt", "1 1\n2 7\n3 2\n")
    with pytest.raises(DatasetError) as caught:
        read_cub(cub, "all")
    assert "3 things are wrong" in str(caught.value)
    assert "a 1.jpg: has a box that is not finite" in str(caught.value)
    assert "image 2 has no class" in str(caught.value)
    assert "image 3 has no line in bounding_boxes.txt" in str(caught.value)


def test_not_in_the_split(cub, write):
    write("CUB_200_2011/train_test_split.txt", "1 0\n2 1\n")
    with pytest.raises(DatasetError, match=r"image 3 is not in train_test_split\.txt"):
        read_cub(cub)
    assert len(read_cub(cub, "all")) == 3


def test_no_such_split(cub):
    with pytest.raises(DatasetError, match="splits test, train and all; found 'val'"):
        read_cub(cub, "val")


def test_without_boxes_and_masks(cub, write):
    (cub / "bounding_boxes.txt").unlink()
    write("CUB_200_2011/segmentations/002.Wren/c.png", np.ones((10, 20)))
    dataset = open_dataset(cub, boxes=False)
    assert [(e.image.stem, e.boxes.shape, e.mask is None) for e in dataset] == [
        ("a 1", (0, 4), True),
        ("c", (0, 4), False),
    ]
    with pytest.raises(DatasetError, match=r"1 file is missing: .*bounding_boxes\.txt"):
        open_dataset(cub)


def test_boxes_that_are_there_are_kept(cub, write):
    write("CUB_200_2011/bounding_boxes.txt", "3 1.0 1.0 4.5 4.0\n")
    dataset = open_dataset(cub, boxes=False)
    assert [example.boxes.tolist() for example in dataset] == [[], [[1, 1, 5.5, 5]]]


def test_lists_of_published_figures(cub, write):
    """SMDL-Attribution: the folder is the class's number; the list's order and classes, both splits."""
    listed = write("list.txt", "1/c.jpg 1\n0/b.jpg 0\n001.Crested_Auklet/a 1.jpg\n")
    c, b, a = open_dataset(cub, list_file=listed)
    assert [(each.image.stem, *each.accepted) for each in (c, b, a)] == [
        ("c", 1),
        ("b", 0),
        ("a 1", "001.Crested_Auklet"),
    ]
    assert b.boxes.tolist() == [[0, 0, 20, 10]]
    with pytest.raises(DatasetError, match=r"1/b\.jpg: is no picture of the data set"):
        open_dataset(cub, list_file=write("list.txt", "1/b.jpg 1\n"))
