"""`evaluate faithfulness` and `compare`: a table, every picture's numbers, curves, a page."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from onnx_saliency.evaluation.faithfulness import PROTOCOLS

METRICS = ("deletion", "insertion", "average_drop", "average_increase", "infidelity", "sensitivity_n")
FEW = ("--method", "gradient", "--method", "gradcam")


def test_what_is_left(net, data, tmp_path, command):
    out = tmp_path / "out"
    ran = command("evaluate", "faithfulness", net, data, "-o", out, "--shown", "2", *FEW, "--json")
    assert ran.code == 0
    assert json.loads((out / "results.json").read_text()) == ran.json
    assert (ran.json["dataset"], ran.json["pictures"], ran.json["protocol"]["protocol"]) == ("set", 3, "plain")
    rows = {row["name"]: row for row in ran.json["contenders"]}
    assert list(rows) == ["gradient", "gradcam", "random order", "centre first", "Sobel edges"]
    written = list(csv.DictReader((out / "pictures.csv").open()))
    assert [row["target"] for row in written[:3]] == ["0", "1", "2"]
    for name, row in rows.items():
        mine = [each for each in written if each["contender"] == name]
        assert len(mine) == 3
        for metric in METRICS:
            assert row[metric]["mean"] == pytest.approx(np.mean([float(each[metric]) for each in mine]), abs=1e-5)
    table = parquet.read_table(out / "pictures.parquet").to_pydict()
    assert [str(each) for each in table["image"]] == [row["image"] for row in written]
    np.testing.assert_allclose(table["insertion"], [float(row["insertion"]) for row in written], rtol=1e-5)
    lead = rows["gradient"]["minus random order"]["deletion"]["mean"]
    assert lead == pytest.approx(rows["gradient"]["deletion"]["mean"] - rows["random order"]["deletion"]["mean"])
    assert "minus random order" not in rows["random order"]
    page = (out / "index.html").read_text()
    assert page.count("<section>") == 2 + 2
    for word in ("best method", "too few pictures", "centre first", "most salient first", "gradcam: 1.png"):
        assert word in page
    assert {each.name for each in out.iterdir()} >= {"deletion.png", "insertion.png"}


def test_the_table_and_the_protocol_beside_it(net, data, tmp_path, command):
    ran = command("evaluate", "faithfulness", net, data, "-o", tmp_path / "out", "--protocol", "rise", *FEW)
    assert ran.code == 0
    for word in ("deletion ↓", "centre first", "3 picture(s): too few to tell methods apart"):
        assert word in ran.out
    assert "224 pixels a step" in ran.err
    assert "probability of the predicted class" in ran.err


def test_a_protocol_prepares_pictures_as_its_figures_were_unless_told_otherwise(net, data, tmp_path, command):
    arguments = ("evaluate", "faithfulness", net, data, "-o", tmp_path / "out", "--protocol", "smdl-cub", *FEW)
    assert "preprocessing (protocol smdl-cub): squashed to" in command(*arguments).err
    assert "preprocessing (given)" in command(*arguments, "--preprocess", "unit").err


def test_compare_needs_no_labels_and_goes_on_without_what_it_cannot_read(net, picture, tmp_path, command):
    folder = picture("pictures/one.png").parent
    picture("pictures/two.png", seed=1)
    (folder / "broken.png").write_bytes(b"no picture")
    ran = command("compare", net, folder, "-o", tmp_path / "out", *FEW, "--json")
    assert ran.code == 1
    assert "broken.png" in ran.err
    assert ran.json["pictures"] == 2
    ((name, why),) = [each.values() for each in ran.json["failed"]]
    assert name.endswith("broken.png")
    assert "not a picture" in why
    assert set(ran.json["best"]) == set(METRICS)
    assert ran.json["protocol"]["score"] == "probability of the predicted class"
    assert (tmp_path / "out/index.html").read_text().count("<section>") == 2 + 2


def test_compare_does_not_measure_its_own_curves(net, picture, command):
    folder = picture("pictures/one.png").parent
    few = ("--method", "gradient", "--shown", "0", "--json")
    assert [command("compare", net, folder, "-o", folder, *few).json["pictures"] for _ in range(2)] == [1, 1]
    mine = picture("pictures/deletion.png")
    ran = command("compare", net, folder, "-o", folder, *few)
    assert ran.code == 2
    assert "a result called deletion.png would take this picture's place" in ran.error
    assert mine.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--protocol", "smdl"), "no protocol 'smdl'"),
        (("--method", "gradcan"), "gradcam"),
        (("--split", "val"), "found 'val'"),
        (("--offset", "4"), "none of the model's 5"),
    ],
    ids=lambda each: str(each[0]),
)
def test_what_makes_no_sense_is_said_and_nothing_written(net, data, tmp_path, command, arguments, said):
    ran = command("evaluate", "faithfulness", net, data, "-o", tmp_path / "out", *arguments)
    assert ran.code == 2
    assert said in " ".join(ran.err.split())
    assert not (tmp_path / "out").exists()


def noise(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (14, 12, 3), np.uint8)).save(path)


def celeba(folder):
    """The test part, and a list that takes two of three."""
    for number in (1, 2, 3):
        noise(folder / f"img_align_celeba/{number:06}.jpg", number)
    (folder / "identity_CelebA.txt").write_text("000001.jpg 3\n000002.jpg 1\n000003.jpg 5\n")
    (folder / "list_eval_partition.txt").write_text("000001.jpg 2\n000002.jpg 2\n000003.jpg 2\n")
    (folder / "list.txt").write_text("4/000003.jpg 4\n2/000001.jpg 2\n")
    return ["4", "2"]


def vggface2(folder):
    """Five training identities, whose places are the classes."""
    names = [f"n{number:06}" for number in (2, 3, 5, 7, 9)]
    header = "Class_ID, Name, Sample_Num, Flag, Gender\n"
    (folder / "identity_meta.csv").write_text(header + "".join(f'{each}, "x", 1, 1, f\n' for each in names))
    for seed, each in enumerate(names):
        noise(folder / f"train/{each}/0001_01.jpg", seed)
    (folder / "list.txt").write_text("3/0001_01.jpg 3\n0/0001_01.jpg 0\n")
    return ["3", "0"]


def cub(folder):
    """Five birds, a class each; no box file."""
    images = [f"{number + 1:03}.Bird_{number}/x.jpg" for number in range(5)]
    for seed, each in enumerate(images):
        noise(folder / "images" / each, seed)
    numbered = list(enumerate(images, 1))
    (folder / "images.txt").write_text("".join(f"{n} {each}\n" for n, each in numbered))
    (folder / "image_class_labels.txt").write_text("".join(f"{n} {n}\n" for n, _ in numbered))
    (folder / "classes.txt").write_text("".join(f"{n} {each.split('/')[0]}\n" for n, each in numbered))
    (folder / "train_test_split.txt").write_text("".join(f"{n} 0\n" for n, _ in numbered))
    (folder / "list.txt").write_text("001.Bird_0/x.jpg 0\n004.Bird_3/x.jpg 3\n")
    return ["0", "3"]


@pytest.mark.parametrize("layout", [celeba, vggface2, cub], ids=lambda each: each.__name__)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_data_sets_of_the_published_rows_through_every_protocol(net, tmp_path, command, layout, protocol):
    folder = tmp_path / ("CUB_200_2011" if layout is cub else "data")
    folder.mkdir()
    targets = layout(folder)
    out = tmp_path / "out"
    ran = command(
        "evaluate", "faithfulness", net, folder, "-o", out, "--protocol", protocol, "--list", folder / "list.txt",
        "--method", "gradient", "--shown", "0", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["protocol"]["protocol"].startswith(protocol)
    rows = [row for row in csv.DictReader((out / "pictures.csv").open()) if row["contender"] == "gradient"]
    if PROTOCOLS[protocol].target == "label":
        assert [row["target"] for row in rows] == targets
    curves = ran.json["contenders"][0]["curves"]
    assert len(curves["deletion"]) == 1 + PROTOCOLS[protocol].steps("deletion", 64)
    assert len(curves["insertion"]) == 1 + PROTOCOLS[protocol].steps("insertion", 64)


def test_a_partial_data_set_is_named_file_by_file(net, tmp_path, command):
    folder = tmp_path / "data"
    folder.mkdir()
    celeba(folder)
    for number in (1, 3):
        (folder / f"img_align_celeba/{number:06}.jpg").unlink()
    ran = command("evaluate", "faithfulness", net, folder, "-o", tmp_path / "out")
    assert ran.code == 2
    for name in ("000001.jpg", "000003.jpg", "2 files are missing"):
        assert name in " ".join(ran.err.split())
