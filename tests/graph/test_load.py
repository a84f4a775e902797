"""Reading a model: every form it comes in, and everything that can be wrong with the file."""

import io

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, array, graph, images, run, small
from onnx import numpy_helper
from PIL import Image

from onnx_saliency.errors import ModelError
from onnx_saliency.graph import load, normalise


def jpeg():
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(stream, "JPEG")
    return stream.getvalue()


def refusal(source):
    with pytest.raises(ModelError) as caught:
        load(source)
    return str(caught.value)


def test_every_form_gives_the_same_model(net):
    proto = onnx.load(net)
    forms = [net, str(net), net.read_bytes(), proto, ir.from_proto(proto)]
    found = [ir.to_proto(load(form)).SerializeToString(deterministic=True) for form in forms]
    assert all(data == found[0] for data in found)


@pytest.mark.parametrize("opset", [12, 18])
@pytest.mark.parametrize("form", ["proto", "ir"])
def test_the_callers_object_is_not_changed(form, opset):
    proto = small(opset=opset)
    proto.graph.initializer.append(numpy_helper.from_array(array((3, 400)), "unused"))  # large: it goes its own way
    before = proto.SerializeToString(deterministic=True)
    source = proto if form == "proto" else ir.from_proto(proto)
    normalise(load(source))
    after = source if form == "proto" else ir.to_proto(source)
    stripped = onnx.ModelProto.FromString(before)
    if form == "ir":
        stripped = ir.to_proto(ir.from_proto(stripped))
    assert after.SerializeToString(deterministic=True) == stripped.SerializeToString(deterministic=True)


# --- external data -----------------------------------------------------------------------------


@pytest.fixture
def external(tmp_path):
    path = tmp_path / "external" / "net.onnx"
    path.parent.mkdir()
    onnx.save(small(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path


def test_external_data_are_read(external):
    found = load(external).graph.initializers["w"].const_value.numpy()
    np.testing.assert_array_equal(found, array((4, 3, 3, 3), "w"))


def test_external_data_missing(external):
    (external.parent / "net.data").unlink()
    message = refusal(external)
    assert "net.data: no such file" in message
    assert str(external) in message


@pytest.mark.parametrize("stated", [True, False], ids=["length stated", "length left out"])
def test_external_data_truncated(external, stated):
    if not stated:  # the format lets the length out: it follows from the shape
        model = onnx.load(external, load_external_data=False)
        for tensor in model.graph.initializer:
            kept = [entry for entry in tensor.external_data if entry.key != "length"]
            del tensor.external_data[:]
            tensor.external_data.extend(kept)
        external.write_bytes(model.SerializeToString())
    data = external.parent / "net.data"
    data.write_bytes(data.read_bytes()[:100])
    message = refusal(external)
    assert "net.data" in message
    assert "100 bytes" in message


def test_external_data_of_bytes_and_protos_that_are_elsewhere(external):
    assert "external data" in refusal(external.read_bytes())
    assert "external data" in refusal(onnx.load(external, load_external_data=False))


# --- weights -----------------------------------------------------------------------------------


def test_nan_weights_are_named_and_counted():
    w, v = array((4, 3, 3, 3), "w"), array((5, 4), "v")
    w[0, 0, 0, :2] = np.nan
    v[1] = np.nan
    message = refusal(small(w=w, v=v))
    assert "w: 2 of 108 values" in message
    assert "v: 4 of 20 values" in message
    assert " b:" not in message


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_nan_in_other_floats(dtype):
    model = small(" h = Cast<to = 1>(extra) again = Sub(logits, h)", outputs="float[N,5] again")
    extra = np.array([0, np.nan, 1, 1, 1], dtype)
    model.graph.initializer.append(numpy_helper.from_array(extra, "extra"))
    assert "extra: 1 of 5 values" in refusal(model)


def test_nan_in_a_constant_node():
    model = small(" k = Constant<value = float[2] {0.0, 1.0}>() ")
    model.graph.node[-1].attribute[0].t.CopyFrom(numpy_helper.from_array(np.array([np.nan, 1], np.float32)))
    assert "k: 1 of 2 values" in refusal(model)


def test_infinite_weights_are_allowed():
    mask = np.array([0, -np.inf, 0, 0, 0], np.float32)
    large = np.full(5, 3e38, np.float32)  # its sum is infinite in float32
    model = small(" m = Add(logits, mask) y = Mul(m, big)", outputs="float[N,5] y", mask=mask, big=large)
    assert "mask" in load(model).graph.initializers


# --- functions and domains ----------------------------------------------------------------------

BLOCK = '<opset_import: ["": 18], domain: "mine"> Block (x) => (y) { a = Sigmoid(x) y = Mul(x, a) }'


def test_functions_are_inlined():
    body = "q = mine.Block(image)" + CONV.replace("(image", "(q") + HEAD
    model = graph(body, domains="mine", functions=BLOCK, **CONV_WEIGHTS, **HEAD_WEIGHTS)
    made = ir.to_proto(normalise(load(model)))
    assert not made.functions
    assert {node.domain for node in made.graph.node} == {""}
    assert [entry.domain for entry in made.opset_import] == [""]
    x = {"image": images()}
    np.testing.assert_allclose(run(made, x)[0], run(model, x)[0], rtol=1e-5)


def test_an_unknown_domain_lists_every_node():
    body = CONV.replace("Sigmoid(c)", "acme.vision.FusedGelu(c)") + "g = acme.vision.BiasGelu(f, f)" + HEAD
    message = refusal(graph(body, domains="acme.vision", **CONV_WEIGHTS, **HEAD_WEIGHTS))
    assert "2 node(s)" in message
    assert "FusedGelu, domain 'acme.vision'" in message
    assert "BiasGelu" in message


def test_an_unknown_domain_inside_a_function():
    inside = BLOCK.replace('["": 18]', '["": 18, "acme.vision": 1]').replace("Sigmoid", "acme.vision.QuickGelu")
    body = "q = mine.Block(image)" + CONV.replace("(image", "(q") + HEAD
    model = graph(body, domains="mine", functions=inside, **CONV_WEIGHTS, **HEAD_WEIGHTS)
    assert "QuickGelu, domain 'acme.vision'" in refusal(model)


def test_ai_onnx_is_the_standard_domain():
    model = small()
    model.opset_import[0].domain = "ai.onnx"
    for node in model.graph.node:
        node.domain = "ai.onnx"
    assert {node.domain for node in normalise(load(model)).graph} == {""}


# --- not a model -------------------------------------------------------------------------------

RANDOM = {f"random-{seed}": np.random.default_rng(seed).bytes(1 << seed) for seed in range(14)}
OTHERS = {
    "text": b"conv1 3x3 64\nrelu\n" * 20,
    "json": b'{"model": "net", "layers": []}',
    "jpeg": jpeg(),
    "zeros": bytes(4096),
    "pickle": b"\x80\x02}q\x00(X\x05\x00\x00\x00epochq\x01K\x01u.",
    "zip": b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + bytes(50),
    "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
}


@pytest.mark.parametrize("data", [*RANDOM.values(), *OTHERS.values()], ids=[*RANDOM, *OTHERS])
def test_other_bytes(tmp_path, data):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    assert "not an ONNX" in refusal(path)
    assert f"model of {len(data)} bytes: not an ONNX" in refusal(data)


def test_empty(tmp_path):
    path = tmp_path / "model.onnx"
    path.touch()
    assert "0 bytes" in refusal(path)
    assert "0 bytes" in refusal(b"")


def test_truncated_anywhere(net):
    data = net.read_bytes()
    for length in [*range(1, 60), *range(60, len(data) - 1, 37), len(data) - 1]:
        assert "ONNX" in refusal(data[:length])


def test_damaged_anywhere():
    """A flipped byte gives a model or a ModelError, nothing else."""
    data = bytearray(small().SerializeToString())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        place, value = rng.integers(len(data)), rng.integers(1, 256)
        data[place] ^= value
        try:
            load(bytes(data))
        except ModelError:
            refused += 1
        data[place] ^= value
    assert refused > 20


def test_a_weight_shorter_than_its_shape():
    model = small()
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:40]
    assert "'w'" in refusal(model)


def test_a_sparse_weight_is_named():
    model = small()
    dense = model.graph.initializer.pop(0)
    values = numpy_helper.from_array(np.array([1.0], np.float32), "w")
    indices = numpy_helper.from_array(np.array([5], np.int64), "w_indices")
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, list(dense.dims)))
    assert "w" in refusal(model)


