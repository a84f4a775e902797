"""Elementwise arithmetic: sums, products, powers and choices, broadcast both ways."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import EVERY, NEWEST, Row, check, differentiate, distinct, mixed, normal, parse, positive, run, scalar
from .single import Single

# --- broadcasting ------------------------------------------------------------------------------

SHAPES = [
    ((2, 3), (2, 3)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 3, 4)),
    ((2, 1, 4), (1, 3, 1)),
    ((1, 1), (3, 4)),
    ((3,), ()),
    ((), (2, 3)),
    ((1,), (1, 1, 1)),
    ((2, 0), (2, 1)),
]
BINARY = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Pow": lambda a, b: a**b,
}
STRETCHED = [
    *(
        Row(name, [positive(*a), positive(*b)], wrt=[0, 1], definition=f)
        for name, f in BINARY.items()
        for a, b in SHAPES
    ),
    *(
        Row(name, [tie_free[: math.prod(a)].reshape(a), tie_free[-math.prod(b) :].reshape(b)], wrt=[0, 1], definition=f)
        for name, f in {"Max": np.maximum, "Min": np.minimum}.items()
        for a, b in SHAPES
        if math.prod(a) and math.prod(b)
        for tie_free in [distinct(math.prod(a) + math.prod(b))]
    ),
    *(Row("Where", [np.asarray(normal(*a) > 0), normal(*a), normal(*b)], wrt=[1, 2]) for a, b in SHAPES),
    *(Row("Where", [np.array([True, False, True]), normal(2, 1), normal(1, 1, 1)], wrt=w) for w in ([1], [2], [1, 2])),
    Row("Where", [normal(2, 3) > 0, normal(2, 3), normal(1)], wrt=[1, 2], fed=[0], named="open condition"),
    *(
        Row(name, [normal(*shape) for shape in shapes], wrt=range(len(shapes)))
        for name in ("Sum", "Mean")
        for shapes in ([(2, 3)], [(2, 3), (3,)], [(2, 3), (1, 1), (4, 1, 3)])
    ),
    Row("Max", [distinct(2, 3)], definition=lambda a: a),
    Row("Min", [distinct(6)[:3] + 0.03, distinct(2, 3), scalar(0.02)], wrt=[0, 1, 2], named="three",
        definition=lambda a, b, c: np.minimum(np.minimum(a, b), c)),
    Row("Mul", [normal(2, 3), normal(3)], wrt=[0], named="constant operand"),
    Row("Div", [scalar(2.0), positive(2, 3)], wrt=[1], named="constant operand", definition=lambda a, b: a / b),
]  # fmt: skip

# --- one operand -------------------------------------------------------------------------------

UNARY = [
    Row("Neg", [normal(2, 3)]),
    Row("Abs", [distinct(2, 3)], definition=np.abs),
    Row("Reciprocal", [-positive(2, 3)], definition=lambda x: 1 / x),
    Row("Exp", [normal(2, 3)], definition=np.exp),
    Row("Log", [positive(2, 3)], definition=np.log),
    Row("Sqrt", [positive(2, 3)], definition=np.sqrt),
    Row("Erf", [normal(2, 3)], definition=np.vectorize(math.erf)),
]

# --- powers, with what is awkward about them ---------------------------------------------------

POWERS = [
    Row(
        "Pow",
        [np.sign(normal(2, 3)) * positive(2, 3), exponent],
        named=f"exponent {exponent}",
        definition=lambda x, p: x ** float(p),
    )
    for exponent in (scalar(2.0), scalar(3.0), scalar(-2.0), scalar(1.0), scalar(0.0), np.array(2), np.float32(3) * 1)
] + [
    Row("Pow", [positive(3), np.array([2, 3, 0], np.int64)], definition=np.power, named="whole exponents"),
    Row("Pow", [positive(2, 1), normal(3)], wrt=[1], definition=np.power, named="exponent only"),
]

# --- kinks: the library's choice, by hand ------------------------------------------------------

KINKS = [
    Row("Sqrt", [np.array([0.0, 4.0])], gradient=lambda v: v * [0, 0.25], definition=np.sqrt, named="at 0"),
    Row("Log", [np.array([0.0, 4.0])], gradient=lambda v: v * [0, 0.25], named="at 0",
        definition=lambda x: np.where(x > 0, np.log(np.where(x > 0, x, 1)), -np.inf)),
    *(
        Row("Pow", [np.array([0.0, 4.0]), scalar(p)], named=f"{p} at 0", definition=np.power,
            gradient=lambda v, slope=slope: v * slope)
        for p, slope in [(0.5, [0, 0.25]), (2.0, [0, 8]), (1.0, [1, 1]), (0.0, [0, 0])]
    ),
    Row("Pow", [np.array([0.0, 1.0]), np.array([2.0, 3.0])], wrt=[1], definition=np.power, named="base 0",
        gradient=lambda v: v * [0, 0]),
    Row("Abs", [np.array([0.0, -4.0])], gradient=lambda v: v * [0, -1], definition=np.abs, named="at 0"),
    Row("Max", [np.array([1.0, 2, 3]), np.array([1.0, 5, 0])], wrt=[0, 1], definition=np.maximum, named="tie",
        gradient=lambda v: [v * [0.5, 0, 1], v * [0.5, 1, 0]]),
    Row("Min", [np.array([1.0, 2, 3]), scalar(1.0), np.array([1.0, 1, 4])], wrt=[0, 1, 2], named="three-way tie",
        definition=lambda a, b, c: np.minimum(np.minimum(a, b), c),
        gradient=lambda v: [v * [1 / 3, 0, 0], np.sum(v * [1 / 3, 1 / 2, 1]), v * [1 / 3, 1 / 2, 0]]),
]  # fmt: skip

INDICES = np.array([[0, 2], [-1, 5]])
FROM_INDICES = [
    Row(
        "Range",
        [scalar(1.5), scalar(4.2), scalar(0.5)],
        wrt=[0, 2],
        definition=lambda start, limit, step: start + step * np.arange(int(np.ceil((limit - start) / step))),
    ),
    *(Single("OneHot", [INDICES, np.array(3), normal(2)], {"axis": axis}, wrt=[2]) for axis in (-1, 0)),
    Single("OneHot", [INDICES, np.array(3), normal(2)], wrt=[2], fed=[0]),
]
ROWS = [*STRETCHED, *UNARY, *POWERS, *KINKS, *FROM_INDICES]


@pytest.mark.parametrize(("row", "variant"), mixed(ROWS))
def test_gradient(row, variant):
    check(row, variant)


# --- where nothing flows -----------------------------------------------------------------------

STOPS = {  # t in y = x Σ t: a function of x whose derivative is 0 or has no meaning
    "Sign": "t = Sign(x)",
    "Floor": "t = Floor(x)",
    "Ceil": "t = Ceil(x)",
    "Round": "t = Round(x)",
    "Shape": "t = Shape(x)",
    "Size": "t = Size(x)",
    "ArgMax": "t = ArgMax<axis=1>(x)",
    "ArgMin": "t = ArgMin<axis=1>(x)",
    "Hardmax": "t = Hardmax(x)",
    "NonZero": "t = NonZero(x)",
    "IsNaN": "n = IsNaN(x) t = Not(n)",
    "IsInf": "r = Reciprocal(zeros) i = Add(x, r) t = IsInf(i)",
    "Equal": "t = Equal(x, x)",
    "Greater": "t = Greater(x, zeros)",
    "GreaterOrEqual": "t = GreaterOrEqual(x, zeros)",
    "Less": "t = Less(x, zeros)",
    "LessOrEqual": "t = LessOrEqual(x, zeros)",
    "Not": "c = Less(x, zeros) t = Not(c)",
    "And": "c = Less(x, zeros) t = And(c, c)",
    "Or": "c = Less(x, zeros) d = Greater(x, zeros) t = Or(c, d)",
    "Xor": "c = Less(x, zeros) d = Greater(x, zeros) t = Xor(c, d)",
    "ConstantOfShape": "s = Shape(x) t = ConstantOfShape<value = float[1] {2.0}>(s)",
    "EyeLike": "t = EyeLike<dtype = 1>(x)",
    "Range": "n = Size(x) first = Constant<value_int = 0>() step = Constant<value_int = 1>() t = Range(first, n, step)",
    "OneHot": "i = Abs(x) d = Constant<value_float = 3.0>() t = OneHot(i, d, values)",
    "Cast": "i = Cast<to = 7>(x) t = Abs(i)",
}
TESTED = list(STOPS)


@pytest.mark.parametrize("shape", ["2, 3", "N, M"])
@pytest.mark.parametrize("opset", [18, NEWEST])
@pytest.mark.parametrize("name", STOPS)
def test_nothing_flows(name, opset, shape):
    """dy/dx of y = x Σ t is Σ t alone."""
    model = parse(
        f"(float[{shape}] x) => (float[{shape}] y) <float[1] zeros = {{0.0}}, float[2] values = {{1.0, 2.0}}>",
        f"{STOPS[name]} sum = Cast<to = 1>(t) total = ReduceSum<keepdims = 0>(sum) y = Mul(x, total)",
        opset,
    )
    x = np.array([[0.7, -1.2, 2.4], [3.1, 1.6, -0.3]], np.float32)
    v = normal(2, 3).astype(np.float32)
    differentiated, reached = differentiate(model, ["x"], np.float32)
    found = run(differentiated, {"x": x, "v0": v})
    total = found["y"][0, 0] / x[0, 0]
    assert reached == [True]
    assert abs(total) > 0.1
    np.testing.assert_allclose(found["d_x"], v * total, rtol=1e-5)


@st.composite
def stretched_shapes(draw):
    """Two shapes that broadcast: one shape, each of the two with leading axes dropped and some set to 1."""
    shape = draw(st.lists(st.integers(1, 4), max_size=4))
    masks = [draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape))) for _ in range(2)]
    drops = [draw(st.integers(0, len(shape))) for _ in range(2)]
    return [
        tuple(1 if one else dim for one, dim in zip(mask, shape, strict=True))[drop:]
        for mask, drop in zip(masks, drops, strict=True)
    ]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(stretched_shapes(), st.sampled_from(["Add", "Mul", "Sub"]), st.sampled_from(EVERY))
def test_any_shapes_that_broadcast(shapes, name, variant):
    check(Row(name, [normal(*shape) for shape in shapes], wrt=[0, 1]), variant)
