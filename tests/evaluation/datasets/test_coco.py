import json

import pytest

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets import find_dataset, open_dataset, read_coco

INSTANCES = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "width": 40, "height": 20},
        {"id": 8, "file_name": "b.jpg", "width": 20, "height": 10},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 18, "bbox": [2, 4, 10.5, 6], "iscrowd": 0},
        {"id": 2, "image_id": 8, "category_id": 1, "bbox": [0, 0, 20, 10], "iscrowd": 1},
        {"id": 3, "image_id": 8, "category_id": 18, "bbox": [1, 1, 3, 3]},
        {"id": 4, "image_id": 7, "category_id": 18, "bbox": [0, 0, 40, 20], "iscrowd": 0},
        {"id": 5, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "iscrowd": 0},
        {"id": 6, "image_id": 7, "category_id": 1, "bbox": [0, 0, 30, 1], "iscrowd": 1},
    ],
}


@pytest.fixture
def coco(tmp_path, write):
    write("annotations/instances_val2017.json", json.dumps(INSTANCES))
    for name in ("a", "b"):
        write(f"val2017/{name}.jpg", (20, 10))
    return tmp_path


def rows(dataset):
    return [(e.image.name, e.category, e.boxes.tolist()) for e in dataset]


EXPECTED = [
    ("a.jpg", "dog", [[1, 2, 6.25, 5], [0, 0, 20, 10]]),
    ("b.jpg", "dog", [[1, 1, 4, 4]]),
    ("a.jpg", "person", [[0, 0, 0.5, 0.5]]),
]


@pytest.mark.parametrize("below", ["", "annotations/instances_val2017.json"])
def test_an_example_for_each_picture_and_category(coco, below):
    assert find_dataset(coco / below).name == "COCO instances"
    dataset = open_dataset(coco / below)
    assert rows(dataset) == EXPECTED
    assert dataset.name == "COCO val2017"
    assert dataset.examples[0].accepted == {"dog"}
    assert dataset.classes == ("person", "dog")


@pytest.mark.parametrize("place", ["images/val2017", "images", "annotations"])
def test_places_of_pictures(coco, place):
    (coco / place).parent.mkdir(exist_ok=True)
    if place == "annotations":
        for file in (coco / "val2017").iterdir():
            file.rename(coco / place / file.name)
    else:
        (coco / "val2017").rename(coco / place)
    assert rows(open_dataset(coco)) == EXPECTED


def test_a_named_folder_of_pictures(coco):
    (coco / "val2017").rename(coco / "elsewhere")
    assert rows(read_coco(coco, images=coco / "elsewhere")) == EXPECTED
    with pytest.raises(DatasetError, match=r"2 files are missing: .*val2017/a\.jpg, .*val2017/b\.jpg"):
        open_dataset(coco)


def test_splits(coco, write):
    write("annotations/instances_train2017.json", json.dumps(INSTANCES))
    assert open_dataset(coco).name == "COCO val2017"
    with pytest.raises(DatasetError, match="train2017/"):
        open_dataset(coco, "train2017")
    with pytest.raises(DatasetError, match="has the splits train2017, val2017; found 'test'"):
        open_dataset(coco, "test")


def test_annotations_that_are_none(coco, write):
    faulty = json.loads(json.dumps(INSTANCES))
    faulty["annotations"][0]["bbox"] = [1, 2, 3]
    faulty["annotations"][2]["image_id"] = 99
    faulty["annotations"][4]["bbox"] = [5, 5, 0, 3]
    write("annotations/instances_val2017.json", json.dumps(faulty))
    with pytest.raises(DatasetError) as caught:
        open_dataset(coco)
    assert "3 things are wrong" in str(caught.value)
    assert "annotation 3 is of image 99, category 18, which is not listed" in str(caught.value)
    assert "a box that is not finite" in str(caught.value)
    assert "box (5, 5, 5, 8) has no area" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "has no list 'images'"),
        ('{"images": [], "categories": [], "annotations": {}}', "has no list 'annotations'"),
        ('{"images": [{"id": 1}], "categories": [], "annotations": []}', "has images without id, file_name"),
        ('{"images": [], "categories": [], "annotations": []}', "holds no picture with a box"),
    ],
)
def test_files_that_are_none(coco, write, text, said):
    write("annotations/instances_val2017.json", text)
    with pytest.raises(DatasetError, match=said):
        open_dataset(coco)


def test_a_list(coco, write):
    dataset = open_dataset(coco, list_file=write("list.txt", "val2017/b.jpg\na.jpg\n"))
    assert [(e.image.stem, e.category) for e in dataset] == [("b", "dog"), ("a", "dog"), ("a", "person")]
