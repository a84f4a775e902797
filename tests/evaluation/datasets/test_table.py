"""Lists of pictures and classes: as data sets, and as the part of another that is taken."""

import pytest
from pictures import data_folder

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets import find_dataset, open_dataset, read_listed, read_listing, read_table


@pytest.fixture
def pictures(tmp_path, write):
    for name in ("a.jpg", "b c.png", "sub/d.JPEG"):
        write(name, (8, 8))
    return tmp_path


def classes(dataset):
    return [(example.image.name, sorted(example.accepted, key=str), example.category) for example in dataset]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("set.csv", "path,label\na.jpg,3\nb c.png,tiger cat\nsub/d.JPEG,0\n"),
        ("set.csv", "a.jpg,3\nb c.png,tiger cat\nsub/d.JPEG,0\n"),
        ("set.csv", "class , other, file\n3,x,a.jpg\ntiger cat,x,b c.png\n\n0,x,sub/d.JPEG\n"),
        ("set.csv", '\ufeffimage,target\n"a.jpg","3"\n"b c.png",tiger cat\nsub/d.JPEG,0\n'),
        ("set.tsv", "filename\tlabel\na.jpg\t3\nb c.png\ttiger cat\nsub/d.JPEG\t0\n"),
        ("set.txt", "a.jpg 3\nb c.png  tiger cat \n\nsub/d.JPEG\t0"),
        ("set.txt", "a.jpg,3\nb c.png, tiger cat\nsub/d.JPEG;0\n"),
    ],
)
def test_ways_to_write_it(pictures, write, name, text):
    path = write(name, text)
    assert find_dataset(path).name == "a list of pictures and classes"
    dataset = open_dataset(path, boxes=False)
    assert classes(dataset) == [("a.jpg", [3], "3"), ("b c.png", ["tiger cat"], "tiger cat"), ("d.JPEG", [0], "0")]
    assert all(example.boxes.shape == (0, 4) for example in dataset)
    assert dataset.name == "set"


def test_several_classes_and_what_they_are_called(pictures, write):
    path = write("set.csv", "image,name,accepted,label\na.jpg,cat,281-283 285,9\nb c.png,,tabby; puss,9\n")
    assert classes(read_table(path)) == [
        ("a.jpg", [281, 282, 283, 285], "cat"),
        ("b c.png", ["puss", "tabby"], "tabby; puss"),
    ]


@pytest.mark.parametrize("place", ["images/set", "images", "set", "."])
def test_where_the_pictures_are(tmp_path, write, place):
    write(f"{place}/x.png", (8, 8))
    assert len(read_table(write("set.csv", "x.png,1\n"))) == 1


def test_a_named_folder(tmp_path, write):
    write("elsewhere/x.png", (8, 8))
    path = write("set.csv", "x.png,1\n")
    with pytest.raises(DatasetError, match=r"1 file is missing: .*images/set/x\.png"):
        read_table(path)
    assert len(read_table(path, images=tmp_path / "elsewhere")) == 1


def test_everything_that_is_wrong_at_once(pictures, write):
    path = write("set.csv", "path,label\na.jpg,3\ngone.jpg,1\nb c.png,\nalso.jpg,2\n")
    with pytest.raises(DatasetError) as caught:
        read_table(path)
    said = str(caught.value)
    assert "2 files are missing" in said
    assert "1 thing is wrong" in said
    assert "b c.png: has no class" in said
    assert [name for name, *_ in classes(read_table(path, skip=True))] == ["a.jpg"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\na.jpg,1\n,2\na.jpg,3\n", r"line 3: names no picture; .*line 4: a\.jpg is listed twice"),
        ("a.jpg,1,x\n", "has no column image, path, file or filename"),
        ("", "lists no picture"),
    ],
)
def test_lists_that_are_none(write, text, said):
    with pytest.raises(DatasetError, match=said):
        read_listing(write("set.csv", text))


def test_no_such_split(pictures, write):
    path = write("set.csv", "a.jpg,1\n")
    assert len(read_table(path, "set")) == 1
    with pytest.raises(DatasetError, match="has no split 'val'"):
        read_table(path, "val")


def test_a_flat_folder_with_a_list(tmp_path, write):
    """ILSVRC's validation pictures, as they unpack."""
    for i in range(3):
        write(f"val/ILSVRC2012_val_{i:08}.JPEG", (8, 8))
    listed = write("list.txt", "ILSVRC2012_val_00000002.JPEG 65\nILSVRC2012_val_00000000.JPEG 970\n")
    dataset = open_dataset(tmp_path / "val", boxes=False, list_file=listed)
    assert [(e.image.name[-6], *e.accepted) for e in dataset] == [("2", 65), ("0", 970)]
    with pytest.raises(DatasetError, match="is a folder of pictures, which has no splits; found 'dev'"):
        open_dataset(tmp_path / "val", "dev", boxes=False, list_file=listed)
    for keywords in ({"boxes": False}, {"list_file": listed}):
        with pytest.raises(DatasetError, match="no data set of a known form"):
            open_dataset(tmp_path / "val", **keywords)
    with pytest.raises(DatasetError, match=r"ILSVRC2012_val_00000001\.JPEG: has no class"):
        read_listed(tmp_path / "val", read_listing(write("bare.txt", "ILSVRC2012_val_00000001.JPEG\n")))


def test_a_list_of_a_list(pictures, write):
    path = write("set.csv", "a.jpg,3\nb c.png,4\n")
    found = open_dataset(path, boxes=False, list_file=write("list.txt", "b c.png\na.jpg 7\n"))
    assert classes(found) == [("b c.png", [4], "4"), ("a.jpg", [7], "7")]


@pytest.mark.skipif(not (data_folder() / "images").is_dir(), reason="the photographs are not here")
def test_real_photographs():
    dataset = open_dataset(data_folder() / "images" / "imagenet_train_sample.csv", boxes=False)
    assert len(dataset) == 667
    assert {index for example in dataset for index in example.accepted} <= set(range(1000))
    assert (dataset.examples[0].category, *dataset.examples[0].accepted) == ("tench", 0)
