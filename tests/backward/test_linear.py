"""Convolutions and matrix products: exactly the transposed map, whatever their geometry."""

import itertools
from dataclasses import replace
from operator import lt

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from .harness import EVERY, FEW, NEWEST, Row, Variant, cases, check, combined, normal, triples

# --- convolution -------------------------------------------------------------------------------


def conv(size, kernel, *, channels=(2, 3), bias=False, op="Conv", wrt=(0,), named="", **attrs):
    """A convolution from channels[0] to channels[1] maps over pictures of `size`."""
    group = attrs.get("group", 1)
    inside, outside = channels
    weight = (outside, inside // group) if op == "Conv" else (inside, outside // group)
    inputs = [normal(2, inside, *size), normal(*weight, *kernel)] + [normal(outside)] * bias
    return Row(op, inputs, attrs, wrt=wrt, named=named)


def reaches(size, kernel, pads, dilations):
    """Whether the padded picture holds one window at least."""
    rank = len(size)
    return all(
        h + pads[i] + pads[i + rank] >= d * (k - 1) + 1
        for i, (h, k, d) in enumerate(zip(size, kernel, dilations, strict=True))
    )


GEOMETRY = [  # with sizes where (H + pads − d(k − 1) − 1) mod s is 0 and where it is not
    conv(size, kernel, strides=strides, pads=pads, dilations=dilations, group=group, channels=(2, 4))
    for size, kernel, strides, pads, dilations, group in combined(
        [(7, 6), (8, 9)],
        [(3, 3), (1, 2), (4, 3)],
        [(1, 1), (2, 2), (3, 1)],
        [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 2, 0), (4, 3, 1, 5)],
        [(1, 1), (2, 1), (2, 2)],
        [1, 2],
        fits=lambda size, kernel, _strides, pads, dilations, _group: reaches(size, kernel, pads, dilations),
    )
]
CONVOLUTIONS = [
    conv((7,), (3,), named="1-D, no attributes"),
    conv((7,), (3,), strides=[2], pads=[1, 2], dilations=[2], bias=True),
    conv((8,), (1,), strides=[3]),
    conv((7, 6), (3, 3), bias=True, wrt=[0, 2], named="bias"),
    conv((7, 6), (3, 3), bias=True, strides=[2, 2], wrt=[2], named="bias alone"),
    conv((7, 6), (3, 3), kernel_shape=[3, 3]),
    conv((7, 6), (1, 1), named="1x1"),
    conv((7, 6), (1, 1), strides=[2, 2], named="1x1"),
    conv((7, 6), (7, 6), named="whole picture"),
    conv((6, 6), (1, 1), pads=[1, 1, 1, 1]),
    conv((5, 6), (3, 3), pads=[4, 4, 4, 4], named="pads beyond the kernel"),
    conv((5, 6), (3, 3), pads=[4, 0, 1, 5], strides=[2, 3], named="pads beyond the kernel"),
    conv((1, 1), (3, 3), pads=[1, 1, 1, 1], strides=[2, 2], named="one pixel"),
    conv((4, 5, 6), (2, 3, 2)),
    conv((4, 5, 6), (2, 3, 2), strides=[2, 1, 3], pads=[0, 1, 2, 1, 0, 1], dilations=[1, 2, 1], bias=True),
    conv((4, 5, 5), (1, 3, 3), strides=[1, 2, 2], group=2, channels=(4, 2)),
    conv((6, 5), (3, 2), channels=(1, 1), named="one channel"),
    *(conv((7, 6), (3, 3), channels=(4, out), group=4, strides=[s, s], pads=[1] * 4, named="depthwise")
      for out in (4, 8) for s in (1, 2)),
    *(conv((8, 9), (3, 3), channels=(6, 3), group=3, strides=[s, s], dilations=[d, 1]) for s in (1, 3) for d in (1, 2)),
]  # fmt: skip
SAME = [
    conv(size, kernel, strides=strides, dilations=dilations, auto_pad=mode)
    for mode, size, kernel, strides, dilations in itertools.product(
        ["SAME_UPPER", "SAME_LOWER", "VALID"], [(7, 8)], [(3, 3), (2, 4)], [(1, 1), (2, 3)], [(1, 1), (2, 1)]
    )
    if mode == "VALID" or dilations == (1, 1)
] + [
    replace(conv((7, 8), (3, 2), dilations=[2, 3], auto_pad=mode), reference=True,
            named="onnxruntime does not run SAME with dilations") for mode in ("SAME_UPPER", "SAME_LOWER")
]  # fmt: skip

# --- transposed convolution --------------------------------------------------------------------

