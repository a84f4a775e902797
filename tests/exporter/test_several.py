"""Several classes at once: the numbers of one after the other, where the graph keeps images apart; else a loop."""

import numpy as np
import onnx
import pytest
from nets import close, graph, images, run
from onnx.reference import ReferenceEvaluator

import onnx_saliency as xs
from onnx_saliency.exporter import explained

WEIGHTS = {
    "w": (4, 3, 3, 3),
    "b": (4,),
    "w2": (4, 4, 3, 3),
    "b2": (4,),
    "v": (5, 8),
    "a": (5,),
    "big": (5, 128),
    "minus": np.array([-1]),
    "first": np.array(0),
    "axis": np.array([0]),
    "one": np.array([1]),
    "q": (4, 4),
    "scale": np.abs(np.random.default_rng(0).standard_normal(4)).astype(np.float32),
}
BLOCK = """
    c = Conv<pads = [1, 1, 1, 1]>(image, w, b)
    r = Relu(c)
    p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
    d = Conv<pads = [1, 1, 1, 1]>(p, w2, b2)
    n = BatchNormalization(d, scale, b, b2, scale)
    s = Add(n, p)
    k = LeakyRelu<alpha = 0.1>(s)
    t = Concat<axis = 1>(k, p)
"""
HEAD = "logits = Gemm<transB = 1>(f, v, a)"
CONV = f"{BLOCK} g = GlobalAveragePool(t) f = Flatten(g) {HEAD}"
RESHAPED = f"""
    {BLOCK.replace("t =", "u =")}
    t = LRN<size = 3>(u)
    h = Shape(t)
    i = Gather(h, first)
    j = Unsqueeze(i, axis)
    z = Concat<axis = 0>(j, minus)
    f = Reshape(t, z)
    logits = Gemm<transB = 1>(f, big, a)
"""
TOKENS = f"""
    c = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(image, w, b)
    r = Relu(c)
    h = Shape<start = 0, end = 2>(r)
    z = Concat<axis = 0>(h, minus)
    e = Reshape(r, z)
    t = Transpose<perm = [2, 0, 1]>(e)
    x = MatMul(t, q)
    o = Transpose<perm = [1, 0, 2]>(x)
    o2 = Transpose<perm = [1, 2, 0]>(x)
    u = MatMul(o, o2)
    s = Softmax(u)
    y = MatMul(s, o)
    m = ReduceMean<keepdims = 0>(y, one)
    f = Concat<axis = 1>(m, m)
    {HEAD}
"""
NETS = {
    "conv": (CONV, "float[N,3,8,8] image", "float[N,5] logits", True),
    "open sizes": (CONV, "float[N,3,H,W] image", "float[N,5] logits", True),
    "reshaped by its shape": (RESHAPED, "float[N,3,8,8] image", "float[N,5] logits", True),
    "behind an Identity": (
        f"{CONV.replace('logits', 'l')} logits = Identity(l)",
        "float[N,3,8,8] image",
        "float[N,5] logits",
        True,
    ),
    "tokens before images": (TOKENS, "float[N,3,8,8] image", "float[N,5] logits", False),
    "one image": (CONV, "float[1,3,8,8] image", "float[1,5] logits", False),
    "three images": (CONV, "float[3,3,8,8] image", "float[3,5] logits", False),
    "no name": (CONV, "float[?,3,8,8] image", "float[?,5] logits", False),
}
METHODS = ("gradient", "guided", "deconvnet", "gradcam")


def net(name):
    body, inputs, outputs, _ = NETS[name]
    used = {key: value for key, value in WEIGHTS.items() if key in body}
    return graph(body, inputs=inputs, outputs=outputs, **used)


def loops(model):
    return sum(node.op_type == "Loop" for node in model.graph.node)


