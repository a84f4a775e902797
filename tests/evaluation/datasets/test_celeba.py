import pytest

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets import find_dataset, open_dataset, read_celeba, read_listing

IDENTITIES = "000001.jpg 2880\n000002.jpg 1\n000003.jpg 10177\n000010.jpg 612\n"
PARTITION = "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n000010.jpg 2\n"


@pytest.fixture
def celeba(tmp_path, write):
    write("identity_CelebA.txt", IDENTITIES)
    write("list_eval_partition.txt", PARTITION)
    for number in (1, 2, 3, 10):
        write(f"img_align_celeba/{number:06}.jpg", (16, 20))
    return tmp_path


def classes(dataset):
    return [(example.image.name, *example.accepted) for example in dataset]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", [("000001.jpg", 2879)]),
        ("val", [("000002.jpg", 0)]),
        (None, [("000003.jpg", 10176), ("000010.jpg", 611)]),
    ],
)
def test_a_class_is_the_identity_less_one(celeba, split, expected):
    assert find_dataset(celeba).name == "CelebA"
    dataset = open_dataset(celeba, split, boxes=False)
    assert classes(dataset) == expected
    assert all(example.boxes.shape == (0, 4) for example in dataset)


def test_folders_as_they_unpack(tmp_path, write):
    write("Anno/identity_CelebA.txt", IDENTITIES)
    write("Eval/list_eval_partition.txt", PARTITION)
    for number in (3, 10):
        write(f"Img/img_align_celeba/{number:06}.jpg", (16, 20))
    dataset = open_dataset(tmp_path, boxes=False)
    assert classes(dataset) == [("000003.jpg", 10176), ("000010.jpg", 611)]
    assert dataset.examples[0].category == "identity 10177"
    assert dataset.name == "CelebA test"


def test_one_of_its_files_stands_for_the_folder(celeba):
    assert len(open_dataset(celeba / "identity_CelebA.txt", boxes=False)) == 2


def test_lists_of_published_figures(celeba, write):
    """SMDL-Attribution: the class's number is the folder; parts of the data set are mixed."""
    dataset = open_dataset(
        celeba, boxes=False, list_file=write("list.txt", "611/000010.jpg 611\n2879/000001.jpg 2879\n")
    )
    assert classes(dataset) == [("000010.jpg", 611), ("000001.jpg", 2879)]
    assert dataset.name == "CelebA all"
    with pytest.raises(DatasetError, match=r"612/000010\.jpg: is no picture of the data set"):
        open_dataset(celeba, boxes=False, list_file=write("wrong.txt", "612/000010.jpg 612\n"))


def test_every_file_that_is_missing(celeba):
    (celeba / "list_eval_partition.txt").unlink()
    with pytest.raises(DatasetError, match=r"1 file is missing: .*list_eval_partition\.txt\. Read as CelebA"):
        read_celeba(celeba)
    for number in (1, 10):
        (celeba / f"img_align_celeba/{number:06}.jpg").unlink()
    with pytest.raises(DatasetError, match=r"2 files are missing: .*000001\.jpg, .*000010\.jpg\."):
        read_celeba(celeba, "all")
    assert len(read_celeba(celeba, "all", skip=True)) == 2


def test_identities_that_are_none(celeba, write):
    write("identity_CelebA.txt", "000001.jpg 0\n000002.jpg x\n000003.jpg 10178\n000010.jpg 612\n")
    write("list_eval_partition.txt", PARTITION.replace(" 0", " 2").replace(" 1\n", " 2\n") + "000011.jpg 2\n")
    with pytest.raises(DatasetError) as caught:
        read_celeba(celeba)
    said = str(caught.value)
    assert "4 things are wrong" in said
    for name, reason in (("1", "has '0' in"), ("2", "has 'x' in"), ("3", "has '10178' in"), ("11", "has no line in")):
        assert f"{int(name):06}.jpg: {reason} identity_CelebA.txt, want an identity of 1..10177" in said


def test_no_such_split(celeba):
    with pytest.raises(DatasetError, match="splits train, val, test and all; found 'dev'"):
        read_celeba(celeba, "dev")


def test_a_list_in_its_own_words(celeba, write):
    listed = read_listing(write("list.csv", "path,label\nimg_align_celeba/000002.jpg,7\n"))
    assert classes(read_celeba(celeba, listed=listed)) == [("000002.jpg", 7)]
