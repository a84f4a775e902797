"""Normalisations against their formulas."""

import numpy as np
import pytest

from .harness import EVERY, Row, cases, check, normal, positive


def standardise(x, axes, epsilon):
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + epsilon)


def per_channel(v, x):
    return v.reshape(-1, *[1] * (x.ndim - 2))


def batch_norm(epsilon=1e-5):
    return lambda x, s, b, mean, var: (
        per_channel(s, x) * (x - per_channel(mean, x)) / np.sqrt(per_channel(var, x) + epsilon) + per_channel(b, x)
    )


def instance_norm(epsilon=1e-5):
    return lambda x, s, b: per_channel(s, x) * standardise(x, tuple(range(2, x.ndim)), epsilon) + per_channel(b, x)


def layer_norm(axis=-1, epsilon=1e-5):
    def normalise(x, s, b=0.0):
        return standardise(x, tuple(range(axis % x.ndim, x.ndim)), epsilon) * s + b

    return normalise


def lrn(size, alpha=1e-4, beta=0.75, bias=1.0):
    """By loops over channels, as the operator is specified."""

    def normalise(x):
        y = np.empty_like(x)
        for c in range(x.shape[1]):
            low, high = max(0, c - (size - 1) // 2), min(x.shape[1] - 1, c + size // 2)
            total = sum(x[:, i] ** 2 for i in range(low, high + 1))
            y[:, c] = x[:, c] / (bias + alpha / size * total) ** beta
        return y

    return normalise


BATCH = [
    *(
        Row("BatchNormalization", [normal(*x), normal(3), normal(3), normal(3), positive(3)], definition=batch_norm())
        for x in [(2, 3), (2, 3, 4), (2, 3, 2, 2), (1, 3, 2, 1, 2)]
    ),
    Row("BatchNormalization", [normal(2, 3, 2), normal(3), normal(3), normal(3), positive(3)], {"epsilon": 0.5},
        definition=batch_norm(0.5)),
    Row("BatchNormalization", [normal(2, 3, 2), normal(3), normal(3), normal(3), positive(3)], fed=[1, 2, 3, 4],
        named="open statistics", definition=batch_norm()),
    *(Row("BatchNormalization", [normal(*x), normal(3), normal(3), normal(3), positive(3)], {"epsilon": 0.1}, wrt=w,
          definition=batch_norm(0.1)) for x in [(2, 3), (2, 3, 2, 2)] for w in ([0, 1, 2, 3, 4], [3], [4])),
]  # fmt: skip
INSTANCE = [
    *(Row("InstanceNormalization", [normal(*x), normal(3), normal(3)], {"epsilon": e}, wrt=w,
          definition=instance_norm(e))
      for x in [(2, 3, 4), (2, 3, 3, 2), (1, 3, 2, 2, 2)] for e in (1e-2, 0.5) for w in ([0], [0, 1, 2])),
    Row("InstanceNormalization", [normal(2, 3, 4), normal(3), normal(3)], wrt=[1, 2], definition=instance_norm(),
        named="scale and bias alone"),
]  # fmt: skip
LAYER = [
    *(
        Row("LayerNormalization", [normal(2, 3, 4), normal(*(2, 3, 4)[axis:]), normal(*(2, 3, 4)[axis:])],
            {"axis": axis, "epsilon": 1e-2}, definition=layer_norm(axis, 1e-2))
        for axis in (-1, 0, 1, 2, -2)
    ),
    Row("LayerNormalization", [normal(2, 3, 4), normal(4), normal(4)], wrt=[0, 1, 2], definition=layer_norm()),
    Row("LayerNormalization", [normal(2, 3, 4), normal(3, 1), normal(1)], {"axis": 1}, wrt=[1, 2],
        definition=layer_norm(1), named="stretched"),
    Row("LayerNormalization", [normal(2, 5), normal(5)], definition=layer_norm(), named="default axis, no bias"),
    Row("LayerNormalization", [normal(2, 3, 4), normal(3, 1), normal(4)], {"axis": 1}, definition=layer_norm(1),
        named="scale and bias stretched"),
]  # fmt: skip
RESPONSE = [
    Row("LRN", [normal(2, 6, 3, 2)], {"size": size, "alpha": a, "beta": b, "bias": k}, definition=lrn(size, a, b, k))
    for size in (1, 3, 5, 9)
    for a, b, k in [(0.5, 0.75, 1.0), (2.0, 0.5, 2.0)]
] + [
    Row("LRN", [3 * normal(1, 5, 2, 2)], {"size": 3}, definition=lrn(3), named="defaults"),
    # onnxruntime takes odd sizes only, and onnx's reference as many channels as it has pictures
    *(Row("LRN", [normal(5, 5, 2, 1)], {"size": size, "alpha": 1.0}, definition=lrn(size, 1.0), reference=True)
      for size in (2, 4)),
]  # fmt: skip


def group_norm(groups, *, by_group, epsilon=1e-5):
    """Scale and bias of each group before opset 21, of each channel since."""

    def normalise(x, s, b):
        if by_group:
            s, b = (np.repeat(v, x.shape[1] // groups) for v in (s, b))
        grouped = x.reshape(x.shape[0], groups, -1)
        return per_channel(s, x) * standardise(grouped, 2, epsilon).reshape(x.shape) + per_channel(b, x)

    return normalise


def rms_norm(axis=-1, epsilon=1e-5):
    def normalise(x, s):
        axes = tuple(range(axis % x.ndim, x.ndim))
        return x / np.sqrt((x**2).mean(axis=axes, keepdims=True) + epsilon) * s

    return normalise


EXPANDED = [  # written out by the standard's own definition, so the rules of ordinary nodes are what is used
    *(
        Row("GroupNormalization", [normal(2, 6, 3, 2), normal(6), normal(6)], {"num_groups": g, "epsilon": 1e-2},
            since=21, definition=group_norm(g, by_group=False, epsilon=1e-2))
        for g in (1, 2, 6)
    ),
    *(
        Row("RMSNormalization", [normal(2, 3, 4), normal(*(2, 3, 4)[axis:])], {"axis": axis, "epsilon": 1e-2},
            since=23, definition=rms_norm(axis, 1e-2))
        for axis in (-1, 0, 1)
    ),
    Row("MeanVarianceNormalization", [normal(2, 3, 2, 2)], definition=lambda x: standardise(x, (0, 2, 3), 0)),
    Row("MeanVarianceNormalization", [normal(2, 3, 4)], {"axes": [1]}, definition=lambda x: standardise(x, (1,), 0)),
]  # fmt: skip
BY_GROUP = [
    Row("GroupNormalization", [normal(2, 6, 3, 2), normal(g), normal(g)], {"num_groups": g},
        definition=group_norm(g, by_group=True))
    for g in (1, 2, 6)
]  # fmt: skip

ROWS = [*BATCH, *INSTANCE, *LAYER, *RESPONSE, *EXPANDED]


@pytest.mark.parametrize(("row", "variant"), [*cases(ROWS), *cases(BY_GROUP, [v for v in EVERY if v.opset == 18])])
def test_gradient(row, variant):
    check(row, variant)
