"""`evaluate localisation`: a table, every picture's numbers, a page."""

import csv

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