TRANSPOSED = [
    conv((3, 4), kernel, op="ConvTranspose", strides=strides, pads=pads, dilations=dilations, group=group,
         output_padding=extra, channels=(4, 2))
    for kernel, strides, pads, dilations, group, extra in combined(
        [(3, 3), (1, 2)],
        [(1, 1), (2, 2), (3, 2)],
        [(0, 0, 0, 0), (1, 0, 0, 1)],
        [(1, 1), (2, 2)],
        [1, 2],
        [(0, 0), (1, 0), (1, 1)],
        fits=lambda _kernel, strides, _pads, _dilations, _group, extra: all(map(lt, extra, strides)),
    )
]  # fmt: skip
TRANSPOSITIONS = [
    conv((4,), (3,), op="ConvTranspose", named="1-D, no attributes"),
    conv((4,), (3,), op="ConvTranspose", strides=[3], output_padding=[2], pads=[1, 0], bias=True),
    conv((3, 4), (3, 3), op="ConvTranspose", bias=True, wrt=[0, 2], strides=[2, 2], named="bias"),
    conv((3, 2, 4), (2, 2, 2), op="ConvTranspose", strides=[2, 1, 2], output_padding=[1, 0, 1]),
    conv((3, 4), (3, 3), op="ConvTranspose", channels=(4, 4), group=4, strides=[2, 2], named="depthwise"),
    conv((3, 4), (4, 4), op="ConvTranspose", strides=[2, 2], auto_pad="SAME_UPPER"),
    conv((3, 4), (3, 3), op="ConvTranspose", strides=[2, 2], auto_pad="SAME_LOWER"),
    conv((3, 4), (3, 3), op="ConvTranspose", strides=[2, 2], auto_pad="VALID"),
    conv((3, 4), (2, 2), op="ConvTranspose", strides=[3, 3], named="kernel below stride"),
]

# --- matrix products ---------------------------------------------------------------------------


def gemm(m, k, n, c=None, *, wrt=(0,), **attrs):
    a = normal(*((k, m) if attrs.get("transA") else (m, k)))
    b = normal(*((n, k) if attrs.get("transB") else (k, n)))
    return Row("Gemm", [a, b] if c is None else [a, b, normal(*c)], attrs, wrt=wrt)


GEMMS = [
    gemm(m, k, n, c, wrt=wrt, transA=ta, transB=tb, alpha=0.5, beta=-2.0)
    for (m, k, n), ta, tb, (c, wrt) in itertools.product(
        [(2, 3, 4), (1, 3, 1), (3, 1, 2)],
        (0, 1),
        (0, 1),
        [(None, [0]), (None, [0, 1]), ((), [0, 2]), ((1,), [0, 1, 2])],
    )
] + [
    gemm(2, 3, 4, c, wrt=wrt) for c in ((4,), (2, 1), (1, 4), (2, 4), (1, 1)) for wrt in ([0], [2], [0, 1, 2])
]  # fmt: skip
PRODUCTS = [
    Row("MatMul", [normal(*a), normal(*b)], wrt=wrt)
    for a, b in [
        ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 4)),
        ((3,), (5, 3, 2)), ((5, 2, 3), (3,)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
        ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)),
        ((2, 5, 2, 3), (5, 3, 4)), ((5, 2, 3), (2, 5, 3, 4)), ((2, 1, 2, 3), (1, 5, 3, 4)), ((2, 5, 2, 3), (3,)),
        ((3,), (2, 5, 3, 4)), ((2, 1, 2, 3), (5, 3, 4)), ((1, 1), (1, 1)), ((4, 1, 1), (1, 1, 1)),
    ]
    for wrt in ([0], [1], [0, 1])
]  # fmt: skip

ROWS = [*CONVOLUTIONS, *TRANSPOSITIONS, *GEMMS, *PRODUCTS]


@pytest.mark.parametrize(
    ("row", "variant"), [*cases([*CONVOLUTIONS, *TRANSPOSITIONS]), *cases(GEMMS[:1] + PRODUCTS[:1])]
)
def test_gradient(row, variant):
    check(row, variant)


@pytest.mark.parametrize(("row", "variant"), cases(GEMMS[1:] + PRODUCTS[1:], FEW))
def test_products(row, variant):
    check(row, variant)


@pytest.mark.parametrize(("row", "variant"), cases([*GEOMETRY, *TRANSPOSED], FEW))
def test_geometry(row, variant):
    check(row, variant)


@pytest.mark.parametrize(("row", "variant"), cases(SAME, [Variant(18, "no"), Variant(NEWEST, "batch")]))
def test_auto_pad(row, variant):
    check(row, variant)


def test_any_three_values_meet_in_what_is_combined():
    choices = [1, 2], "abcd", (None, 0, 1), [True, False], [5, 6]

    def fits(number, letter, *_):
        return number == 1 or letter != "d"

    found = combined(*choices, fits=fits)
    whole = [each for each in itertools.product(*choices) if fits(*each)]
    assert set(found) <= set(whole)
    assert set().union(*map(triples, found)) == set().union(*map(triples, whole))
    assert len(found) == len(set(found)) < len(whole) / 2


@st.composite
def convolutions(draw):
    """Any geometry of one to three axes that holds a window."""
    rank = draw(st.integers(1, 3))

    def each(low, high, count=rank):
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    size, kernel, dilations, pads = each(1, 7), each(1, 4), each(1, 3), each(0, 4, 2 * rank)
    assume(reaches(size, kernel, pads, dilations))
    group = draw(st.integers(1, 3))
    channels = (group * draw(st.integers(1, 2)), group * draw(st.integers(1, 2)))
    return conv(size, kernel, channels=channels, group=group, strides=each(1, 4), pads=pads, dilations=dilations)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(convolutions(), st.sampled_from(EVERY))
def test_any_convolution(row, variant):
    check(row, variant)
