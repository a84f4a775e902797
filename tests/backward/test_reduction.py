"""Reductions: every operator, with axes as numbers, as an input, negative, missing, none."""

import itertools

import numpy as np
import pytest

from .harness import FEW, Row, cases, check, distinct, mixed, normal, positive, whole

DEFINITIONS = {
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceL1": lambda x, **k: np.sum(np.abs(x), **k),
    "ReduceL2": lambda x, **k: np.sqrt(np.sum(x * x, **k)),
    "ReduceSumSquare": lambda x, **k: np.sum(x * x, **k),
    "ReduceLogSum": lambda x, **k: np.log(np.sum(x, **k)),
    "ReduceLogSumExp": lambda x, **k: np.log(np.sum(np.exp(x), **k)),
}
AXES = [None, (), (0,), (1,), (-1,), (0, 2), (-2, 0), (0, 1, 2)]


def definition(name, axes, keepdims, noop=0):
    """The reduction; with no axes over all of them, or over none, where the steps around the sum still happen."""
    over = axes or (() if noop else None)
    return lambda x, *_: np.asarray(DEFINITIONS[name](x, axis=over, keepdims=bool(keepdims)))


def row(name, axes, *, named="", fed=(), **attrs):
    x = positive(2, 3, 2) if name == "ReduceLogSum" else distinct(2, 3, 2)
    f = definition(name, axes, attrs.get("keepdims", 1), attrs.get("noop_with_empty_axes", 0))
    inputs = [x] if axes is None else [x, whole(*axes)]
    return Row(name, inputs, attrs, fed=fed, definition=f, named=named or f"axes {axes}")


TABLE = [row(name, axes, keepdims=keep) for name, axes, keep in itertools.product(DEFINITIONS, AXES, (0, 1))]
ROWS = [
    *(row(name, (1,)) for name in DEFINITIONS),
    *(row(name, axes, noop_with_empty_axes=1) for name in DEFINITIONS for axes in (None, (), (1,))),
    *(
        row(name, axes, keepdims=keep, fed=[1], named=f"open axes {axes}")
        for name in DEFINITIONS
        for axes in ((1,), (-1, 0))
        for keep in (0, 1)
    ),
    Row("ReduceSum", [normal(2, 0, 3), whole(1)], named="over nothing"),
]
KINKS = [  # the library's choice, by hand
    Row("ReduceMax", [np.array([[1.0, 3, 3], [2, 2, 2]]), whole(1)], definition=definition("ReduceMax", (1,), 1),
        gradient=lambda v: v * [[0, 1 / 2, 1 / 2], [1 / 3] * 3], named="ties"),
    Row("ReduceMin", [np.array([[1.0, 3, 1], [2, 2, 2]]), whole(1)], {"keepdims": 0}, named="ties",
        definition=definition("ReduceMin", (1,), 0), gradient=lambda v: v[:, None] * [[1 / 2, 0, 1 / 2], [1 / 3] * 3]),
    Row("ReduceL1", [np.array([[0.0, -2.0]]), whole(1)], definition=definition("ReduceL1", (1,), 1),
        gradient=lambda v: v * [[0, -1]], named="at 0"),
    Row("ReduceL2", [np.array([[0.0, 0.0], [3.0, -4.0]]), whole(1)], definition=definition("ReduceL2", (1,), 1),
        gradient=lambda v: v * [[0, 0], [0.6, -0.8]], named="at 0"),
    Row("ReduceProd", [np.array([[0.0, 2, 3], [0, 0, 3], [1, 2, 3]]), whole(1)], named="at 0",
        definition=definition("ReduceProd", (1,), 1)),
    Row("ReduceLogSumExp", [np.array([[800.0, -800.0]]), whole(1)], definition=definition("ReduceMax", (1,), 1),
        gradient=lambda v: v * [[1, 0]], named="large"),
]  # fmt: skip

ROWS = [*ROWS, *KINKS]


@pytest.mark.parametrize(("row", "variant"), [*mixed(ROWS), *cases(TABLE, FEW)])
def test_gradient(row, variant):
    check(row, variant)
