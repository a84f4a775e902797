"""The reverse walk over graphs of several nodes: what is added, what is left out, what is refused."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from onnx_saliency.backward import Policy, Tape, Tensor, backward, check_rules, find_path, op, registry
from onnx_saliency.errors import UnsupportedOperatorError
from onnx_saliency.graph import normalise

from .harness import (
    NEWEST,
    Row,
    Variant,
    assert_close,
    differentiate,
    forward_model,
    normal,
    parse,
    positive,
    run,
    scalar,
)

OPSETS = pytest.mark.parametrize("opset", [18, NEWEST])


def gradients(model, wrt, feeds, v=None, dtype=np.float64):
    """Run `model` with cotangents `v` (ones) and return the outputs and the gradient of each of `wrt`."""
    differentiated, reached = differentiate(model, wrt, dtype)
    assert all(reached)
    v = v or [np.ones_like(y, dtype) for y in run(model, feeds).values()]
    found = run(differentiated, feeds | {f"v{index}": each for index, each in enumerate(v)})
    return found, [found[f"d_{name}"] for name in wrt]


# --- sums over the ways ------------------------------------------------------------------------

SEVERAL_WAYS = {  # body, dy/dx of y for v = 1
    "twice in one node": ("y = Mul(x, x)", lambda x: 2 * x),
    "thrice in one node": ("y = Sum(x, x, x)", lambda x: 3 + 0 * x),
    "tie with itself": ("y = Max(x, x)", lambda x: 1 + 0 * x),
    "diamond": ("a = Exp(x) b = Tanh(a) y = Mul(a, b)", lambda x: _diamond(x)),
    "skip": ("a = Exp(x) y = Add(a, x)", lambda x: np.exp(x) + 1),
    "skip of a skip": ("a = Mul(x, x) b = Add(a, x) c = Mul(b, x) y = Add(c, b)", lambda x: 3 * x**2 + 4 * x + 1),
    "a detour that carries nothing": ("s = Sign(x) a = Mul(x, s) y = Add(a, x)", lambda x: np.sign(x) + 1),
    "divided by its sum": ("s = ReduceSum<keepdims = 0>(x) y = Div(x, s)", lambda x: 0 * x),
    "both operands of a product": ("t = Transpose(x) m = MatMul(t, x) y = ReduceSum(m)", lambda x: _gram(x)),
    "joined with itself": ("c = Concat<axis = 0>(x, x) e = Exp(c) y = ReduceSum(e)", lambda x: 2 * np.exp(x)),
}


def _diamond(x):
    a = np.exp(x)
    return (np.tanh(a) + a * (1 - np.tanh(a) ** 2)) * a


def _gram(x):
    return 2 * x.sum(axis=1, keepdims=True) + 0 * x


@OPSETS
@pytest.mark.parametrize("shape", ["[2, 3]", "[N, 3]", "[N, N]", "[]"])  # [] leaves the number of axes open
@pytest.mark.parametrize("name", SEVERAL_WAYS)
def test_what_comes_on_several_ways_is_added(name, shape, opset):
    body, derivative = SEVERAL_WAYS[name]
    if shape == "[]" and not any(operator in body for operator in ("Reduce", "Concat")):
        x = positive(2, 1, 3)
    else:
        shape, x = {"[]": ("[N, M]", positive(2, 3)), "[N, N]": (shape, positive(3, 3))}.get(
            shape, (shape, positive(2, 3))
        )
    _, (dx,) = gradients(parse(f"(double{shape} x) => (double[] y)", body, opset), ["x"], {"x": x})
    assert_close(dx, derivative(x), 1e-9, name)


@OPSETS
def test_an_open_dimension_of_one_name_may_still_be_one(opset):
    """x [N, 3] + m [N, 1] * b [M, 3]: with N = M = 1 and with N = 2, M = 1, b is stretched and m always is."""
    body = "m = ReduceMean(x, last) p = Mul(m, b) y = Add(x, p)"
    model = parse("(double[N, 3] x, double[M, 3] b) => (double[K, 3] y) <int64[1] last = {1}>", body, opset)
    for n, m in [(1, 1), (2, 1), (2, 2), (1, 2)]:
        x, b, v = normal(n, 3), normal(m, 3), normal(max(n, m), 3)
        _, (dx, db) = gradients(model, ["x", "b"], {"x": x, "b": b}, [v])
        along = (v * b).sum(axis=1, keepdims=True) / 3 + v
        assert_close(dx, along.sum(axis=0, keepdims=True) if n < m else along, 1e-9, "dx")
        stretched = v * x.mean(axis=1, keepdims=True)
        assert_close(db, stretched.sum(axis=0, keepdims=True) if m < n else stretched, 1e-9, "db")


# --- which values ------------------------------------------------------------------------------


@OPSETS
def test_a_hidden_value_and_the_input_together(opset):
    model = parse("(double[2] x) => (double[2] y)", "h = Exp(x) s = Mul(h, h) y = Mul(s, x)", opset)
    x = normal(2)
    _, (dx, dh) = gradients(model, ["x", "h"], {"x": x})
    h = np.exp(x)
    assert_close(dh, 2 * h * x, 1e-9, "dh")
    assert_close(dx, 2 * h * x * h + h**2, 1e-9, "dx")


def test_seeds_of_several_outputs_add_up_also_where_one_feeds_the_other():
    model = parse("(double[2] x) => (double[2] h, double[2] y)", "h = Exp(x) y = Mul(h, h)")
    x, v, w = normal(2), normal(2), normal(2)
    _, (dx,) = gradients(model, ["x"], {"x": x}, [v, w])
    assert_close(dx, (v + w * 2 * np.exp(x)) * np.exp(x), 1e-9, "dx")


def test_an_output_differentiated_for_itself_gives_its_seed():
    model = parse("(double[2] x) => (double[2] y)", "y = Exp(x)")
    v = normal(2)
    _, (dy,) = gradients(model, ["y"], {"x": normal(2)}, [v])
    assert_close(dy, v, 0, "dy")


@pytest.mark.parametrize(
    "body", ["y = Exp(b)", "s = Shape(x) t = Cast<to = 11>(s) y = Add(t, b)", "s = Sign(x) y = Mul(s, b)"]
)
def test_what_no_output_depends_on_has_no_gradient(body):
    model = parse("(double[2] x, double[1] b) => (double[M] y)", body)
    _, reached = differentiate(model, ["x", "b"], np.float64)
    assert reached == [False, True]


def test_nodes_off_the_path_need_no_rule(without_some_rules):
    body = "d = Sqrt(m) s = Erf(x) t = Abs(b) y = Mul(b, d)"
    model = parse("(double[1] x, double[1] m, double[1] b) => (double[1] y)", body)
    _, reached = differentiate(model, ["b"], np.float64)
    assert reached == [True]


# --- types -------------------------------------------------------------------------------------


@OPSETS
def test_a_half_precision_model_is_differentiated_in_single_precision(opset):
    w = (normal(3, 2, 3, 3) / 8).astype(np.float16)
    body = "c = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, w) r = Relu(c) g = GlobalAveragePool(r) y = Flatten(g)"
    model = parse("(float16[N, 2, H, W] x) => (float16[N, 3] y)", body, opset)
    model.graph.initializer.append(numpy_helper.from_array(w, "w"))
    wide = parse("(float[N, 2, H, W] x) => (float[N, 3] y)", body, opset)
    wide.graph.initializer.append(numpy_helper.from_array(w.astype(np.float32), "w"))
    x, v = normal(2, 2, 6, 5).astype(np.float16), (normal(2, 3) * 1e-7).astype(np.float32)
    _, (dx,) = gradients(model, ["x"], {"x": x}, [v], np.float32)
    _, (expected,) = gradients(wide, ["x"], {"x": x.astype(np.float32)}, [v], np.float32)
    assert dx.dtype == np.float32
    assert np.abs(expected).max() < 6e-8  # the smallest positive half: a backward pass in half would give zeros
    np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("opset", [9, 11, 13])
def test_an_older_model_is_raised_first(opset):
    """At opset 9 Clip and Pad have attributes; before 13 Squeeze does, and Softmax flattens."""
    limits = {9: "Clip<min = -0.5, max = 0.5>(p)"}.get(opset, "Clip(p, low, high)")
    padded = {9: "Pad<pads = [0, 1, 0, 2]>(x)"}.get(opset, "Pad(x, pads)")
    body = f"p = {padded} c = {limits} y = Softmax<axis = 1>(c)"
    model = parse(
        "(float[2, 3] x) => (float[2, 6] y) <float low = {-0.5}, float high = {0.5}, int64[4] pads = {0, 1, 0, 2}>",
        body,
        opset,
    )
    x, v = np.array([[0.3, -0.7, 0.1], [0.9, 0.2, -0.4]], np.float32), normal(2, 6).astype(np.float32)
    found, (dx,) = gradients(model, ["x"], {"x": x}, [v], np.float32)
    y = found["y"]
    inner = (y * (v - (v * y).sum(axis=1, keepdims=True)))[:, 1:4]
    assert_close(dx, np.where(np.abs(x) < 0.5, inner, 0), 1e-5, "dx")


# --- policies ----------------------------------------------------------------------------------


def test_a_policy_replaces_the_rules_of_rectifiers_and_no_others():
    model = normalise(ir.from_proto(parse("(double[2] x) => (double[2] y)", "r = Relu(x) y = Exp(r)")))
    tape, asked = Tape("p/", ir.DataType.DOUBLE), []

    def loud(gradient):
        def rule(n, dy):
            asked.append(n.node.op_type)
            return dy * 2

        return rule

    seed = Tensor(tape, ir.Value(name="v", shape=ir.Shape([2]), type=ir.TensorType(ir.DataType.DOUBLE)))
    backward(model.graph, tape, {model.graph.outputs[0]: seed}, list(model.graph.inputs), Policy("loud", loud))
    assert asked == ["Relu"]
    assert [node.op_type for node in tape.nodes] == ["Mul", "Mul"]


# --- refusals ----------------------------------------------------------------------------------


@pytest.fixture
def without_some_rules(monkeypatch):
    """As if nobody had written the rules of Abs, Erf and Sqrt."""
    for name in ("Abs", "Erf", "Sqrt"):
        monkeypatch.delitem(registry._RULES, name)


def test_all_operators_without_a_rule_are_named_at_once(without_some_rules):
    body = "a = Abs(x) b = Erf(a) c = Exp(b) d = Sqrt(c) y = Add(d, d)"
    model = parse("(double[2, 2] x) => (double y)", body, 18)
    with pytest.raises(UnsupportedOperatorError) as error:
        differentiate(model, ["x"], np.float64)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("3 node(s)")
    for line, output, name in zip(lines[1:], "abd", ("Abs", "Erf", "Sqrt"), strict=False):
        assert line.startswith(f"  node 'make_{output}': {name}, opset 18")
    assert "Exp," not in str(error.value)


def test_a_node_without_a_name_is_named_by_its_output(without_some_rules):
    model = parse("(double[2, 2] x) => (double[2, 2] y)", "y = Erf(x)", 18)
    model.graph.node[0].name = ""
    graph = ir.from_proto(model).graph
    with pytest.raises(UnsupportedOperatorError, match="node 'y': Erf, opset 18"):
        check_rules(find_path(graph, graph.outputs, graph.inputs))


def test_an_operator_of_another_domain_has_no_rule_of_its_namesake():
    model = parse("(float[2, 2] x) => (float[2, 2] y)", "y = Exp(x)", 18)
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 3))
    graph = ir.from_proto(model).graph
    with pytest.raises(UnsupportedOperatorError, match=r"'make_y': com\.example::Exp, opset 3"):
        check_rules(find_path(graph, graph.outputs, graph.inputs))


REFUSED = [
    (Row("Conv", [normal(1, 2, 5), normal(3, 2, 3)], wrt=[0, 1]), "its weight is not fixed"),
    (Row("ConvTranspose", [normal(1, 2, 5), normal(2, 3, 3)], wrt=[1]), "its weight is not fixed"),
    (Row("ConvTranspose", [normal(1, 2, 5), normal(2, 3, 3)], {"output_shape": [9], "strides": [2]}), "output_shape"),
    (
        Row("BatchNormalization", [normal(2, 3), *(positive(3) for _ in range(4))], {"training_mode": 1}, outputs=3),
        "training mode",
    ),
    (Row("Dropout", [normal(2, 3), scalar(0.5), np.array(True)]), "training mode"),
    (Row("Dropout", [normal(2, 3), scalar(0.5), np.array(False)], fed=[2]), "training mode, or an input decides"),
    (Row("LayerNormalization", [normal(2, 3), normal(3)], outputs=2, seeds=[1]), "outputs Mean or InvStdDev"),
    (
        Row("Resize", [normal(1, 1, 4, 4), None, None, np.array([6, 9])],
            {"keep_aspect_ratio_policy": "not_larger", "axes": [2, 3]}),
        "keep_aspect_ratio_policy",
    ),
    (
        Row("Resize", [normal(1, 1, 4, 4), normal(8), None, np.array([1, 1, 6, 9])],
            {"coordinate_transformation_mode": "tf_crop_and_resize"}, wrt=[0, 1]),
        "its region or its scales are computed",
    ),
]  # fmt: skip


@OPSETS
@pytest.mark.parametrize(("row", "why"), REFUSED, ids=lambda value: str(value))
def test_what_a_rule_cannot_serve_is_refused_with_the_reason(row, why, opset):
    with pytest.raises(UnsupportedOperatorError, match=rf"node 'node': {row.op}, opset {opset}: .*{why}"):
        differentiate(forward_model(row, Variant(opset, "no")), [f"x{i}" for i in row.wrt], row.dtype)


def test_a_kernel_of_unknown_shape_is_refused():
    body = "y = Conv<strides = [2]>(x, w)"
    with pytest.raises(UnsupportedOperatorError, match="the shape of its kernel is not known"):
        differentiate(parse("(float[1, 2, 8] x, float[3, 2, K] w) => (float[1, 3, L] y)", body), ["x"], np.float32)


def test_an_unknown_number_of_axes_is_refused():
    body = "r = Reshape(x, shape) m = ReduceMax(r) y = Mul(m, m)"
    with pytest.raises(UnsupportedOperatorError, match=r"'make_m': ReduceMax, .*number of axes of 'r' is not known"):
        differentiate(parse("(float[2, 3] x, int64[K] shape) => (float[] y)", body), ["x"], np.float32)


def test_axes_that_may_be_none_or_all_are_refused():
    model = parse("(float[2, 3] x, int64[K] axes) => (float[] y)", "y = ReduceMean(x, axes)")
    with pytest.raises(UnsupportedOperatorError, match=r"'make_y': ReduceMean, .*its axes are an input of open length"):
        differentiate(model, ["x"], np.float32)


def test_all_refusals_are_named_at_once():
    body = "a = Conv(x, w) b = Conv(a, w) y = Add(a, b)"
    model = parse("(float[1, 2, 8] x, float[2, 2, 1] w) => (float[1, 2, 8] y)", body)
    with pytest.raises(UnsupportedOperatorError) as error:
        differentiate(model, ["x", "w"], np.float32)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("2 node(s)")
    assert [line.split()[1] for line in lines[1:]] == ["'make_b':", "'make_a':"]


def test_writing_on_the_tape_is_readable():
    """Names say which forward node a backward node belongs to; equal constants are one initializer."""
    model = normalise(ir.from_proto(parse("(float[2] x) => (float[2] y)", "a = Tanh(x) y = Tanh(a)")))
    tape = Tape("saliency/")
    seed = Tensor(tape, ir.Value(name="v", shape=ir.Shape([2]), type=ir.TensorType(ir.DataType.FLOAT)))
    backward(model.graph, tape, {model.graph.outputs[0]: seed}, list(model.graph.inputs))
    assert [node.name.rsplit("_", 1)[0] for node in tape.nodes] == [
        f"saliency/make_{output}/{name}" for output in "ya" for name in ("Mul", "Sub", "Mul")
    ]
    assert len(tape.constants) == 1
    assert op.Add(seed, 1.0).dtype == ir.DataType.FLOAT
