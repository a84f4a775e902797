"""What DeconvNet and guided backpropagation make of a rectifier, straight from the papers, in slow NumPy.

gradient    dx = f'(x) dy            Simonyan et al. 2013, section 3
deconvnet   dx = max(dy, 0)          Zeiler & Fergus 2013, section 2.1
guided      dx = f'(x) max(dy, 0)    Springenberg et al. 2014, section 3.4
"""

import warnings

import numpy as np
import onnx_ir as ir
import pytest
from nets import array, close, graph, images, run, small

import onnx_saliency as xs
from onnx_saliency.exporter import Options, build_explained, explain_model, find_method
from onnx_saliency.graph import find_classifier, load, normalise

X = images() * 3
CLASS = 3
POLICIES = {
    "gradient": lambda slope, dy: slope * dy,
    "deconvnet": lambda slope, dy: np.where(dy > 0, dy, 0),
    "guided": lambda slope, dy: np.where(dy > 0, slope * dy, 0),
}
EVERY = pytest.mark.parametrize("method", POLICIES)
TABLE = {"m": (5, 192)}


def behind(activation, **weights):
    """The activation between the image and one product: dy at it is the class's row of the table."""
    return graph(f"{activation} f = Flatten(y) logits = Gemm<transB = 1>(f, m)", opset=22, **TABLE, **weights)


def explain(model, method, x=X, target=CLASS, **feeds):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xs.MethodWarning)
        return gradient(xs.export(model, method=method), x, target, **feeds)


def gradient(made, x=X, target=CLASS, **feeds):
    saliency, found = run(made, {"image": x, "target": np.array([target]), **feeds}, ["saliency", "input_gradient"])
    np.testing.assert_array_equal(saliency, np.abs(found).max(axis=1))
    return found


def explained(model, method):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xs.MethodWarning)
        return explain_model(model, Options(find_method(method)))


def straight_through(model, method):
    """The gradient by the rules of quantised operators, which hold where a graph cannot be written without rounding."""
    original = load(model)
    classifier = find_classifier(normalise(original.clone()))
    return gradient(ir.to_proto(build_explained(classifier, original, Options(find_method(method))).model))


def cotangent():
    return np.broadcast_to(array((5, 192), "m")[CLASS].reshape(1, 3, 8, 8), X.shape)


# --- one rectifier ------------------------------------------------------------------------------

S = np.array([0.25, -0.5, 2], np.float32).reshape(3, 1, 1)
GAMMA, ALPHA = 1.0507009873554805, 1.6732632423543772
ZERO = np.zeros((), np.float32)
SIX = np.array(6, np.float32)
RECTIFIERS = {  # activation, its weights, its derivative at x
    "Relu": ("y = Relu(image)", {}, lambda x: x > 0),
    "LeakyRelu": ("y = LeakyRelu<alpha = 0.2>(image)", {}, lambda x: np.where(x > 0, 1, 0.2)),
    "LeakyRelu that falls": ("y = LeakyRelu<alpha = -0.2>(image)", {}, lambda x: np.where(x > 0, 1, -0.2)),
    "PRelu": ("y = PRelu(image, s)", {"s": S}, lambda x: np.where(x > 0, 1, S)),
    "Clip from 0 to 6": ("y = Clip(image, zero, six)", {"zero": ZERO, "six": SIX}, lambda x: (x > 0) & (x < 6)),
    "Clip from 0": ("y = Clip(image, zero)", {"zero": ZERO}, lambda x: x > 0),
    "Elu": ("y = Elu<alpha = 0.7>(image)", {}, lambda x: np.where(x > 0, 1, 0.7 * np.exp(np.minimum(x, 0)))),
    "Selu": ("y = Selu(image)", {}, lambda x: GAMMA * np.where(x > 0, 1, ALPHA * np.exp(np.minimum(x, 0)))),
    "Celu": ("y = Celu<alpha = 2.0>(image)", {}, lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0) / 2))),
    "ThresholdedRelu": ("y = ThresholdedRelu<alpha = 1.5>(image)", {}, lambda x: x > 1.5),
    "Max with 0": ("y = Max(image, zero)", {"zero": ZERO}, lambda x: x > 0),
    "Max of 0 with it": ("y = Max(zero, image)", {"zero": ZERO}, lambda x: x > 0),
    "Max with zeros of its shape": ("y = Max(image, zero)", {"zero": np.zeros((3, 1, 1), np.float32)}, lambda x: x > 0),
    "Clip before opset 11": (None, {}, lambda x: (x > 0) & (x < 6)),
}


def rectifier(name):
    body, weights, slope = RECTIFIERS[name]
    if body is not None:
        return behind(body, **weights), slope
    body = "y = Clip<min = 0.0, max = 6.0>(image) f = Flatten(y) logits = Gemm<transB = 1>(f, m, o)"
    return graph(body, opset=9, o=np.zeros(5, np.float32), **TABLE), slope


