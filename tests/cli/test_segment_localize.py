"""`segment` and `localize` from the command line: masks, boxes, three forms of numbers, one page."""

import csv
import json
import re
import sys
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import small
from PIL import Image

import onnx_saliency as xs
from onnx_saliency.cli.objects import SegmentOptions
from onnx_saliency.embedded import default_model, default_pictures
from onnx_saliency.evaluation.datasets import read_coco
from onnx_saliency.vision import SEGMENT_RECIPES, SegmentRecipe

NAMES = "ant\nbee\ncat\ndog\neel\n"
VERBS = ("segment", "localize")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(NAMES)
    return path


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def mask_of(path):
    """What a mask file holds: black and white, one channel."""
    with Image.open(path) as image:
        assert image.mode == "L"
        values = np.asarray(image)
    assert set(np.unique(values)) <= {0, 255}
    return values == 255


def decoded(segmentation):
    """A mask of run lengths, the slow way: a pixel at a time, down the columns."""
    height, width = segmentation["size"]
    mask = np.zeros((height, width), bool)
    place = 0
    for number, count in enumerate(segmentation["counts"]):
        for _ in range(count):
            mask[place % height, place // height] = number % 2
            place += 1
    assert place == height * width
    return mask


# --- what is written ----------------------------------------------------------------------------


def test_segment(net, labels, picture, out, command):
    path = picture("dog.png", (30, 20))
    ran = command("segment", net, path, "--class", "cat", "--labels", labels, "-o", out)
    assert ran.code == 0
    files = ["coco.json", "detections.csv", "dog.drawn.jpg", "dog.mask.png", "index.html", "results.json"]
    assert listed(out) == files
    expected = xs.segment(net, path, "cat", labels=labels)
    np.testing.assert_array_equal(mask_of(out / "dog.mask.png"), expected.mask)
    results = json.loads((out / "results.json").read_text("utf-8"))
    assert results["model"] == str(net)
    assert results["recipe"] == {**asdict(SEGMENT_RECIPES["paper"]), "views": ["crop"], "method_options": {}}
    assert (results["provider"], results["top"], results["failed"]) == ("cpu", 1, [])
    (row,) = results["pictures"]
    assert (row["image"], row["width"], row["height"], row["drawn"]) == (str(path), 30, 20, "dog.drawn.jpg")
    (found,) = row["detections"]
    assert (found["target"], found["label"], found["mask"]) == (2, "cat", "dog.mask.png")
    assert found["score"] == pytest.approx(expected.score)
    assert found["box"] == list(expected.box)
    assert found["area"] == expected.mask.sum()
    assert found["share"] == pytest.approx(expected.mask.sum() / 600)
    with Image.open(out / "dog.drawn.jpg") as drawn:
        assert drawn.width > 2000
    page = (out / "index.html").read_text("utf-8")
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert page.count("<img") == 4
    for part in ("What net.onnx finds", "dog.png", "cat (2)", "Recipe paper", "smoothness 10.0", "30 x 20"):
        assert part in page
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert lines[0].startswith("picture class score box share")
    row = f"dog.png cat {expected.score:.1%} {', '.join(map(str, found['box']))} {found['share']:.1%}"
    assert lines[1].startswith(row)
    assert found["notes"] == list(expected.notes)
    assert "index.html" in lines[-1]
    assert "recipe paper, method gradient, running on cpu" in ran.err


def test_localize(net, labels, picture, out, command):
    paths = [picture("a.png", (30, 20)), picture("b.png", (9, 25), seed=1)]
    ran = command("localize", net, *paths, "--top", 3, "--labels", labels, "--recipe", "best", "-o", out, "--json")
    assert ran.code == 0
    expected = xs.localize(net, paths, top=3, recipe="best", labels=labels)
    assert ran.json == json.loads((out / "results.json").read_text("utf-8"))
    assert (ran.json["top"], ran.json["recipe"]["method"]) == (3, "layercam_fused")
    for row, objects in zip(ran.json["pictures"], expected, strict=True):
        assert [each["target"] for each in row["detections"]] == [each.target for each in objects]
        assert [each["box"] for each in row["detections"]] == [list(each.box) for each in objects]
        scores = [each["score"] for each in row["detections"]]
        assert scores == sorted(scores, reverse=True)
        for rank, (each, found) in enumerate(zip(row["detections"], objects, strict=True), start=1):
            assert each["mask"] == f"{Path(row['image']).stem}.{rank}.mask.png"
            np.testing.assert_array_equal(mask_of(out / each["mask"]), found.mask)
    assert {"a.drawn.jpg", "b.drawn.jpg", "b.3.mask.png"} <= set(listed(out))
    assert (out / "index.html").read_text("utf-8").count("<img") == 2 * (1 + 3)


def test_five_classes_unless_said_otherwise(net, picture, out, command):
    ran = command("localize", net, picture(), "-o", out, "--json")
    assert len(ran.json["pictures"][0]["detections"]) == 5


def test_coco(net, labels, picture, out, command):
    paths = [picture("a.png", (30, 20)), picture("b.png", (9, 25), seed=1)]
    assert command("localize", net, *paths, "--top", 4, "--labels", labels, "-o", out).code == 0
    coco = json.loads((out / "coco.json").read_text("utf-8"))
    assert coco["images"] == [
        {"id": 1, "file_name": str(paths[0]), "width": 30, "height": 20},
        {"id": 2, "file_name": str(paths[1]), "width": 9, "height": 25},
    ]
    names = {each["id"]: each["name"] for each in coco["categories"]}
    results = json.loads((out / "results.json").read_text("utf-8"))
    objects = [(k, each) for k, row in enumerate(results["pictures"], start=1) for each in row["detections"]]
    assert [each["id"] for each in coco["annotations"]] == list(range(1, 9))
    for annotation, (image, each) in zip(coco["annotations"], objects, strict=True):
        assert (annotation["image_id"], annotation["category_id"]) == (image, each["target"])
        assert names[annotation["category_id"]] == each["label"]
        xmin, ymin, xmax, ymax = each["box"]
        assert annotation["bbox"] == [xmin, ymin, xmax - xmin, ymax - ymin]
        assert (annotation["area"], annotation["score"]) == (each["area"], each["score"])
        mask = decoded(annotation["segmentation"])
        np.testing.assert_array_equal(mask, mask_of(out / each["mask"]))
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (xmin, ymin, xmax, ymax)


def test_coco_is_what_the_package_itself_reads(net, picture, out, command):
    path = picture("a.png", (30, 20))
    ran = command("segment", net, path, "-o", out, "--json")
    (example,) = read_coco(out / "coco.json", images=path.parent).examples
    (found,) = ran.json["pictures"][0]["detections"]
    assert [list(box) for box in example.boxes] == [found["box"]]


def test_csv(net, picture, out, command):
    ran = command("localize", net, picture('a, "b".png', (30, 20)), "--top", 2, "-o", out, "--json")
    with (out / "detections.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    (picture_row,) = ran.json["pictures"]
    for row, each in zip(rows, picture_row["detections"], strict=True):
        assert (row["image"], row["label"], row["mask"]) == (picture_row["image"], each["label"], each["mask"])
        assert float(row["score"]) == each["score"]
        assert [int(row[name]) for name in ("xmin", "ymin", "xmax", "ymax")] == each["box"]
        assert (int(row["area"]), float(row["share"])) == (each["area"], each["share"])


def test_every_constant_of_the_recipe_is_an_option(net, picture, out, command):
    assert {field.name for field in fields(SegmentRecipe)} - {"name"} <= {
        field.name for field in fields(SegmentOptions)
    }
    constants = {
        "method": "guided",
        "blur": 0.02,
        "foreground": 0.9,
        "background": 0.2,
        "background_by": "mean",
        "components": 3,
        "colours": "lab",
        "smoothness": 20.0,
        "neighbours": 4,
        "refits": 2,
        "size": 64,
        "seed": 3,
    }
    options = [item for name, value in constants.items() for item in (f"--{name.replace('_', '-')}", value)]
    ran = command(
        "segment", net, picture(), *options, "--view", "whole", "--view", "crop", "--mirror", "-o", out, "--json"
    )
    assert ran.code == 0
    expected = {"name": "paper", **constants, "views": ["whole", "crop"], "mirror": True, "method_options": {}}
    assert ran.json["recipe"] == expected
    ran = command("segment", net, picture(), "--recipe", "best", "--view", "crop", "--no-mirror", "-o", out, "--json")
    assert {**ran.json["recipe"], "method_options": {}} == {
        **asdict(SEGMENT_RECIPES["best"]),
        "views": ["crop"],
        "mirror": False,
        "method_options": {},
    }


def test_preprocessing_as_of_the_other_verbs(net, picture, out, command):
    options = ["--preprocess", "unit", "--resize", "none", "--mean", "1,2,3", "--std", "4", "--channels", "bgr"]
    ran = command("segment", net, picture(), "-o", out, "--json", *options)
    recipe = xs.Preprocess(size=8, resize=None, mean=(1, 2, 3), std=4, channels="BGR")
    assert ran.json["preprocess"] == recipe.to_json()


def test_a_network_of_any_size(tmp_path, picture, out, command):
    onnx.save(small(inputs="float[N,3,H,W] image"), tmp_path / "free.onnx")
    ran = command("segment", tmp_path / "free.onnx", picture(), "--input-size", 16, "-o", out, "--json")
    assert ran.code == 0
    assert json.loads(ran.json["preprocess"])["size"] == [16, 16]


def test_the_embedded_pictures(out, command):
    """A cat is found where the cat is."""
    path = next(path for path in default_pictures() if path.stem == "cat")
    ran = command("segment", default_model(), path, "--recipe", "best", "-o", out, "--json")
    (found,) = ran.json["pictures"][0]["detections"]
    assert found["label"] == "cat"
    assert found["box"] == pytest.approx([50, 10, 290, 275], abs=25)  # as it is drawn
    assert 0.1 < found["share"] < 0.4


# --- odd pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("size", [(1, 1), (300, 1), (1, 200), (700, 500)], ids=str)
def test_pictures_of_any_shape(net, picture, out, command, verb, size):
    ran = command(verb, net, picture("a.png", size), "-o", out, "--json")
    assert ran.code == 0
    for each in ran.json["pictures"][0]["detections"]:
        assert mask_of(out / each["mask"]).shape == size[::-1]


def test_what_was_decided_is_said(tmp_path, picture, out, command):
    """Of a net that does not look at its picture, and of an animation."""
    onnx.save(small(w=np.zeros((4, 3, 3, 3), np.float32)), tmp_path / "blind.onnx")
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    ran = command("segment", tmp_path / "blind.onnx", tmp_path / "a.gif", "-o", out)
    assert ran.code == 0
    (row,) = json.loads((out / "results.json").read_text("utf-8"))["pictures"]
    assert row["notes"] == ["first of 2 frames"]
    (note,) = row["detections"][0]["notes"]
    assert "there are no seeds" in note
    assert row["detections"][0]["box"] == [0, 0, 20, 10]
    said = " ".join(ran.out.split())
    assert "share notes" in said
    assert "first of 2 frames" in said.replace(" a.gif", "")
    assert note in (out / "index.html").read_text("utf-8")
    assert note in (out / "detections.csv").read_text("utf-8")


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_with_a_damaged_picture(net, picture, out, command, verb):
    folder = picture("pictures/a.png").parent
    picture("pictures/deep/a.png", seed=1)
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:80])
    ran = command(verb, net, folder, "-o", out, "--json")
    assert ran.code == 1
    assert "broken.png" in ran.error
    assert [Path(failure["image"]).name for failure in ran.json["failed"]] == ["broken.png"]
    masks = [each["mask"] for row in ran.json["pictures"] for each in row["detections"]]
    assert len(set(masks)) == len(masks) == 2 * (1 if verb == "segment" else 5)
    assert set(masks) | {"a.drawn.jpg", "a-2.drawn.jpg", "coco.json", "index.html"} <= set(listed(out))
    assert not [name for name in listed(out) if "broken" in name or name.endswith(".part")]
    assert json.loads((out / "results.json").read_text("utf-8")) == ran.json


