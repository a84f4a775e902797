"""What is written, what is refused, and that nothing is left behind."""

import errno
import os
import stat
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, array, close, graph, images, run, small

import onnx_saliency as xs
from onnx_saliency.errors import ExportError, OutputError
from onnx_saliency.exporter import check
from onnx_saliency.exporter import export as room_export
from onnx_saliency.graph import normalise as normalise_room
from onnx_saliency.runtime import Session

X = {"image": images()}
ALL = {**CONV_WEIGHTS, **HEAD_WEIGHTS}


def listed(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_verb_stays_the_verb():
    """Importing the room `export/` must not put the module in the verb's place."""
    assert xs.export is room_export
    assert xs.export(small()) == xs.export(small())


def test_file_to_file(net):
    out = net.with_name("ein *neues* Netz ünd")
    assert xs.export(net, out) is None
    assert listed(net.parent) == sorted([net.name, out.name])
    assert onnx.load(out) == xs.export(onnx.load(net))


def test_bytes_and_folders_given_as_text(net):
    xs.export(net.read_bytes(), str(net.with_name("out.onnx")))
    assert onnx.load(net.with_name("out.onnx")) == xs.export(net)


def test_an_older_file_is_replaced(net):
    xs.export(net, net.with_name("out.onnx"))
    xs.export(net, net.with_name("out.onnx"), target=1)
    assert [v.name for v in onnx.load(net.with_name("out.onnx")).graph.input] == ["image"]


VERBS = {
    "export": lambda model, path: xs.export(model, path),
    "vjp": lambda model, path: xs.vjp(model, outputs=["logits"], inputs=["image"], path=path),
    "step": lambda model, path: xs.export_step(model, path),
}
each_verb = pytest.mark.parametrize("write", VERBS.values(), ids=VERBS)


@each_verb
def test_the_model_itself_is_never_replaced(net, write):
    before = net.read_bytes()
    net.with_name("link.onnx").symlink_to(net.name)
    for path in (net, net.parent / "." / net.name, net.with_name("link.onnx")):
        with pytest.raises(OutputError, match="is the model itself, which would be lost"):
            write(net, path)
    assert net.read_bytes() == before
    assert listed(net.parent) == ["link.onnx", "net.onnx"]


@each_verb
def test_only_a_regular_file_is_replaced(net, write):
    pipe = net.with_name("out.onnx")
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match=r"out\.onnx: is a device, a pipe or a socket"):
        write(net, pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert listed(net.parent) == ["net.onnx", "out.onnx"]


@each_verb
def test_a_link_stays_and_what_it_links_to_is_written(net, write):
    (net.parent / "far").mkdir()
    link = net.with_name("out.onnx")
    link.symlink_to("far/real.onnx")  # which is not there yet
    for _ in range(2):
        write(net, link)
    assert link.is_symlink()
    assert listed(net.parent) == ["far", "far/real.onnx", "net.onnx", "out.onnx"]
    onnx.checker.check_model(onnx.load(link))


# --- external data ------------------------------------------------------------------------------


@pytest.fixture
def external(tmp_path):
    path = tmp_path / "from" / "net.onnx"
    path.parent.mkdir()
    onnx.save(small(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    (tmp_path / "to").mkdir()
    return path


@each_verb
@pytest.mark.parametrize("name", ["net.data", "net"])  # of weights over 2 GB, the latter's go to net.data
def test_weights_of_the_model_are_never_replaced(external, write, name):
    with pytest.raises(OutputError, match=r"holds weights of .*net\.onnx, which would be lost"):
        write(external, external.with_name(name))
    assert listed(external.parent) == ["net.data", "net.onnx"]


def test_weights_from_external_data_come_along(external):
    out = external.parent.parent / "to" / "out.onnx"
    xs.export(external, out)
    made = xs.export(external)
    (external.parent / "net.data").unlink()
    assert listed(out.parent) == ["out.onnx"]
    for model in (str(out), made):
        close(run(model, X, ["saliency"])[0], run(xs.export(small()), X, ["saliency"])[0])


@pytest.fixture
def low_limit(monkeypatch):
    monkeypatch.setattr(sys.modules["onnx_saliency.runtime.session"], "_PROTOBUF_LIMIT", 100)


def test_a_large_model_is_written_with_external_data(tmp_path, low_limit):
    model = graph("f = Flatten(image) logits = Gemm<transB = 1>(f, v, a)", v=(5, 192), a=(5,))
    out = tmp_path / "out.onnx"
    xs.export(model, out)
    assert listed(tmp_path) == ["out.onnx", "out.onnx.data"]
    assert len(out.read_bytes()) < 4 * 5 * 192
    (found,) = run(str(out), {**X, "target": np.array([3])}, ["input_gradient"])
    close(found, np.broadcast_to(array((5, 192), "v")[3].reshape(3, 8, 8), found.shape))


def test_a_large_model_over_a_folder_of_its_datas_name(tmp_path, low_limit):
    (tmp_path / "out.onnx.data").mkdir()
    with pytest.raises(OutputError, match=r"out\.onnx\.data, where weights .* is a folder"):
        xs.export(small(), tmp_path / "out.onnx")
    assert listed(tmp_path) == ["out.onnx.data"]


# --- outputs that cannot be written --------------------------------------------------------------


def test_paths_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    for path, why in {
        "file/out.onnx": "file is a file, not a folder",
        "folder": "a folder of that name is in the way; give the name of a file",
        "missing/out.onnx": "there is no folder .*missing. Create it first",
        "missing/again/out.onnx": "there is no folder",
        "o" * 300: "File name too long",
        ".": "a folder of that name",
    }.items():
        with pytest.raises(OutputError, match=why):
            xs.export(small(), tmp_path / path)
    assert listed(tmp_path) == ["file", "folder"]
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_folder_that_is_not_writable_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputError, match="is not writable"):
        xs.export(b"never read", tmp_path / "out.onnx")


@pytest.mark.parametrize("stage", ["make", "write", "move"])
def test_a_full_or_read_only_disk(tmp_path, monkeypatch, stage):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    if stage == "make":
        monkeypatch.setattr(tempfile, "mkdtemp", fail)
    elif stage == "write":
        monkeypatch.setattr("onnx_ir.save", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match=r"out\.onnx: cannot be written: No space left on device"):
        xs.export(small(), tmp_path / "out.onnx")
    assert listed(tmp_path) == []


# --- the check ----------------------------------------------------------------------------------


def broken(change, name="v"):
    """raise_opset that changes a weight on the way, as a wrong adapter would change an operator."""
    original = normalise_room.__globals__["raise_opset"]

    def raise_opset(model):
        raised = original(model)
        value = raised.graph.initializers[name]
        value.const_value = normalise_room.__globals__["ir"].tensor(change(value.const_value.numpy()), name=name)
        return raised

    return raise_opset


@pytest.mark.parametrize("opset", [11, 18])
def test_a_wrong_conversion_is_refused(tmp_path, monkeypatch, opset):
    monkeypatch.setitem(normalise_room.__globals__, "raise_opset", broken(lambda v: v * np.float32(1.001)))
    model = small(" y = Softmax(logits)", outputs="float[N,5] y, float[N,5] logits", opset=opset)
    with pytest.raises(ExportError) as caught:
        xs.export(model, tmp_path / "out.onnx", output="y")
    message = str(caught.value)
    assert "y: relative difference" in message
    assert "logits: relative difference 0.0" in message
    assert "allowed 1e-05 (float32)" in message
    assert listed(tmp_path) == []
    xs.export(model, tmp_path / "out.onnx", output="y", check=False)
    assert listed(tmp_path) == ["out.onnx"]


def test_the_explainer_refuses_it_too(monkeypatch):
    monkeypatch.setitem(normalise_room.__globals__, "raise_opset", broken(lambda v: v * np.float32(1.001)))
    with pytest.raises(ExportError, match="logits: relative difference"):
        xs.Explainer(small(opset=11))


@pytest.mark.parametrize("method", ["gradient", "smoothgrad"])
def test_the_explainer_compares_without_running_what_was_added(monkeypatch, method):
    compared = []

    def session(model, **options):
        compared.append(model)
        return Session(model, **options)

    monkeypatch.setattr(check, "Session", session)
    xs.Explainer(small(opset=11), method=method, providers=["cpu"])
    before, after = (model.graph for model in compared)
    assert [value.name for value in after.inputs] == [value.name for value in before.inputs]
    assert [value.name for value in after.outputs] == [value.name for value in before.outputs]
    operators = [node.op_type for node in after]
    assert operators[: len(before)] == [node.op_type for node in before]
    assert not {"Loop", "Conv", "ConvTranspose"}.intersection(operators[len(before) :])
    assert method != "gradient" or len(after) == len(before)


def test_rounding_is_none(monkeypatch):
    monkeypatch.setitem(normalise_room.__globals__, "raise_opset", broken(lambda v: np.nextafter(v, np.float32(9))))
    xs.export(small(opset=11))


def test_a_net_that_amplifies_rounding_is_allowed_its_own(monkeypatch):
    """The sine of 10000 x: one rounding in the image moves the original's own scores beyond the usual limit."""
    model = graph(CONV.replace("s = Sigmoid(c)", "k = Mul(c, much) s = Sin(k)") + HEAD, **ALL, much=np.float32(1e4))
    nudge = broken(lambda v: np.nextafter(v, np.float32(9)), name="w")
    monkeypatch.setitem(normalise_room.__globals__, "raise_opset", nudge)
    (before,), (after,) = run(model, X), run(xs.export(model), X, ["logits"])
    assert np.linalg.norm(before - after) / np.linalg.norm(before) > 1e-5


def test_another_shape_of_output_is_a_difference(monkeypatch):
    monkeypatch.setitem(normalise_room.__globals__, "raise_opset", broken(lambda v: np.concatenate([v, v])))
    model = graph(
        CONV + "logits = Gemm<transB = 1>(f, v)", outputs="float[N,M] logits", v=(5, 4), opset=11, **CONV_WEIGHTS
    )
    with pytest.raises(ExportError, match="relative difference inf"):
        xs.export(model)


def test_infinite_outputs_are_compared_by_the_others(monkeypatch):
    mask = np.array([0, -np.inf, 0, np.inf, 0], np.float32)
    body = CONV + HEAD.replace("logits", "l") + " logits = Add(l, mask)"
    model = graph(body, opset=11, mask=mask, **ALL)
    xs.export(model)
    monkeypatch.setitem(normalise_room.__globals__, "raise_opset", broken(lambda v: v * np.float32(1.1)))
    with pytest.raises(ExportError, match=r"relative difference 0\.\d"):
        xs.export(model)


ONE_SIZE = "f = Flatten(image) logits = MatMul(f, v)"


@pytest.mark.parametrize(("shape", "size"), [("N,3,H,W", 32), ("N,3,H,W", 28), ("N,3,224,W", 224)])
def test_a_size_that_is_stated_open_and_is_not(shape, size):
    model = graph(ONE_SIZE, inputs=f"float[{shape}] image", v=(3 * size * size, 5), opset=11)
    made = xs.export(model)
    x = {"image": images(2, 3, size, size)}
    close(run(made, x, ["logits"])[0], run(model, x)[0])


def test_a_batch_that_is_stated_open_and_is_not():
    body = "f = Reshape(image, shape) logits = MatMul(f, v)"
    xs.export(graph(body, v=(192, 5), shape=np.array([1, 192])))


def test_a_size_that_is_not_found():
    model = graph(ONE_SIZE, inputs="float[N,3,H,W] image", v=(3 * 17 * 17, 5))
    with pytest.raises(ExportError, match=r"runs on none of the sizes tried: .*Fix the height and width"):
        xs.export(model)
    assert xs.export(model, check=False).graph.output[-2].name == "saliency"


def test_an_input_that_cannot_be_made():
    body = CONV + HEAD + " e = Equal(word, word)"
    model = graph(
        body, inputs="float[N,3,8,8] image, string[1] word", outputs="float[N,5] logits, bool[1] e", opset=19, **ALL
    )
    with pytest.raises(ExportError, match=r"'word' is a tensor\(string\).*without the check"):
        xs.export(model)
    assert xs.export(model, check=False).graph.input[1].name == "word"
