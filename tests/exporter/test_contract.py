"""The exported model, promise by promise."""

from importlib.metadata import version

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, array, close, differences, graph, images, run, small
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

import onnx_saliency as xs
from onnx_saliency.errors import ExportError, ModelError, SaliencyError, TargetError

ALL = {**CONV_WEIGHTS, **HEAD_WEIGHTS}
X = images()
NEW = ["saliency", "input_gradient"]


def names(values):
    return [value.name for value in values]


def shape(value):
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def metadata(model):
    prefix = "onnx_saliency."
    return {p.key.removeprefix(prefix): p.value for p in model.metadata_props if p.key.startswith(prefix)}


def gradient(model, x=X, **feeds):
    saliency, found = run(model, {"image": x, **feeds}, NEW)
    close(saliency, np.abs(found).max(axis=1))
    assert saliency.dtype == np.float32
    return found


def target(*classes):
    return {"target": np.array(classes, np.int64)}


# --- inputs and outputs -------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [9, 12, 17, 18, 21])
def test_the_models_own_come_first_and_stay(opset):
    inputs = "float[N,5] shift, float[N,3,8,8] image, float[5] scale"
    body = CONV + HEAD.replace("logits", "l") + " m = Mul(l, scale) z = Add(m, shift) y = Softmax<axis = 1>(z)"
    outputs = "float[N,4,8,8] c, float[N,5] y, float[N,5] z"
    model = graph(body, inputs=inputs, outputs=outputs, opset=opset, scale=np.ones(5, np.float32), **ALL)
    made = xs.export(model)
    onnx.checker.check_model(made, full_check=True)
    assert names(made.graph.input) == ["shift", "image", "scale", "target"]
    assert names(made.graph.output) == ["c", "y", "z", *NEW]
    feeds = {"image": X, "shift": array((2, 5), "shift")}
    for before, after in zip(run(model, feeds), run(made, feeds, ["c", "y", "z"]), strict=True):
        close(after, before)
    changed = {**feeds, "scale": np.full(5, 2, np.float32)}
    close(run(made, changed, ["z"])[0], run(model, changed, ["z"])[0])


def test_outputs_keep_their_names_behind_identities_and_dropout():
    body = CONV + HEAD + " copy = Identity(logits) y = Dropout(logits) q = Softmax(copy)"
    outputs = "float[N,5] logits, float[N,5] copy, float[N,5] y, float[N,5] q"
    model = graph(body, outputs=outputs, **ALL)
    made = xs.export(model, output="logits")
    assert names(made.graph.output) == ["logits", "copy", "y", "q", *NEW]
    for before, after in zip(run(model, {"image": X}), run(made, {"image": X}), strict=False):
        close(after, before)


def test_target_is_an_input_with_the_default_minus_1():
    made = xs.export(small())
    (value,) = [v for v in made.graph.input if v.name == "target"]
    assert value.type.tensor_type.elem_type == onnx.TensorProto.INT64
    assert len(shape(value)) == 1
    (default,) = [v for v in made.graph.initializer if v.name == "target"]
    np.testing.assert_array_equal(numpy_helper.to_array(default), [-1])


def test_shapes_and_types_of_the_outputs():
    made = xs.export(small(inputs="float[batch,3,8,9] image"))
    saliency, found = made.graph.output[-2:]
    assert shape(saliency) == ["batch", 8, 9]
    assert shape(found) == ["batch", 3, 8, 9]
    assert {v.type.tensor_type.elem_type for v in (saliency, found)} == {onnx.TensorProto.FLOAT}


def test_nhwc():
    body = "t = Transpose<perm = [0, 3, 1, 2]>(image)" + CONV.replace("(image", "(t") + HEAD
    made = xs.export(graph(body, inputs="float[N,8,9,3] image", **ALL))
    assert shape(made.graph.output[-2]) == ["N", 8, 9]
    x = images(2, 8, 9, 3)
    saliency, found = run(made, {"image": x, **target(3)}, NEW)
    close(saliency, np.abs(found).max(axis=3))
    close(found, differences(made, x, [3, 3]), 1e-3)