def in_turn(monkeypatch, model, **options):
    with monkeypatch.context() as patch:
        patch.setattr(explained, "explain_at_once", lambda *args: {})
        return xs.export(model, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("several", [1, 3, 5])
def test_it_is_the_loop_and_each_class_alone(name, method, several, monkeypatch):
    model, at_once = net(name), NETS[name][-1]
    options = {"method": method, "several": several, "check": False}
    made = xs.export(model, **options)
    assert loops(made) == (not at_once)
    slow, alone = in_turn(monkeypatch, model, **options), xs.export(model, method=method, check=False)
    assert loops(slow) == 1
    wanted = [value.name for value in made.graph.output]
    assert wanted == [value.name for value in slow.graph.output]
    for count in {"one image": (1,), "three images": (3,)}.get(name, (1, 3)):
        x = images(count, 3, 8, 8, seed=count)
        for feeds in ({}, {"target": np.arange(count * several).reshape(count, several) * 2 % 5}):
            found, expected = (run(each, {"image": x, **feeds}, wanted) for each in (made, slow))
            for one, other in zip(found, expected, strict=True):
                close(one, other, 1e-5)
        for k in range(several):
            expected = run(alone, {"image": x, "target": feeds["target"][:, k]}, wanted)
            for one, other in zip(found[1:], expected[1:], strict=True):
                close(one.reshape(count, several, *one.shape[1:])[:, k], other, 1e-5)


@pytest.mark.parametrize("name", NETS)
def test_the_file_is_standard_and_the_same_twice(name):
    made = xs.export(net(name), several=3)
    onnx.checker.check_model(made, full_check=True)
    assert {entry.domain for entry in made.opset_import} == {""}
    assert made.SerializeToString() == xs.export(net(name), several=3).SerializeToString()


def test_the_reference_evaluator_gives_the_same():
    made, x, wanted = xs.export(net("conv"), several=3), images(2, 3, 8, 8), ["logits", "saliency", "input_gradient"]
    expected = ReferenceEvaluator(made).run(wanted, {"image": x})
    for one, other in zip(run(made, {"image": x}, wanted), expected, strict=True):
        close(one, other, 1e-4)


def test_lengths_of_one_name_are_equal():
    """A runtime shares memory between them."""
    made = xs.export(net("conv"), several=3)
    values = {value.name: value for value in (*made.graph.value_info, *made.graph.output)}
    shapes = {
        name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim] for name, value in values.items()
    }
    found = ReferenceEvaluator(_tapped(made, shapes)).run(list(shapes), {"image": images(2, 3, 8, 8)})
    assert {"N", "N*3"} <= {dims[0] for dims in shapes.values() if dims}
    for (name, dims), value in zip(shapes.items(), found, strict=True):
        known = {"N": 2, "N*3": 6}
        for dim, length in zip(dims, value.shape, strict=True):
            assert known.setdefault(dim, length) == length if dim in ("N", "N*3") else dim in (length, dim), name


def _tapped(model, names):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    known = {value.name for value in copy.graph.output}
    copy.graph.output.extend(
        value for value in copy.graph.value_info if value.name in names and value.name not in known
    )
    return copy


@pytest.mark.filterwarnings("ignore::onnx_saliency.errors.MethodWarning")
@pytest.mark.parametrize("method", [xs.SmoothGrad(2), xs.IntegratedGradients(3), xs.TenCrop()])
def test_methods_of_many_passes_explain_in_turn(method):
    assert "saliency/targets" in {
        attribute.g.name
        for node in xs.export(net("conv"), method=method, several=2).graph.node
        for attribute in node.attribute
    }


def test_many_classes_explain_in_turn():
    body = CONV.replace("v, a", "v12, a12")
    weights = {key: value for key, value in WEIGHTS.items() if key not in ("v", "a")}
    model = graph(body, outputs="float[N,12] logits", v12=(12, 8), a12=(12,), **weights)
    assert [loops(xs.export(model, several=k)) for k in (10, 11)] == [0, 1]


def test_a_refused_attempt_leaves_nothing_behind(monkeypatch):
    """Tile's rule reads how often, here from the batch's own shape."""
    body = (
        BLOCK
        + """
        h = Shape<start = 0, end = 1>(t)
        i = Div(h, h)
        j = Concat<axis = 0>(i, i, i, i)
        u = Tile(t, j)
        y = Reshape(u, back)
        g = GlobalAveragePool(y)
        f = Flatten(g)
        """
        + HEAD
    )
    model = graph(body, back=np.array([0, 8, 4, 4]), **WEIGHTS)
    made, slow = xs.export(model, several=3), in_turn(monkeypatch, model, several=3)
    assert loops(made) == 1
    assert len(made.graph.node) == len(slow.graph.node)
    assert len(made.graph.initializer) == len(slow.graph.initializer)
    for one, other in zip(run(made, {"image": images()}), run(slow, {"image": images()}), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_cosine_explains_in_turn():
    made = xs.export(net("conv"), score=xs.Cosine(), several=1)
    assert loops(made) == 1


@pytest.mark.parametrize("against", [None, 2])
def test_against_another_class(against):
    x, model = images(3, 3, 8, 8), net("conv")
    alone = xs.Explainer(model, providers=["cpu"])
    found = xs.Explainer(model, several=2, providers=["cpu"]).explain(x, [0, 4], against=against)
    for row in range(6):
        expected = alone.explain(x[row // 2], [0, 4][row % 2], against=against)
        close(found.gradient[row], expected.gradient[0], 1e-5)
        np.testing.assert_allclose(found.score[row], expected.score[0], rtol=1e-4)
    made = xs.export(model, several=2, against=1)
    assert not loops(made)
    close(
        run(made, {"image": x, "target": np.array([[0, 4]])}, ["input_gradient"])[0][1::2],
        xs.Explainer(model, providers=["cpu"]).explain(x, 4, against=1).gradient,
    )


def test_a_channel_and_a_neuron():
    for score in (xs.Channel("n"), xs.Neuron("n"), xs.Neuron("n", (1, 2))):
        x = images(2, 3, 8, 8)
        several = xs.Explainer(net("conv"), score=score, several=2, providers=["cpu"]).explain(x, [3, 1])
        for k, target in enumerate((3, 1)):
            alone = xs.Explainer(net("conv"), score=score, providers=["cpu"]).explain(x, target)
            close(several.gradient[k::2], alone.gradient, 1e-5)
