import numpy as np
import pytest
from annotated import annotation

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets import find_dataset, open_dataset, read_mask, read_voc


@pytest.fixture
def voc(tmp_path, write):
    write("VOC2012/ImageSets/Main/val.txt", "2008_1\n2008_2 1\n\n")
    write("VOC2012/ImageSets/Main/train.txt", "2008_3\n")
    write("VOC2012/JPEGImages/2008_1.jpg", (20, 10))
    write("VOC2012/JPEGImages/2008_2.jpg", (20, 10))
    write(
        "VOC2012/Annotations/2008_1.xml",
        annotation(
            (20, 10),
            ("dog", (1, 1, 20, 10)),
            ("cat", (3, 4, 3.5, 4), True),
            ("person", (2, 2, 5, 5)),
            ("dog", (4, 4, 6, 9)),
            ("dog", (7, 7, 8, 8), True),
        ),
    )
    write("VOC2012/Annotations/2008_2.xml", annotation((40, 20), ("kite", (1, 1, 20, 10))))
    classes = np.zeros((10, 20), int)
    classes[2:8, 3:9] = 12  # dog
    classes[0:2, 0:2] = 15  # person
    classes[8, :] = 255
    write("VOC2012/SegmentationClass/2008_1.png", classes)
    return tmp_path / "VOC2012"


def test_an_example_for_each_picture_and_class(voc):
    dataset = read_voc(voc)
    assert dataset.name == "VOC2012 val"
    assert [(e.image.name, e.category, sorted(e.accepted)) for e in dataset] == [
        ("2008_1.jpg", "dog", ["dog"]),
        ("2008_1.jpg", "person", ["person"]),
        ("2008_2.jpg", "kite", ["kite"]),
    ]
    dogs, person, kite = dataset
    assert dogs.boxes.tolist() == [[0, 0, 20, 10], [3, 3, 6, 9]]
    assert person.boxes.tolist() == [[1, 1, 5, 5]]
    assert kite.boxes.tolist() == [[0, 0, 10, 5]]
    assert kite.mask is None


def test_masks_are_of_the_class(voc):
    dogs, person, _ = read_voc(voc)
    mask = read_mask(dogs)
    assert np.argwhere(mask.object).min(axis=0).tolist() == [2, 3]
    assert mask.object.sum() == 36
    assert np.argwhere(~mask.counted)[:, 0].tolist() == [8] * 20
    assert read_mask(person).object.sum() == 4


@pytest.mark.parametrize("below", ["", "VOC2012"])
def test_recognised(voc, below):
    path = voc.parent / below
    assert find_dataset(path).name == "PASCAL VOC"
    assert len(open_dataset(path)) == 3


def test_several_years(voc, write):
    write("VOC2007/ImageSets/Main/val.txt", "1\n")
    with pytest.raises(DatasetError, match="holds VOC2007, VOC2012; name one of them"):
        open_dataset(voc.parent)


def test_all_that_is_missing_at_once(voc):
    (voc / "JPEGImages" / "2008_1.jpg").unlink()
    (voc / "Annotations" / "2008_2.xml").unlink()
    with pytest.raises(DatasetError) as caught:
        read_voc(voc)
    assert "2 files are missing" in str(caught.value)
    assert "2008_1.jpg" in str(caught.value)
    assert "2008_2.xml" in str(caught.value)
    assert "ImageSets/Main/SPLIT.txt" in str(caught.value)


def test_no_such_split(voc):
    with pytest.raises(DatasetError, match=r"1 file is missing: .*vall\.txt"):
        read_voc(voc, "vall")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<annotation>", "is no annotation"),
        ("<annotation><object><name>dog</name></object></annotation>", "<object> has no bndbox/xmin"),
        (annotation((20, 10), ("dog", ("one", 1, 2, 2))), "could not convert"),
        (annotation((20, 10), ("dog", ("nan", 1, 2, 2))), "a box that is not finite"),
        (annotation((20, 10), ("dog", (5, 5, 3, 9))), r"box \(4, 4, 3, 9\) has no area"),
        (annotation((20, 10), ("dog", (5, 5, 30, 9))), "is outside its picture of 20 x 10"),
    ],
)
def test_annotations_that_are_none(voc, write, text, said):
    write("VOC2012/Annotations/2008_2.xml", text)
    with pytest.raises(DatasetError, match=f"1 thing is wrong: .*2008_2.*{said}"):
        read_voc(voc)
    rest = read_voc(voc, skip=True)
    assert [e.category for e in rest] == ["dog", "person"]
    assert len(rest.failed) == 1
    assert "2008_2" in rest.failed[0][0]


def test_a_size_of_0_is_no_size(voc, write):
    write("VOC2012/Annotations/2008_2.xml", annotation((0, 0), ("kite", (1, 1, 20, 10))))
    assert read_voc(voc).examples[2].boxes.tolist() == [[0, 0, 20, 10]]


def test_a_list_and_pictures_of_several_classes(voc, write):
    """Each class of a listed picture is an example; a class in the list is the picture's, whose boxes are not told."""
    whole = read_voc(voc)
    counts = [e.image.stem for e in whole]
    several = next(name for name in counts if counts.count(name) > 1)
    bare = open_dataset(voc, list_file=write("list.txt", f"{several}.jpg\n"))
    assert [e.category for e in bare] == [e.category for e in whole if e.image.stem == several]
    named = write("list.txt", f"{several}.jpg 7\n")
    (example,) = open_dataset(voc, list_file=named, boxes=False)
    assert example.accepted == {7}
    with pytest.raises(DatasetError, match="has boxes of several classes; leave the class out of the list"):
        open_dataset(voc, list_file=named)