# --- target -------------------------------------------------------------------------------------


def test_minus_1_explains_the_predicted_class():
    made = xs.export(small())
    predicted = run(made, {"image": X}, ["logits"])[0].argmax(axis=1)
    found = gradient(made)
    close(found, differences(made, X, predicted), 1e-3)
    close(gradient(made, **target(-1)), found)


def test_one_target_serves_the_batch():
    made = xs.export(small())
    close(gradient(made, **target(2)), differences(made, X, [2, 2]), 1e-3)


def test_a_target_an_image():
    made = xs.export(small())
    found = gradient(made, **target(4, -1))
    predicted = int(run(made, {"image": X}, ["logits"])[0][1].argmax())
    close(found, differences(made, X, [4, predicted]), 1e-3)


def test_a_required_target():
    made = xs.export(small(), target="required")
    assert "target" not in names(made.graph.initializer)
    with pytest.raises(Exception, match="target"):
        run(made, {"image": X})
    close(gradient(made, **target(1)), gradient(xs.export(small()), **target(1)))


@pytest.mark.parametrize("number", [0, 4, np.int64(4)])
def test_a_baked_class(number):
    made = xs.export(small(), target=number)
    assert names(made.graph.input) == ["image"]
    close(gradient(made), gradient(xs.export(small()), **target(int(number))))


@pytest.mark.parametrize("number", [5, 1000, -1, -6, np.int32(5)])
def test_a_baked_class_that_the_model_does_not_have(number, tmp_path):
    with pytest.raises(TargetError, match=rf"No class {number}: the model has 5 classes, 0 to 4"):
        xs.export(small(), tmp_path / "out.onnx", target=number)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["requird", "", None, 1.5, True])
def test_a_target_that_means_nothing(option):
    with pytest.raises(TargetError, match="'default', 'required' or a class"):
        xs.export(small(), target=option)


def test_a_class_beyond_the_last_is_refused_when_run():
    """Not answered with a map of zeros."""
    made = xs.export(small())
    for classes in [(5,), (0, 5), (2**40,)]:
        with pytest.raises(Exception, match=r"(?i)indices|index|bounds"):
            run(made, {"image": X, **target(*classes)})


def test_two_targets_for_three_images_are_refused_when_run():
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        run(xs.export(small()), {"image": images(3, 3, 8, 8), **target(0, 1)}, NEW)


# --- score --------------------------------------------------------------------------------------

ACTIVATIONS = {
    "Softmax": " y = Softmax(logits)",
    "Sigmoid": " y = Sigmoid(logits)",
    "LogSoftmax": " y = LogSoftmax(logits)",
    "Softmax on [N, C, 1, 1]": " u = Unsqueeze(logits, axes) q = Softmax<axis = 1>(u) y = Squeeze(q, axes)",
}


def activated(body, opset=18):
    extra = {"axes": np.array([2, 3])} if "axes" in body else {}
    return small(body, outputs="float[N,5] y, float[N,5] logits", opset=opset, **extra)


