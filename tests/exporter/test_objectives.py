"""What is explained, other than the class: against central differences of the plain model in onnxruntime."""

import numpy as np
import onnx
import pytest
from nets import CONV_WEIGHTS, HEAD_WEIGHTS, array, close, graph, images, run

import onnx_saliency as xs

X = images(2, 3, 8, 8)
BODY = """
    c = Conv<pads = [1, 1, 1, 1]>(image, w, b)
    s = Sigmoid(c)
    p = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(s)
    g = GlobalAveragePool(p)
    f = Flatten(g)
    h = Tanh(f)
    logits = Gemm<transB = 1>(h, v, a)
"""
TOKENS = """
    e = Conv<strides = [2, 2]>(image, patch, b)
    r = Reshape(e, flat)
    t = Transpose<perm = [0, 2, 1]>(r)
    u = Tanh(t)
    m = ReduceMean<keepdims = 0>(u, one)
    logits = Gemm<transB = 1>(m, v, a)
"""


def net(**options):
    return graph(BODY, **CONV_WEIGHTS, **HEAD_WEIGHTS, **options)


def tokens(**options):
    weights = {"patch": (4, 3, 2, 2), "b": (4,), "flat": np.array([0, 4, -1]), "one": np.array([1])}
    return graph(TOKENS, **weights, **HEAD_WEIGHTS, **options)


def channels_last():
    """The layer y is [N, 8, 6, 4]."""
    body = """
        c = Conv<pads = [1, 1, 1, 1]>(image, w, b)
        t = Transpose<perm = [0, 2, 3, 1]>(c)
        y = Tanh(t)
        m = ReduceMean<keepdims = 0>(y, both)
        logits = Gemm<transB = 1>(m, v, a)
    """
    weights = {**CONV_WEIGHTS, **HEAD_WEIGHTS, "both": np.array([1, 2])}
    return graph(body, inputs="float[N,3,8,6] image", **weights)


def tapped(model, layer):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    copy.graph.output.append(onnx.helper.make_tensor_value_info(layer, onnx.TensorProto.FLOAT, None))
    return copy


def differences(model, layer, score, x, step=2e-2):
    """d score(layer) / d image, image by image; score takes the layer [N, ...] and returns [N]."""
    plain, found = tapped(model, layer), np.zeros(x.shape)
    for n, image in enumerate(x):
        nudges = np.eye(image.size, dtype=np.float32).reshape(-1, *image.shape) * step
        up, down = (run(plain, {"image": image + sign * nudges}, [layer])[0].astype(np.float64) for sign in (1, -1))
        found[n] = ((score(up, n) - score(down, n)) / (2 * step)).reshape(image.shape)
    return found


def explain(model, score, x, target, **options):
    return xs.Explainer(model, score=score, providers=["cpu"], **options).explain(x, target)


def value(model, layer, x):
    return run(tapped(model, layer), {"image": x}, [layer])[0]


# --- neurons and channels -----------------------------------------------------------------------

