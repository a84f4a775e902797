"""Data movement: what was taken from a place goes back to that place, and copies add up."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import EVERY, Row, check, mixed, normal, scalar, whole

FAR = 2**63 - 1  # how exporters write "to the end"

# --- the same values in another shape ----------------------------------------------------------

SHAPED = [
    *(
        Row("Reshape", [normal(2, 3, 4), whole(*shape)], named=f"to {shape}")
        for shape in ((6, 4), (-1,), (0, -1), (2, 0, 2, 2))
    ),
    Row("Reshape", [normal(2, 3, 4), whole(4, 6)], fed=[1], named="open shape"),
    Row("Reshape", [normal(1), whole()], named="to a scalar"),
    *(Row("Flatten", [normal(2, 3, 4)], {"axis": axis}) for axis in (0, 1, 2, 3, -1)),
    Row("Flatten", [normal(2, 3)], named="default axis"),
    Row("Squeeze", [normal(1, 3, 1), whole(0, -1)]),
    Row("Squeeze", [normal(1, 3, 1), whole(2)]),
    Row("Unsqueeze", [normal(2, 3), whole(0, -1)]),
    Row("Unsqueeze", [normal(2, 3), whole(1)], fed=[1], named="open axes"),
    Row("Identity", [normal(2, 3)]),
    Row("Dropout", [normal(2, 3)]),
    Row("Dropout", [normal(2, 3), scalar(0.5), np.array(False)], named="in inference"),
    Row("Transpose", [normal(2, 3, 4)]),
    *(Row("Transpose", [normal(2, 3, 4)], {"perm": perm}) for perm in itertools.permutations(range(3))),
    *(Row("DepthToSpace", [normal(2, 12, 2, 3)], {"blocksize": 2, "mode": mode}) for mode in ("DCR", "CRD")),
    Row("DepthToSpace", [normal(1, 18, 2, 1)], {"blocksize": 3, "mode": "CRD"}),
    Row("DepthToSpace", [normal(1, 18, 2, 1)], {"blocksize": 3}),
    Row("SpaceToDepth", [normal(2, 3, 4, 6)], {"blocksize": 2}),
]
CASTS = [
    Row("Cast", [normal(2, 3)], {"to": 11}, named="to double"),
    Row("Cast", [np.arange(6, dtype=np.uint8).reshape(2, 3)], {"to": 11}, named="an image of bytes",
        definition=lambda x: x),
]  # fmt: skip

# --- joining and cutting -----------------------------------------------------------------------

JOINED = [
    *(Row("Concat", [normal(2, 3), normal(2, 1), normal(2, 2)], {"axis": a}, wrt=[0, 1, 2]) for a in (1, -1)),
    Row("Concat", [normal(2, 3), normal(4, 3)], {"axis": -2}, wrt=[1], named="second alone"),
    Row("Concat", [normal(2, 3)], {"axis": 0}, named="one input"),
    Row("Concat", [normal(2, 3), normal(0, 3)], {"axis": 0}, wrt=[0, 1], named="an empty input"),
    Row("Split", [normal(7, 2), whole(2, 4, 1)], {"axis": 0}, outputs=3, seeds=[0, 1, 2]),
    Row("Split", [normal(7, 2), whole(2, 4, 1)], {"axis": 0}, outputs=3, seeds=[1], named="two parts unused"),
    Row("Split", [normal(2, 7), whole(3, 4)], {"axis": -1}, outputs=2, seeds=[0], named="last part unused"),
    Row("Split", [normal(7, 2)], {"num_outputs": 3}, outputs=3, seeds=[0, 2], named="uneven"),
    Row("Split", [normal(2, 6)], {"num_outputs": 3, "axis": 1}, outputs=3, seeds=[2], named="even"),
    Row("Split", [normal(7, 2), whole(2, 4, 1)], outputs=3, seeds=[0, 2], fed=[1], named="open lengths"),
    Row("Split", [normal(7, 2), whole(7)], outputs=1, named="one part"),
]


def cut(x, starts, ends, axes=None, steps=None, *, fed=(), named=""):
    inputs = [
        x,
        whole(*starts),
        whole(*ends),
        None if axes is None else whole(*axes),
        None if steps is None else whole(*steps),
    ]
    while inputs[-1] is None:
        inputs.pop()
    said = f"{starts}:{ends}:{steps or ''} of {axes or 'the first'}"
    return Row("Slice", inputs, fed=fed, named=" ".join(filter(None, [said, named])))


SLICED = [
    cut(normal(5, 4), (1,), (3,)),
    cut(normal(5, 4), (1, 0), (3, 4)),
    cut(normal(5, 4), (1,), (FAR,), (1,)),
    cut(normal(5, 4), (0, 1), (5, -1), (0, -1)),
    cut(normal(5, 4), (-3,), (-1,), (0,)),
    cut(normal(5, 4), (-99,), (99,), (0,)),
    cut(normal(5, 4), (3,), (2,), (0,)),
    cut(normal(3, 4), (0, 0), (0, FAR), (0, 1), (2, 3), named="nothing"),
    cut(normal(7, 9), (0,), (FAR,), (1,), (2,)),
    cut(normal(7, 9), (1, 2), (FAR, 8), (0, 1), (2, 3)),
    cut(normal(7, 9), (1, 2), (6, FAR), (1, 0), (4, 9)),
    cut(normal(7, 9), (-2, 0), (FAR, -1), (0, -1), (1, 5)),
    cut(normal(2, 3, 8, 8), (0, 1), (FAR, FAR), (2, 3), (2, 2)),
    cut(normal(5, 4), (-1,), (-FAR,), (0,), (-1,)),
    cut(normal(2, 3), (-5,), (-9,), (0,), (-1,), named="back from before the first"),
    cut(normal(7, 9), (5, 8), (0, -FAR), (0, 1), (-2, -3)),
    cut(normal(7, 9), (5, 0), (0, FAR), (0, 1), (-2, 2)),
    cut(normal(5, 4), (1,), (3,), fed=[1], named="open start"),
    cut(normal(5, 4), (1,), (3,), (1,), fed=[2], named="open end"),
    cut(normal(5, 4), (1,), (3,), (1,), fed=[3], named="open axis"),
    cut(normal(5, 4), (0,), (FAR,), (1,), (2,), fed=[4], named="open step"),
    cut(normal(5, 4), (3,), (-FAR,), (1,), (-2,), fed=[1, 2, 3, 4], named="all open"),
]
PADDED = [
    *(
        Row("Pad", [normal(4, 5), whole(*pads)], {"mode": mode})
        for mode in ("constant", "reflect", "edge")
        for pads in ((1, 0, 2, 3), (0, 0, 0, 0), (0, 2, 0, 1))
    ),
    *(Row("Pad", [normal(4, 5), whole(*pads)], {"mode": "wrap"}, since=19) for pads in ((1, 0, 2, 3), (0, 2, 0, 1))),
    Row("Pad", [normal(4, 5), whole(1, 0, 2, 3), scalar(7.0)], named="filled"),
    Row("Pad", [normal(4, 5), whole(1, 0, 2, 3), scalar(7.0)], wrt=[0, 2], named="filled with what is looked at"),
    Row("Pad", [normal(4, 5), whole(1, -1, 2, 3), normal(1)], wrt=[2], named="a cut, filled with what is looked at"),
    Row("Pad", [normal(4, 5), whole(1, -1, 2, 3)], named="one cut"),
    Row("Pad", [normal(4, 5), whole(-1, -1, -2, -1)], named="all cut"),
    Row("Pad", [normal(4, 5), whole(1, -1, 2, 3), scalar(7.0)], fed=[1], named="open pads"),
    Row("Pad", [normal(2, 4, 5), whole(1, 2), None, whole(-1)], named="axes"),
    Row("Pad", [normal(2, 4, 5), whole(1, 2, 0, 3), scalar(1.0), whole(2, 0)], named="axes"),
    Row("Pad", [normal(2, 4, 5), whole(-1, 2, 0, 3), scalar(1.0), whole(2, 0)], named="axes and a cut"),
    Row("Pad", [normal(2, 4, 5), whole(1, 2), None, whole(1)], fed=[3], named="open axes"),
    Row("Pad", [normal(2, 4, 5), whole(1, 2), None, whole(1)], fed=[1, 3], named="open axes and pads"),
    Row("Pad", [normal(2, 4, 5), whole(1, 2), None, whole(1)], {"mode": "reflect"}, named="axes"),
    Row("Pad", [normal(2, 4, 5), whole(1, 2), None, whole(-1)], {"mode": "edge"}, fed=[1, 3],
        named="open axes and pads"),
    Row("Pad", [normal(4, 5), whole(-1, 2, 0, 1)], {"mode": "edge"}, named="a cut"),
]  # fmt: skip

# --- picking and repeating ---------------------------------------------------------------------

PICKED = [
    Row("Gather", [normal(4, 3), np.array([[0, -1], [0, 2]])], named="repeated"),
    Row("Gather", [normal(4, 3), np.array([2, -1, 2, 0])], {"axis": 1}),
    Row("Gather", [normal(4, 3), np.array([2, -1, 2])], {"axis": -1}, fed=[1], named="open indices"),
    Row("Gather", [normal(4, 3), np.array(-2)], named="one"),
    Row("Gather", [normal(4, 3), np.array([1, 1], np.int32)], named="int32"),
    Row("GatherElements", [normal(4, 3), np.array([[0, 1, 1], [-1, 1, 0]])], named="repeated"),
    Row("GatherElements", [normal(4, 3), np.array([[0], [-1], [2], [0]])], {"axis": 1}),
    Row("GatherElements", [normal(4, 3), np.array([[0], [-1], [2], [0]])], {"axis": -1}, fed=[1], named="open indices"),
    Row("GatherND", [normal(4, 3, 2), np.array([[0, 1], [-1, 2], [0, 1]])], named="repeated"),
    Row("GatherND", [normal(2, 3, 2), np.array([[[1], [-1]], [[0], [0]]])], {"batch_dims": 1}),
    Row("GatherND", [normal(4, 3), np.array([[0, 1], [-1, 2]])], fed=[1], named="open indices"),
    *(
        Row("Expand", [normal(*x), whole(*shape)], named=f"to {shape}")
        for x, shape in [
            *(((3, 1), (3, 4)), ((3, 1), (2, 1, 4)), ((3, 4), (1,))),
            *(((), (2, 2)), ((1,), (1, 1)), ((3, 1), (1, 4))),
        ]
    ),
    Row("Expand", [normal(3, 1), whole(2, 3, 4)], fed=[1], named="open shape"),
    Row("Tile", [normal(2, 3), whole(2, 1)]),
    Row("Tile", [normal(2, 3), whole(3, 2)]),
    Row("Tile", [normal(4), whole(3)]),
    Row("Tile", [normal(2, 1, 3), whole(1, 2, 2)], fed=[1], named="open repeats"),
]  # fmt: skip

ROWS = [*SHAPED, *CASTS, *JOINED, *SLICED, *PADDED, *PICKED]


@pytest.mark.parametrize(("row", "variant"), mixed(ROWS))
def test_gradient(row, variant):
    check(row, variant)


@st.composite
def slices(draw):
    """Any slice that numpy would take, over some axes of a shape, steps of both signs."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    axes = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    bound = st.lists(st.integers(-8, 8), min_size=len(axes), max_size=len(axes))
    steps = draw(st.lists(st.sampled_from([1, 2, 3, 7, -1, -2]), min_size=len(axes), max_size=len(axes)))
    signed = [axis - draw(st.sampled_from([0, len(shape)])) for axis in axes]
    return cut(normal(*shape), draw(bound), draw(bound), signed, steps)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(slices(), st.sampled_from(EVERY))
def test_any_slice(row, variant):
    check(row, variant)