@pytest.mark.parametrize("body", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_the_score_is_the_logit(body):
    made = xs.export(activated(body), output="y")
    close(gradient(made, **target(1)), differences(made, X, [1, 1]), 1e-3)


@pytest.mark.parametrize("body", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_or_the_probability(body):
    made = xs.export(activated(body), output="y", score="probability")
    expected = differences(made, X, [1, 3], output="y", step=5e-2)
    close(gradient(made, **target(1, 3)), expected, 3e-3)
    assert metadata(made)["score"] == "probability"


@pytest.mark.parametrize("opset", [7, 11, 12])
def test_the_old_softmax(opset):
    model = small(" y = Softmax(logits)", outputs="float[N,5] y, float[N,5] logits", opset=opset)
    made = xs.export(model, output="y", score="probability")
    close(gradient(made, **target(1)), differences(made, X, [1, 1], output="y", step=5e-2), 3e-3)


@pytest.mark.parametrize("score", ["logits", "", None])
def test_a_score_that_means_nothing(score):
    with pytest.raises(SaliencyError, match="'logit', 'probability', a Neuron"):
        xs.export(small(), score=score)


def test_a_method_that_does_not_exist():
    with pytest.raises(SaliencyError, match=r"No method 'gradcam\+\+'; the methods are gradient"):
        xs.export(small(), method="gradcam++")


SCORE_SHAPES = {
    "[N, C, 1, 1]": ("float[N,3,8,8] image", "u = Unsqueeze(l, axes)", "float[N,5,1,1] u", {"axes": np.array([2, 3])}),
    "[1, 1, C]": ("float[1,3,8,8] image", "u = Unsqueeze(l, axes)", "float[1,1,5] u", {"axes": np.array([1])}),
    "[C]": ("float[1,3,8,8] image", "u = Squeeze(l, axes)", "float[5] u", {"axes": np.array([0])}),
    "rank unknown": ("float[N,3,8,8] image", "k = Identity(r) u = Reshape(l, r)", "float[] u", {}),
}


@pytest.mark.parametrize(("inputs", "tail", "outputs", "weights"), SCORE_SHAPES.values(), ids=SCORE_SHAPES)
def test_scores_of_other_shapes(inputs, tail, outputs, weights):
    feeds = {}
    if "rank" in outputs or "Reshape" in tail:
        inputs, feeds = inputs + ", int64[R] r", {"r": np.array([-1, 5], np.int64)}
    body = CONV + HEAD.replace("logits", "l") + tail
    model = graph(body, inputs=inputs, outputs=outputs, **weights, **ALL)
    made = xs.export(model, output="u", check=not feeds)
    x = X[:1] if "[1," in inputs else X
    close(gradient(made, x, **target(2), **feeds), gradient(xs.export(small()), x, **target(2)))


@pytest.mark.parametrize(("batch", "size"), [("N", 3), (4, 4)])
def test_one_score_an_image(batch, size):
    """A vector [N] of one score each, as binary classifiers give it."""
    body = CONV + HEAD + " z = Squeeze(logits, one)"
    weights = {**CONV_WEIGHTS, "v": (1, 4), "a": (1,), "one": np.array([1])}
    inputs, outputs = f"float[{batch},3,8,8] image", f"float[{batch}] z, float[{batch},1] logits"
    made = xs.export(graph(body, inputs=inputs, outputs=outputs, **weights), output="z")
    x = images(size, 3, 8, 8)
    (vector,) = [v for v in made.graph.output if v.name == "z"]
    assert shape(vector) == [batch]
    plain = graph(CONV + HEAD, outputs="float[N,1] logits", **{k: v for k, v in weights.items() if k != "one"})
    close(gradient(made, x), differences(plain, x, [0] * size), 1e-3)


def test_a_score_that_does_not_depend_on_the_image():
    body = "s = Shape(image) f = Cast<to = 1>(s) k = Gather(f, zero) logits = Mul(v, k)"
    model = graph(body, outputs="float[M,5] logits", v=(1, 5), zero=np.array([0]))
    with pytest.raises(ModelError, match=r"'logits' does not depend on the input 'image'"):
        xs.export(model)


# --- operators, opset, sizes --------------------------------------------------------------------


@pytest.mark.parametrize(("opset", "expected"), [(7, 18), (17, 18), (18, 18), (19, 19), (21, 21)])
def test_only_the_standard_domain_and_the_models_opset(opset, expected):
    made = xs.export(small(opset=opset))
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", expected)]
    assert {node.domain for node in made.graph.node} == {""}
    onnx.checker.check_model(made, full_check=True)


CONVOLUTIONAL = """
    c = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(image, w, b)
    r = Sigmoid(c)
    m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
    d = Conv(m, w2)
    p = GlobalAveragePool(d)
    logits = Flatten(p)
"""


def test_open_sizes_stay_open():
    model = graph(CONVOLUTIONAL, inputs="float[N,3,H,W] image", **CONV_WEIGHTS, w2=(5, 4, 2, 2))
    made = xs.export(model)
    assert shape(made.graph.output[-2]) == ["N", "H", "W"]
    assert shape(made.graph.output[-1]) == ["N", 3, "H", "W"]
    for size in [(1, 3, 16, 16), (2, 3, 13, 19)]:
        x = images(*size)
        close(gradient(made, x, **target(3)), differences(model, x, [3] * size[0], step=1e-3), 1e-2)


@pytest.mark.parametrize("opset", [11, 18])
def test_the_reference_evaluator_gives_the_same(opset):
    made = xs.export(small(" y = Softmax(logits)", outputs="float[N,5] y", opset=opset))
    feeds = {"image": X, **target(2)}
    for expected, found in zip(ReferenceEvaluator(made).run(None, feeds), run(made, feeds), strict=True):
        close(found, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-2), ("uint8", 1e-5)])