@pytest.mark.parametrize("verb", VERBS)
def test_all_failed_leaves_nothing(net, out, command, tmp_path, verb):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    ran = command(verb, net, tmp_path / "a.png", tmp_path / "b.png", "-o", out)
    assert ran.code == 1
    assert ran.err.count("error:") == 2
    assert not out.exists()


def test_twice_into_a_folder_that_is_searched(net, picture, command):
    folder = picture("p/a.png").parent
    for verb in (*VERBS, *VERBS):
        assert len(command(verb, net, folder, "-o", folder, "--json").json["pictures"]) == 1


@pytest.mark.parametrize(("verb", "name"), [("segment", "a.mask.png"), ("localize", "a.5.mask.png")])
def test_a_picture_is_never_replaced_by_a_result(net, picture, command, verb, name):
    mine = picture(f"p/{name}")
    before = mine.read_bytes()
    ran = command(verb, net, picture("p/a.png"), mine, "-o", mine.parent)
    assert ran.code == 2
    assert f"a result called {name} would take this picture's place" in ran.error
    assert mine.read_bytes() == before


# --- refusals: one message, exit code 2, nothing left behind ------------------------------------

REFUSED = {
    "recipe": (VERBS, ["--recipe", "old"], "No recipe 'old' for segmentation: there are paper, best."),
    "method": (VERBS, ["--method", "magic"], "No method 'magic'"),
    "values": (VERBS, ["--size", 1, "--colours", "hsv"], "colours is 'rgb' or 'lab', not 'hsv'; size is 16 pixels"),
    "views": (VERBS, ["--view", "crop", "--view", "all"], "views is one or both of 'crop' and 'whole'"),
    "quantiles": (VERBS, ["--foreground", 0.2], "background (0.3) is below foreground (0.2)"),
    "class beyond": (("segment",), ["--class", 5], "No class 5: the model has 5 classes"),
    "class below": (("segment",), ["--class", "-1"], "No class -1"),
    "class unnamed": (("segment",), ["--class", "cat"], "'cat' is a name, and no labels are known"),
    "top": (("localize",), ["--top", 6], "the model has 5, not 6"),
    "labels": (VERBS, ["--labels", "missing.txt"], "missing.txt: cannot be read"),
    "preset": (VERBS, ["--preprocess", "imagnet"], "did you mean 'imagenet'"),
    "channels": (VERBS, ["--channels", "L", "--mean", "0", "--std", "1"], "Set channels to RGB or BGR"),
    "provider": (VERBS, ["--provider", "abacus"], "No execution provider 'abacus'"),
    "input": (VERBS, ["--input", "picture"], "no input 'picture'"),
    "feed": (VERBS, ["--feed", "gain=1"], "no input 'gain'"),
}