@EVERY
@pytest.mark.parametrize("name", RECTIFIERS)
def test_a_rectifier(name, method):
    model, slope = rectifier(name)
    assert 0.05 < np.mean(X > 6) + np.mean(X < 0) < 0.95
    close(explain(model, method), POLICIES[method](slope(X), cotangent()), 1e-6)
    changed = explained(model, method).changed
    assert len(changed) == (method != "gradient")


LOW = {"uint8 from 0": np.array(0, np.uint8), "int8 from -128": np.array(-128, np.int8), "no zero point": None}


@EVERY
@pytest.mark.parametrize("name", LOW)
def test_a_quantiser_that_swallowed_one(name, method):
    """Behind a convolution, its lowest code is 0: what is below is cut off."""
    z, s = LOW[name], np.array(0.05, np.float32)
    names, values = ("s, z", {"s": s, "z": z}) if z is not None else ("s", {"s": s})
    w = array((3, 3, 1, 1), "w")
    body = f"c = Conv(image, w) q = QuantizeLinear(c, {names}) y = DequantizeLinear(q, {names})"
    c = np.einsum("oc,nchw->nohw", w[:, :, 0, 0].astype(np.float64), X)
    model, steps = behind(body, w=w, **values), c / 0.05
    for found, inside in (
        (explain(model, method), (steps > 0) & (steps < 255.5)),
        (straight_through(model, method), (np.rint(steps) >= 0) & (np.rint(steps) <= 255)),
    ):
        dc = POLICIES[method](inside, cotangent())
        close(found, np.einsum("oc,nohw->nchw", w[:, :, 0, 0], dc), 1e-5)
    assert len(explained(model, method).changed) == (method != "gradient")


@pytest.mark.parametrize("method", ["gradient", "deconvnet", "guided"])
def test_a_quantised_operator_that_swallowed_one(method):
    """QLinearConv, beside the same net with its quantisers written out."""
    codes = np.random.default_rng(0).integers(100, 156, (4, 3, 1, 1)).astype(np.uint8)
    weights = {"s": np.float32(0.05), "z": np.uint8(128), "low": np.uint8(0), "w": codes, "m": (256, 5)}
    begin, end = "q = QuantizeLinear(image, s, z)", "g = Flatten(d) logits = MatMul(g, m)"
    one = graph(f"{begin} c = QLinearConv(q, s, z, w, s, z, s, low) d = DequantizeLinear(c, s, low) {end}", **weights)
    apart = graph(
        f"{begin} x = DequantizeLinear(q, s, z) k = DequantizeLinear(w, s, z) c = Conv(x, k) "
        f"y = QuantizeLinear(c, s, low) d = DequantizeLinear(y, s, low) {end}",
        **weights,
    )
    explainers = [xs.Explainer(model, method=method, providers=["cpu"]) for model in (one, apart)]
    assert [len(each.changed) for each in explainers] == ([0, 0] if method == "gradient" else [1, 1])
    found, expected = (each.explain(images(), 1).gradient for each in explainers)
    close(found, expected)


@EVERY
def test_a_rectifier_on_codes(method):
    """The codes of its image have another scale than those of its result."""
    values = {"s": np.float32(0.1), "z": np.uint8(128), "t": np.float32(0.12), "o": np.uint8(100)}
    body = (
        "q = QuantizeLinear(image, s, z) c = com.microsoft.QLinearLeakyRelu<alpha = 0.2>(q, s, z, t, o) "
        "y = DequantizeLinear(c, t, o) f = Flatten(y) logits = Gemm<transB = 1>(f, m)"
    )
    model = graph(body, opset=22, domains="com.microsoft", **TABLE, **values)
    assert np.abs(X).max() < 127 * 0.1  # nothing is held back
    for found, slope in (
        (explain(model, method), np.where(X > 0, 1, 0.2)),
        (straight_through(model, method), np.where(np.rint(X / 0.1) > 0, 1, 0.2)),
    ):
        close(found, POLICIES[method](slope, cotangent()), 1e-5)
    assert len(explained(model, method).changed) == (method != "gradient")


def test_a_quantiser_that_cuts_elsewhere_is_none():
    values = {"s": np.array(0.05, np.float32), "z": np.array(128, np.uint8), "w": array((3, 3, 1, 1), "w")}
    model = behind("c = Conv(image, w) q = QuantizeLinear(c, s, z) y = DequantizeLinear(q, s, z)", **values)
    assert not explained(model, "guided").changed
    np.testing.assert_array_equal(explain(model, "guided"), explain(model, "gradient"))