def test_images_of_other_types(dtype, tolerance):
    body = "x = Cast<to = 1>(image)" + CONV.replace("(image", "(x") + HEAD
    model = graph(body, inputs=f"{dtype}[N,3,8,8] image", **ALL)
    made = xs.export(model)
    x = (np.abs(X) * 50).astype(dtype)
    found = run(made, {"image": x, **target(1)}, ["input_gradient", "saliency"])
    plain = run(xs.export(small()), {"image": x.astype(np.float32), **target(1)}, ["input_gradient", "saliency"])
    for value, expected in zip(found, plain, strict=True):
        assert value.dtype == np.float32
        close(value, expected, tolerance)


def test_a_double_model():
    body = "f = Flatten(image) h = MatMul(f, k) s = Sigmoid(h) logits = MatMul(s, l)"
    weights = {"k": array((192, 4), "k", np.float64) / 10, "l": array((4, 5), "l", np.float64)}
    made = xs.export(graph(body, inputs="double[N,3,8,8] image", outputs="double[N,5] logits", **weights))
    saliency, found = run(made, {"image": X.astype(np.float64), **target(1)}, NEW)
    assert (saliency.dtype, found.dtype) == (np.float32, np.float64)
    s = 1 / (1 + np.exp(-X.reshape(2, -1) @ weights["k"]))
    close(found.reshape(2, -1), (s * (1 - s) * weights["l"][:, 1]) @ weights["k"].T, 1e-12)


# --- metadata, determinism ----------------------------------------------------------------------


def test_metadata():
    model = small(" y = Softmax(logits)", outputs="float[N,5] y")
    model.metadata_props.add(key="author", value="someone")
    recipe = xs.Preprocess(size=8, resize=None, mean=1.0, std=2.0)
    made = xs.export(model, preprocess=recipe)
    assert {p.key: p.value for p in made.metadata_props}["author"] == "someone"
    assert metadata(made) == {
        "version": version("onnx-saliency"),
        "method": "gradient",
        "score": "logit",
        "changed_nodes": "",
        "changed_count": "0",
        "preprocess": recipe.to_json(),
    }


@pytest.mark.parametrize("opset", [9, 18])
def test_the_same_bytes_twice(tmp_path, opset):
    model = small(" y = Softmax(logits)", outputs="float[N,5] y", opset=opset)
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    xs.export(model, first)
    xs.export(model, second)
    assert first.read_bytes() == second.read_bytes()
    assert onnx.load(first) == xs.export(model)


# --- names --------------------------------------------------------------------------------------


def test_values_inside_may_have_any_name():
    model = small()
    rename(
        model, {"c": "target", "p": "saliency", "f": "input_gradient", "w": "saliency/constant_0", "b": "model/target"}
    )
    made = xs.export(model)
    all_names = [*names(made.graph.initializer), *(name for node in made.graph.node for name in node.output)]
    assert len(all_names) == len(set(all_names))
    close(gradient(made, **target(1)), gradient(xs.export(small()), **target(1)))


