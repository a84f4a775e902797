"""`inspect` and `export` from the command line."""

import re

import numpy as np
import onnx
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, close, graph, images, run, small

import onnx_saliency as xs
from onnx_saliency.backward import registry

ALL = {**CONV_WEIGHTS, **HEAD_WEIGHTS}


@pytest.fixture
def no_rule(tmp_path, monkeypatch):
    """A net of two sigmoids, and no rule for them."""
    monkeypatch.delitem(registry._RULES, "Sigmoid")
    path = tmp_path / "no-rule.onnx"
    body = CONV.replace("s = Sigmoid(c)", "[first] t = Sigmoid(c) [second] s = Sigmoid(t)")
    onnx.save(graph(body + HEAD, **ALL), path)
    return path


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


# --- inspect ------------------------------------------------------------------------------------


def test_inspect(net, command):
    ran = command("inspect", net)
    assert ran.code == 0
    text = " ".join(ran.out.split())
    for part in (
        "image float [N, 3, 8, 8] NCHW",
        "score logits",
        "classes 5",
        "opset 18",
        "not stated in the model",
        "Conv 1 1 yes",
        "can be explained",
    ):
        assert part in text
    assert ran.err == ""


def test_inspect_json(tmp_path, command):
    model = small(" y = Softmax(logits)", outputs="float[N,5] y", opset=11)
    model.metadata_props.add(key="onnx_saliency.preprocess", value=xs.Preprocess(size=8).to_json())
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    ran = command("inspect", path, "--json")
    assert ran.code == 0
    found = ran.json
    assert found["opset"] == [11, 18]
    assert (found["score"], found["activation"], found["classes"]) == ("logits", "Softmax", 5)
    assert found["shape"] == ["N", 3, 8, 8]
    assert found["preprocess"] == str(xs.Preprocess(size=8))
    assert found["explainable"] is True
    assert {operator["name"]: operator["on_path"] for operator in found["operators"]}["Softmax"] == 0


def test_inspect_names_every_node_without_a_rule(no_rule, command):
    ran = command("inspect", no_rule)
    assert ran.code == 2
    assert "none: first, second" in ran.out
    assert "cannot be explained: 2 node(s)" in ran.out
    found = command("inspect", no_rule, "--json")
    assert found.code == 2
    assert found.json["explainable"] is False


def test_inspect_a_score_that_does_not_depend_on_the_image(tmp_path, command):
    body = "s = Shape(image) f = Cast<to = 1>(s) k = Gather(f, zero) logits = Mul(v, k)"
    path = tmp_path / "net.onnx"
    onnx.save(graph(body, outputs="float[M,5] logits", v=(1, 5), zero=np.array([0])), path)
    ran = command("inspect", path)
    assert ran.code == 2
    assert "cannot be explained: The score 'logits' does not depend on the input 'image'" in ran.out


def test_inspect_a_rule_that_cannot_serve(tmp_path, command):
    """The weight of the convolution is computed from the image."""
    body = "w = ReduceMean<keepdims = 1>(image) u = Expand(w, shape) c = Conv(image, u)"
    body += " p = GlobalAveragePool(c) logits = Flatten(p)"
    path = tmp_path / "net.onnx"
    onnx.save(
        graph(body, inputs="float[1,3,8,8] image", outputs="float[1,5] logits", shape=np.array([5, 3, 3, 3])), path
    )
    ran = command("inspect", path)
    assert ran.code == 2
    assert "cannot be explained: 1 node(s)" in ran.out
    assert "its weight is not fixed" in ran.out


def test_inspect_an_explained_model(net, command):
    xs.export(net, net.with_name("out.onnx"))
    ran = command("inspect", net.with_name("out.onnx"))
    assert ran.code == 2
    assert "already an explained one" in ran.out


def test_inspect_placement(net, command):
    ran = command("inspect", net, "--providers", "cuda", "--providers", "cpu")
    assert ran.code == 0
    assert re.search(
        r"(\d+) of \1 nodes of the explained model on cuda, by the kernels of onnxruntime-gpu 1\.", ran.out
    )
    assert re.search(r"(\d+) of \1 nodes of the explained model on cpu", ran.out)


def test_inspect_names_nodes_that_go_elsewhere(tmp_path, command):
    body = (
        "c = ConvTranspose<pads = [0, 0, 1, 1]>(image, u) p = GlobalAveragePool(c) f = Flatten(p) logits = Gemm(f, g)"
    )
    path = tmp_path / "up.onnx"
    onnx.save(graph(body, u=(3, 4, 3, 3), g=(4, 5)), path)
    placement = command("inspect", path, "--providers", "cuda", "--json").json["placements"][0]
    assert [operator for operator, _, _ in placement["elsewhere"]] == ["ConvTranspose"]
    name = placement["elsewhere"][0][1]
    assert (
        f"not on cuda: ConvTranspose {name}, pads [0, 0, 1, 1]" in command("inspect", path, "--providers", "cuda").out
    )


def test_inspect_a_provider_without_a_list(net, command):
    ran = command("inspect", net, "--providers", "tensorrt")
    assert ran.code == 2
    assert "No list of the kernels of 'tensorrt' is kept" in ran.err


def test_inspect_prints_names_as_they_are(tmp_path, command):
    """Square brackets are markup to the printer, and names of values are anybody's."""
    model = small()
    model.graph.node[-1].output[0] = model.graph.output[0].name = "[/red]scores[bold]"
    path = tmp_path / "net[red].onnx"
    onnx.save(model, path)
    ran = command("inspect", path)
    assert ran.code == 0
    assert "[/red]scores[bold]" in ran.out


