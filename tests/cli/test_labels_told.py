"""Where the class names had to be changed to fit the model, every verb says so."""

import json

import onnx
import pytest
from nets import small

NOTE = "labels: 1000 names for 1001 classes: class 0 is taken as background"
FEW = ("--method", "gradient")
VERBS = {
    "explain": (["explain"], [], "explain.json"),
    "segment": (["segment"], [], "results.json"),
    "localize": (["localize"], ["--top", "2"], "results.json"),
    "class-model": (["class-model"], ["--class", "3", "--steps", "2"], "class_models.json"),
    "compare": (["compare"], [*FEW, "--shown", "0"], "results.json"),
    "sanity": (["evaluate", "sanity"], [*FEW, "--stages", "1", "--no-independent"], "results.json"),
    "faithfulness": (["evaluate", "faithfulness"], [*FEW, "--shown", "0"], "results.json"),
    "localisation": (["evaluate", "localisation"], ["--count", "1", "--cases", "0"], "results.json"),
}


@pytest.fixture
def imagenet(tmp_path):
    """A net of 1001 classes, and 1000 names."""
    onnx.save(small(v=(1001, 4), a=(1001,), outputs="float[N,1001] logits"), tmp_path / "net.onnx")
    (tmp_path / "names.txt").write_text("\n".join(f"name {i}" for i in range(1000)))
    return tmp_path / "net.onnx", tmp_path / "names.txt"


@pytest.mark.parametrize("verb", VERBS)
def test_on_the_command_line_in_the_json_and_on_the_page(imagenet, data, picture, tmp_path, command, verb):
    words, options, written = VERBS[verb]
    model, labels = imagenet
    images = {"class-model": [], "faithfulness": [data], "localisation": [data]}.get(verb, [picture()])
    out = tmp_path / "out"
    ran = command(*words, model, *images, "-o", out, "--labels", labels, *options)
    assert ran.code == 0, ran.err
    assert NOTE in ran.err
    assert NOTE in json.loads((out / written).read_text("utf-8"))["notes"]
    assert NOTE.partition(" ")[2] in (out / "index.html").read_text("utf-8")