def test_the_model_handed_in_stays_as_it_is():
    """Its tensors too, where names inside are taken, or a constant becomes an initializer and gets one."""
    body = CONV + HEAD + "k = Constant<value = float[1] {2.0}>() twice = Mul(logits, k)"
    model = graph(body, outputs="float[N,5] logits, float[N,5] twice", **ALL)
    rename(model, {"w": "saliency/constant_0", "b": "target"})
    before = model.SerializeToString()
    held = ir.from_proto(model)
    for each in (model, held):
        xs.export(each, output="twice")
        xs.Explainer(each, output="twice", providers=["cpu"]).explain(X)
    assert model.SerializeToString() == before
    assert [value.const_value.name for value in held.graph.initializers.values()] == list(held.graph.initializers)


def rename(model, new):
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in [*model.graph.input, *model.graph.output, *model.graph.initializer]:
        value.name = new.get(value.name, value.name)


@pytest.mark.parametrize("name", ["target", "saliency", "input_gradient", "saliency/x"])
@pytest.mark.parametrize("old", ["image", "logits"])
def test_inputs_and_outputs_may_not(name, old):
    model = small()
    rename(model, {old: name})
    with pytest.raises(ExportError, match=rf"inputs or outputs named '{name}'.*Rename them"):
        xs.export(model)


def test_an_explained_model_is_not_explained_again():
    with pytest.raises(ExportError, match="already an explained one"):
        xs.export(xs.export(small()))


INNER = """
    logits = If(yes) <
        then_branch = a () => (float[N,5] target) { target = Identity(l) },
        else_branch = b () => (float[N,5] y) { saliency = Neg(l) y = Mul(saliency, saliency) }
    >
"""


def test_values_of_an_inner_graph_may_have_any_name_too():
    inputs, outputs = "float[N,3,8,8] image, bool yes", "float[N,5] logits, float[N,5] l"
    model = graph(CONV + HEAD.replace("logits", "l") + INNER, inputs=inputs, outputs=outputs, **ALL)
    made = xs.export(model, output="l")
    for yes in (True, False):
        feeds = {"image": X, "yes": np.array(yes)}
        for before, after in zip(run(model, feeds), run(made, feeds), strict=False):
            close(after, before)
    close(gradient(made, yes=np.array(True), **target(1)), gradient(xs.export(small()), **target(1)))


def test_an_inner_graph_between_image_and_score():
    """Its node does not list what its branches read, and the gradient passes all the same."""
    inputs = "float[N,3,8,8] image, bool yes"
    made = xs.export(graph(CONV + HEAD.replace("logits", "l") + INNER, inputs=inputs, **ALL))
    plain = xs.export(small())
    close(gradient(made, yes=np.array(True), **target(1)), gradient(plain, **target(1)))
    (logits,) = run(plain, {"image": X}, ["logits"])
    factors = (2 * logits[:, 1]).reshape(-1, 1, 1, 1)
    close(gradient(made, yes=np.array(False), **target(1)), factors * gradient(plain, **target(1)))


# --- profiles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradient", "deconvnet", "guided", "smoothgrad", "gradcam"])
@pytest.mark.parametrize("profile", ["cpu", "cuda"])
def test_a_profile_changes_operators_and_no_number(profile, method):
    body = CONV.replace("s = Sigmoid(c)", "t = LeakyRelu(c) e = Elu(t) s = Relu(e)") + HEAD
    model = graph(body, outputs="float[N,5] logits", **ALL)
    portable, other = (xs.export(model, method=method, profile=name) for name in ("portable", profile))
    onnx.checker.check_model(other, full_check=True)
    assert {node.domain for node in other.graph.node} == {""}
    for before, after in zip(run(portable, {"image": X}), run(other, {"image": X}), strict=True):
        close(after, before)


def test_an_unknown_profile():
    with pytest.raises(ExportError, match="A profile is one of portable, cpu, cuda, not 'gpu'"):
        xs.export(small(), profile="gpu")
