"""Values picked, put and moved by index, against loops over the indices."""

import numpy as np
import pytest

from onnx_saliency.errors import UnsupportedOperatorError

from .harness import NEWEST, Row, check, differentiate, distinct, mixed, normal, parse, run, whole
from .single import Single

# --- put by index ------------------------------------------------------------------------------

REDUCTIONS = {"none": lambda a, b: b, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def scatter_elements(axis, reduction):
    def scatter(x, indices, u):
        y = x.copy()
        for place in np.ndindex(indices.shape):
            target = list(place)
            target[axis] = indices[place]
            y[tuple(target)] = REDUCTIONS[reduction](y[tuple(target)], u[place])
        return y

    return scatter


def scatter_nd(reduction):
    def scatter(x, indices, u):
        y = x.copy()
        for place in np.ndindex(indices.shape[:-1]):
            target = tuple(indices[place])
            y[target] = REDUCTIONS[reduction](y[target], u[place])
        return y

    return scatter


def tie_free(x, u):
    """Two tensors without equal values, none near 0."""
    values = distinct(int(np.prod(x) + np.prod(u)))
    return values[: int(np.prod(x))].reshape(x), values[int(np.prod(x)) :].reshape(u)


def elements(shape, indices, axis, reduction, *, fed=(), wrt=(0, 2), named=""):
    x, u = tie_free(shape, np.shape(indices))
    attrs = {"axis": axis} | ({"reduction": reduction} if reduction != "none" else {})
    definition = scatter_elements(axis, reduction)
    return Row(
        "ScatterElements", [x, np.array(indices), u], attrs, wrt=wrt, fed=fed, definition=definition, named=named
    )


def blocks(shape, indices, block, reduction, *, fed=(), wrt=(0, 2), named=""):
    x, u = tie_free(shape, (*np.shape(indices)[:-1], *block))
    attrs = {"reduction": reduction} if reduction != "none" else {}
    return Row(
        "ScatterND", [x, np.array(indices), u], attrs, wrt=wrt, fed=fed, definition=scatter_nd(reduction), named=named
    )


REPEATABLE = ("add", "mul", "max", "min")
ONCE, TWICE = [[0, 1, 2], [-1, 0, 1]], [[0, 1, 1], [0, -1, 1]]
PUT = [
    *(elements((4, 3), ONCE, 0, reduction, named="once") for reduction in REDUCTIONS),
    *(elements((4, 3), [[2], [0], [-1], [1]], axis, "none", named="a column") for axis in (1, -1)),
    *(elements((4, 3), TWICE, 0, reduction, named="twice") for reduction in REPEATABLE),
    *(elements((2, 2, 5), [[[1, 1, 3, 1]], [[0, 0, 0, -1]]], -1, r, named="inner") for r in REPEATABLE),
    *(elements((4, 3), TWICE, 0, reduction, fed=[1], named="open") for reduction in REPEATABLE),
    *(elements((4, 3), ONCE, 0, "none", fed=[1], wrt=[w], named="open") for w in (0, 2)),
    *(blocks((4, 3), [[0, 1], [-1, 2], [2, 0]], (), reduction, named="once") for reduction in REDUCTIONS),
    *(blocks((4, 3), [[2], [-4]], (3,), reduction, named="rows") for reduction in REDUCTIONS),
    *(blocks((4, 3), [[2], [0], [2]], (3,), reduction, named="rows twice") for reduction in REPEATABLE),
    *(blocks((3, 2), [[[0, 1], [0, 1]], [[2, -1], [0, 1]]], (), r, named="twice") for r in REPEATABLE),
    *(blocks((4, 3), [[2], [0], [2]], (3,), r, fed=[1], named="open") for r in REPEATABLE),
    *(blocks((4, 3), [[2], [0]], (3,), "none", fed=[1], wrt=[w], named="open") for w in (0, 2)),
]  # fmt: skip


def around(vector):
    """The slopes of products at zeros, which differences of a product of few factors give exactly."""
    x, indices = np.array([2.0, 0, 5, 7]), np.array([0, 0, 1, 1, 2, 2, 3])
    u = np.array(vector, np.float64)
    return [
        Row("ScatterElements", [x, indices, u], {"reduction": "mul"}, wrt=[0, 2], named=f"zeros {vector}",
            definition=scatter_elements(0, "mul")),
        Row("ScatterND", [x, indices[:, None], u], {"reduction": "mul"}, wrt=[0, 2], named=f"zeros {vector}",
            definition=scatter_nd("mul")),
    ]  # fmt: skip


TIED = np.array([1.0, 2, 3]), np.array([0, 0, 1, 2]), np.array([1.0, 1, 5, 3])
TIES = [  # the library's choice: evenly
    Row("ScatterElements", list(TIED), {"reduction": "max"}, wrt=[0, 2], named="ties",
        definition=scatter_elements(0, "max"),
        gradient=lambda v: [v * [1 / 3, 0, 1 / 2], v[[0, 0, 1, 2]] * [1 / 3, 1 / 3, 1, 1 / 2]]),
    Row("ScatterND", [TIED[0], TIED[1][:, None], TIED[2]], {"reduction": "min"}, wrt=[0, 2], named="ties",
        definition=scatter_nd("min"),
        gradient=lambda v: [v * [1 / 3, 1, 1 / 2], v[[0, 0, 1, 2]] * [1 / 3, 1 / 3, 0, 1 / 2]]),
]  # fmt: skip


def tensor_scatter(axis, mode):
    def scatter(x, u, start=None):
        y = x.copy()
        for place in np.ndindex(u.shape):
            target = list(place)
            target[axis] += 0 if start is None else int(start[place[0]])
            if mode == "circular":
                target[axis] %= x.shape[axis]
            y[tuple(target)] = u[place]
        return y

    return scatter


CACHES = [
    Row("TensorScatter", [normal(*shape), normal(*new), *start], {"axis": axis, "mode": mode}, wrt=wrt, fed=fed,
        since=24, definition=tensor_scatter(axis, mode), named="" if start else "from 0")
    for shape, new, axis, mode, start, wrt, fed in [
        ((2, 5, 3), (2, 2, 3), -2, "linear", [], [0, 1], []),
        ((2, 5, 3), (2, 2, 3), 1, "linear", [whole(1, 3)], [0, 1], []),
        ((2, 5, 3), (2, 2, 3), -2, "circular", [whole(4, 8)], [0, 1], []),
        ((2, 5, 3), (2, 5, 3), -2, "circular", [whole(4, 2)], [0, 1], [2]),
        ((2, 2, 4, 3), (2, 2, 3, 3), 2, "linear", [whole(0, 1)], [1], [2]),
        ((2, 2, 4), (2, 2, 3), -1, "linear", [whole(1, 0)], [0], []),
    ]
]  # fmt: skip


def unpool(kernel_shape, strides=None, pads=None):
    """The spatial axes of y are (H − 1) s + k − pads long."""
    rank = len(kernel_shape)
    strides, pads = strides or [1] * rank, pads or [0] * 2 * rank

    def definition(x, indices):
        spatial = [
            (h - 1) * s + k - b - e
            for h, s, k, b, e in zip(x.shape[2:], strides, kernel_shape, pads[:rank], pads[rank:], strict=True)
        ]
        y = np.zeros((*x.shape[:2], *spatial))
        y.reshape(-1)[indices.reshape(-1)] = x.reshape(-1)
        return y

    return definition


UNPOOLED = [
    cls("MaxUnpool", [normal(*shape), np.random.default_rng(1).permutation(size)[: np.prod(shape)].reshape(shape)],
        attrs, fed=fed, definition=unpool(**attrs), **how)
    for cls, how in ((Single, {"named": "float32"}), (Row, {"reference": True}))
    for shape, size, attrs, fed in [
        ((1, 1, 2, 2), 16, {"kernel_shape": [2, 2], "strides": [2, 2]}, []),
        ((1, 2, 2, 2), 50, {"kernel_shape": [3, 3], "strides": [2, 2]}, [1]),
        ((2, 3, 3), 24, {"kernel_shape": [2]}, []),
        ((1, 2, 3, 3), 32, {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}, []),
    ]
]  # fmt: skip

# --- picked by index ---------------------------------------------------------------------------


def top_k(axis, largest=1):
    def pick(x, k):
        ordered = np.sort(x, axis=axis)
        return np.take(np.flip(ordered, axis) if largest else ordered, range(int(k[0])), axis=axis)

    return pick


def compress(axis=None):
    return lambda x, condition: np.compress(condition, x, axis)


PICKED = [
    *(
        Row("TopK", [distinct(3, 5), whole(k)], {"axis": axis, "largest": largest}, outputs=2, named=f"{k} largest",
            definition=top_k(axis, largest))
        for k in (1, 2, 3)
        for axis in (0, 1, -1)
        for largest in (0, 1)
    ),
    Row("TopK", [distinct(2, 3, 4), whole(2)], outputs=2, definition=top_k(-1), named="defaults"),
    Row("TopK", [distinct(2, 3, 4), whole(2)], {"axis": 1}, fed=[1], outputs=2, definition=top_k(1), named="open"),
    Row("TopK", [distinct(2, 4), whole(1)], {"sorted": 0}, outputs=2, definition=top_k(-1), named="one, in no order"),
    Row("TopK", [np.array([1.0, 3, 3, 0]), whole(1)], outputs=2, definition=top_k(-1), named="ties: the first",
        gradient=lambda v: v * [0, 1, 0, 0]),
    *(
        Row("Compress", [normal(3, 4), np.array(condition)], attrs, fed=fed, named=f"{sum(condition)}",
            definition=compress(**attrs))
        for fed in ([], [1])
        for condition, attrs in [
            ([True, False, True], {"axis": 0}),
            ([False, True, True, True], {"axis": 1}),
            ([False, True], {"axis": -1}),
            ([True, False, False, True, False, True], {}),
            ([False, False, False], {"axis": 0}),
        ]
    ),
    *(
        Row("Unique", [distinct(2, 5)], attrs, definition=lambda x: np.unique(x), named="distinct")
        for attrs in ({}, {"sorted": 1})
    ),
    Row("Unique", [distinct(2, 5)], {"sorted": 0}, definition=lambda x: x.reshape(-1), named="in order of appearance"),
    Row("Unique", [distinct(6)], outputs=4, definition=np.unique, named="four outputs"),
    *(
        Row("Unique", [distinct(3, 4, 2)], {"axis": axis}, definition=lambda x, axis=axis: np.unique(x, axis=axis))
        for axis in (0, 1, -1)
    ),
    Row("Unique", [np.array([[2.0, 1], [1, 3]])], definition=np.unique, named="ties: the first",
        gradient=lambda v: np.array([[v[1], v[0]], [0, v[2]]])),
    Row("Unique", [np.array([[2.0, 1], [0, 3], [2, 1]])], {"axis": 0, "sorted": 0}, named="ties: the first",
        definition=lambda x: x[:2], gradient=lambda v: np.array([v[0], v[1], [0, 0]])),
]  # fmt: skip

# --- moved -------------------------------------------------------------------------------------


def reverse_sequence(batch, time):
    def reverse(x, lengths):
        y = x.copy()
        for place in np.ndindex(x.shape):
            length = int(lengths[place[batch]])
            if place[time] < length:
                source = list(place)
                source[time] = length - 1 - place[time]
                y[place] = x[tuple(source)]
        return y

    return reverse


def center_crop_pad(axes):
    def crop_pad(x, shape):
        for axis, wanted in zip(axes if axes is not None else range(x.ndim), shape, strict=True):
            length = x.shape[axis]
            if wanted <= length:
                start = (length - wanted) // 2
                x = np.take(x, range(start, start + wanted), axis=axis)
            else:
                before = (wanted - length) // 2
                pads = [(0, 0)] * x.ndim
                pads[axis] = (before, wanted - length - before)
                x = np.pad(x, pads)
        return x

    return crop_pad


MOVED = [
    *(
        Row("ReverseSequence", [normal(4, 3, *rest), whole(*lengths)], {"batch_axis": batch, "time_axis": 1 - batch},
            fed=fed, definition=reverse_sequence(batch, 1 - batch), named="open lengths" if fed else "")
        for batch, lengths in [(0, (1, 2, 3, 3)), (1, (4, 1, 2))]
        for rest in [(), (2,)]
        for fed in ([], [1])
    ),
    Row("ReverseSequence", [normal(4, 3), whole(4, 0, 2)], definition=reverse_sequence(1, 0), named="defaults"),
    *(
        Row("CenterCropPad", [normal(5, 4, 3), whole(*shape)], {} if axes is None else {"axes": axes}, fed=fed,
            definition=center_crop_pad(axes), named=f"to {shape}" + " open" * bool(fed))
        for fed in ([], [1])
        for shape, axes in [
            ((2, 2, 2), None), ((8, 7, 6), None), ((3, 7, 3), None), ((2,), [0]), ((7, 2), [1, -1]), ((8, 3), [-3, 1]),
        ]
    ),
    Row("CastLike", [normal(2, 3), np.ones(1)], definition=lambda x, like: x),
    Row("CastLike", [np.arange(6, dtype=np.uint8), np.ones(1)], named="of bytes", definition=lambda x, like: x),
]  # fmt: skip

ROWS = [
    *PUT,
    *around([3, 0, 0, 0, 2, 5, 0]),
    *around([0, 0, 1, 4, 0, 3, 6]),
    *TIES,
    *CACHES,
    *UNPOOLED,
    *PICKED,
    *MOVED,
]


@pytest.mark.parametrize(("row", "variant"), mixed(ROWS))
def test_gradient(row, variant):
    check(row, variant)


# --- what is refused, what is another operator's name ------------------------------------------


def test_unpooling_to_a_given_shape_is_refused():
    body = "y = MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(x, i, shape)"
    model = parse("(float[1, 1, 2, 2] x, int64[1, 1, 2, 2] i) => (float[1, 1, 5, 5] y) "
                  "<int64[4] shape = {1, 1, 5, 5}>", body)  # fmt: skip
    with pytest.raises(UnsupportedOperatorError, match=rf"'make_y': MaxUnpool, opset {NEWEST}: with output_shape"):
        differentiate(model, ["x"], np.float32)


@pytest.mark.parametrize("opset", [9, 10])
def test_the_deprecated_scatter_is_scatter_elements(opset):
    model = parse("(float[3, 2] x, float[1, 2] u) => (float[3, 2] y) <int64[1, 2] i = {2, 0}>",
                  "y = Scatter(x, i, u)", opset)  # fmt: skip
    differentiated, reached = differentiate(model, ["x", "u"], np.float32)
    assert reached == [True, True]
    x, u, v = (normal(*shape).astype(np.float32) for shape in [(3, 2), (1, 2), (3, 2)])
    found = run(differentiated, {"x": x, "u": u, "v0": v})
    kept = np.array([[1, 0], [1, 1], [0, 1]])
    np.testing.assert_allclose(found["d_x"], v * kept)
    np.testing.assert_allclose(found["d_u"], [[v[2, 0], v[0, 1]]])
