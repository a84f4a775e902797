"""Activations: each against its formula, entry by entry; inputs lie away from the kinks."""

import math

import numpy as np
import pytest

from .harness import Row, cases, check, distinct, normal, scalar

erf = np.vectorize(math.erf)


def leaky(alpha):
    return lambda x: np.where(x > 0, x, alpha * x)


def elu(alpha, gamma=1.0):
    return lambda x: gamma * np.where(x > 0, x, alpha * (np.exp(x) - 1))


def hard_sigmoid(alpha, beta):
    return lambda x: np.clip(alpha * x + beta, 0, 1)


def gelu_tanh(x):
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def softmax(axis):
    return lambda x: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def log_softmax(axis):
    return lambda x: np.log(softmax(axis)(x))


def shrink(lambd, bias):
    return lambda x: np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0))


def celu(alpha):
    return lambda x: np.where(x > 0, x, alpha * (np.exp(x / alpha) - 1))


def swish(alpha):
    return lambda x: x / (1 + np.exp(-alpha * x))


def clip(x, low=None, high=None):
    x = x if low is None else np.where(x < low, low, x)
    return x if high is None else np.where(x > high, high, x)


PIECEWISE = [
    Row("Relu", [distinct(2, 3)], definition=lambda x: np.maximum(x, 0)),
    *(Row("LeakyRelu", [distinct(2, 3)], {"alpha": a}, definition=leaky(a)) for a in (0.2, 0.0, -0.5, 1.5)),
    Row("LeakyRelu", [distinct(2, 3)], definition=leaky(0.01), named="default alpha"),
    *(
        Row("PRelu", [distinct(*x), normal(*slope)], wrt=wrt, definition=lambda x, s: np.where(x > 0, x, s * x))
        for x, slope in [((2, 3, 4), (3, 1)), ((2, 3), (2, 3)), ((2, 3), (1,)), ((2, 3), ()), ((2, 3, 2, 2), (1, 1, 1))]
        for wrt in ([0], [0, 1])
    ),
    Row("HardSigmoid", [distinct(4, 12) + 0.02], definition=hard_sigmoid(0.2, 0.5)),
    Row("HardSigmoid", [distinct(4, 5) + 0.01], {"alpha": 0.6, "beta": 0.3}, definition=hard_sigmoid(0.6, 0.3)),
    Row("ThresholdedRelu", [distinct(4, 6)], {"alpha": 0.5}, definition=lambda x: np.where(x > 0.5, x, 0)),
    Row("ThresholdedRelu", [distinct(5, 7)], definition=lambda x: np.where(x > 1, x, 0), named="default"),
    Row("Shrink", [distinct(4, 6)], {"lambd": 0.5, "bias": 0.2}, definition=shrink(0.5, 0.2)),
    Row("Shrink", [distinct(4, 6) + 0.01], definition=shrink(0.5, 0.0), named="defaults"),
    Row("HardSwish", [distinct(8, 10)], definition=lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
]
CLIPS = [
    Row("Clip", [distinct(3, 4)], definition=clip, named="no limits"),
    Row("Clip", [distinct(3, 4), scalar(-0.33)], definition=clip, named="low"),
    Row("Clip", [distinct(3, 4), None, scalar(0.22)], definition=clip, named="high"),
    Row("Clip", [distinct(3, 4), scalar(-0.33), scalar(0.22)], definition=clip, named="both"),
    Row("Clip", [distinct(3, 4), scalar(-0.33), scalar(0.22)], fed=[1, 2], definition=clip, named="open limits"),
    Row("Clip", [distinct(3, 4), scalar(-0.33)], wrt=[0, 1], definition=clip, named="low, its own gradient"),
    Row("Clip", [distinct(3, 4), None, scalar(0.22)], wrt=[0, 2], definition=clip, named="high, its own gradient"),
    Row("Clip", [distinct(3, 4), scalar(-0.33), scalar(0.22)], wrt=[0, 1, 2], definition=clip, named="all gradients"),
    Row("Clip", [distinct(3, 4), scalar(-0.33), scalar(0.22)], wrt=[2], definition=clip, named="a limit alone"),
]
SMOOTH = [
    Row("Elu", [distinct(2, 5)], definition=elu(1.0)),
    Row("Elu", [distinct(2, 5)], {"alpha": 0.3}, definition=elu(0.3)),
    Row("Selu", [distinct(2, 5)], definition=elu(1.67326319217681884765625, 1.05070102214813232421875)),
    Row("Selu", [distinct(2, 5)], {"alpha": 0.7, "gamma": 2.0}, definition=elu(0.7, 2.0)),
    Row("Sigmoid", [normal(2, 5)], definition=lambda x: 1 / (1 + np.exp(-x))),
    Row("Tanh", [normal(2, 5)], definition=np.tanh),
    *(Row("Celu", [distinct(2, 5)], {"alpha": alpha}, definition=celu(alpha)) for alpha in (1.0, 0.4, 2.5)),
    Row("Celu", [distinct(2, 5)], definition=celu(1.0), named="default"),
    Row("Softsign", [distinct(2, 5)], definition=lambda x: x / (1 + np.abs(x))),
    *(  # no kernel in onnxruntime
        Row("Swish", [normal(2, 5)], attrs, since=24, definition=swish(attrs.get("alpha", 1.0)), reference=True)
        for attrs in ({}, {"alpha": 0.4}, {"alpha": -2.0})
    ),
    Row("Mish", [normal(2, 5)], definition=lambda x: x * np.tanh(np.log(1 + np.exp(x)))),
    Row("Softplus", [normal(2, 5)], definition=lambda x: np.log(1 + np.exp(x))),
    Row("Gelu", [normal(2, 5)], since=20, definition=lambda x: x * (1 + erf(x / np.sqrt(2))) / 2),
    Row("Gelu", [normal(2, 5)], {"approximate": "tanh"}, since=20, definition=gelu_tanh),
]
OVER_AN_AXIS = [
    *(Row("Softmax", [normal(2, 3, 4)], {"axis": a}, definition=softmax(a)) for a in (-1, 0, 1, 2, -2)),
    *(Row("LogSoftmax", [normal(2, 3, 4)], {"axis": a}, definition=log_softmax(a)) for a in (-1, 0, 1, 2, -2)),
    Row("Softmax", [normal(5)], definition=softmax(-1), named="default axis"),
    Row("LogSoftmax", [normal(2, 5)], definition=log_softmax(-1), named="default axis"),
]
KINKS = [  # the library's choice, by hand
    Row("Relu", [np.array([0.0, -1, 2])], definition=lambda x: np.maximum(x, 0), gradient=lambda v: v * [0, 0, 1]),
    Row("LeakyRelu", [np.array([0.0, -1, 2])], {"alpha": 0.5}, definition=leaky(0.5),
        gradient=lambda v: v * [0.5, 0.5, 1]),
    Row("Clip", [np.array([1.0, 2, 3]), scalar(1.0), scalar(3.0)], definition=clip, gradient=lambda v: v * [0, 1, 0]),
    Row("Clip", [np.array([1.0, 2, 3]), scalar(1.0), scalar(3.0)], wrt=[0, 1, 2], definition=clip,
        gradient=lambda v: [v * [0, 1, 0], v[0], v[2]]),
    Row("PRelu", [np.array([0.0, -1, 2]), scalar(0.5)], definition=lambda x, s: np.where(x > 0, x, s * x),
        gradient=lambda v: v * [0.5, 0.5, 1]),
]  # fmt: skip
LARGE = [  # where a formula by e^x would overflow; the derivative is 0 or 1
    Row("Sigmoid", [np.array([-800.0, 800.0])], definition=lambda x: (x > 0) * 1.0, named="large"),
    Row("Softplus", [np.array([-800.0, 800.0])], definition=lambda x: np.maximum(x, 0), named="large"),
    Row("Tanh", [np.array([-800.0, 800.0])], definition=np.sign, named="large"),
    Row("Elu", [np.array([-80.0, 200.0])], definition=elu(1.0), named="large"),
    Row("Softmax", [np.array([800.0, -800.0, 0.0])], definition=lambda x: (x > 1) * 1.0, named="large"),
    Row("LogSoftmax", [np.array([800.0, -800.0, 0.0])], definition=lambda x: x - x.max(), named="large"),
    Row("Gelu", [np.array([-80.0, 80.0])], since=20, definition=lambda x: np.maximum(x, 0), named="large"),
    Row("Gelu", [np.array([-80.0, 80.0])], {"approximate": "tanh"}, since=20, named="large",
        definition=lambda x: np.maximum(x, 0)),
]  # fmt: skip

ROWS = [*PIECEWISE, *CLIPS, *SMOOTH, *OVER_AN_AXIS, *KINKS, *LARGE]


@pytest.mark.parametrize(("row", "variant"), cases(ROWS))
def test_gradient(row, variant):
    check(row, variant)
