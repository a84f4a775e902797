"""Pools: against loops over the windows."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from .harness import (
    EVERY,
    FEW,
    NEWEST,
    Row,
    Variant,
    cases,
    check,
    combined,
    differentiate,
    distinct,
    normal,
    parse,
    run,
)


def windows(size, kernel, strides, dilations, pads, ceil_mode):
    """For each position of the output, the positions of its window that lie in the padded picture, and how many."""
    rank = len(size)
    lengths = []
    for i, (h, k, s, d) in enumerate(zip(size, kernel, strides, dilations, strict=True)):
        steps = (h + pads[i] + pads[i + rank] - d * (k - 1) - 1) / s
        length = (math.ceil(steps) if ceil_mode else math.floor(steps)) + 1
        if ceil_mode and (length - 1) * s >= h + pads[i]:  # the last window must begin in the picture or its left pad
            length -= 1
        lengths.append(length)
    for o in np.ndindex(*lengths):
        begins = [at * s - p for at, s, p in zip(o, strides, pads[:rank], strict=True)]
        window = itertools.product(*(range(b, b + d * k, d) for b, d, k in zip(begins, dilations, kernel, strict=True)))
        padded = [
            q for q in window
            if all(-pads[i] <= at < size[i] + pads[i + rank] for i, at in enumerate(q))
        ]  # fmt: skip
        inside = [q for q in padded if all(0 <= at < h for at, h in zip(q, size, strict=True))]
        yield o, inside, len(padded)


def pooled(x, attrs, value):
    """Apply `value(entries inside the picture, entries of the padded window)` to each window of each map."""
    size = x.shape[2:]
    rank = len(size)
    kernel = attrs["kernel_shape"]
    geometry = (
        attrs.get("strides", [1] * rank),
        attrs.get("dilations", [1] * rank),
        attrs.get("pads", [0] * 2 * rank),
        attrs.get("ceil_mode", 0),
    )
    found = [
        (o, np.stack([x[(..., *q)] for q in inside], axis=-1), n) for o, inside, n in windows(size, kernel, *geometry)
    ]
    y = np.empty(x.shape[:2] + tuple(length + 1 for length in found[-1][0]))
    for o, entries, n in found:
        y[(..., *o)] = value(entries, n)
    return y


def max_pool(x, **attrs):
    return Row("MaxPool", [x], attrs, definition=lambda x: pooled(x, attrs, lambda entries, n: entries.max(axis=-1)))


def average_pool(x, **attrs):
    def mean(entries, n):
        return entries.sum(axis=-1) / (n if attrs.get("count_include_pad") else entries.shape[-1])

    since = 19 if "dilations" in attrs else 18
    return Row("AveragePool", [x], attrs, since=since, definition=lambda x: pooled(x, attrs, mean))


def holds_a_window(size, kernel, pads, dilations):
    """Whether the picture holds a window, and no window can lie in the pads alone."""
    rank = len(size)
    return all(
        h + pads[i] + pads[i + rank] > d * (k - 1) and max(pads[i], pads[i + rank]) < k and h >= d * (k - 1)
        for i, (h, k, d) in enumerate(zip(size, kernel, dilations, strict=True))
    )


def geometries(**more):
    """Attributes of pools, with choices of further ones, in which any three values meet."""
    choices = {
        "kernel_shape": [(2, 2), (3, 2)],
        "strides": [(1, 1), (2, 2), (3, 2)],
        "pads": [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 1, 0)],
        "dilations": [(1, 1), (2, 1)],
        "ceil_mode": (0, 1),
        **more,
    }
    return [dict(zip(choices, values, strict=True)) for values in combined(*choices.values())]


MAXIMA = [max_pool(distinct(1, 2, 5, 6), **geometry) for geometry in geometries()]
MEANS = [average_pool(normal(1, 2, 5, 6), **geometry) for geometry in geometries(count_include_pad=(0, 1))]
OTHERS = [
    max_pool(distinct(2, 3, 4, 4), kernel_shape=[2, 2], strides=[2, 2]),
    max_pool(distinct(2, 2, 5, 5), kernel_shape=[3, 3], strides=[2, 2], storage_order=1),
    max_pool(distinct(2, 2, 7), kernel_shape=[3], strides=[2], pads=[1, 0]),
    max_pool(distinct(1, 2, 4, 3, 4), kernel_shape=[2, 2, 2], strides=[1, 2, 1]),
    max_pool(distinct(1, 2, 4, 3, 4), kernel_shape=[2] * 3, strides=[2, 2, 3], pads=[0, 1, 1, 1, 0, 1], ceil_mode=1),
    max_pool(distinct(1, 2, 6, 7), kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1),
    average_pool(normal(1, 2, 4, 3, 4), kernel_shape=[2] * 3, strides=[2, 1, 2], pads=[0, 1, 1, 1, 0, 1], ceil_mode=1),
    average_pool(normal(1, 2, 6, 6), kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1, count_include_pad=1),
    # Before opset 22 shape inference counts windows that begin behind the picture. Along one axis here, and the other
    # has one that only ceil_mode reaches, of which count_include_pad counts a part: no pads say the same.
    replace(average_pool(normal(1, 2, 4, 3, 4), kernel_shape=[2] * 3, strides=[2, 1, 2], pads=[0, 1, 1, 1, 0, 1],
                         ceil_mode=1, count_include_pad=1), since=22),
    max_pool(-10 - distinct(1, 1, 3, 3), kernel_shape=[2, 2], pads=[1, 1, 1, 1]),
    average_pool(normal(2, 2, 7), kernel_shape=[3], strides=[2], pads=[1, 0]),
    average_pool(normal(2, 3, 4, 4), kernel_shape=[2, 2], strides=[2, 2]),
    average_pool(normal(1, 2, 4, 3, 4), kernel_shape=[2, 3, 2], strides=[1, 1, 2]),
    average_pool(normal(1, 2, 4, 3, 4), kernel_shape=[2, 2, 2], strides=[2, 1, 2], pads=[0, 1, 1, 1, 0, 1],
                 count_include_pad=1),
    average_pool(normal(1, 2, 7, 6), kernel_shape=[3, 2], pads=[2, 1, 1, 0], count_include_pad=1),
    average_pool(normal(1, 2, 6, 5), kernel_shape=[6, 5]),
    *(Row("AveragePool", [normal(1, 2, 7, 6)], {"kernel_shape": [3, 2], "auto_pad": mode})
      for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")),
    Row("AveragePool", [normal(1, 2, 7, 6)], {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER",
        "count_include_pad": 1}),
    *(
        Row("GlobalAveragePool", [normal(*x)], definition=lambda x: x.mean(axis=tuple(range(2, x.ndim)), keepdims=True))
        for x in [(2, 3, 4), (2, 3, 4, 2), (1, 2, 2, 3, 2)]
    ),
    *(
        Row("GlobalMaxPool", [distinct(*x)], definition=lambda x: x.max(axis=tuple(range(2, x.ndim)), keepdims=True))
        for x in [(2, 3, 4), (2, 3, 4, 2), (1, 2, 2, 3, 2)]
    ),
]  # fmt: skip
STRIDED_SAME = [  # its pads depend on the size, which must be known
    Row("AveragePool", [normal(1, 2, 7, 6)], {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": mode})
    for mode in ("SAME_UPPER", "SAME_LOWER")
] + [
    Row("MaxPool", [x], {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": mode},
        definition=max_pool(x, kernel_shape=[3, 2], strides=[2, 2], pads=pads).definition)
    for x in [distinct(1, 2, 7, 5)]
    for mode, pads in [("SAME_UPPER", [1, 0, 1, 1]), ("SAME_LOWER", [1, 1, 1, 0])]
]  # fmt: skip


def first_of_equals(v, x, kernel, strides):
    """dx of a MaxPool without pads: each window's gradient goes to its first largest entry."""
    dx = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(v.shape):
        window = [(i * strides[0] + a, j * strides[1] + b) for a in range(kernel[0]) for b in range(kernel[1])]
        at = max(window, key=lambda q: x[n, c, *q])  # max keeps the first of equal keys
        dx[n, c, *at] += v[n, c, i, j]
    return dx


