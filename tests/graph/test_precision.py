"""Half-precision models: computed in float32, their inputs, outputs and weights as they were."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from nets import array, close, graph, run

import onnx_saliency as xs
from onnx_saliency.graph import load, normalise

BODY = """
    c = Conv<pads = [1, 1, 1, 1]>(image, w)
    h = Cast<to = {half}>(c)
    r = Relu(h)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    g = Gemm<transB = 1>(f, v, a)
    {tail}
"""
TAIL = {
    "plain": "logits = Identity(g)",
    "softmax": "logits = Softmax(g)",
    "branch": """m = ReduceMax<keepdims = 0>(g) z = Constant<value_float = 0.0>() q = Cast<to = 1>(m) k = Greater(q, z)
        logits = If(k) <then_branch = t () => ({kind}[N, 5] y) {{ y = Mul(g, g) }},
                        else_branch = e () => ({kind}[N, 5] y2) {{ y2 = Neg(g) }}>""",
}
KINDS = {"float16": (10, ir.DataType.FLOAT16), "bfloat16": (16, ir.DataType.BFLOAT16), "float": (1, ir.DataType.FLOAT)}
SHAPES = {"w": (64, 3, 3, 3), "v": (5, 64), "a": (5,)}


def net(kind, tail="plain"):
    """The same numbers in any precision: all are exact in bfloat16."""
    number, dtype = KINDS[kind]
    body = BODY.format(half=number, tail=TAIL[tail].format(kind=kind))
    model = graph(body, inputs=f"{kind}[N,3,8,8] image", outputs=f"{kind}[N,5] logits")
    for name, shape in SHAPES.items():
        exact = array(shape, name).astype(KINDS["bfloat16"][1].numpy()).astype(np.float32)
        model.graph.initializer.append(ir.to_proto(ir.tensor(exact.astype(dtype.numpy()), name=name)))
    return model


def picture(dtype=np.float32):
    return np.round(np.random.default_rng(0).standard_normal((2, 3, 8, 8)) * 8).astype(dtype) / dtype(8)


@pytest.mark.parametrize("tail", TAIL)
def test_the_gradient_is_that_of_the_float32_twin(tail):
    half, single = xs.export(net("float16", tail), check=False), xs.export(net("float", tail), check=False)
    names = ["saliency", "input_gradient"]
    expected = run(single, {"image": picture(), "target": np.array([1])}, names)
    actual = run(half, {"image": picture(np.float16), "target": np.array([1])}, names)
    for e, a in zip(expected, actual, strict=True):
        assert np.abs(e).max() > 1e-4
        close(a, e)


@pytest.mark.parametrize("tail", TAIL)
def test_outputs_equal_the_originals_to_their_own_rounding(tail):
    model = net("float16", tail)
    explained = xs.export(model)
    (expected,) = run(model, {"image": picture(np.float16)})
    (actual,) = run(explained, {"image": picture(np.float16)}, ["logits"])
    assert actual.dtype == np.float16
    close(actual.astype(np.float32), expected.astype(np.float32), 5e-3)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_types_of_inputs_outputs_and_stored_weights_stay(kind):
    explained = xs.export(net(kind), check=False)
    onnx.checker.check_model(explained, full_check=True)
    types = {
        value.name: value.type.tensor_type.elem_type for value in [*explained.graph.input, *explained.graph.output]
    }
    assert types["image"] == types["logits"] == KINDS[kind][0]
    assert types["saliency"] == types["input_gradient"] == onnx.TensorProto.FLOAT
    stored = {tensor.name: tensor.data_type for tensor in explained.graph.initializer}
    assert stored["w"] == KINDS[kind][0]


def test_nothing_computes_in_half_precision():
    model = normalise(load(net("float16", "branch")))
    inside = [value for node in model.graph.all_nodes() for value in node.outputs if not value.is_graph_output()]
    assert {value.dtype for value in inside} <= {ir.DataType.FLOAT, ir.DataType.BOOL}


def test_single_and_double_precision_are_left_alone():
    model = normalise(load(net("float")))
    assert [node.op_type for node in model.graph].count("Cast") == 1