PLACES = {  # model, layer, position, how to read it from the layer
    "image": (net, "c", (3, 5), lambda y, k: y[:, k, 3, 5]),
    "last corner": (net, "c", (7, 7), lambda y, k: y[:, k, 7, 7]),
    "behind a pool": (net, "p", (0, 3), lambda y, k: y[:, k, 0, 3]),
    "dense": (net, "h", (), lambda y, k: y[:, k]),
    "dense, strongest": (net, "h", None, lambda y, k: y[:, k]),
    "tokens": (tokens, "u", (6,), lambda y, k: y[:, 6, k]),
    "channels last": (channels_last, "y", (7, 5), lambda y, k: y[:, 7, 5, k]),
    "the input of what is pooled to one": (net, "g", (0, 0), lambda y, k: y[:, k, 0, 0]),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_neuron_at_a_position(name):
    make, layer, position, read = PLACES[name]
    model = make()
    x = images(2, 3, 8, 6) if name == "channels last" else X
    found = explain(model, xs.Neuron(layer, position), x, [2, 0])
    assert list(found.target) == [2, 0]
    np.testing.assert_allclose(found.score, [read(value(model, layer, x), k)[i] for i, k in enumerate([2, 0])], 1e-4)
    close(found.gradient, differences(model, layer, lambda y, n: read(y, [2, 0][n]), x), 2e-3)
    close(found.logits, value(model, "logits", x), 1e-5)  # the scores stay those of the classes


STRONGEST = {  # model, layer, the channel's axis
    "image": (net, "c", 1),
    "behind a pool": (net, "p", 1),
    "tokens": (tokens, "t", 2),
    "channels last": (channels_last, "t", 3),
}


@pytest.mark.parametrize("name", STRONGEST)
def test_the_strongest_neuron_of_a_channel(name):
    """Of each picture its own: only the winning position carries a gradient (Zeiler & Fergus 2013, section 4.1)."""
    make, layer, channel = STRONGEST[name]
    model = make()
    x = images(2, 3, 8, 6) if name == "channels last" else X
    y = value(model, layer, x)
    found = explain(model, xs.Neuron(layer), x, 1)
    assert name != "image" or len({np.take(each, 1, channel - 1).argmax() for each in y}) == 2
    np.testing.assert_allclose(found.score, np.take(y, 1, channel).reshape(2, -1).max(axis=1), rtol=1e-5)

    def at_winner(z, n):
        winner = np.take(y[n], 1, channel - 1).argmax()
        return np.take(z, 1, channel).reshape(len(z), -1)[:, winner]

    close(found.gradient, differences(model, layer, at_winner, x), 2e-3)


@pytest.mark.parametrize("name", [*STRONGEST, "dense"])
def test_the_mean_of_a_channel(name):
    make, layer, channel = STRONGEST.get(name, (net, "h", 1))
    model = make()
    x = images(2, 3, 8, 6) if name == "channels last" else X
    found = explain(model, xs.Channel(layer), x, 3)
    np.testing.assert_allclose(found.score, np.take(value(model, layer, x), 3, channel).reshape(2, -1).mean(1), 1e-4)
    expected = differences(model, layer, lambda y, n: np.take(y, 3, channel).reshape(len(y), -1).mean(1), x, 5e-2)
    close(found.gradient, expected, 5e-3)


def test_without_a_target_the_strongest_channel_is_explained():
    y = value(net(), "c", X)
    assert list(explain(net(), xs.Channel("c"), X, None).target) == list(y.mean(axis=(2, 3)).argmax(axis=1))
    assert list(explain(net(), xs.Neuron("c"), X, None).target) == list(y.max(axis=(2, 3)).argmax(axis=1))
    assert list(explain(net(), xs.Neuron("c", (1, 2)), X, None).target) == list(y[:, :, 1, 2].argmax(axis=1))


def test_a_layer_is_found_by_its_node_too():
    model = net()
    model.graph.node[0].name = "first"
    one, other = (explain(model, xs.Channel(name), X, 1).gradient for name in ("first", "c"))
    np.testing.assert_array_equal(one, other)


def test_open_sizes():
    model, x = net(inputs="float[N,3,H,W] image"), images(1, 3, 6, 9)
    found = explain(model, xs.Neuron("c", (5, 8)), x, 0)
    close(found.gradient, differences(model, "c", lambda y, n: y[:, 0, 5, 8], x), 2e-3)


@pytest.mark.parametrize("method", ["deconvnet", "guided", "smoothgrad", "integrated_gradients", "ten_crop", "gradcam"])
def test_other_methods_explain_neurons_too(method):
    model = graph(BODY.replace("Sigmoid", "Relu"), **CONV_WEIGHTS, **HEAD_WEIGHTS)
    found = explain(model, xs.Channel("p"), X, 1, method=method)
    assert found.saliency.shape == (2, 8, 8)
    assert found.saliency.max() > 0


WRONG = {
    "no such layer": (xs.Neuron("cc"), r"no layer 'cc'. The closest are .*'c'"),
    "nothing like it": (xs.Channel("conv_17/relu"), r"no layer 'conv_17/relu'.*inspect --layers"),
    "the image": (xs.Channel("image"), "no layer 'image'"),
    "a row beyond": (xs.Neuron("c", (8, 0)), r"'c' has 8 x 8 positions, counted from 0; there is none at 8,0"),
    "a column beyond": (xs.Neuron("p", (0, 4)), "'p' has 4 x 4 positions"),
    "one number": (xs.Neuron("c", (3,)), "'c' has 8 x 8 positions"),
    "three numbers": (xs.Neuron("c", (1, 2, 3)), "'c' has 8 x 8 positions"),
    "of a dense layer": (xs.Neuron("h", (0,)), "'h' has no positions"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_layer_or_position_that_is_not_there(name):
    score, message = WRONG[name]
    with pytest.raises(xs.LayerError, match=message):
        xs.export(net(), score=score)


def test_a_position_below_0():
    with pytest.raises(xs.LayerError, match="counts from 0"):
        xs.Neuron("c", (-1, 0))


def test_a_layer_that_does_not_see_the_image():
    body = BODY + " k = Mul(v, v) z = Add(logits, logits)"
    model = graph(body, outputs="float[N,5] logits, float[5,4] k", **CONV_WEIGHTS, **HEAD_WEIGHTS)
    with pytest.raises(xs.LayerError, match=r"'k' does not depend on the image|no layer 'k'"):
        xs.export(model, output="logits", score=xs.Channel("k"))


def test_what_is_no_layer():
    body = BODY + " n = Shape(c) d = Unsqueeze(c, first)"
    outputs = "float[N,5] logits, int64[4] n, float[1,N,4,8,8] d"
    model = graph(body, outputs=outputs, first=np.array([0]), **CONV_WEIGHTS, **HEAD_WEIGHTS)
    for name in ("n", "d"):
        with pytest.raises(xs.LayerError, match=f"'{name}' is no layer"):
            xs.export(model, output="logits", score=xs.Channel(name))


def test_a_channel_beyond_the_last():
    explainer = xs.Explainer(net(), score=xs.Channel("c"), providers=["cpu"])
    with pytest.raises(xs.TargetError, match="No channel 4: the layer has 4 channels, 0 to 3"):
        explainer.explain(X, 4)
    with pytest.raises(xs.TargetError):
        xs.export(net(), score=xs.Channel("c"), target=4)


# --- likeness -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2])
def test_the_cosine_to_a_reference(rows):
    reference = array((rows, 5), "reference")

    def cosine(y, n):
        r = reference[n % rows].astype(np.float64)
        return y @ r / np.linalg.norm(y, axis=1) / np.linalg.norm(r)

    explainer = xs.Explainer(net(), score=xs.Cosine(), feeds={"reference": reference}, providers=["cpu"])
    found = explainer.explain(X)
    y = value(net(), "logits", X)
    np.testing.assert_allclose(found.score, [cosine(y[n : n + 1], n)[0] for n in range(2)], rtol=1e-5)
    close(found.gradient, differences(net(), "logits", cosine, X, step=5e-2), 5e-3)
    assert list(found.target) == [0, 0]


def test_a_reference_has_to_be_given():
    with pytest.raises(xs.ModelError, match="'reference'"):
        xs.Explainer(net(), score=xs.Cosine(), providers=["cpu"])
    made = xs.export(net(), score=xs.Cosine())
    assert [v.name for v in made.graph.input] == ["image", "reference", "target"]
    onnx.checker.check_model(made, full_check=True)


def test_the_cosine_to_itself_is_flat():
    y = value(net(), "logits", X)
    explainer = xs.Explainer(net(), score=xs.Cosine(), feeds={"reference": y}, providers=["cpu"])
    found = explainer.explain(X)
    np.testing.assert_allclose(found.score, 1, rtol=1e-6)
    assert found.saliency.max() < 1e-6


# --- one class against another ------------------------------------------------------------------


def single(x, target, **options):
    return xs.Explainer(net(), providers=["cpu"], **options).explain(x, target)


@pytest.mark.parametrize(("target", "against"), [(1, 3), ([1, 4], 0), ([1, 4], [4, 1]), (2, [0, 1])])
def test_what_speaks_for_one_class_and_not_for_the_other(target, against):
    found = xs.Explainer(net(), providers=["cpu"]).explain(X, target, against=against)
    one, other = single(X, target), single(X, against)
    close(found.gradient, one.gradient - other.gradient, 1e-5)
    np.testing.assert_allclose(found.score, one.score - other.score, rtol=1e-5)
    np.testing.assert_array_equal(found.target, one.target)


def test_the_predicted_class_against_itself_is_nothing():
    """It is known after the run only; a class that is named is refused."""
    explainer = xs.Explainer(net(), providers=["cpu"])
    assert explainer.explain(X, against=explainer.explain(X).target).saliency.max() == 0


def test_against_in_a_file():
    made = xs.export(net(), against=3)
    assert [v.name for v in made.graph.input] == ["image", "target"]
    (found,) = run(made, {"image": X, "target": np.array([1])}, ["input_gradient"])
    close(found, single(X, 1).gradient - single(X, 3).gradient, 1e-5)
    baked = xs.export(net(), target=1, against=3)
    assert [v.name for v in baked.graph.input] == ["image"]
    close(run(baked, {"image": X}, ["input_gradient"])[0], found, 1e-6)


@pytest.mark.parametrize("against", [5, -1, -6])
def test_against_a_class_that_is_not_there(against):
    with pytest.raises(xs.TargetError, match=f"No class {against}"):
        xs.export(net(), against=against)
    with pytest.raises(xs.TargetError, match=f"No class {against}"):
        xs.Explainer(net(), providers=["cpu"]).explain(X, 1, against=against)


# --- several classes per image -------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gradient", "guided", "integrated_gradients", "layercam", "smoothgrad", "ten_crop"])
@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.filterwarnings("ignore::onnx_saliency.errors.MethodWarning")
def test_several_classes_are_each_one_alone(method, batch):
    method = {"integrated_gradients": xs.IntegratedGradients(3), "smoothgrad": xs.SmoothGrad(2)}.get(method, method)
    model = net(inputs=f"float[{batch},3,8,8] image", outputs=f"float[{batch},5] logits")
    several = xs.Explainer(model, several=3, method=method, providers=["cpu"])
    alone = xs.Explainer(model, method=method, providers=["cpu"])
    order = np.argsort(-value(net(), "logits", X), axis=1)[:, :3]
    for given, classes in [
        (None, order),
        ([4, 0, 2], np.array([[4, 0, 2]] * 2)),
        ([[4, 0, 2], [1, 1, 3]], np.array([[4, 0, 2], [1, 1, 3]])),
        (np.array([[4, 0, 2], [1, 1, 3]]), np.array([[4, 0, 2], [1, 1, 3]])),
    ]:
        found = several.explain(X, given)
        assert len(found) == 6
        np.testing.assert_array_equal(found.target, classes.ravel())
        np.testing.assert_array_equal(found.source, [0, 0, 0, 1, 1, 1])
        for row, c in enumerate(classes.ravel()):
            n = row // 3
            expected = alone.explain(X[n : n + 1], int(c))
            close(found.saliency[row : row + 1], expected.saliency, 1e-5)
            np.testing.assert_allclose(found.score[row], expected.score[0], rtol=1e-5)
            close(found.logits[row], expected.logits[0], 1e-5)
            if expected.gap is not None:
                np.testing.assert_allclose(found.gap[row], expected.gap[0], rtol=1e-3, atol=1e-5)


def test_several_in_a_file():
    made = xs.export(net(), several=2)
    onnx.checker.check_model(made, full_check=True)
    order = np.argsort(-value(net(), "logits", X), axis=1)
    saliency, gradient = run(made, {"image": X}, ["saliency", "input_gradient"])
    assert saliency.shape == (4, 8, 8)
    for row in range(4):
        n, c = row // 2, int(order[row // 2, row % 2])
        close(gradient[row], single(X[n : n + 1], c).gradient[0], 1e-5)
    for target, classes in [
        ([[-1, -2]], order[:, :2]),
        ([[-5, -3]], order[:, [4, 2]]),
        ([[3, -1]], np.stack([[3, 3], order[:, 0]], axis=1)),
        ([[0, 1], [2, -4]], np.array([[0, 1], [2, order[1, 3]]])),
    ]:
        (found,) = run(made, {"image": X, "target": np.array(target)}, ["input_gradient"])
        for row in range(4):
            n = row // 2
            close(found[row], single(X[n : n + 1], int(classes[n, row % 2])).gradient[0], 1e-5)


def test_several_against_one():
    found = xs.Explainer(net(), several=2, providers=["cpu"]).explain(X, [1, 2], against=[0, 4])
    for row, (n, c, other) in enumerate([(0, 1, 0), (0, 2, 0), (1, 1, 4), (1, 2, 4)]):
        one, two = single(X[n : n + 1], c), single(X[n : n + 1], other)
        close(found.gradient[row], one.gradient[0] - two.gradient[0], 1e-5)


def test_several_channels_of_a_layer():
    found = xs.Explainer(net(), several=2, score=xs.Channel("p"), providers=["cpu"]).explain(X, [3, 1])
    for row, (n, k) in enumerate([(0, 3), (0, 1), (1, 3), (1, 1)]):
        close(found.gradient[row], explain(net(), xs.Channel("p"), X[n : n + 1], k).gradient[0], 1e-5)


def test_all_classes_and_no_more():
    found = xs.Explainer(net(), several=5, providers=["cpu"]).explain(X)
    assert sorted(found.target[:5]) == [0, 1, 2, 3, 4]
    for several in (6, 0, -1):
        with pytest.raises(xs.TargetError, match=f"Several classes are 1 or more; the model has 5, not {several}"):
            xs.export(net(), several=several)


def test_one_of_several_is_one():
    found = xs.Explainer(net(), several=1, providers=["cpu"]).explain(X, [3])
    close(found.gradient, single(X, 3).gradient, 1e-6)


@pytest.mark.parametrize("target", [1, [1, 2, 3], [[1, 2], [3]], [[1, 2]] * 3])
def test_other_than_so_many_targets(target):
    with pytest.raises(xs.TargetError, match="give a list of 2"):
        xs.Explainer(net(), several=2, providers=["cpu"]).explain(X, target)


def test_a_class_for_good_is_one():
    with pytest.raises(xs.TargetError, match="exclude each other"):
        xs.export(net(), several=2, target=3)


def test_required_targets():
    made = xs.export(net(), several=2, target="required")
    with pytest.raises(Exception, match="target"):
        run(made, {"image": X})
    (found,) = run(made, {"image": X, "target": np.array([[1, 4]])}, ["input_gradient"])
    close(found[2], single(X[1:], 1).gradient[0], 1e-5)


def test_a_class_beyond_the_last_is_refused_when_run():
    made = xs.export(net(), several=2)
    for target in ([[0, 5]], [[-6, 0]]):
        with pytest.raises(Exception, match=r"(?i)indices|index|bounds|range"):
            run(made, {"image": X, "target": np.array(target)})
