"""Einsum for any equation against numpy's, and determinants against Leibniz' sum over permutations."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import EVERY, Row, cases, check, normal
from .single import Single

# --- sums of products --------------------------------------------------------------------------


def einsum(equation, *shapes, wrt=None, reference=False):
    return Row("Einsum", [normal(*shape) for shape in shapes], {"equation": equation}, reference=reference,
               wrt=range(len(shapes)) if wrt is None else wrt,
               definition=lambda *xs: np.einsum(equation, *xs))  # fmt: skip


SUMS = [
    einsum("ij->ji", (2, 3)),
    einsum("ij->ij", (2, 3)),
    einsum("ij->i", (2, 3)),
    einsum("ij->", (2, 3)),
    einsum("->", ()),
    einsum("i,i->", (3,), (3,)),
    einsum("i,j->ij", (3,), (2,)),
    einsum(",ij->ij", (), (2, 3)),
    einsum(",->", (), ()),
    einsum("ij,jk->ik", (2, 3), (3, 4)),
    einsum(" i j , j k -> i k ", (2, 3), (3, 4)),
    einsum("ij,jk->k", (2, 3), (3, 4)),
    einsum("ij,kl->ik", (2, 3), (4, 2)),
    einsum("bij,bjk->bik", (2, 2, 3), (2, 3, 4)),
    einsum("bhqd,bhkd->bhqk", (2, 2, 3, 2), (2, 2, 4, 2)),
    einsum("bij,bjk->bik", (2, 2, 3), (2, 3, 4), wrt=[1]),
    einsum("i,ij,j->", (2,), (2, 3), (3,)),
    einsum("ij,jk,kl->il", (2, 3), (3, 2), (2, 4)),
    einsum("ij,ij,ij->ji", (2, 3), (2, 3), (2, 3)),
    einsum("ij,k,l->i", (2, 3), (2,), (4,)),
]
IMPLICIT = [
    einsum("ba", (2, 3)),
    einsum("ij,jk", (2, 3), (3, 4)),
    einsum("ki,jk", (2, 3), (4, 2)),
    einsum("ii", (3, 3)),
    einsum("i,i", (3,), (3,)),
    einsum("b...a", (2, 4, 3)),
]
DIAGONALS = [
    einsum("ii->i", (3, 3)),
    einsum("ii->", (3, 3)),
    einsum("iij->j", (3, 3, 2)),
    einsum("iji->ij", (3, 2, 3)),
    einsum("iii->i", (2, 2, 2)),
    einsum("iijj->ij", (2, 2, 3, 3)),
    einsum("ii,ij->j", (3, 3), (3, 2)),
    einsum("ii,ii->i", (2, 2), (2, 2)),
    einsum("...ii->...i", (2, 3, 3)),
]
ELLIPSES = [
    einsum("...->...", (2, 3)),
    einsum("...j->...", (2, 3)),
    einsum("i...->...i", (2, 3, 4)),
    einsum("...ij,...jk->...ik", (2, 2, 3), (2, 3, 4)),
    einsum("...ij,...jk->...ik", (1, 4, 2, 3), (2, 1, 3, 2)),
    einsum("...ij,jk->...ik", (2, 2, 3), (3, 4)),
    einsum("...i,i...->...", (2, 3), (3, 2)),
    # onnxruntime 1.31 crashes where the ellipses of two operands stand for different numbers of axes.
    einsum("...ij,...jk->...ik", (2, 3), (4, 3, 2), reference=True),
    einsum("...a,...a", (2, 3), (3,), reference=True),
    einsum("i...,j...->ij...", (2, 1, 3), (2, 3), reference=True),
    einsum("...,...->...", (), (2, 3), reference=True),
]
STRETCHED = [
    einsum("ij,ij->ij", (2, 3), (1, 3)),
    # Where the length of 1 comes first, onnx's shape inference takes it for that of y.
    einsum("ij,ij->ij", (1, 3), (2, 3), reference=True),
    einsum("ij,ij->j", (2, 3), (2, 1)),
    einsum("ij,ij->i", (2, 3), (2, 1)),
    einsum("ij,jk->ik", (2, 1), (3, 4)),
    einsum("ij,jk->ik", (2, 3), (1, 4)),
    einsum("i,i,i->", (1,), (3,), (1,)),
    einsum("ij->j", (1, 3)),
    einsum("jj,ij->", (2, 2), (1, 1)),
    einsum("ij,kj->ik", (2, 1), (3, 3)),
    einsum("ij,jj->i", (2, 1), (1, 1)),
]
LETTERS = [einsum("AB,Bc->Ac", (2, 3), (3, 2)), einsum("Z...,a...->aZ...", (2, 3), (4, 3))]

# --- determinants ------------------------------------------------------------------------------


def leibniz(x):
    """Σ over permutations p of sign(p) Π x[i, p(i)]"""
    size = x.shape[-1]
    total = np.zeros(x.shape[:-2])
    for p in itertools.permutations(range(size)):
        inversions = sum(p[i] > p[j] for i in range(size) for j in range(i + 1, size))
        total = total + (-1) ** inversions * math.prod(x[..., i, p[i]] for i in range(size))
    return total


SINGULAR = {
    "rank 1": np.outer([1.0, 2, 3], [2.0, -1, 1]),
    "rank 2": np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]),
    "zeros": np.zeros((3, 3)),
    "a zero pivot": np.array([[0.0, 2, 1], [1, 0, 3], [4, 1, 0]]),
}
DETERMINANTS = [
    cls("Det", [x], definition=leibniz, **how)
    for cls, how in ((Single, {}), (Row, {"reference": True}))
    for x in [normal(1, 1), normal(2, 2), normal(3, 3), normal(4, 4), normal(5, 5), normal(2, 3, 3), normal(2, 1, 2, 2)]
] + [Row("Det", [x], definition=leibniz, reference=True, named=name) for name, x in SINGULAR.items()]

ROWS = [*SUMS, *IMPLICIT, *DIAGONALS, *ELLIPSES, *STRETCHED, *LETTERS, *DETERMINANTS]


@pytest.mark.parametrize(("row", "variant"), cases(ROWS))
def test_gradient(row, variant):
    check(row, variant)


@st.composite
def equations(draw):
    """One to three operands of up to three of four indices, some repeated, some stretched, any of them kept."""
    lengths = {name: draw(st.integers(1, 3)) for name in "ijkl"}
    terms = draw(st.lists(st.text("ijkl", max_size=3), min_size=1, max_size=3))
    names = sorted(set("".join(terms)))
    output = "".join(draw(st.permutations([name for name in names if draw(st.booleans())])))
    shapes, full = [], set()
    for term in terms:
        stretched = {name for name in term if name in full and term.count(name) == 1 and draw(st.integers(0, 3)) == 0}
        full |= set(term)
        shapes.append(tuple(1 if name in stretched else lengths[name] for name in term))
    return einsum(f"{','.join(terms)}->{output}", *shapes)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(equations(), st.sampled_from(EVERY))
def test_any_equation(row, variant):
    check(row, variant)