# --- export -------------------------------------------------------------------------------------


def test_export(net, command):
    out = net.with_name("out.onnx")
    ran = command("export", net, "-o", out)
    assert ran.code == 0
    assert str(out) in ran.out
    assert onnx.load(out) == xs.export(net)


def test_export_over_the_model_is_refused(net, command):
    before = net.read_bytes()
    ran = command("export", net, "-o", net)
    assert ran.code == 2
    assert "is the model itself, which would be lost. Choose another name." in ran.error
    assert net.read_bytes() == before


def test_export_beside_the_model(net, command):
    ran = command("export", net, "--json")
    assert ran.code == 0
    out = net.with_name("net.saliency.onnx")
    assert ran.json == {
        "model": str(net),
        "explained": str(out),
        "bytes": out.stat().st_size,
        "method": "gradient",
        "score": "logit",
    }


@pytest.mark.parametrize(("name", "expected"), [("net", "net.saliency.onnx"), ("net.v2.onnx", "net.v2.saliency.onnx")])
def test_export_of_other_names(tmp_path, command, name, expected):
    onnx.save(small(), tmp_path / name, format="protobuf")
    assert command("export", tmp_path / name).code == 0
    assert listed(tmp_path) == sorted([name, expected])


@pytest.mark.parametrize("folder", ["a*b", "with space", "ünïcode 名", "[x]", "[", "-dash", "$HOME;'\""])
def test_export_to_any_name(net, command, folder):
    out = net.parent / folder / "[" / "].onnx"  # markup too: [/]
    out.parent.mkdir(parents=True)
    ran = command("export", net, "-o", out)
    assert ran.code == 0
    assert str(out) in ran.out
    assert listed(out.parent) == ["].onnx"]


def test_export_options(net, command):
    out = net.with_name("out.onnx")
    assert command("export", net, "-o", out, "--target", 3).code == 0
    assert [v.name for v in onnx.load(out).graph.input] == ["image"]
    assert command("export", net, "-o", out, "--require-target").code == 0
    assert "target" not in [v.name for v in onnx.load(out).graph.initializer]
    assert command("export", net, "-o", out, "--no-check", "--score", "probability").code == 0
    assert {p.key: p.value for p in onnx.load(out).metadata_props}["onnx_saliency.score"] == "probability"


def test_export_records_the_preprocessing_for_the_models_size(net, command):
    out = net.with_name("out.onnx")
    assert command("export", net, "-o", out, "--preprocess", "imagenet").code == 0
    text = {p.key: p.value for p in onnx.load(out).metadata_props}["onnx_saliency.preprocess"]
    assert xs.Preprocess.from_json(text) == xs.preset("imagenet", (8, 8))


REFUSED = {
    "target beyond the last": (["--target", 5], "No class 5: the model has 5 classes, 0 to 4"),
    "a target against itself": (["--target", 3, "--against", 3], "A class less itself explains nothing: 3 is both"),
    "both targets": (["--target", 1, "--require-target"], "--target or --require-target, not both"),
    "score": (["--score", "odds"], "logit or probability, not 'odds'"),
    "method": (["--method", "magic"], "No method 'magic'"),
    "preset": (["--preprocess", "imagnet"], "did you mean 'imagenet'"),
    "input": (["--input", "picture"], "no input 'picture'; it has 'image'"),
    "output": (["--output", "scores"], "no output 'scores'; it has 'logits'"),
}


@pytest.mark.parametrize(("options", "why"), REFUSED.values(), ids=REFUSED)
def test_export_refuses(net, command, options, why):
    ran = command("export", net, "-o", net.with_name("out.onnx"), *options)
    assert ran.code == 2
    assert why in ran.error
    assert listed(net.parent) == ["net.onnx"]


@pytest.mark.parametrize("verb", ["export", "inspect", "explain"])
def test_no_rule(no_rule, command, verb, picture):
    arguments = {"export": ["-o", no_rule.with_name("out.onnx")], "inspect": [], "explain": [picture("pictures/a.png")]}
    ran = command(verb, no_rule, *arguments[verb], *(["-o", no_rule.parent / "out"] if verb == "explain" else []))
    assert ran.code == 2
    if verb != "inspect":
        assert re.search(r"2 node\(s\) .*no backward rule: node 'first': Sigmoid, opset 18 node 'second'", ran.error)
    assert not {"out", "out.onnx"} & set(listed(no_rule.parent))


def test_an_explained_model_runs(net, command):
    out = net.with_name("out.onnx")
    command("export", net, "-o", out)
    saliency, gradient = run(str(out), {"image": images()}, ["saliency", "input_gradient"])
    close(saliency, np.abs(gradient).max(axis=1))


@pytest.mark.parametrize("model", [".", "/", ".."])
def test_a_folder_in_place_of_the_model(command, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = command("export", model)
    assert ran.code == 2
    assert "folder" in ran.error
    assert listed(tmp_path) == []


def test_export_for_a_device(net, tmp_path, command):
    portable, cpu = (tmp_path / f"{profile}.onnx" for profile in ("portable", "cpu"))
    for path in (portable, cpu):
        assert command("export", net, "--profile", path.stem, "-o", path).code == 0
    found = [run(onnx.load(path), {"image": images()}, ["saliency"])[0] for path in (portable, cpu)]
    close(*found)
    ran = command("export", net, "--profile", "gpu", "-o", tmp_path / "gpu.onnx")
    assert ran.code == 2
    assert all(f"'{profile}'" in ran.err for profile in ("gpu", "portable", "cpu", "cuda"))
    assert not (tmp_path / "gpu.onnx").exists()
