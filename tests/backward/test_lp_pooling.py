"""Pools by the Lp norm: against loops over the windows."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from .harness import FEW, NEWEST, Row, Variant, cases, check, distinct
from .test_pooling import geometries, holds_a_window, pooled


class SingleRow(Row):
    """onnxruntime has no CPU kernel in double for these."""

    dtype = np.float32


def norm(entries, p):
    return (np.abs(entries) ** p).sum(axis=-1) ** (1 / p)


def lp_pool(x, since=18, named="", gradient=None, **attrs):
    p = attrs.get("p", 2)
    return SingleRow("LpPool", [x], attrs, since=since, named=named, gradient=gradient,
                     definition=lambda x: pooled(x, attrs, lambda entries, n: norm(entries, p)))  # fmt: skip


def global_lp_pool(x, named="", gradient=None, **attrs):
    def pool(x):
        return norm(x.reshape(*x.shape[:2], -1), attrs.get("p", 2)).reshape(*x.shape[:2], *[1] * (x.ndim - 2))

    return SingleRow("GlobalLpPool", [x], attrs, named=named, gradient=gradient, definition=pool)


POOLS = [lp_pool(distinct(1, 2, 5, 6), **geometry) for geometry in geometries(p=(1, 2, 3))]


def at_half_zero(p):
    """One window of zeros, whose slope is 0, and one of 3 and −4."""
    return lambda v: v[..., 1:] * np.sign(HALF_ZERO) * (np.abs(HALF_ZERO) / norm(np.array([3, 4]), p)) ** (p - 1)


HALF_ZERO = np.array([[[[0, 0, 3.0, -4], [0, 0, 0, 0]]]])
OTHERS = [
    lp_pool(distinct(2, 3, 4, 4), kernel_shape=[2, 2], named="defaults"),
    lp_pool(distinct(2, 2, 7), kernel_shape=[3], strides=[2], pads=[1, 0], p=4),
    lp_pool(distinct(1, 2, 4, 3, 4), kernel_shape=[2, 3, 2], strides=[1, 1, 2], p=3),
    lp_pool(distinct(1, 1, 6, 7), kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1),
    lp_pool(distinct(1, 1, 4, 3, 4), kernel_shape=[2] * 3, strides=[2, 1, 2], pads=[0, 1, 1, 1, 0, 1], ceil_mode=1),
    lp_pool(distinct(1, 1, 3, 3), kernel_shape=[2, 2], p=7),
    *(lp_pool(HALF_ZERO, kernel_shape=[2, 2], strides=[2, 2], p=p, named="zeros", gradient=at_half_zero(p))
      for p in (1, 2, 3)),
]  # fmt: skip
SAME = [
    SingleRow("LpPool", [distinct(1, 2, 7, 6)], {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": mode},
              definition=lambda x, pads=pads: pooled(x, {"kernel_shape": [3, 2], "strides": [2, 2], "pads": pads},
                                                     lambda entries, n: norm(entries, 2)))
    for mode, pads in (("SAME_UPPER", [1, 0, 1, 0]), ("VALID", [0, 0, 0, 0]))
]  # fmt: skip
GLOBAL = [
    global_lp_pool(distinct(2, 3, 4), p=1),
    global_lp_pool(distinct(2, 3, 4, 2), named="defaults"),
    global_lp_pool(distinct(1, 2, 2, 3, 2), p=3),
    *(global_lp_pool(np.zeros((1, 2, 2, 2)), p=p, named="zeros", gradient=lambda v: np.zeros((1, 2, 2, 2)))
      for p in (1, 2, 3)),
]  # fmt: skip
LAST_WITH_KERNEL = [Variant(opset, shapes) for opset in (18, 21) for shapes in ("no", "batch", "all")]

ROWS = [*OTHERS, *SAME, *GLOBAL]


@pytest.mark.parametrize(
    ("row", "variant"), [*cases([*OTHERS]), *cases(POOLS, FEW), *cases(SAME, FEW[:1]), *cases(GLOBAL, LAST_WITH_KERNEL)]
)
def test_gradient(row, variant):
    check(row, variant)


@st.composite
def pools(draw):
    """Any geometry of one or two axes in which no window lies in the pads alone."""
    rank = draw(st.integers(1, 2))

    def each(low, high, count=rank):
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    size, kernel, dilations, pads = each(1, 6), each(1, 3), each(1, 2), each(0, 2, 2 * rank)
    assume(holds_a_window(size, kernel, pads, dilations))
    attrs = {"kernel_shape": kernel, "strides": each(1, 3), "dilations": dilations, "pads": pads}
    return lp_pool(distinct(1, 2, *size), 22, p=draw(st.integers(1, 4)), ceil_mode=draw(st.integers(0, 1)), **attrs)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(pools(), st.sampled_from(["no", "batch", "all"]))
def test_any_pool(row, shapes):
    check(row, Variant(NEWEST, shapes))