@pytest.mark.parametrize(("verb", "options", "why"), [(v, o, w) for vs, o, w in REFUSED.values() for v in vs])
def test_refusals(net, picture, out, command, verb, options, why):
    ran = command(verb, net, picture(), "-o", out, *options)
    assert ran.code == 2
    assert why in ran.error
    assert not out.exists()


@pytest.mark.parametrize("verb", VERBS)
def test_pictures_and_models_that_are_not_there(net, picture, out, command, tmp_path, verb):
    for arguments, why in (((net, tmp_path / "b.png"), "no such file"), ((tmp_path / "n.onnx", picture()), "no such")):
        ran = command(verb, *arguments, "-o", out)
        assert ran.code == 2
        assert why in ran.error
    assert not out.exists()


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_that_is_a_file(net, picture, command, verb):
    path = picture()
    ran = command(verb, net, path, "-o", path)
    assert ran.code == 2
    assert "is a file" in ran.error


@pytest.mark.parametrize("missing", ["maxflow", "sklearn.mixture"])
def test_without_the_extra(net, picture, out, command, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    ran = command("segment", net, picture(), "-o", out)
    assert ran.code == 2
    assert "pip install 'onnx-saliency[segment]'" in ran.error
    assert not out.exists()


@pytest.mark.parametrize("verb", VERBS)
def test_help(command, verb):
    ran = command(verb, "--help")
    assert ran.code == 0
    said = " ".join(ran.out.split())
    assert f"Usage: onnx-saliency {verb}" in said
    for option in ("--recipe", "--no-mirror", "--smoothness", "--provider", "--input-size", "--json"):
        assert option in said
    assert ("--class" in said, "--top" in said) == (verb == "segment", verb == "localize")
    assert verb in command("--help").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["segment"],
        ["segment", "net.onnx"],
        ["segment", "net.onnx", "a.png", "--top", "2"],
        ["segment", "net.onnx", "a.png", "--refits", "many"],
        ["localize", "net.onnx", "a.png", "--top", "0"],
        ["localize", "net.onnx", "a.png", "--class", "1"],
        ["localize", "net.onnx", "a.png", "--threads", "0"],
    ],
    ids=" ".join,
)
def test_usage(command, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = command(*arguments)
    assert ran.code == 2
    assert "Usage: onnx-saliency" in ran.err
    assert "Traceback" not in ran.err
    assert list(tmp_path.iterdir()) == []
