import numpy as np
import pytest
from pictures import data_folder

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets import find_dataset, open_dataset, read_mask, read_tidy

HEADER = "image,imagenet_index,xmin,ymin,xmax,ymax,width,height,category,accepted,ref_top1\n"
ROWS = (
    "a.jpg,285,1,2,5,6.5,20,10,cat,281 282 285,0\n"
    "b.jpg,151,2,2,10,8,40,20,dog,151-153 207,1\n"
    "a.jpg,285,0,0,20,10,20,10,cat,281 282 285,0\n"
)


@pytest.fixture
def tidy(tmp_path, write):
    for name in "ab":
        write(f"images/zoo/{name}.jpg", (20, 10))
    return write("boxes/zoo.csv", HEADER + ROWS)


def test_rows_of_one_picture_are_one_example(tidy):
    dataset = read_tidy(tidy)
    a, b = dataset
    assert dataset.name == "zoo"
    assert (a.image.name, a.category, a.accepted) == ("a.jpg", "cat", {281, 282, 285})
    assert a.boxes.tolist() == [[1, 2, 5, 6.5], [0, 0, 20, 10]]
    assert b.accepted == {151, 152, 153, 207}
    assert b.boxes.tolist() == [[1, 1, 5, 4]]
    assert a.mask is None


def test_recognised(tidy):
    for path in (tidy, tidy.parents[1]):
        assert find_dataset(path).name == "a CSV file of boxes"
        assert len(open_dataset(path)) == 2
    assert len(open_dataset(tidy.parents[1], "zoo")) == 2
    with pytest.raises(DatasetError, match="holds zoo in boxes/; found 'farm'"):
        open_dataset(tidy.parents[1], "farm")


@pytest.mark.parametrize("place", ["images", "mine", "."])
def test_a_file_of_ones_own(tmp_path, write, place):
    write(f"{place}/x.png", (20, 10))
    file = write("mine.csv", 'image,xmin,ymin,xmax,ymax,accepted\nx.png,1,1,4,4,"tiger cat; n02084071"\n')
    (example,) = open_dataset(file)
    assert example.accepted == {"tiger cat", "n02084071"}
    assert example.category == "tiger cat; n02084071"
    assert example.boxes.tolist() == [[1, 1, 4, 4]]


def test_named_folders(tidy, tmp_path, write):
    write("masks/a.png", np.ones((10, 20)))
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"2 files are missing: .*images/zoo/a\.jpg"):
        read_tidy(tidy)
    folders = {"images": tmp_path / "elsewhere/zoo", "masks": tmp_path / "masks"}
    with pytest.raises(DatasetError, match=r"1 file is missing: .*masks/b\.png"):
        read_tidy(tidy, **folders)
    assert [e.mask.name for e in read_tidy(tidy, **folders, skip=True)] == ["a.png"]


def test_masks_and_trimaps(tidy, write):
    trimap = np.full((10, 20), 2)
    trimap[2:6, 3:9], trimap[2:6, 9] = 1, 3
    binary = np.zeros((20, 40), np.uint8)
    binary[:4, :8] = 255
    write("masks/zoo/a.png", trimap)
    write("masks/zoo/b.png", binary)
    a, b = (read_mask(example) for example in read_tidy(tidy))
    assert (a.object.sum(), (~a.counted).sum()) == (24, 4)
    assert b.object.shape == (10, 20)
    assert np.argwhere(b.object).max(axis=0).tolist() == [1, 3]
    assert b.counted.all()


def test_everything_that_is_wrong_at_once(tidy, write):
    write(
        "boxes/zoo.csv",
        HEADER
        + ROWS
        + "a.jpg,285,5,5,5,6,20,10,cat,281,0\n"
        + "b.jpg,1,0,0,90,10,20,10,dog,151,0\n"
        + "b.jpg,1,zero,0,9,10,20,10,dog,151,0\n"
        + "b.jpg,1\n"
        + "c.jpg,1,0,0,9,10,20,10,dog,151,0\n",
    )
    with pytest.raises(DatasetError) as caught:
        open_dataset(tidy)
    said = str(caught.value)
    assert "1 file is missing" in said
    assert "c.jpg" in said
    assert "4 things are wrong" in said
    for each in ("(5, 5, 5, 6) has no area", "(0, 0, 90, 10) is outside", "line 7: is not a picture", "line 8: is not"):
        assert each in said
    rest = open_dataset(tidy, skip=True)
    assert [e.image.name for e in rest] == ["a.jpg", "b.jpg"]
    assert len(rest.failed) == 5