def test_a_quantiser_behind_a_relu_is_not_counted_again():
    values = {"s": np.array(0.05, np.float32), "z": np.array(0, np.uint8), "w": array((3, 3, 1, 1), "w")}
    model = behind("c = Conv(image, w) r = Relu(c) q = QuantizeLinear(r, s, z) y = DequantizeLinear(q, s, z)", **values)
    assert len(explained(model, "deconvnet").changed) == 1


NO_RECTIFIERS = {
    "Clip on both sides": ("y = Clip(image, low, high)", {"low": np.float32(-1), "high": np.float32(1)}),
    "Clip from above": ("y = Clip(image, , high)", {"high": np.float32(1)}),
    "Max of two": ("a = Mul(image, image) y = Max(image, a)", {}),
    "Max with 1": ("y = Max(image, one)", {"one": np.float32(1)}),
    "Max of three": ("a = Mul(image, image) y = Max(image, zero, a)", {"zero": ZERO}),
    "Min with 0": ("y = Min(image, zero)", {"zero": ZERO}),
    "Abs": ("y = Abs(image)", {}),
}


@pytest.mark.parametrize("method", ["deconvnet", "guided"])
@pytest.mark.parametrize("name", NO_RECTIFIERS)
def test_what_is_no_rectifier(name, method):
    body, weights = NO_RECTIFIERS[name]
    model = behind(body, **weights)
    np.testing.assert_array_equal(explain(model, method), explain(model, "gradient"))
    found = explained(model, method)
    assert (found.changed, found.smooth) == ((), ())


SMOOTH = {
    "Gelu": "y = Gelu(image)",
    "Gelu by tanh": 'y = Gelu<approximate = "tanh">(image)',
    "Sigmoid": "y = Sigmoid(image)",
    "SiLU": "a = Sigmoid(image) y = Mul(image, a)",
    "HardSwish": "y = HardSwish(image)",
    "HardSigmoid": "y = HardSigmoid(image)",
    "Tanh": "y = Tanh(image)",
    "Softplus": "y = Softplus(image)",
    "Softsign": "y = Softsign(image)",
    "Mish": "y = Mish(image)",
    "Erf": "y = Erf(image)",
}


@pytest.mark.parametrize("method", ["deconvnet", "guided"])
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_keep_their_derivative_and_are_counted(name, method):
    model = behind(SMOOTH[name])
    np.testing.assert_array_equal(explain(model, method), explain(model, "gradient"))
    found = explained(model, method)
    assert (len(found.changed), len(found.smooth)) == (0, 1)
    assert found.model.metadata_props["onnx_saliency.smooth_count"] == "1"
    assert "no rectifier" in found.notes[0]
    mixed = explained(behind(f"r = Relu(image) {SMOOTH[name].replace('image', 'r')}"), method)
    assert (len(mixed.changed), len(mixed.smooth)) == (1, 1)
    assert "1 rectifiers follow" in mixed.notes[0]
    assert "1 smooth activations" in mixed.notes[0]


# --- a whole net by hand --------------------------------------------------------------------------

DEEP = """
    c = Conv<pads = [1, 1, 1, 1]>(image, w, b)
    r = Relu(c)
    p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
    d = Conv(p, v, a)
    q = Relu(d)
    f = Flatten(q)
    h = Gemm<transB = 1>(f, k)
    g = Relu(h)
    logits = Gemm<transB = 1>(g, l)
"""
DEEP_WEIGHTS = {"w": (4, 3, 3, 3), "b": (4,), "v": (6, 4, 3, 3), "a": (6,), "k": (7, 24), "l": (5, 7)}


def convolve(x, w, b, pad):
    """Of one image, sum by sum."""
    x = np.pad(x, [(0, 0), (pad, pad), (pad, pad)])
    y = np.zeros((len(w), x.shape[1] - 2, x.shape[2] - 2))
    for o, i, j in np.ndindex(y.shape):
        y[o, i, j] = (x[:, i : i + 3, j : j + 3] * w[o]).sum() + b[o]
    return y


def convolve_back(dy, w, shape, pad):
    dx = np.zeros((shape[0], shape[1] + 2 * pad, shape[2] + 2 * pad))
    for o, i, j in np.ndindex(dy.shape):
        dx[:, i : i + 3, j : j + 3] += dy[o, i, j] * w[o]
    return dx[:, pad : pad + shape[1], pad : pad + shape[2]]


