"""`class-model` and `export --ascent` from the command line: what they write, print and refuse."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from nets import small
from PIL import Image

import onnx_saliency as xs
from onnx_saliency.runtime import Iteration

NAMES = "tench\ngoldfish\ngreat white shark\ntiger shark\nhammerhead\n"
FEW = ("--steps", 6)


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(NAMES)
    return path


def written(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written(net, labels, tmp_path, command):
    out = tmp_path / "a" / "b"
    ran = command("class-model", net, "--class", 3, "--class", "goldfish", "--labels", labels, *FEW, "-o", out)
    assert ran.code == 0
    assert written(out) == [
        "001-tiger_shark.png",
        "002-goldfish.png",
        "class_models.json",
        "class_models.npz",
        "index.html",
        "sheet.png",
    ]
    expected = xs.class_model(net, [3, 1], recipe=xs.Recipe(**{**paper(), "steps": 6}))
    np.testing.assert_array_equal(np.asarray(Image.open(out / "001-tiger_shark.png")), expected.images[0])
    with np.load(out / "class_models.npz") as arrays:
        assert sorted(arrays) == ["history", "inputs", "logits", "target"]
        np.testing.assert_allclose(arrays["inputs"], expected.inputs, atol=1e-4)
        np.testing.assert_array_equal(arrays["target"], [3, 1])
    summary = json.loads((out / "class_models.json").read_text())
    assert (summary["what"], summary["partial"], summary["steps"], summary["seed"]) == ("class", False, 6, 0)
    assert summary["recipe"] == {**paper(), "steps": 6}
    first = summary["class_models"][0]
    assert (first["target"], first["label"], first["file"]) == (3, "tiger shark", "001-tiger_shark.png")
    assert first["end"] > first["start"]
    np.testing.assert_allclose(first["logit"], expected.logits[0, 3], rtol=1e-4)
    page = (out / "index.html").read_text()
    for part in ("Class models of net.onnx", "tiger shark (3)", "goldfish (1)", "Recipe paper, 6 steps", "zero image"):
        assert part in page
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert lines[0] == "class score logit probability file"
    assert [line.split()[-1] for line in lines[1:3]] == ["001-tiger_shark.png", "002-goldfish.png"]
    assert f"{first['start']:.3g} to {first['end']:.3g}" in lines[1]
    assert "index.html" in lines[-1]
    assert "recipe paper, 6 steps, seed 0, on" in ran.err


def paper():
    from dataclasses import asdict

    from onnx_saliency.exporter.ascent import PAPER

    return asdict(PAPER)


def test_json(net, tmp_path, command):
    ran = command("class-model", net, "--all", *FEW, "--seed", 3, "-o", tmp_path / "out", "--json")
    assert ran.code == 0
    assert [row["target"] for row in ran.json["class_models"]] == list(range(5))
    assert (ran.json["recipe"], ran.json["seed"], ran.json["partial"]) == ("paper", 3, False)
    assert ran.json["class_models"][0]["label"] == "class 0"


def test_animate(net, tmp_path, command):
    out = tmp_path / "out"
    ran = command("class-model", net, "--all", "--steps", 50, "--animate", "-o", out)
    assert ran.code == 0
    with Image.open(out / "ascent.gif") as gif:
        assert (gif.format, gif.size) == ("GIF", (5 * 8, 8))
        assert gif.n_frames > 30
        assert gif.info["loop"] == 0
        gif.seek(0)
        assert len(np.unique(np.asarray(gif.convert("RGB")))) == 1  # the zero image


def test_every_part_of_a_recipe(net, tmp_path, command):
    parts = {
        "rate": 0.3,
        "cool": 0.5,
        "lambda": 0.01,
        "weight-decay": 0.2,
        "tv": 0.02,
        "hinge": 0.4,
        "margin": 0.1,
        "leak": 0.1,
        "residual": 0.3,
        "jitter": 0.1,
        "scale": 1.2,
        "rotate": 3.0,
        "colour": 0.2,
        "blur": 1.0,
        "noise": 0.2,
        "diversity": 0.5,
        "steps": 4,
    }
    options = [item for name, value in parts.items() for item in (f"--{name}", value)]
    out = tmp_path / "out"
    ran = command("class-model", net, "--class", 0, "--recipe", "modern", *options, "--score", "probability", "-o", out)
    assert ran.code == 0
    summary = json.loads((out / "class_models.json").read_text())
    parts |= {"l2": parts.pop("lambda"), "weight_decay": parts.pop("weight-decay")}
    assert {name: summary["recipe"][name] for name in parts} == parts
    assert summary["recipe"]["score"] == "probability"
    row = summary["class_models"][0]
    assert 0 < row["start"] < 1  # what was maximised
    assert 0 < row["end"] < 1
    assert "found by gradient ascent from noise" in (out / "index.html").read_text()


@pytest.fixture
def layered(tmp_path):
    path = tmp_path / "layered.onnx"
    onnx.save(small(outputs="float[N,5] logits, float[N,4,8,8] s"), path)
    return path


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        (("--channel", 1, "--channel", 3), ["channel 1", "channel 3"]),
        (("--neuron", 2), ["channel 2"]),
        (("--count", 3, "--diversity", 1.0, "--noise", 0.1), ["image 1", "image 2", "image 3"]),
    ],
    ids=["channel", "neuron", "whole"],
)
def test_layers(layered, tmp_path, command, options, labels):
    out = tmp_path / "out"
    ran = command("class-model", layered, "--output", "logits", "--layer", "s", *options, *FEW, "-o", out, "--json")
    assert ran.code == 0
    rows = ran.json["class_models"]
    assert [row["label"] for row in rows] == labels
    assert all(row["end"] > row["start"] and row["logit"] is None and row["probability"] is None for row in rows)
    assert command("class-model", layered, "--output", "logits", "--layer", "s", *options, *FEW, "-o", out).code == 0


def test_preprocessing_as_of_the_other_verbs(net, tmp_path, command):
    out = tmp_path / "out"
    options = ("--preprocess", "caffe", "--mean", "10,20,30", "--std", 2, "--channels", "rgb")
    assert command("class-model", net, "--class", 0, *FEW, *options, "--rate", 1e-9, "-o", out).code == 0
    assert (np.asarray(Image.open(out / "001-class_0.png")) == [10, 20, 30]).all()


# --- interruptions ------------------------------------------------------------------------------


def test_an_interruption_leaves_partial_results(net, tmp_path, command, monkeypatch):
    step = Iteration.step

    def stop(self):
        if self.steps == 3:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(Iteration, "step", stop)
    out = tmp_path / "out"
    ran = command("class-model", net, "--class", 1, *FEW, "--animate", "-o", out, "--json")
    assert ran.code == 1
    assert ran.error.startswith("interrupted after 3 of 6 steps: the results are partial")
    assert ran.json["partial"] is True
    assert json.loads((out / "class_models.json").read_text())["partial"] is True
    assert "3 of 6 steps were taken, so this is partial" in (out / "index.html").read_text()
    assert {"001-class_1.png", "ascent.gif", "class_models.npz", "sheet.png"} <= set(written(out))


def test_an_interruption_before_the_first_step_leaves_nothing(net, tmp_path, command, monkeypatch):
    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Iteration, "step", stop)
    ran = command("class-model", net, "--class", 1, "-o", tmp_path / "out")
    assert ran.code == 130
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process there")
def test_a_real_interruption(net, tmp_path):
    out = tmp_path / "out"
    arguments = ["class-model", net, "--class", "1", "--steps", "1000000", "-o", out]
    # The bar is silent where there is no terminal: the first step itself tells that the ascent is under way.
    # A process in a shell's background is handed SIGINT ignored, and hands that on.
    code = """
