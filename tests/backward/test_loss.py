"""Losses against their sums over samples, and division by a norm."""

import numpy as np
import pytest

from .harness import FEW, Row, cases, check, distinct, normal, positive

# --- losses ------------------------------------------------------------------------------------


def negative_log_likelihood(reduction="mean", ignore_index=None):
    """Sample by sample: −w_t x_t for the target t, averaged over the weights."""

    def loss(x, target, weights=None):
        losses, counted = np.zeros(target.shape), np.zeros(target.shape)
        for place in np.ndindex(target.shape):
            label = target[place]
            if label == ignore_index:
                continue
            counted[place] = 1.0 if weights is None else weights[label]
            losses[place] = -counted[place] * x[(place[0], label, *place[1:])]
        if reduction == "none":
            return losses
        return losses.sum() / (counted.sum() if reduction == "mean" else 1)

    return loss


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def cross_entropy(*, both=False, **attrs):
    def loss(x, target, weights=None):
        y = log_softmax(x)
        value = negative_log_likelihood(**attrs)(y, target, weights)
        return [value, y] if both else value

    return loss


SHAPES = {(3, 4): np.array([0, 3, 1]), (2, 3, 2): np.array([[0, 2], [1, 1]]), (2, 3, 2, 1): np.zeros((2, 2, 1), int)}
DEFINITIONS = {"NegativeLogLikelihoodLoss": negative_log_likelihood, "SoftmaxCrossEntropyLoss": cross_entropy}
LOSSES = [
    *(
        Row(name, [normal(*shape), target, *weights], attrs, wrt=wrt, named="weighted" if weights else "",
            definition=definition(**attrs))
        for name, definition in DEFINITIONS.items()
        for shape, target in SHAPES.items()
        for weights, wrt in [([], [0]), ([positive(shape[1])], [0, 2])]
        for attrs in [{"reduction": "none"}, {"reduction": "sum"}, {}, {"ignore_index": 1},
                      {"reduction": "none", "ignore_index": 0}]
    ),
    *(
        Row(name, [normal(3, 4), np.array([0, -1, 2]), *weights], {"ignore_index": -1}, wrt=[0], named="a target of −1",
            definition=definition(ignore_index=-1))
        for name, definition in DEFINITIONS.items()
        for weights in ([], [positive(4)])
    ),
    *(Row(name, [normal(3, 4), np.array([0, 3, 1])], fed=[1], named="open targets", definition=definition())
      for name, definition in DEFINITIONS.items()),
    Row("SoftmaxCrossEntropyLoss", [normal(2, 3, 2), SHAPES[2, 3, 2]], outputs=2, seeds=[0, 1], named="both outputs",
        definition=cross_entropy(both=True)),
    Row("SoftmaxCrossEntropyLoss", [normal(2, 3), np.array([2, 0])], {"reduction": "none"}, outputs=2, seeds=[1],
        named="log p alone", definition=lambda x, target: log_softmax(x)),
]  # fmt: skip

# --- division by a norm ------------------------------------------------------------------------


def lp_normalise(axis=-1, p=2):
    return lambda x: x / np.linalg.norm(x, ord=p, axis=axis, keepdims=True)


def at_zero(axis, p):
    def normalise(x):
        norm = np.linalg.norm(x, ord=p, axis=axis, keepdims=True)
        return np.where(norm > 0, x / np.where(norm > 0, norm, 1), 0)

    return normalise


NORMS = [
    *(
        Row("LpNormalization", [distinct(2, 3, 4)], {"axis": axis, "p": p}, definition=lp_normalise(axis, p))
        for axis in (0, 1, -1)
        for p in (1, 2)
    ),
    Row("LpNormalization", [distinct(2, 3)], definition=lp_normalise(), named="defaults"),
    Row("LpNormalization", [np.array([[0.0, 0], [3, -4]])], {"p": 2}, definition=at_zero(-1, 2), named="at 0",
        gradient=lambda v: np.array([[0, 0], [16 * v[1, 0] + 12 * v[1, 1], 12 * v[1, 0] + 9 * v[1, 1]]]) / 125),
    Row("LpNormalization", [np.array([[0.0, 0], [1, -3]])], {"p": 1}, definition=at_zero(-1, 1), named="at 0",
        gradient=lambda v: np.array([[0, 0], [3 * v[1, 0] + 3 * v[1, 1], v[1, 0] + v[1, 1]]]) / 16),
]  # fmt: skip

ROWS = [*LOSSES, *NORMS]


@pytest.mark.parametrize(("row", "variant"), [*cases(LOSSES, FEW), *cases(NORMS)])
def test_gradient(row, variant):
    check(row, variant)
