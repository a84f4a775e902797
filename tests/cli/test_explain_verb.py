"""`explain` and `demo` from the command line: what is written, what is said, and what is left behind when it fails."""

import json
import os
import re
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, graph, small
from PIL import Image

import onnx_saliency as xs
from onnx_saliency.explain import Explainer
from onnx_saliency.exporter.ascent import RECIPES
from onnx_saliency.vision import Segmenter

ALL = {**CONV_WEIGHTS, **HEAD_WEIGHTS}
NAMES = ["ant", "bee", "cat", "dog", "eel"]


def listed(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def huge_png():
    """A header of 30000 x 30000 pixels, and no pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


# --- what is written ----------------------------------------------------------------------------


def test_one_picture(net, picture, out, command):
    ran = command("explain", net, picture("dog.png", (30, 20)), "-o", out)
    assert ran.code == 0
    assert listed(out) == ["dog.map.png", "dog.npz", "dog.overlay.png", "explain.json", "index.html"]
    for name in ("dog.map.png", "dog.overlay.png"):
        assert Image.open(out / name).size == (30, 20)
    with np.load(out / "dog.npz") as arrays:
        assert arrays["saliency"].shape == (20, 30)
        assert arrays["input_saliency"].shape == (8, 8)
        assert arrays["input_gradient"].shape == (3, 8, 8)
        assert arrays["target"] == arrays["logits"].argmax()
        expected = xs.Explainer(net).explain(out.parent / "dog.png")
        np.testing.assert_allclose(arrays["saliency"], expected.maps[0], rtol=1e-5)
    page = (out / "index.html").read_text("utf-8")
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert "dog.png" in page
    assert "preprocessing (assumed)" in ran.err
    assert "running on" in ran.err
    assert "Traceback" not in ran.err


def test_json(net, picture, out, command):
    ran = command("explain", net, picture("dog.png"), "-o", out, "--json", "--target", 2)
    assert ran.code == 0
    (row,) = ran.json["explained"]
    assert ran.json["failed"] == []
    assert (row["target"], row["label"], row["notes"]) == (2, "class 2", [])
    assert row["overlay"] == str(out / "dog.overlay.png")
    assert json.loads((out / "explain.json").read_text("utf-8"))["explained"] == [row]


def test_labels_and_preprocessing(net, picture, out, command, tmp_path):
    labels = tmp_path / "names.txt"
    labels.write_text("\n".join(NAMES), encoding="utf-8")
    options = ["--labels", labels, "--target", "cat", "--preprocess", "unit", "--resize", "none", "--mean", "1,2,3"]
    ran = command("explain", net, picture("a.png"), "-o", out, "--json", *options, "--std", "4", "--channels", "bgr")
    assert ran.code == 0
    assert (ran.json["explained"][0]["target"], ran.json["explained"][0]["label"]) == (2, "cat")
    recipe = xs.Preprocess(size=8, resize=None, mean=(1, 2, 3), std=4, channels="BGR")
    written = json.loads((out / "explain.json").read_text("utf-8"))
    assert (written["preprocess"], written["preprocess_source"]) == (recipe.to_json(), "given")


GIVEN = {
    "explain": (["explain"], []),
    "segment": (["segment"], []),
    "localize": (["localize"], ["--top", "2"]),
    "top-activations": (["top-activations"], ["--layer", "s"]),
    "compare": (["compare"], ["--method", "gradient", "--shown", "0"]),
    "sanity": (["evaluate", "sanity"], ["--method", "gradient", "--stages", "1", "--no-independent"]),
}


@pytest.mark.parametrize("verb", GIVEN)
def test_preprocessing_that_is_given_in_part_is_given(net, picture, out, command, verb):
    words, options = GIVEN[verb]
    path = picture()
    assert "preprocessing (assumed)" in command(*words, net, path, "-o", out, *options).err
    for given in (["--mean", "7"], ["--preprocess", "inception"]):
        assert "preprocessing (given)" in command(*words, net, path, "-o", out, *options, *given).err


def test_a_folder_with_a_damaged_picture(net, picture, out, command):
    folder = picture("pictures/a.png").parent
    picture("pictures/deep/b.jpg")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:80])
    (folder / "notes.txt").write_text("no picture")
    ran = command("explain", net, folder, "-o", out)
    assert ran.code == 1
    assert "broken.png" in ran.error
    assert {"a.overlay.png", "b.overlay.png", "index.html"} <= set(listed(out))
    summary = json.loads((out / "explain.json").read_text("utf-8"))
    assert [Path(failure["image"]).name for failure in summary["failed"]] == ["broken.png"]
    assert len(summary["explained"]) == 2


def test_a_pattern(net, picture, out, command):
    picture("p/a1.png"), picture("p/a2.png"), picture("p/b1.png")
    ran = command("explain", net, out.parent / "p" / "a*.png", "-o", out, "--json")
    assert [Path(row["image"]).name for row in ran.json["explained"]] == ["a1.png", "a2.png"]


def test_more_pictures_than_a_run(net, picture, out, command):
    for i in range(5):
        picture(f"p/{i}.png", seed=i)
    ran = command("explain", net, out.parent / "p", "-o", out, "--json", "--batch-size", 2)
    assert ran.code == 0
    whole = command("explain", net, out.parent / "p", "-o", out, "--json").json["explained"]
    for row, again in zip(ran.json["explained"], whole, strict=True):
        assert row["logit"] == pytest.approx(again["logit"], rel=1e-5)


@pytest.mark.parametrize(("pictures", "threads", "workers"), [(1, 2, 1), (2, 2, 2), (5, 2, 2), (2, 3, 1), (2, 1, 1)])
def test_a_worker_for_each_thread_where_there_are_as_many_pictures(
    net, picture, out, command, monkeypatch, pictures, threads, workers
):
    given = []
    real = Explainer.__init__
    monkeypatch.setattr(
        Explainer, "__init__", lambda self, *model, **options: (given.append(options), real(self, *model, **options))[1]
    )
    for i in range(pictures):
        picture(f"p/{i}.png", seed=i)
    ran = command("explain", net, out.parent / "p", "-o", out, "--json", "--threads", threads)
    assert given[0]["workers"] == workers
    assert len(ran.json["explained"]) == pictures


BAD = {
    "empty": (b"", "is empty (0 bytes)"),
    "text": (b"no picture at all", "not a picture in a known format"),
    "huge": (huge_png(), "30000 x 30000 is 900 megapixels"),
    "model": (small().SerializeToString(), "not a picture in a known format"),
}


@pytest.mark.parametrize(("data", "why"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("beside_a_good_one", [True, False])
def test_pictures_that_cannot_be_read(net, picture, out, command, data, why, beside_a_good_one):
    bad = out.parent / "bad.png"
    bad.write_bytes(data)
    good = [picture("good.png")] if beside_a_good_one else []
    ran = command("explain", net, *good, bad, "-o", out, "--json")
    assert ran.code == 1
    assert why in ran.error
    assert "bad.png" in ran.error
    assert [Path(f["image"]).name for f in ran.json["failed"]] == ["bad.png"]
    assert len(ran.json["explained"]) == len(good)
    assert out.exists() == beside_a_good_one


def test_all_failed_one_error_each(net, out, command, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"x")
    ran = command("explain", net, *[tmp_path / name for name in ("a.png", "b.png", "c.png")], "-o", out)
    assert ran.code == 1
    assert ran.err.count("error:") == 3
    assert not out.exists()


# --- refusals: one message, exit code 2, nothing left behind ------------------------------------

REFUSED = {
    "target beyond the last": (["--target", "5"], "No class 5: the model has 5 classes, 0 to 4"),
    "target below 0": (["--target", "-1"], "No class -1"),
    "an odd number": (["--target", "²"], "no labels are known"),
    "dashes": (["--target=--5"], "no labels are known"),
    "no name": (["--target", ""], "no labels are known"),
    "a name without labels": (["--target", "cat"], "no labels are known"),
    "labels missing": (["--labels", "missing.txt"], "missing.txt: cannot be read"),
    "method": (["--method", "magic"], "No method 'magic'; the methods are"),
    "preset": (["--preprocess", "imagnet"], "did you mean 'imagenet'"),
    "resize": (["--resize", "²"], "--resize takes a number of pixels or 'none'"),
    "resize 0": (["--resize", "0"], "resize=0"),
    "mean": (["--mean", "a,b"], "--mean takes numbers separated by commas"),
    "mean NaN": (["--mean", "nan"], "want finite numbers"),
    "std 0": (["--std", "0"], "want numbers above 0"),
    "two means": (["--mean", "1,2"], "mean has 2 values for 3 channels"),
    "channels": (["--channels", "CMYK"], 'want "RGB", "BGR" or "L"'),
    "grey for colour": (["--channels", "L", "--mean", "0", "--std", "1"], "Set channels to RGB or BGR"),
    "provider": (["--provider", "abacus"], "No execution provider 'abacus'"),
    "input": (["--input", "picture"], "no input 'picture'"),
    "output": (["--output", "scores"], "no output 'scores'"),
    "size": (["--size", "9"], "9"),
}


@pytest.mark.parametrize(("options", "why"), REFUSED.values(), ids=REFUSED)
def test_options_that_make_no_sense(net, picture, out, command, options, why):
    ran = command("explain", net, picture(), "-o", out, *options)
    assert ran.code == 2
    assert why in ran.error
    assert not out.exists()


def test_several_classes_against_one(net, picture, out, command):
    ran = command("explain", net, picture(), "-o", out, "--top", 2, "--against", 1, "--json")
    assert ran.code == 0
    assert len(ran.json["explained"]) == 2
    ran = command("explain", net, picture(), "-o", out, "--top", 2, "--against", 7)
    assert ran.error == "No class 7: the model has 5 classes, 0 to 4."


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", 99], "No class 99: the model has 5 classes, 0 to 4."),
        (["--layer", "s", "--channel", 99], "No channel 99: the layer has 4 channels, 0 to 3."),
    ],
)
def test_a_number_beyond_speaks_no_python(net, picture, out, command, options, said):
    ran = command("explain", net, picture(), "-o", out, *options)
    assert (ran.code, ran.error) == (2, said)


def test_several_inputs_name_the_option(picture, out, command, tmp_path):
    inputs = "float[N,3,8,8] image, float[N,3,8,8] other"
    onnx.save(graph(CONV + HEAD + " k = Add(image, other)", inputs=inputs, **ALL), tmp_path / "two.onnx")
    ran = command("explain", tmp_path / "two.onnx", picture(), "-o", out)
    assert ran.code == 2
    assert "Choose one with input=NAME, on the command line --input NAME." in ran.error


def test_a_label_that_no_class_has(net, picture, out, command, tmp_path):
    labels = tmp_path / "names.txt"
    labels.write_text("\n".join(NAMES), encoding="utf-8")
    ran = command("explain", net, picture(), "-o", out, "--labels", labels, "--target", "caat")
    assert ran.code == 2
    assert "no class is called 'caat'; the closest are cat" in ran.error
    assert not out.exists()


def models():
    nan = np.full((5, 4), np.nan, np.float32)
    two = graph(CONV + HEAD + " y = Gemm<transB = 1>(f, v, a)", outputs="float[N,5] logits, float[N,5] y", **ALL)
    foreign = graph(CONV.replace("Sigmoid", "acme.vision.Gelu") + HEAD, domains="acme.vision", **ALL)
    flat = graph("logits = MatMul(image, m)", inputs="float[N,192] image", m=(192, 5))
    return {
        "text": (b"not a model", "not an ONNX file"),
        "empty": (b"", "0 bytes"),
        "truncated": (small().SerializeToString()[:-20], "ONNX"),
        "foreign domain": (foreign.SerializeToString(), "operator Gelu, domain 'acme.vision'"),
        "no image": (flat.SerializeToString(), "No image input: none of 'image' float [N, 192]"),
        "two outputs": (two.SerializeToString(), "'logits' float [N, 5], 'y' float [N, 5]. Choose one with"),
        "NaN": (small(v=nan).SerializeToString(), "NaN in the weights"),
        "a picture": (huge_png(), "not an ONNX"),
        "opset": (small(opset=5).SerializeToString(), "opset 5"),
    }


MODELS = models()


@pytest.mark.parametrize("verb", ["explain", "export", "inspect"])
@pytest.mark.parametrize(("data", "why"), MODELS.values(), ids=MODELS)
def test_models_that_cannot_be_explained(picture, out, command, tmp_path, verb, data, why):
    model = tmp_path / "net.onnx"
    model.write_bytes(data)
    arguments = {"explain": [picture(), "-o", out], "export": ["-o", out], "inspect": []}[verb]
    before = listed(tmp_path)
    ran = command(verb, model, *arguments)
    assert ran.code == 2
    assert why in ran.error
    assert ran.out == ""
    assert listed(tmp_path) == before


@pytest.mark.parametrize("verb", ["explain", "export", "inspect"])
def test_a_model_that_is_not_there(picture, out, command, tmp_path, verb):
    arguments = {"explain": [picture(), "-o", out], "export": ["-o", out], "inspect": []}[verb]
    for path, why in {tmp_path / "none.onnx": "no such file", tmp_path: "folder"}.items():
        ran = command(verb, path, *arguments)
        assert ran.code == 2
        assert why in ran.error
    assert not out.exists()


def test_the_error_for_two_outputs_names_the_option(picture, out, command, tmp_path):
    model = tmp_path / "net.onnx"
    model.write_bytes(MODELS["two outputs"][0])
    assert command("explain", model, picture(), "-o", out, "--output", "y").code == 0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing.png", "missing.png: no such file or folder"),
        ("m*.png", "no picture matches"),
        ("empty", "no pictures"),
    ],
)
def test_pictures_that_are_not_there(net, out, command, tmp_path, name, why):
    (tmp_path / "empty").mkdir()
    ran = command("explain", net, tmp_path / name, "-o", out)
    assert ran.code == 2
    assert why in ran.error
    assert not out.exists()


@pytest.mark.parametrize("below", ["file", "file/out", "file/deep/out"])
@pytest.mark.parametrize("verb", ["explain", "demo"])
def test_results_below_a_regular_file(net, picture, command, tmp_path, verb, below):
    (tmp_path / "file").write_bytes(b"precious")
    before = [picture(), *listed(tmp_path)]
    ran = command(verb, *([net, before[0]] if verb == "explain" else []), "-o", tmp_path / below)
    assert ran.code == 2
    assert "file is a file" in ran.error
    assert listed(tmp_path) == before[1:]
    assert (tmp_path / "file").read_bytes() == b"precious"


@pytest.mark.parametrize("below", ["file/out.onnx", "file/deep/out.onnx"])
def test_an_export_below_a_regular_file(net, command, tmp_path, below):
    (tmp_path / "file").write_bytes(b"precious")
    ran = command("export", net, "-o", tmp_path / below)
    assert ran.code == 2
    assert "file is a file, not a folder" in ran.error or "there is no folder" in ran.error
    assert listed(tmp_path) == ["file", "net.onnx"]


def test_results_in_a_folder_that_cannot_be_written(net, picture, out, command, monkeypatch):
    path = picture()
    monkeypatch.setattr("os.access", lambda _, mode, **__: mode != os.W_OK)
    ran = command("explain", net, path, "-o", out)
    assert ran.code == 2
    assert "is not writable" in ran.error
    assert not out.exists()


def test_a_results_name_taken_by_a_folder(net, picture, out, command):
    (out / "a.overlay.png").mkdir(parents=True)
    ran = command("explain", net, picture("a.png"), "-o", out)
    assert ran.code == 2
    assert "a folder of that name is in the way" in ran.error
    assert listed(out) == ["a.overlay.png"]


# --- names and repetition -----------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["a*b", "with space", "ünïcode 名", "[red]", "$HOME;'\""])
def test_folders_of_any_name(net, picture, command, folder):
    path = picture(f"{folder}/in/[x] & <y>.png")
    out = path.parents[1] / "[" / "]out"
    ran = command("explain", net, path.parent, "-o", out)
    assert ran.code == 0
    assert str(out / "index.html") in ran.out
    assert "[x] & <y>.overlay.png" in listed(out)
    assert "<y>" not in (out / "index.html").read_text("utf-8")


def test_a_name_that_is_no_unicode(net, picture, command, out, tmp_path):
    """Names are bytes to the file system; archives from elsewhere bring Latin-1."""
    folder, odd = tmp_path / os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xe9.png")
    folder.mkdir()
    (folder / odd).write_bytes(picture("a.png").read_bytes())
    (folder / ("broken" + odd)).write_bytes(b"x")
    (folder / "net.onnx").write_bytes(net.read_bytes())
    for options in ([], ["--json"]):
        ran = command("explain", folder / "net.onnx", folder, "-o", folder / "out", *options)
        assert ran.code == 1
        assert "broken" in ran.error
    assert [len(ran.json[key]) for key in ("explained", "failed")] == [1, 1]
    summary = json.loads((folder / "out" / "explain.json").read_text("utf-8"))
    assert [len(summary[key]) for key in ("explained", "failed")] == [1, 1]
    assert command("export", folder / "net.onnx").code == command("inspect", folder / "net.onnx").code == 0


def test_pictures_of_the_same_name(net, picture, command, out):
    names = ["a/cat.png", "b/cat.png", "c/CAT.jpg", "cat-2.png"]
    paths = [picture(name, seed=i) for i, name in enumerate(names)]
    ran = command("explain", net, *paths, "-o", out, "--json")
    assert ran.code == 0
    overlays = [row["overlay"] for row in ran.json["explained"]]
    assert len({overlay.casefold() for overlay in overlays}) == 4
    assert all(Path(overlay).is_file() for overlay in overlays)


def test_twice_into_the_same_folder(net, picture, command, out):
    path = picture("a.png")
    command("explain", net, path, "-o", out, "--target", 0)
    first = (out / "a.npz").read_bytes()
    names = listed(out)
    command("explain", net, path, "-o", out, "--target", 1)
    assert listed(out) == names
    assert (out / "a.npz").read_bytes() != first


def test_the_same_picture_twice_is_one(net, picture, command, out):
    path = picture("a.png")
    assert len(command("explain", net, path, path, "-o", out, "--json").json["explained"]) == 1


@pytest.mark.parametrize("inside", ["out", "."])
def test_twice_into_a_folder_that_is_searched(net, picture, command, inside):
    """The results of the first run are no pictures for the second, unless one is named."""
    folder = picture("p/a.png").parent
    out = folder / inside
    found = [command("explain", net, folder, "-o", out, "--json").json["explained"] for _ in range(2)]
    assert [len(rows) for rows in found] == [1, 1]
    assert len(command("explain", net, out / "a.map.png", "-o", out, "--json").json["explained"]) == 1
    ran = command("explain", net, out / "*.map.png", "-o", out)
    assert ran.code == 2
    assert "no pictures but the results of an earlier run" in ran.error


def test_a_picture_named_like_a_result_is_a_picture(net, picture, command):
    """What was never written by a run is the user's, whatever it is called."""
    picture("p/cat.map.png")
    folder = picture("p/cat.png", seed=1).parent
    out = folder.parent / "out"
    assert len(command("explain", net, folder, "-o", out, "--json").json["explained"]) == 2
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for arguments in ([folder], [folder / "cat.png", folder / "cat.map.png"]):
        ran = command("explain", net, *arguments, "-o", folder)
        assert ran.code == 2
        assert "cat.map.png: a result called cat.map.png would take this picture's place" in ran.error
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert command("explain", net, folder / "cat.map.png", "-o", folder).code == 0  # cat.map.map.png


def test_several_classes_take_several_names(net, picture, command):
    """The second class of cat.png is written as cat-2."""
    folder = picture("p/cat.png").parent
    picture("p/cat-2.overlay.png")
    assert command("explain", net, folder, "-o", folder, "--top", 2).code == 2
    assert command("explain", net, folder, "-o", folder).code == 0


# --- demo, help, usage --------------------------------------------------------------------------


def test_demo(tmp_path, command, monkeypatch):
    """All of it but most steps of its class models, which take most of its time; .ci/run runs those, too."""
    few = {"modern": replace(RECIPES["modern"], steps=8)}
    monkeypatch.setattr("onnx_saliency.exporter.ascent.recipe.RECIPES", few)
    found, real = [], Segmenter.segment
    monkeypatch.setattr(Segmenter, "segment", lambda *a, **k: found.append(real(*a, **k)) or found[-1])
    out = tmp_path / "new" / "demo"
    ran = command("demo", "-o", out)
    assert ran.code == 0
    names = listed(out)
    assert {"index.html", "sheet.png", "explain.json", "default.saliency.onnx"} <= set(names)
    pictures = [name for name in names if name.endswith(".png")]
    assert len(pictures) > 10
    for name in pictures:
        with Image.open(out / name) as image:
            image.load()
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", (out / "index.html").read_text("utf-8"))
    onnx.checker.check_model(onnx.load(out / "default.saliency.onnx"), full_check=True)
    assert str(out / "index.html") in ran.out
    assert all(0.05 < segmentation.mask.mean() < 0.25 for (segmentation,) in found), "each is one thing on a background"
    assert len(found) == 6


@pytest.mark.parametrize("verb", ["demo", "explain", "export", "inspect"])
def test_help(verb, command):
    ran = command(verb, "--help")
    assert ran.code == 0
    assert "Usage: onnx-saliency " + verb in " ".join(ran.out.split())
    assert verb in command("--help").out


USAGE = [
    ["nonsense"],
    ["explain"],
    ["explain", "net.onnx"],
    ["export"],
    ["inspect"],
    ["inspect", "a.onnx", "b.onnx"],
    ["explain", "net.onnx", "a.png", "--batch-size", "0"],
    ["explain", "net.onnx", "a.png", "--threads", "many"],
    ["explain", "net.onnx", "a.png", "--size", "-1"],
    ["export", "net.onnx", "--target", "-1"],
    ["export", "net.onnx", "--target", "cat"],
    ["demo", "--nonsense"],
]


@pytest.mark.parametrize("arguments", USAGE, ids=" ".join)
def test_usage(command, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = command(*arguments)
    assert ran.code == 2
    assert "Usage: onnx-saliency" in ran.err
    assert "Traceback" not in ran.err
    assert listed(tmp_path) == []


EMPTY = [
    ["explain", "net.onnx", "", "-o", "out"],
    ["explain", "", "a.png", "-o", "out"],
    ["explain", "net.onnx", "a.png", "-o", ""],
    ["explain", "net.onnx", "a.png", "--labels", ""],
    ["segment", "net.onnx", "a.png", "-o", ""],
    ["export", "net.onnx", "-o", ""],
    ["inspect", ""],
    ["evaluate", "faithfulness", "net.onnx", ""],
    ["evaluate", "localisation", "net.onnx", "data", "--list", ""],
]


@pytest.mark.parametrize("arguments", EMPTY, ids=" ".join)
def test_an_empty_path_is_not_the_folder_one_is_in(net, picture, command, tmp_path, monkeypatch, arguments):
    """As a variable of the shell that was never set."""
    picture("a.png")
    monkeypatch.chdir(tmp_path)
    before = listed(tmp_path)
    ran = command(*arguments)
    assert ran.code == 2
    assert "an empty path was given" in ran.err
    assert listed(tmp_path) == before


def test_version(command):
    from importlib.metadata import version

    ran = command("--version")
    assert (ran.code, ran.out.strip()) == (0, version("onnx-saliency"))


def test_as_a_module():
    """Where the script is not on the path: the same program, under the same name."""
    ran = subprocess.run([sys.executable, "-m", "onnx_saliency", "--help"], capture_output=True, text=True, check=True)
    assert "Usage: onnx-saliency " in ran.stdout


def test_the_installed_script(net, picture, out):
    script = Path(sys.executable).with_name("onnx-saliency")
    good = subprocess.run([script, "explain", net, picture(), "-o", out, "--json"], capture_output=True, text=True)
    assert good.returncode == 0
    assert len(json.loads(good.stdout)["explained"]) == 1
    assert "\x1b" not in good.stdout + good.stderr
    bad = subprocess.run([script, "inspect", out], capture_output=True, text=True)
    assert bad.returncode == 2
    assert bad.stderr.startswith("error: ")
    assert bad.stdout == ""


def test_no_runtime_is_said(net, picture, out, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    ran = command("explain", net, picture(), "-o", out)
    assert ran.code == 2
    assert "pip install 'onnx-saliency[cpu]'" in ran.error
    assert not out.exists()


# --- other inputs -------------------------------------------------------------------------------


@pytest.fixture
def shifted(tmp_path):
    """A net of which every score is raised by a second input."""
    body = CONV + HEAD.replace("logits", "l") + " logits = Add(l, shift)"
    path = tmp_path / "shifted.onnx"
    onnx.save(graph(body, inputs="float[N,3,8,8] image, float[M] shift", **ALL), path)
    return path


def test_another_input_is_fed(shifted, picture, out, command, tmp_path):
    np.save(tmp_path / "shift.npy", np.array([0, 0, 0, 90, 0]))
    for value, target in (("0,70,0,0,0", 1), (tmp_path / "shift.npy", 3)):
        ran = command("explain", shifted, picture(), "-o", out, "--feed", f"shift={value}", "--json")
        assert ran.code == 0
        assert ran.json["explained"][0]["target"] == target


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ([], "there is no value for input 'shift'"),
        (["--feed", "shift=0", "--feed", "shaft=1"], "no input 'shaft'"),
        (["--feed", "shift"], "--feed takes NAME=VALUE, not 'shift'"),
        (["--feed", "shift=a,b"], "--feed takes numbers separated by commas, not 'a,b'"),
        (["--feed", "shift=none.npy"], "none.npy cannot be read as an array"),
    ],
)
def test_a_feed_that_does_not_fit(shifted, picture, out, command, feed, message):
    ran = command("explain", shifted, picture(), "-o", out, *feed)
    assert ran.code == 2
    assert message in ran.error
    assert not out.exists()