def by_hand(x, target, method, rectified):
    w, b, v, a, k, last = (array(shape, name).astype(np.float64) for name, shape in DEEP_WEIGHTS.items())
    act = (lambda z: np.maximum(z, 0)) if rectified else np.tanh
    slope = (lambda z: z > 0) if rectified else lambda z: 1 - np.tanh(z) ** 2
    policy = POLICIES[method if rectified else "gradient"]
    c = convolve(x, w, b, 1)
    r = act(c)
    p = r.reshape(4, 4, 2, 4, 2).max(axis=(2, 4))
    d = convolve(p, v, a, 0)
    h = k @ act(d).ravel()
    dh = policy(slope(h), last[target])
    dd = policy(slope(d), (dh @ k).reshape(d.shape))
    dp = convolve_back(dd, v, p.shape, 0)
    dr = np.zeros_like(r)
    for o, i, j in np.ndindex(p.shape):  # the switch of Zeiler & Fergus: the place of the maximum
        window = r[o, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        y, z = np.unravel_index(window.argmax(), (2, 2))
        dr[o, 2 * i + y, 2 * j + z] += dp[o, i, j]
    return convolve_back(policy(slope(c), dr), w, x.shape, 1)


@EVERY
@pytest.mark.parametrize("activation", ["Relu", "Tanh"])
def test_a_net_by_hand(method, activation):
    """Of a net without rectifiers the three are one; of one with them they differ as the papers say."""
    model = graph(DEEP.replace("Relu", activation), **DEEP_WEIGHTS)
    x = images()
    found = explain(model, method, x)
    for actual, image in zip(found, x, strict=True):
        close(actual, by_hand(image, CLASS, method, activation == "Relu"), 1e-5)


def test_only_rectifiers_tell_the_three_apart():
    x = images()
    nets = {name: graph(DEEP.replace("Relu", name), **DEEP_WEIGHTS) for name in ("Relu", "Tanh")}
    maps = {name: [explain(model, method, x) for method in POLICIES] for name, model in nets.items()}
    np.testing.assert_array_equal(maps["Tanh"][0], maps["Tanh"][1])
    np.testing.assert_array_equal(maps["Tanh"][0], maps["Tanh"][2])
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert np.linalg.norm(maps["Relu"][one] - maps["Relu"][other]) > 0.1 * np.linalg.norm(maps["Relu"][one])


def test_a_batch_is_its_images():
    model, x = graph(DEEP, **DEEP_WEIGHTS), images(3, 3, 8, 8)
    for method in POLICIES:
        whole = explain(model, method, x)
        for i in range(3):
            close(whole[i : i + 1], explain(model, method, x[i : i + 1]), 1e-5)


@pytest.mark.parametrize("method", ["deconvnet", "guided"])
def test_the_usual_small_net_has_none(method):
    with pytest.warns(xs.MethodWarning, match=f"{method} is the plain gradient here"):
        made = xs.export(small(), method=method)
    plain = xs.export(small())
    for one, other in zip(run(made, {"image": X}), run(plain, {"image": X}), strict=True):
        np.testing.assert_array_equal(one, other)


# --- inside branches and loops --------------------------------------------------------------------

BRANCH = """
    y = If(yes) <
        then_branch = t () => (float[N,3,8,8] a) { s = Mul(image, two) a = Relu(s) },
        else_branch = e () => (float[N,3,8,8] b) { b = Identity(image) }
    >
"""
LOOP = """
    y = Loop(times, yes, image) <body = once (int64 k, bool on, float[N,3,8,8] x) => (bool more, float[N,3,8,8] z) {
        more = Identity(on)
        s = Mul(x, u)
        r = Relu(s)
        z = Add(r, x)
    }>
"""


@EVERY
@pytest.mark.parametrize("yes", [True, False])
def test_inside_a_branch(method, yes):
    body = f"{BRANCH} f = Flatten(y) logits = Gemm<transB = 1>(f, m)"
    inputs = "float[N,3,8,8] image, bool yes"
    model = graph(body, inputs=inputs, two=np.array(2, np.float32), **TABLE)
    expected = 2 * POLICIES[method](X > 0, cotangent()) if yes else cotangent()
    close(explain(model, method, yes=np.array(yes)), expected, 1e-6)
    assert len(explained(model, method).changed) == (method != "gradient")


@EVERY
@pytest.mark.parametrize("known", [True, False])
def test_inside_a_loop(method, known):
    """x ↦ x + max(u x, 0), three times over; a number of times that is known is written out."""
    u, times = array((3, 8, 8), "u"), np.array(3)
    body = f"{LOOP} f = Flatten(y) logits = Gemm<transB = 1>(f, m)"
    inputs = "float[N,3,8,8] image" + ("" if known else ", int64 times")
    model = graph(body, inputs=inputs, u=u, yes=np.array(True), **TABLE, **({"times": times} if known else {}))
    states = [X]
    for _ in range(3):
        states.append(states[-1] + np.maximum(u * states[-1], 0))
    dx = cotangent()
    for x in reversed(states[:3]):
        dx = dx + u * POLICIES[method](u * x > 0, dx)
    close(explain(model, method, **({} if known else {"times": times})), dx, 1e-5)
    changed = len(explained(model, method).changed)
    assert changed == (0 if method == "gradient" else 3 if known else 1)