SIZED = [variant for variant in EVERY if variant.open != "all"]
FLAT = np.zeros((1, 2, 4, 4))
STEPS = np.round(normal(2, 2, 5, 5))
TIES = [
    Row("MaxPool", [x], {"kernel_shape": kernel, "strides": strides}, named=f"ties {i}",
        definition=max_pool(x, kernel_shape=kernel, strides=strides).definition,
        gradient=lambda v, x=x, k=kernel, s=strides: first_of_equals(v, x, k, s))
    for i, x in enumerate((FLAT, STEPS)) for kernel, strides in [((2, 2), (2, 2)), ((3, 2), (1, 1))]
] + [
    Row("GlobalMaxPool", [np.array([[[[1.0, 3], [3, 0]]]])], named="ties", gradient=lambda v: v * [[0, 1], [0, 0]],
        definition=lambda x: x.max(axis=(2, 3), keepdims=True)),
]  # fmt: skip

ROWS = [*OTHERS, *TIES]


@pytest.mark.parametrize(
    ("row", "variant"), [*cases(ROWS), *cases([*MAXIMA, *MEANS], FEW), *cases(STRIDED_SAME, SIZED)]
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
    attrs["ceil_mode"] = draw(st.integers(0, 1))
    if draw(st.booleans()):
        return max_pool(distinct(1, 2, *size), **attrs)
    counted = draw(st.integers(0, 1))
    row = average_pool(normal(1, 2, *size), **attrs, count_include_pad=counted)
    return replace(row, since=22) if counted else row


@settings(max_examples=100, deadline=None, derandomize=True)
@given(pools(), st.sampled_from(["no", "batch", "all"]), st.sampled_from([18, NEWEST]))
def test_any_pool(row, shapes, opset):
    check(row, Variant(max(opset, row.since), shapes))


SWITCHED = [  # kernel, strides, height, width
    ((2, 2), (2, 2), 8, 6),
    ((2, 2), (2, 2), 7, 9),
    ((3, 3), (2, 2), 9, 7),
    ((3, 3), (2, 2), 8, 10),
    ((3, 3), (3, 3), 10, 9),
    ((2, 3), (2, 3), 4, 9),
    ((3, 2), (2, 2), 7, 6),
]


@pytest.mark.parametrize("batch", [2, "N"])
@pytest.mark.parametrize(("kernel", "strides", "height", "width"), SWITCHED)
def test_a_max_pool_without_indices(kernel, strides, height, width, batch):
    """The switches of the CPU are those of MaxPool: of equal values the first, of which flat pictures have many."""
    signature = f"(float[{batch},16,{height},{width}] x) => (float[{batch},16,oh,ow] y)"
    model = parse(signature, f"y = MaxPool<kernel_shape = {list(kernel)}, strides = {list(strides)}>(x)")
    rng = np.random.default_rng(0)
    x = rng.integers(-1, 2, (2, 16, height, width)).astype(np.float32)
    windows = [(length - k) // s + 1 for length, k, s in zip((height, width), kernel, strides, strict=True)]
    feeds = {"x": x, "v0": rng.standard_normal((2, 16, *windows)).astype(np.float32)}
    made = {profile: differentiate(model, ["x"], np.float32, profile)[0] for profile in ("portable", "cpu")}
    found = {profile: run(made[profile], feeds)["d_x"] for profile in made}
    np.testing.assert_allclose(found["cpu"], found["portable"], rtol=1e-5, atol=1e-6)
    assert "ScatterElements" not in {node.op_type for node in made["cpu"].graph.node}


@pytest.mark.parametrize(
    "attributes",
    [
        "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]",
        "kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1",
        "kernel_shape = [2, 2], strides = [2, 2], dilations = [2, 2]",
        "kernel_shape = [2, 2]",
        "kernel_shape = [5, 5], strides = [2, 2]",
        "kernel_shape = [1, 1], strides = [2, 2]",
    ],
)
def test_other_max_pools_keep_their_indices(attributes):
    model = parse("(float[2,16,8,8] x) => (float[2,16,h,w] y)", f"y = MaxPool<{attributes}>(x)")
    operators = [node.op_type for node in differentiate(model, ["x"], np.float32, "cpu")[0].graph.node]
    assert "ScatterElements" in operators
