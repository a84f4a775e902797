"""`top-activations` from the command line: pages, sheets, numbers, exit codes."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, graph
from PIL import Image

import onnx_saliency as xs
from onnx_saliency.report import activations

ALL = {**CONV_WEIGHTS, **HEAD_WEIGHTS}


@pytest.fixture
def rectified(tmp_path):
    """Path of a small net with a rectifier, whose second channel is silent."""
    path = tmp_path / "net.onnx"
    bias = np.array([0, -1000, 0, 0], np.float32)
    onnx.save(graph(CONV.replace("Sigmoid", "Relu") + HEAD, **{**ALL, "b": bias}), path)
    return path


@pytest.fixture
def folder(picture):
    for i in range(5):
        picture(f"pictures/{i}.png", (30, 20), seed=i)
    return picture("pictures/5.png", (30, 20), seed=5).parent


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def test_pages_sheets_and_numbers(rectified, folder, out, command):
    ran = command("top-activations", rectified, folder, "--layer", "s", "-o", out, "--count", 4)
    assert ran.code == 0
    assert listed(out) == ["index.html", "sheet.png", "top-activations.json"]
    page = (out / "index.html").read_text("utf-8")
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert page.count("<img") == 3 * 2 * 4
    assert "Channel 3" in page
    assert "Active in 0 of the 6 pictures." in page
    assert "deconvnet (Zeiler &amp; Fergus 2013" in page
    assert Image.open(out / "sheet.png").width > 500
    assert "active in no picture" in ran.out
    assert "running on" in ran.err
    assert "Traceback" not in ran.err


def test_json_is_what_python_gives(rectified, folder, out, command):
    options = ["--layer", "s", "--channels", "3, 0", "--count", 2, "--method", "guided", "--preprocess", "unit"]
    ran = command("top-activations", rectified, folder, *options, "-o", out, "--json")
    assert ran.code == 0
    result = xs.top_activations(
        rectified, folder, layer="s", channels=[3, 0], count=2, method="guided", preprocess="unit"
    )
    expected = [
        {
            "channel": top.channel,
            "activations": [
                {"image": each.image, "activation": each.value, "position": list(each.position), "box": list(each.box)}
                for each in top.activations
            ],
        }
        for top in result.channels
    ]
    assert ran.json == {"channels": expected, "failed": []}
    written = json.loads((out / "top-activations.json").read_text("utf-8"))
    assert written["channels"] == expected
    assert (written["layer"], written["method"], written["pictures"]) == ("s", "guided", 6)


def test_preprocessing_is_an_option(rectified, folder, out, command):
    options = ["--resize", "none", "--mean", "1,2,3", "--std", "4", "--colours", "bgr"]
    assert command("top-activations", rectified, folder, "--layer", "s", "-o", out, *options).code == 0
    recipe = xs.Preprocess(size=8, resize=None, mean=(1, 2, 3), std=4, channels="BGR")
    assert json.loads((out / "top-activations.json").read_text("utf-8"))["preprocess"] == recipe.to_json()


def test_many_channels_take_several_pages(rectified, folder, out, command, monkeypatch):
    monkeypatch.setattr(activations, "_ON_PAGE", 2)
    assert command("top-activations", rectified, folder, "--layer", "s", "--first", 3, "-o", out).code == 0
    assert listed(out) == ["index-2.html", "index.html", "sheet-2.png", "sheet.png", "top-activations.json"]
    assert "Channel 2" in (out / "index-2.html").read_text("utf-8")


def test_sheets_of_an_earlier_run_are_no_pictures(rectified, folder, out, command):
    for _ in range(2):
        ran = command("top-activations", rectified, folder, "--layer", "s", "-o", folder, "--json")
        assert {Path(each["image"]).name for top in ran.json["channels"] for each in top["activations"]} <= {
            f"{i}.png" for i in range(6)
        }


def test_a_picture_is_never_replaced_by_a_sheet(rectified, folder, picture, command):
    for name in ("sheet.png", "sheet-2.png"):
        mine = picture(f"pictures/{name}")
        before = mine.read_bytes()
        ran = command("top-activations", rectified, folder, "--layer", "s", "-o", folder)
        assert ran.code == 2
        assert f"a result called {name} would take this picture's place" in ran.error
        assert mine.read_bytes() == before
        mine.unlink()


def test_a_damaged_picture(rectified, folder, out, command):
    (folder / "broken.png").write_bytes(b"no picture")
    ran = command("top-activations", rectified, folder, "--layer", "s", "-o", out, "--json")
    assert ran.code == 1
    assert "broken.png" in ran.error
    assert [Path(each["image"]).name for each in ran.json["failed"]] == ["broken.png"]
    assert len(ran.json["channels"]) == 4
    ran = command("top-activations", rectified, folder / "broken.png", "--layer", "s", "-o", out / "none")
    assert ran.code == 1
    assert not (out / "none").exists()


BAD = {
    "layer": (["--layer", "nowhere"], "no layer 'nowhere'"),
    "channel": (["--layer", "s", "--channels", "0,9"], "No channel 9"),
    "channels": (["--layer", "s", "--channels", "0,x"], "--channels takes numbers of channels by commas"),
    "count": (["--layer", "s", "--count", "0"], "count is a whole number, 1 or more, not 0"),
    "method": (["--layer", "s", "--method", "layercam"], "layercam projects no activation back"),
}


@pytest.mark.parametrize("name", BAD)
def test_refusals(name, rectified, folder, out, command):
    options, message = BAD[name]
    ran = command("top-activations", rectified, folder, "-o", out, *options)
    assert ran.code == 2
    assert message in ran.error
    assert not out.exists()


def test_no_pictures(rectified, tmp_path, out, command):
    (tmp_path / "empty").mkdir()
    ran = command("top-activations", rectified, tmp_path / "empty", "--layer", "s", "-o", out)
    assert ran.code == 2
    assert "no pictures in this folder" in ran.error


def test_a_folder_that_is_a_file(rectified, folder, command):
    ran = command("top-activations", rectified, folder, "--layer", "s", "-o", folder / "0.png")
    assert ran.code == 2
    assert "is a file" in ran.error
