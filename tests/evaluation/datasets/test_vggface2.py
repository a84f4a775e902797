import pytest

from onnx_saliency.errors import DatasetError, LabelError
from onnx_saliency.evaluation.datasets import find_dataset, open_dataset, read_vggface2, resolve_labels

META = """Class_ID, Name, Sample_Num, Flag, Gender
n000004, "A._J._Buckley", 300, 1, m
n000001, "14th_Dalai_Lama", 424, 0, m
n000002, "A_Fine_Frenzy",315,1, f,
n000003, "Smith",_Jr.", 205, 1, m
"""


@pytest.fixture
def faces(tmp_path, write):
    write("identity_meta.csv", META)
    for name in ("test/n000001", "train/n000002", "train/n000003", "train/n000004"):
        write(f"{name}/0001_01.jpg", (12, 12))
    write("train/n000003/0002_01.jpg", (12, 12))
    write("train/n000003/notes.txt", "no picture")
    return tmp_path


def classes(dataset):
    return [(example.image.parent.name, example.image.name, *example.accepted) for example in dataset]


def test_a_class_is_the_position_among_the_training_identities(faces):
    assert find_dataset(faces).name == "VGGFace2"
    dataset = open_dataset(faces, boxes=False)
    assert classes(dataset) == [
        ("n000002", "0001_01.jpg", 0),
        ("n000003", "0001_01.jpg", 1),
        ("n000003", "0002_01.jpg", 1),
        ("n000004", "0001_01.jpg", 2),
    ]
    assert (dataset.name, dataset.examples[0].category) == ("VGGFace2 train", "A_Fine_Frenzy")
    assert all(example.boxes.shape == (0, 4) for example in dataset)


def test_identities_of_the_test_split_are_no_classes(faces):
    dataset = read_vggface2(faces, "test")
    assert classes(dataset) == [("n000001", "0001_01.jpg", "n000001")]
    with pytest.raises(LabelError, match="'n000001'"):
        resolve_labels(dataset, 8631)


def test_lists_of_published_figures(faces, write):
    """The folder is the class's number (SMDL-Attribution), or the identity; the list's class is the picture's."""
    listed = write("list.txt", "1/0002_01.jpg 1\n2/0001_01.jpg 2\nn000001/0001_01.jpg 8\n")
    assert classes(open_dataset(faces, boxes=False, list_file=listed)) == [
        ("n000003", "0002_01.jpg", 1),
        ("n000004", "0001_01.jpg", 2),
        ("n000001", "0001_01.jpg", 8),
    ]


def test_a_list_that_leaves_it_open(faces, write):
    listed = write("list.txt", "0001_01.jpg\n2/0002_01.jpg\n")
    with pytest.raises(DatasetError) as caught:
        open_dataset(faces, boxes=False, list_file=listed)
    assert "0001_01.jpg: may be " in str(caught.value)
    assert "n000001/0001_01.jpg or " in str(caught.value)
    assert "2/0002_01.jpg: is no picture of the data set" in str(caught.value)


def test_a_list_needs_its_own_folders_only(faces, write):
    write("identity_meta.csv", META + 'n000009, "X", 9, 1, f\n')
    with pytest.raises(DatasetError, match=r"1 file is missing: .*train/n000009"):
        read_vggface2(faces)
    listed = write("list.txt", "n000002/0001_01.jpg\n")
    assert classes(open_dataset(faces, boxes=False, list_file=listed)) == [("n000002", "0001_01.jpg", 0)]


def test_without_the_identities(faces):
    (faces / "identity_meta.csv").unlink()
    assert find_dataset(faces).name == "VGGFace2"
    with pytest.raises(DatasetError, match=r"1 file is missing: .*identity_meta\.csv"):
        read_vggface2(faces)


@pytest.mark.parametrize(
    ("text", "said"),
    [("Class_ID\nn000001, name, 4\nn2, x, 1, 1, f\n", "line 2: .*line 3: "), ("Class_ID\n", "names no identity")],
)
def test_identities_that_are_none(faces, write, text, said):
    write("identity_meta.csv", text)
    with pytest.raises(DatasetError, match=said):
        read_vggface2(faces)


def test_no_such_split(faces):
    with pytest.raises(DatasetError, match="splits train, test and all; found 'val'"):
        read_vggface2(faces, "val")
