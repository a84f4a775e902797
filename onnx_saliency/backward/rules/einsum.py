"""Multilinear forms: sums of products by index, and the determinant."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import NamedTuple

from onnx_saliency.backward.broadcasting import unbroadcast
from onnx_saliency.backward.registry import Call, Gradients, rule
from onnx_saliency.backward.separable import identity_along
from onnx_saliency.backward.tensor import Tensor, op

Dim = int | str | None

# --- sums of products --------------------------------------------------------------------------


class Factor(NamedTuple):
    """A tensor and the indices of its axes."""

    x: Tensor
    names: str

    @property
    def lengths(self) -> dict[str, Dim]:
        """The length of each index, None where it is not known."""
        return dict(zip(self.names, self.x.dims or [None] * len(self.names), strict=True))

    def squeezed(self) -> Factor:
        """Without its axes of length 1, which onnx's shape inference takes for the length of the index in y."""
        axes = [axis for axis, length in enumerate(self.x.dims or ()) if length == 1]
        names = "".join(name for axis, name in enumerate(self.names) if axis not in axes)
        return Factor(op.Squeeze(self.x, axes), names) if axes else self


@rule("Einsum")
def einsum(n: Call, dy: Tensor) -> Gradients:
    """y = Σ Π_j x_j over the indices that y lacks: dx_k = Σ dy Π_{j≠k} x_j over those that x_k lacks"""
    operands, output = _spelled_out(n["equation"], [n.input(j) for j in range(len(n.node.inputs))])
    return [
        _gradient(x, operands[:k] + operands[k + 1 :], Factor(dy, output)) if n.needs(k) else None
        for k, x in enumerate(operands)
    ]


def _gradient(x: Factor, others: Sequence[Factor], dy: Factor) -> Tensor:
    """The gradient of one operand, itself an Einsum.

    An index that x repeats is a diagonal: a second name stands for it there, tied to the first by an
    identity matrix. Along an index that x alone has dx is constant, which a vector of ones says.
    """
    factors, result = [dy, *(other.squeezed() for other in others)], ""
    second = iter(_free_names("".join(factor.names for factor in (x, dy, *others))))
    for axis, (name, length) in enumerate(zip(x.names, x.x.dims or [None] * len(x.names), strict=True)):
        if name in result:
            twin = next(second)
            factors.append(Factor(identity_along(x.x, axis), name + twin))
            result += twin
            continue
        shared = length not in (None, 1) and any(other.lengths.get(name) == length for other in others)
        if name not in dy.names and not shared:
            factors.append(Factor(op.Expand(1.0, op.Shape(x.x, start=axis, end=axis + 1)), name))
        result += name
    dx = op.Einsum(*(factor.x for factor in factors), equation=f"{','.join(f.names for f in factors)}->{result}")
    lengths = [factor.lengths for factor in (x, *others)]
    return unbroadcast(dx, x.x, tuple(_stretched([each[name] for each in lengths if name in each]) for name in x.names))


def _spelled_out(equation: str, xs: Sequence[Tensor]) -> tuple[list[Factor], str]:
    """The operands with their indices, and the indices of y, with names for those that an ellipsis stands for."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms, ellipsis = left.split(","), ""
    if "..." in left:
        counts = [x.rank - len(term) + 3 if "..." in term else 0 for term, x in zip(terms, xs, strict=True)]
        ellipsis = _free_names(left)[: max(counts)]
        terms = [t.replace("...", ellipsis[len(ellipsis) - c :]) for t, c in zip(terms, counts, strict=True)]
    operands = [Factor(x, term) for x, term in zip(xs, terms, strict=True)]
    if arrow:
        return operands, output.replace("...", ellipsis)
    return operands, ellipsis + "".join(sorted(name for name in set(left) - {",", "."} if left.count(name) == 1))


def _free_names(used: str) -> str:
    return "".join(name for name in string.ascii_letters if name not in used)


def _stretched(dims: Sequence[Dim]) -> Dim:
    """The length of an index after lengths of 1 are stretched, None where that is not known."""
    longer = set(dims) - {1}
    return longer.pop() if len(longer) == 1 else None if longer else 1


# --- the determinant ---------------------------------------------------------------------------


@rule("Det")
def det(n: Call, dy: Tensor) -> Gradients:
    """dx = dy C, C_ij = (−1)^(i+j) times the determinant of x without row i and column j

    Unlike dy y x^−T this holds for a singular x too, and the standard has no inverse.
    """
    rank = n.x.rank
    size = op.Squeeze(op.Shape(n.x, start=rank - 1, end=rank))
    i, rest = op.Range(0, size, 1), op.Range(0, size - 1, 1)
    row = op.Unsqueeze(i, [1])
    kept = rest + (rest >= row).cast(like=rest)  # [n, n − 1]: in row i every position but i
    minors = op.Gather(op.Gather(n.x, kept, axis=rank - 2), kept, axis=rank)  # [..., n, n − 1, n, n − 1]
    order = [*range(rank - 1), rank, rank - 1, rank + 1]
    signs = 1 - 2 * op.Mod(row + i, 2)
    return op.Unsqueeze(dy, [-2, -1]) * op.Det(op.Transpose(minors, perm=order)) * signs.cast(like=dy)