import signal
from onnx_saliency.cli import app
from onnx_saliency.runtime import Iteration

signal.signal(signal.SIGINT, signal.default_int_handler)

def step(self, real=Iteration.step):
    real(self)
    if self.steps == 1:
        print("begun", flush=True)

Iteration.step = step
app.main()
"""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted after" in err
    assert "Traceback" not in err
    assert json.loads((out / "class_models.json").read_text())["partial"] is True


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Name classes with --class C, or take --all of them."),
        (("--class", 1, "--all"), "Name classes with --class C, or take --all of them."),
        (("--class", 9), "No class 9: the model has 5 classes, 0 to 4."),
        (("--class", "-1"), "No class -1"),
        (("--class", "dog"), "'dog' is a name, and no labels are known"),
        (("--class", 1, "--recipe", "old"), "the recipes are paper, modern"),
        (("--class", 1, "--lambda", -1, "--rate", 0, "--scale", 9), "rate is above 0, not 0.0; l2 is 0 or more"),
        (("--class", 1, "--score", "loss"), "score is 'logit' or 'probability', not 'loss'"),
        (("--class", 1, "--size", 9), "takes images of 8 x 8, not of 9 x 9"),
        (("--class", 1, "--against", 7), "No class 7"),
        (("--neuron", 1), "name it with --layer"),
        (("--layer", "c", "--neuron", 1, "--channel", 1), "not several of them"),
        (("--layer", "c", "--class", 1), "not several of them"),
        (("--layer", "nowhere"), "nowhere"),
        (("--class", 1, "--labels", "missing.txt"), "cannot be read"),
        (("--class", 1, "--feed", "gain=1"), "no input 'gain'"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_errors_leave_nothing(net, tmp_path, command, options, message):
    out = tmp_path / "out"
    ran = command("class-model", net, *options, *FEW, "-o", out)
    assert ran.code == 2
    assert message in ran.error
    assert not out.exists()


def test_a_folder_that_cannot_be_made_is_found_before_the_work(net, tmp_path, command, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(Iteration, "step", None)  # never reached
    ran = command("class-model", net, "--class", 1, "-o", tmp_path / "file" / "out")
    assert ran.code == 2
    assert "file is a file" in ran.error


# --- export --ascent ----------------------------------------------------------------------------


def test_export_ascent(net, command):
    ran = command("export", net, "--ascent", "--recipe", "modern", "--seed", 3, "--against", 2)
    assert ran.code == 0
    path = net.parent / "net.ascent.onnx"
    assert "net.ascent.onnx" in ran.out
    assert "inputs parameters, target, key, step, mean, square, scores" in " ".join(ran.out.split())
    assert "outputs next/parameters, next/mean, next/square, next/step, next/scores, image, slope" in ran.out
    expected = xs.export_step(net, recipe="modern", seed=3, against=2)
    assert onnx.load(path).SerializeToString() == expected.SerializeToString()


def test_export_ascent_json(tmp_path, command):
    path = tmp_path / "free.onnx"
    onnx.save(small(inputs="float[N,3,H,W] image"), path)
    out = tmp_path / "step.onnx"
    ran = command("export", path, "--ascent", "--size", 12, "--preprocess", "caffe", "-o", out, "--json")
    assert ran.code == 0
    assert ran.json["ascent"] == str(out)
    assert ran.json["bytes"] == out.stat().st_size
    assert ran.json["inputs"] == ["parameters", "target", "key", "step", "mean", "square", "scores"]
    assert [dim.dim_value for dim in onnx.load(out).graph.input[0].type.tensor_type.shape.dim[1:]] == [3, 12, 12]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ascent", "--method", "guided", "--target", 1), "--method, --target: not together with --ascent"),
        (("--ascent", "--no-check"), "--check: not together with --ascent"),
        (("--recipe", "modern", "--size", 9), "--recipe, --size: with --ascent only"),
        (("--ascent", "--of", "logits", "--wrt", "image"), "--ascent: of image classifiers only"),
        (("--ascent", "--recipe", "old"), "the recipes are paper, modern"),
        (("--ascent", "--against", 9), "No class 9"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_export_ascent_errors(net, command, options, message):
    ran = command("export", net, *options)
    assert ran.code == 2
    assert message in ran.error
    assert written(net.parent) == ["net.onnx"]
