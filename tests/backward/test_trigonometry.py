"""Trigonometric and hyperbolic functions inside their ranges, and at the ends, where slopes are infinite."""

import numpy as np
import pytest

from .harness import (
    NEWEST,
    Row,
    Variant,
    cases,
    check,
    differentiate,
    distinct,
    forward_model,
    normal,
    positive,
    run,
    scalar,
)
from .single import Single

INSIDE = distinct(2, 3, 3) + 0.01  # in (−1, 1)
FUNCTIONS = {
    "Sin": (np.sin, normal(2, 5)),
    "Cos": (np.cos, normal(2, 5)),
    "Tan": (np.tan, INSIDE),
    "Asin": (np.arcsin, INSIDE),
    "Acos": (np.arccos, INSIDE),
    "Atan": (np.arctan, 3 * normal(2, 5)),
    "Sinh": (np.sinh, normal(2, 5)),
    "Cosh": (np.cosh, normal(2, 5)),
    "Asinh": (np.arcsinh, 3 * normal(2, 5)),
    "Acosh": (np.arccosh, 1 + positive(2, 5)),
    "Atanh": (np.arctanh, INSIDE),
}
DOUBLE = {"Sin", "Cos"}  # the only ones that onnxruntime computes in float64
SMOOTH = [
    *(Row(name, [x], definition=f, reference=name not in DOUBLE) for name, (f, x) in FUNCTIONS.items()),
    *(Single(name, [x], definition=f, named="float32") for name, (f, x) in FUNCTIONS.items()),
    Row("Sin", [scalar(0.3)], definition=np.sin, named="one number"),
    Single("Asin", [np.zeros((0, 2))], definition=np.arcsin, named="no number"),
]


def atanh(x):
    return np.where(np.abs(x) < 1, np.arctanh(np.where(np.abs(x) < 1, x, 0)), np.copysign(np.inf, x))


ENDS = [  # the library's choice: 0
    Single("Asin", [np.array([-1.0, 1, 0.6])], definition=np.arcsin, gradient=lambda v: v * [0, 0, 1.25], named="ends"),
    Single(
        "Acos", [np.array([-1.0, 1, 0.6])], definition=np.arccos, gradient=lambda v: v * [0, 0, -1.25], named="ends"
    ),
    Single("Acosh", [np.array([1.0, 1.25])], definition=np.arccosh, gradient=lambda v: v * [0, 4 / 3], named="end"),
    Single(
        "Atanh", [np.array([-1.0, 1, 0.6])], definition=atanh, gradient=lambda v: v * [0, 0, 1 / 0.64], named="ends"
    ),
]

ROWS = [*SMOOTH, *ENDS]


@pytest.mark.parametrize(("row", "variant"), cases(ROWS))
def test_gradient(row, variant):
    check(row, variant)


@pytest.mark.parametrize("row", ENDS, ids=str)
def test_a_gradient_of_zero_stays_zero_at_the_ends(row):
    """0 · ∞ is NaN, and one NaN makes a whole map of NaN."""

    model, _ = differentiate(forward_model(row, Variant(NEWEST, "no")), ["x0"], row.dtype)
    x = row.inputs[0].astype(row.dtype)
    assert (run(model, {"x0": x, "v0": np.zeros_like(x)})["d_x0"] == 0).all()
