"""Running sums and products, triangles and remainders, by loops and by numpy; recurrent operators step by step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import EVERY, NEWEST, Row, Variant, cases, check, normal, positive
from .single import Single

# --- running sums and products -----------------------------------------------------------------


def running(operator, start, axis, exclusive=0, reverse=0):
    """y_i = x_1 ∘ ... ∘ x_i along an axis, without x_i itself where exclusive, from the end where reverse."""

    def run(x, *_):
        lines = np.moveaxis(x, axis, 0)[:: -1 if reverse else 1]
        y, total = np.empty_like(lines), np.full(lines.shape[1:], start)
        for i, entry in enumerate(lines):
            y[i] = total if exclusive else operator(total, entry)
            total = operator(total, entry)
        return np.moveaxis(y[:: -1 if reverse else 1], 0, axis)

    return run


def row(name, x, axis, *, fed=(), named="", dtype=np.int64, **attrs):
    operator, start, since = {"CumSum": (np.add, 0.0, 18), "CumProd": (np.multiply, 1.0, 26)}[name]
    definition = running(operator, start, axis, **attrs)
    named = f"axis {axis} {named}".strip()
    inputs = [x, np.array(axis, dtype)]
    return Row(name, inputs, attrs, fed=fed, since=since, definition=definition, named=named)


BOTH = ("CumSum", "CumProd")
MODES = [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}]
ZEROS = np.array([[2.0, 3, 5, 7], [2, 0, 5, 7], [0, 3, 0, 7], [0, 0, 0, 0], [2, 3, 5, 0], [0, 3, 5, 7]])
RUNNING = [
    *(row(name, positive(3, 4, 2), axis, **mode) for name in BOTH for axis in (0, 1, -1) for mode in MODES),
    *(row(name, positive(3, 4), 1, fed=[1], named="open axis", **mode) for name in BOTH for mode in MODES),
    *(row(name, normal(4), -1, dtype=np.int32, named="int32") for name in BOTH),
    *(row(name, normal(2, 1), 1, exclusive=1, named="of one") for name in BOTH),
    *(row("CumProd", ZEROS, 1, named="zeros", **mode) for mode in MODES),
    *(row("CumProd", ZEROS.T, 0, named="zeros", **mode) for mode in MODES),
]  # fmt: skip

# --- parts -------------------------------------------------------------------------------------

TRIANGLES = [
    *(
        Row("Trilu", [normal(2, 3, 4), np.array(k)], {"upper": upper}, named=f"from {k}",
            definition=lambda x, k, f={0: np.tril, 1: np.triu}[upper]: f(x, k))
        for upper in (0, 1)
        for k in (-3, -1, 0, 2, 9)
    ),
    Row("Trilu", [normal(4, 3)], definition=np.triu, named="default"),
    Row("Trilu", [normal(4, 3), np.array(-1)], {"upper": 0}, fed=[1], definition=np.tril, named="open"),
]  # fmt: skip
SIGNED = np.array([5.3, -5.3, 0.4, -0.4, 7.9, -7.9])
DIVISORS = np.array([2.0, 2.0, 1.5, 1.5, -3.0, -3.0])
REMAINDERS = [
    Row("Mod", [SIGNED, DIVISORS], {"fmod": 1}, wrt=[0, 1], definition=np.fmod, named="both"),
    Row("Mod", [SIGNED, DIVISORS], {"fmod": 1}, wrt=[0], definition=np.fmod, named="dividend"),
    Row("Mod", [SIGNED.reshape(6, 1), DIVISORS[::2]], {"fmod": 1}, wrt=[0, 1], definition=np.fmod, named="stretched"),
]  # fmt: skip
NEWER = [  # floats with the divisor's sign, which onnxruntime does not load
    Row("Mod", [SIGNED, DIVISORS], wrt=[0, 1], definition=np.mod, reference=True, named="rounded down"),
    Row("Mod", [SIGNED.reshape(6, 1), DIVISORS[::2]], wrt=[1], definition=np.mod, reference=True, named="rounded down"),
]

# --- recurrences -------------------------------------------------------------------------------


def linear_attention(rule, heads, scale=None):
    """One token after the other, as the operator is specified: S the state, o = scale q S."""

    def attend(q, k, v, state, decay, beta):
        samples, steps, _ = q.shape
        q, k, v = (each.reshape(samples, steps, heads, -1) for each in (q, k, v))
        depth, width = k.shape[3], v.shape[3]
        s = np.zeros((samples, heads, depth, width)) if state is None else state
        y = np.empty((samples, steps, heads, width))
        for t in range(steps):
            if "gated" in rule:
                s = np.exp(decay[:, t]).reshape(samples, heads, depth, 1) * s
            value = v[:, t]
            if "delta" in rule:
                value = beta[:, t][..., None] * (value - np.einsum("bhdv,bhd->bhv", s, k[:, t]))
            s = s + np.einsum("bhd,bhv->bhdv", k[:, t], value)
            y[:, t] = np.einsum("bhd,bhdv->bhv", q[:, t], s) * (scale or depth**-0.5)
        return y.reshape(samples, steps, -1)

    return attend


def causal_conv(activation):
    """Each channel by itself, over the present and the k − 1 positions before."""

    def conv(x, w, b, past):
        size = w.shape[2]
        seen = np.concatenate([np.zeros((*x.shape[:2], size - 1)) if past is None else past, x], axis=2)
        y = sum(w[:, 0, j, None] * seen[:, :, j : j + x.shape[2]] for j in range(size))
        y = y if b is None else y + b[:, None]
        return y / (1 + np.exp(-y)) if activation in ("silu", "swish") else y

    return conv


RECURRENT = [  # in float32, which their definitions compute parts in whatever the inputs are
    *(
        Single("LinearAttention",
            [normal(2, 3, 4), normal(2, 3, 4), normal(2, 3, 6), state,
             -positive(2, 3, 4) if "gated" in rule else None, positive(2, 3, 2) if "delta" in rule else None],
            {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": rule}, wrt=[0, 1, 2], outputs=2, reference=True,
            definition=linear_attention(rule, 2), named="from a state" if state is not None else "")
        for rule in ("linear", "gated", "delta", "gated_delta")
        for state in (None, normal(2, 2, 2, 3))
    ),
    *(
        Single("CausalConvWithState", [normal(2, 3, 5), normal(3, 1, 2), bias, past], {"activation": activation},
            outputs=2, reference=True, definition=causal_conv(activation),
            named="from a state" if past is not None else "")
        for activation in ("none", "silu")
        for bias, past in [(None, None), (normal(3), normal(2, 3, 1))]
    ),
]  # fmt: skip

ROWS = [*RUNNING, *TRIANGLES, *REMAINDERS]


@pytest.mark.parametrize(("row", "variant"), cases(ROWS))
def test_gradient(row, variant):
    check(row, variant)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=1, max_size=5),
    st.sampled_from([(axis, mode) for axis in (0, 1) for mode in MODES]),
    st.sampled_from([variant for variant in EVERY if variant.opset == NEWEST]),
)
def test_any_zeros(entries, how, variant):
    axis, mode = how
    check(row("CumProd", np.array(entries, np.float64), axis, **mode), variant)


@pytest.mark.parametrize("open_", ["no", "batch", "all"])
@pytest.mark.parametrize("row", NEWER, ids=str)
def test_gradient_of_newer_versions(row, open_):
    check(row, Variant(28, open_))


@pytest.mark.parametrize("row", RECURRENT, ids=str)
def test_gradient_of_recurrences(row):
    check(row, Variant(27, "no"))