def test_empty_graphs():
    assert "empty" in refusal(graph("", outputs="float[N,3,8,8] image"))
    without = small()
    del without.graph.output[:]
    assert "empty" in refusal(without)


def test_no_opset():
    model = small()
    del model.opset_import[:]
    assert "no opset" in refusal(model)


def test_folder_and_missing_file(tmp_path):
    assert "is a folder" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "none.onnx")
    assert "File name too long" in refusal(tmp_path / ("long" * 100))
    assert "no such file" in refusal("bad\0name.onnx")
    below = tmp_path / "file"
    below.write_bytes(b"x")
    assert "no such file" in refusal(below / "model.onnx")


def test_unreadable_file(net, monkeypatch):
    def deny(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(net), "read_bytes", deny)
    assert "Permission denied" in refusal(net)


@pytest.mark.parametrize("source", [None, 3, 1.5, np.zeros(3), ["net.onnx"], Image.new("RGB", (2, 2))])
def test_other_objects(source):
    assert f"not {type(source).__name__}" in refusal(source)


def test_a_name_without_suffix_with_spaces_and_letters(tmp_path):
    path = tmp_path / "ein Netz für *[a] ünd 名"
    path.write_bytes(small().SerializeToString())
    assert len(load(path).graph)


def test_a_value_that_nothing_makes():
    model = small()
    model.graph.node[1].input[0] = "lost"
    message = refusal(model)
    assert "'lost'" in message
    assert "reads" in message


def test_an_output_that_nothing_makes():
    model = small()
    model.graph.output[0].name = "lost"
    assert "output 'lost'" in refusal(model)


def test_nodes_in_any_order():
    model, shuffled = small(), small()
    nodes = list(shuffled.graph.node)
    del shuffled.graph.node[:]
    shuffled.graph.node.extend(reversed(nodes))
    assert [n.op_type for n in ir.to_proto(load(shuffled)).graph.node] == [n.op_type for n in model.graph.node]


def test_a_cycle():
    model = small()
    model.graph.node[0].input[0] = "logits"
    assert "cycle" in refusal(model)
