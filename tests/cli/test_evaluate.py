"""`evaluate localisation`: a table, every picture's numbers, a page."""

import csv
import json

import numpy as np
import pytest


def test_what_is_left(net, data, tmp_path, command):
    ran = command("evaluate", "localisation", net, data, "-o", tmp_path / "out", "--cases", "1", "--json")
    assert ran.code == 0
    assert (ran.json["dataset"], ran.json["pictures"], ran.json["best"]) == ("set", 3, "best")
    names = [row["name"] for row in ran.json["contenders"]]
    assert names[:2] == ["paper", "best"]
    assert "centred box" in names
    rows = list(csv.DictReader((tmp_path / "out/pictures.csv").open()))
    assert {row["contender"] for row in rows} == set(names)
    values = [float(row["box_iou"]) for row in rows if row["contender"] == "best"]
    assert np.mean(values) == pytest.approx(ran.json["contenders"][1]["box_iou"]["mean"], abs=1e-4)
    page = (tmp_path / "out/index.html").read_text()
    assert page.count("Box IoU") == 2  # the worst and the best


def test_rewritten_models_are_kept_unless_forbidden(net, data, tmp_path, command, cache_folder):
    arguments = ("evaluate", "localisation", net, data, "-o", tmp_path / "out", "--count", "1", "--cases", "0")
    assert command(*arguments, "--no-cache").code == 0
    assert not cache_folder.exists()
    assert command(*arguments).code == 0
    assert list(cache_folder.iterdir())


def test_the_table(net, data, tmp_path, command):
    ran = command("evaluate", "localisation", net, data, "-o", tmp_path / "out", "--count", "2", "--cases", "0")
    assert ran.code == 0
    for word in ("paper", "best", "centred box", "MaxBoxAccV2", "2 pictures of set", "2 picture(s): too few"):
        assert word in ran.out + ran.err


def test_a_class_that_the_model_does_not_have(net, data, tmp_path, command):
    ran = command("evaluate", "localisation", net, data, "-o", tmp_path / "out", "--offset", "4")
    assert ran.code == 2
    assert "2 of 3 classes are none of the model's 5" in " ".join(ran.err.split())
    assert not (tmp_path / "out").exists()


def test_a_list_picks_and_orders(net, data, tmp_path, command):
    listed = tmp_path / "list.txt"
    listed.write_text("2.png\n0.png\n")
    out = tmp_path / "out"
    assert command("evaluate", "localisation", net, data, "--list", listed, "-o", out, "--cases", "0").code == 0
    rows = [row for row in csv.DictReader((out / "pictures.csv").open()) if row["contender"] == "best"]
    assert [row["image"].rpartition("/")[2] for row in rows] == ["2.png", "0.png"]


def test_a_data_set_without_boxes(net, data, command):
    ran = command("evaluate", "localisation", net, data / "images")
    assert ran.code == 2
    assert "is a folder for each class, without boxes. CUB-200-2011: want" in " ".join(ran.err.split())


@pytest.mark.parametrize("measurement", [("localisation", "--cases", "1"), ("faithfulness", "--method", "gradient")])
def test_a_truncated_picture_is_left_out_where_that_is_asked_for(net, data, tmp_path, command, measurement):
    broken = data / "images/set/1.png"
    broken.write_bytes(broken.read_bytes()[:200])  # its header is whole
    verb, *options = measurement
    arguments = ("evaluate", verb, net, data, "-o", tmp_path / "out", *options)
    refused = command(*arguments)
    assert refused.code == 2
    assert "1.png" in refused.error
    ran = command(*arguments, "--skip", "--json")
    assert ran.code == 1
    assert ran.json["pictures"] == 2
    (failure,) = ran.json["failed"]
    assert failure["image"] == str(broken)
    assert "1.png" in failure["error"]
    assert "1.png" in ran.err
    assert json.loads((tmp_path / "out/results.json").read_text())["failed"] == [failure]
