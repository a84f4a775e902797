"""x · g(x) written out: SiLU and GELU, in the ways that exporters write them, and near misses."""

import math

import numpy as np
import pytest

from onnx_saliency.backward import PROFILES

from .harness import differentiate, parse, run

X = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32) * 2
SIGNATURE = "(float[2,3,4] x) => (float[2,3,4] y)"
ROOT, HALF, ONE = (f"{name} = Constant<value = float {{{number}}}>() " for name, number in (
    ("root", math.sqrt(2)), ("half", 0.5), ("one", 1.0)))  # fmt: skip
LEAST = f"least = Constant<value = float {{{math.sqrt(0.5)}}}>() "
ERF = f"{ROOT}{HALF}{ONE} u = Div(x, root) e = Erf(u) a = Add(e, one) "

erf = np.vectorize(math.erf)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return x * (1 + erf(x / math.sqrt(2))) / 2


ONE_FORMULA = {  # body: function, and what lies between
    "s = Sigmoid(x) y = Mul(x, s)": (silu, "s"),
    "s = Sigmoid(x) y = Mul(s, x)": (silu, None),  # its derivative reads s
    f"{ERF} t = Mul(x, a) y = Mul(t, half)": (gelu, "e"),
    f"{ERF} t = Mul(a, x) y = Mul(half, t)": (gelu, "a"),
    f"{ERF} h = Mul(x, half) y = Mul(h, a)": (gelu, "a"),
    f"{ERF} h = Mul(half, a) y = Mul(x, h)": (gelu, "h"),
    f"{LEAST}{HALF}{ONE} u = Mul(least, x) e = Erf(u) a = Add(one, e) t = Mul(x, a) y = Mul(t, half)": (gelu, "e"),
}
OTHERS = {
    "s = Sigmoid(x) r = Mul(s, s) y = Mul(x, r)": lambda x: silu(x) / (1 + np.exp(-x)),
    "h = Mul(x, x) s = Sigmoid(h) y = Mul(x, s)": lambda x: x / (1 + np.exp(-x * x)),
    f"{ERF} y = Mul(x, a)": lambda x: 2 * gelu(x),
    f"{ERF} t = Mul(x, a) y = Mul(t, root)": lambda x: 2 * math.sqrt(2) * gelu(x),
    f"{ROOT}{HALF}{ONE} u = Div(root, x) e = Erf(u) a = Add(e, one) t = Mul(x, a) y = Mul(t, half)": (
        lambda x: x * (1 + erf(math.sqrt(2) / x)) / 2
    ),
    f"{ROOT}{HALF}{ONE} v = Add(x, one) u = Div(v, root) e = Erf(u) a = Add(e, one) t = Mul(x, a) y = Mul(t, half)": (
        lambda x: x * (1 + erf((x + 1) / math.sqrt(2))) / 2
    ),
}
ALL = {body: function for body, (function, _) in ONE_FORMULA.items()} | OTHERS


def slope(function):
    x, step = X.astype(np.float64), 1e-6
    return (function(x + step) - function(x - step)) / (2 * step)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("body", ALL)
def test_gradient(body, profile):
    model, _ = differentiate(parse(SIGNATURE, body), ["x"], np.float32, profile)
    found = run(model, {"x": X, "v0": np.ones_like(X)})["d_x"]
    np.testing.assert_allclose(found, slope(ALL[body]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        "s = Sigmoid(h) y = Mul(h, s)",
        "y = If(yes) <then_branch = a () => (a) { a = Exp(h) }, else_branch = b () => (b) { b = Neg(h) }>",
    ],
)
def test_what_comes_before_may_need_the_shape(body):
    """A gradient that is found by its value, and not by its place, has the shape of the value too."""
    normal = "h = BatchNormalization(x, g, b, m, v) "
    model = parse(
        "(float[2,3,4] x, bool yes, float[3] g, float[3] b, float[3] m, float[3] v) => (float[2,3,4] y)", normal + body
    )
    differentiated, _ = differentiate(model, ["x"], np.float32)
    ones = np.ones(3, np.float32)
    feeds = {"x": X, "v0": np.ones_like(X), "yes": np.array(True), "g": ones, "b": 0 * ones, "m": 0 * ones, "v": ones}
    found = run(
        differentiated, {name: feeds[name] for name in feeds if name in {i.name for i in differentiated.graph.input}}
    )
    np.testing.assert_allclose(found["d_x"], slope(silu if "Mul" in body else np.exp), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("body", ONE_FORMULA)
def test_nothing_between_is_read(body):
    """What the backward pass reads a runtime has to compute apart."""
    model, _ = differentiate(parse(SIGNATURE, body), ["x"], np.float32)
    written = [node for node in model.graph.node if node.name.startswith("backward/")]
    assert not {"u", "e", "a", "h", "t"} & {value for node in written for value in node.input}


@pytest.mark.parametrize(("body", "between"), [(body, name) for body, (_, name) in ONE_FORMULA.items() if name])
def test_a_value_between_has_its_own_gradient(body, between):
    model, _ = differentiate(parse(SIGNATURE, body), ["x", between], np.float32)
    found = run(model, {"x": X, "v0": np.ones_like(X)})
    np.testing.assert_allclose(found["d_x"], slope(ONE_FORMULA[body][0]), rtol=1e-4, atol=1e-5)
    expected = X if between == "s" or between == "h" else X / 2
    np.testing.assert_allclose(found[f"d_{between}"], expected, rtol=1e-5)
