"""`evaluate sanity`: a verdict per method, every picture's numbers, a page, and what is refused."""

import csv
import inspect

import pytest

from onnx_saliency.evaluation.sanity import MEASURES, STAGES, THRESHOLD, check_sanity


def test_what_is_left(net, picture, tmp_path, command):
    paths = [picture(f"{i}.png", seed=i) for i in range(3)]
    out = tmp_path / "out"
    ran = command("evaluate", "sanity", net, *paths, "-o", out, "--method", "gradient", "--method", "gradcam", "--json")
    assert ran.code == 0
    assert (ran.json["model"], ran.json["pictures"], ran.json["threshold"]) == ("net.onnx", 3, 0.5)
    assert [row["method"] for row in ran.json["methods"]] == ["gradient", "gradcam"]
    found = check_sanity(net, list(paths), methods=["gradient", "gradcam"])
    expected = found.find("gradient").cascading[..., 0].mean(axis=1)
    assert ran.json["methods"][0]["cascading"]["spearman"] == pytest.approx(expected.tolist())
    rows = list(csv.DictReader((out / "pictures.csv").open()))
    assert len(rows) == 2 * 3 * (2 + 2 + 2)
    assert set(MEASURES) < set(rows[0])
    assert (out / "maps.png").exists()
    assert "gradcam" in (out / "index.html").read_text()


def test_the_table(net, picture, tmp_path, command):
    arguments = ("--stages", "1", "--no-independent", "--seed", "3", "--draw", "permutation", "--threshold", "0.9")
    ran = command("evaluate", "sanity", net, picture(), "-o", tmp_path / "out", *arguments)
    assert ran.code == 0
    for word in ("gradient", "guided", "deconvnet", "upper", "below 0.9", "1 picture, running"):
        assert word in ran.out + ran.err


def test_defaults_are_those_of_python():
    from onnx_saliency.cli.evaluate.sanity import sanity

    parameters = inspect.signature(sanity).parameters
    assert (parameters["stages"].default, parameters["threshold"].default) == (STAGES, THRESHOLD)


def test_constant_maps_are_spoken_of(net, picture, tmp_path, command):
    from onnx import load, numpy_helper, save

    model = load(net)
    for each in model.graph.initializer:
        if each.name == "v":  # a head of zeros: no score, no gradient
            each.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(each), "v"))
    save(model, net)
    paths = [picture(f"{i}.png", seed=i) for i in range(2)]
    ran = command("evaluate", "sanity", net, *paths, "-o", tmp_path / "out", "--method", "gradient", "--json")
    assert ran.code == 0
    assert ran.json["methods"][0]["verdict"] == "undecided"
    assert "gradient: 4 maps of random networks are constant" in ran.err


def test_pictures_that_cannot_be_read_are_named_and_the_others_done(net, picture, tmp_path, command):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    options = ("-o", tmp_path / "out", "--method", "gradient", "--json")
    ran = command("evaluate", "sanity", net, picture(), broken, *options)
    assert ran.code == 1
    assert ran.json["pictures"] == 1
    assert "broken.png" in ran.error
    assert [each["image"] for each in ran.json["failed"]] == [str(broken)]
    ran = command("evaluate", "sanity", net, broken, *options)
    assert ran.code == 1
    assert ran.json["methods"] == []


def test_the_sheet_of_an_earlier_run_is_no_picture(net, picture, tmp_path, command):
    picture("pictures/a.png")
    options = ("-o", tmp_path / "pictures", "--method", "gradient", "--json", "--no-independent")
    for _ in range(2):
        assert command("evaluate", "sanity", net, tmp_path / "pictures", *options).json["pictures"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "lime"], "lime"),
        (["--draw", "uniform"], "draw of normal, permutation"),
        (["--threshold", "2"], "threshold is above 0"),
        (["-o", "net.onnx/out"], "is a file"),
    ],
)
def test_what_is_refused(net, picture, tmp_path, command, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    ran = command("evaluate", "sanity", net, picture(), *arguments)
    assert ran.code == 2
    assert words in ran.error
    assert not (tmp_path / "sanity").exists()
