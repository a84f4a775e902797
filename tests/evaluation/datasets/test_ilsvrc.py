import pytest
from annotated import annotation

from onnx_saliency.errors import DatasetError
from onnx_saliency.evaluation.datasets import find_dataset, open_dataset, read_ilsvrc

VAL = "ILSVRC2012_val_0000000"
MAPPING = "n01440764 tench, Tinca tinca\nn01443537 goldfish\n"
SOLUTION = f"ImageId,PredictionString\n{VAL}2,n01443537 3 4 10 8 n01443537 1 1 1 1 \n{VAL}1,n01440764 1 1 20 10\n"


@pytest.fixture
def xml(tmp_path, write):
    write("LOC_synset_mapping.txt", MAPPING)
    write("ILSVRC/ImageSets/CLS-LOC/val.txt", f"{VAL}1 1\n{VAL}2 2\n")
    for number in (1, 2):
        write(f"ILSVRC/Data/CLS-LOC/val/{VAL}{number}.JPEG.png", (20, 10)).rename(
            tmp_path / f"ILSVRC/Data/CLS-LOC/val/{VAL}{number}.JPEG"
        )
    notes = "ILSVRC/Annotations/CLS-LOC/val"
    write(f"{notes}/{VAL}1.xml", annotation((20, 10), ("n01440764", (1, 1, 20, 10))))
    write(f"{notes}/{VAL}2.xml", annotation((20, 10), ("n01443537", (3, 4, 10, 8)), ("n01443537", (1, 1, 1, 1))))
    return tmp_path


@pytest.fixture
def solution(xml, write):
    for file in (xml / "ILSVRC/Annotations/CLS-LOC/val").iterdir():
        file.unlink()
    (xml / "ILSVRC/Annotations/CLS-LOC/val").rmdir()
    return write("LOC_val_solution.csv", SOLUTION)


def rows(dataset):
    return {e.image.stem: (sorted(e.accepted), e.category, e.boxes.tolist()) for e in dataset}


EXPECTED = {
    f"{VAL}1": (["n01440764"], "tench, Tinca tinca", [[0, 0, 20, 10]]),
    f"{VAL}2": (["n01443537"], "goldfish", [[2, 3, 10, 8], [0, 0, 1, 1]]),
}


@pytest.mark.parametrize("below", ["", "ILSVRC"])
def test_from_xml(xml, below):
    assert find_dataset(xml / below).name == "ILSVRC CLS-LOC"
    dataset = open_dataset(xml / below)
    assert rows(dataset) == EXPECTED
    assert dataset.name == "ILSVRC val"
    assert dataset.classes == ("n01440764", "n01443537")
    assert dataset.synonyms["n01440764"] == ("tench, Tinca tinca", "tench", "Tinca tinca")


@pytest.mark.parametrize("below", ["", "ILSVRC", "LOC_val_solution.csv"])
def test_from_the_solution(solution, below):
    assert rows(open_dataset(solution.parent / below)) == EXPECTED


def test_pictures_in_folders_of_synsets_and_without_names(solution, tmp_path, write):
    (tmp_path / "LOC_synset_mapping.txt").unlink()
    folder = tmp_path / "ILSVRC/Data/CLS-LOC/val"
    for file in list(folder.iterdir()):
        file.unlink()
    write(f"ILSVRC/Data/CLS-LOC/val/n01440764/{VAL}1.jpg", (20, 10))
    write(f"ILSVRC/Data/CLS-LOC/val/{VAL}2.png", (20, 10))
    dataset = read_ilsvrc(solution)
    assert {stem: boxes for stem, (_, _, boxes) in rows(dataset).items()} == {k: v[2] for k, v in EXPECTED.items()}
    assert dataset.examples[0].category == "n01443537"
    assert dataset.classes == ()


def test_training_pictures(tmp_path, write):
    write("Data/CLS-LOC/train/n01440764/n01440764_10.jpg", (20, 10))
    write("Annotations/CLS-LOC/train/n01440764/n01440764_10.xml", annotation((20, 10), ("n01440764", (2, 2, 5, 5))))
    assert rows(read_ilsvrc(tmp_path, "train")) == {"n01440764_10": (["n01440764"], "n01440764", [[1, 1, 5, 5]])}
    write("ImageSets/CLS-LOC/train_loc.txt", "n01440764/n01440764_10 1\nn01440764/n01440764_11 2\n")
    with pytest.raises(DatasetError, match=r"1 file is missing: .*n01440764_11\.xml"):
        read_ilsvrc(tmp_path, "train")
    write("LOC_train_solution.csv", "ImageId,PredictionString\nn01440764_12,n01440764 1 1 2 2\n")
    with pytest.raises(DatasetError, match=r"train/n01440764/n01440764_12\.JPEG"):
        read_ilsvrc(tmp_path / "LOC_train_solution.csv")


def test_missing_pictures_and_annotations(xml):
    (xml / f"ILSVRC/Data/CLS-LOC/val/{VAL}1.JPEG").unlink()
    (xml / f"ILSVRC/Annotations/CLS-LOC/val/{VAL}2.xml").unlink()
    with pytest.raises(DatasetError) as caught:
        read_ilsvrc(xml)
    assert "2 files are missing" in str(caught.value)
    assert f"{VAL}1.JPEG" in str(caught.value)
    assert f"{VAL}2.xml" in str(caught.value)


def test_neither_annotations_nor_solution(xml):
    with pytest.raises(DatasetError, match=r"2 files are missing: .*Annotations/CLS-LOC/test, .*Data/CLS-LOC/test"):
        read_ilsvrc(xml, "test")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("n01440764 1 1 20", "line 2: is not synsets with four numbers each: n01440764 1 1 20"),
        ("n01440764 1 1 20 x", "line 2: is not synsets"),
        ("", f"{VAL}1: has no box"),
        ("n01440764 9 9 3 20", "has no area"),
        ("n01440764 1 1 nan 20", "not finite"),
    ],
)
def test_rows_that_are_none(solution, row, said):
    solution.write_text(f"ImageId,PredictionString\n{VAL}1,{row}\n{VAL}2,n01443537 1 1 2 2\n")
    with pytest.raises(DatasetError, match=f"1 thing is wrong.*{said}"):
        open_dataset(solution)
    assert [e.image.stem for e in open_dataset(solution, skip=True)] == [f"{VAL}2"]


def test_other_columns(solution):
    solution.write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="wants the columns ImageId and PredictionString"):
        open_dataset(solution)


@pytest.mark.parametrize("boxes", [True, False])
def test_a_list_of_one_part(xml, write, boxes):
    listed = write("list.txt", f"{VAL}2.JPEG\n{VAL}1.JPEG 65\n")
    dataset = open_dataset(xml, boxes=boxes, list_file=listed)
    assert [(e.image.stem, *e.accepted) for e in dataset] == [(f"{VAL}2", "n01443537"), (f"{VAL}1", 65)]