def test_a_list_goes_with_one_file(tidy, write):
    write("images/farm/c.jpg", (20, 10))
    write("boxes/farm.csv", HEADER + "c.jpg,1,0,0,9,9,20,10,dog,1,0\n")
    listed = write("list.txt", "b.jpg\n")
    with pytest.raises(DatasetError, match="a list goes with one of farm, zoo; name it"):
        open_dataset(tidy.parents[1], list_file=listed)
    (example,) = open_dataset(tidy.parents[1], "zoo", list_file=listed)
    assert example.category == "dog"
    assert example.boxes.tolist() == [[1, 1, 5, 4]]


def test_a_long_list_is_counted(tidy, write):
    write("boxes/zoo.csv", HEADER + "".join(f"x{i}.jpg,1,0,0,9,9,20,10,dog,1,0\n" for i in range(25)))
    with pytest.raises(DatasetError) as caught:
        open_dataset(tidy)
    assert "25 files are missing" in str(caught.value)
    assert "x9.jpg, and 15 more" in str(caught.value)
    assert "x10.jpg" not in str(caught.value)


def test_damaged_pictures_and_masks(tidy, write, tmp_path):
    write("images/zoo/a.jpg", "no picture")
    with pytest.raises(DatasetError, match=r"1 thing is wrong: .*a\.jpg: not a picture in a known format"):
        open_dataset(tidy)
    write("masks/zoo/a.png", "none")
    write("masks/zoo/b.png", "none")
    (example,) = open_dataset(tidy, skip=True)
    with pytest.raises(DatasetError, match=r"masks/zoo/b\.png: cannot be read as a mask"):
        read_mask(example)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,xmin\n", "has no column ymin, xmax, ymax, accepted or imagenet_index"),
        ("image,xmin,ymin,xmax,ymax\n", "has no column accepted or imagenet_index"),
        (HEADER, "holds no picture with a box"),
    ],
)
def test_files_that_are_none(tidy, write, text, said):
    write("boxes/zoo.csv", text)
    with pytest.raises(DatasetError, match=said):
        open_dataset(tidy)


def test_not_utf8(tidy):
    tidy.write_bytes(HEADER.encode() + "é.jpg".encode("latin-1"))
    with pytest.raises(DatasetError, match="cannot be read"):
        open_dataset(tidy)


def test_nothing_known(tmp_path, write):
    with pytest.raises(DatasetError, match="no such file or folder"):
        open_dataset(tmp_path / "gone")
    write("notes.txt", "hello")
    write("table.csv", "a,b\n")
    for path in (tmp_path, tmp_path / "notes.txt", tmp_path / "table.csv"):
        with pytest.raises(DatasetError, match="no data set of a known form") as caught:
            find_dataset(path)
        for name in ("CUB-200-2011", "ILSVRC CLS-LOC", "PASCAL VOC", "COCO instances", "CSV"):
            assert name in str(caught.value)


def test_skipping_everything_is_an_error_all_the_same(tidy, write):
    write("boxes/zoo.csv", HEADER + "x.jpg,1,0,0,9,9,20,10,dog,1,0\n")
    with pytest.raises(DatasetError, match=r"1 file is missing: .*x\.jpg"):
        open_dataset(tidy, skip=True)


@pytest.mark.skipif(not (data_folder() / "boxes").is_dir(), reason="the photographs are not here")
@pytest.mark.parametrize(
    ("name", "pictures", "boxes"),
    [("caltech101", 418, 418), ("coco", 44, 88), ("ilsvrc_val", 2, 2), ("kangaroo", 61, 109), ("pets", 295, 295)],
)
def test_real_photographs(name, pictures, boxes):
    dataset = open_dataset(data_folder(), name)
    assert len(dataset) == pictures
    assert sum(len(example.boxes) for example in dataset) == boxes
    assert all(example.accepted and max(example.accepted) < 1000 for example in dataset)


@pytest.mark.skipif(not (data_folder() / "masks").is_dir(), reason="the masks are not here")
@pytest.mark.parametrize("name", ["caltech101", "pets"])
def test_real_masks_fill_their_boxes(name):
    """Of pets the box is the extent of foreground and unclassified pixels; caltech101's contours are traced by hand."""
    for example in open_dataset(data_folder(), name).examples[::20]:
        mask = read_mask(example)
        ys, xs = np.nonzero(mask.object | ~mask.counted)
        extent = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        side = max(mask.object.shape)
        assert np.abs(extent - example.boxes[0]).max() <= (1 if name == "pets" else 0.06 * side)
        assert mask.counted.all() == (name == "caltech101")
