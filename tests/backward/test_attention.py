"""Attention and rotary embeddings: against loops over heads and queries."""

import numpy as np
import pytest

from .harness import NEWEST, Row, Variant, cases, check, differentiate, normal, parse, run


class LooseRow(Row):
    """The standard's definition computes the scale in float32."""

    tolerance = 1e-6


def attention(
    *, is_causal=0, scale=None, softcap=0.0, q_num_heads=None, kv_num_heads=None, qk_matmul_output_mode=0,
    softmax_precision=None, left_window_size=-1, right_window_size=-1, outputs=(0,),
):  # fmt: skip
    def attend(q, k, v, mask=None, past_k=None, past_v=None, filled=None):
        flat = q.ndim == 3
        if flat:
            q, k, v = heads(q, q_num_heads), heads(k, kv_num_heads), heads(v, kv_num_heads)
        past = 0 if past_k is None else past_k.shape[2]
        if past:
            k, v = np.concatenate([past_k, k], axis=2), np.concatenate([past_v, v], axis=2)
        queries, keys, shared = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
        y, scores = np.zeros((*q.shape[:3], v.shape[3])), np.zeros((*q.shape[:3], keys))
        for n, h, i in np.ndindex(*q.shape[:3]):
            position = i + (past if filled is None else filled[n] - queries)
            raw = k[n, h // shared] @ q[n, h, i] * (1 / np.sqrt(q.shape[3]) if scale is None else scale)
            capped = softcap * np.tanh(raw / softcap) if softcap else raw
            bias = np.zeros(keys)
            for j in range(keys):
                shut = filled is not None and j >= filled[n]
                shut |= bool(is_causal) and j > position
                shut |= left_window_size >= 0 and j < position - left_window_size
                shut |= right_window_size >= 0 and j > position + right_window_size
                if mask is not None:
                    at = np.broadcast_to(mask, (*q.shape[:3], mask.shape[-1]))[n, h, i]
                    if j >= len(at) or (at.dtype == bool and not at[j]):
                        shut = True
                    elif at.dtype != bool:
                        bias[j] = at[j]
                if shut:
                    bias[j] = -np.inf
            weights = np.zeros(keys) if np.isinf(bias).all() else softmax(capped + bias)
            y[n, h, i] = weights @ v[n, h // shared]
            scores[n, h, i] = (raw, capped, capped + bias, weights)[qk_matmul_output_mode]
        if flat:
            y = y.transpose(0, 2, 1, 3).reshape(len(q), queries, -1)
        return [(y, k, v, scores)[index] for index in outputs]

    return attend


def heads(x, count):
    return x.reshape(*x.shape[:2], count, -1).transpose(0, 2, 1, 3)


def softmax(s):
    e = np.exp(s - s.max())
    return e / e.sum()


def row(q, k, v, mask=None, past=(None, None), filled=None, *, since=23, outputs=(0,), named="", fed=(), **attrs):
    """One call; the arrays among the inputs that are floats are differentiated for, `q`, `k` and `v` are shapes."""
    inputs = [normal(*q), normal(*k), normal(*v), mask, *past, filled]
    while inputs[-1] is None:
        inputs.pop()
    wrt = [i for i, x in enumerate(inputs) if x is not None and x.dtype == np.float64 and i not in fed]
    return LooseRow("Attention", inputs, attrs, wrt=wrt, fed=fed, outputs=max(outputs) + 1, seeds=outputs, since=since,
                    definition=attention(outputs=outputs, **attrs), named=named)  # fmt: skip


Q, K, V = (1, 2, 3, 4), (1, 2, 4, 4), (1, 2, 4, 3)
PAST = normal(1, 2, 2, 4), normal(1, 2, 2, 3)
MASK = np.array([[1, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1]], bool)
SHUT = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]], bool)

ATTENTION = [
    row(Q, K, V),
    row(Q, K, V, is_causal=1),
    row(Q, K, V, scale=0.25, softcap=0.75),
    row(Q, K, V, softmax_precision=11),
    row((2, 3, 8), (2, 4, 8), (2, 4, 6), q_num_heads=2, kv_num_heads=2),
    row((1, 3, 8), (1, 4, 4), (1, 4, 6), q_num_heads=4, kv_num_heads=2, is_causal=1),
    row((2, 4, 2, 3), (2, 2, 3, 3), (2, 2, 3, 2), named="grouped queries"),
    row((1, 3, 2, 3), (1, 1, 3, 3), (1, 1, 3, 2), named="one key head"),
    row(Q, K, V, normal(3, 4), named="mask of queries"),
    row(Q, K, V, normal(1, 2, 3, 4), softcap=0.5, named="mask of heads"),
    row(Q, K, V, MASK, named="boolean mask"),
    row(Q, K, V, MASK[None, None], fed=[3], is_causal=1, named="open boolean mask"),
    row(Q, K, V, past=PAST, outputs=(0, 1, 2)),
    row(Q, K, V, MASK[:, [0, 1, 2, 3, 0, 1]], PAST, is_causal=1, named="boolean mask"),
    *(row(Q, K, V, normal(3, 6), PAST, outputs=(0, 3), softcap=0.5, qk_matmul_output_mode=mode) for mode in range(4)),
    row(Q, K, V, outputs=(0, 3), qk_matmul_output_mode=3, named="no keys asked for"),
    row(Q, K, V, outputs=(0, 1, 2), named="no past"),
    row((1, 3, 8), (1, 4, 4), (1, 4, 6), q_num_heads=4, kv_num_heads=2, outputs=(0, 1, 2), named="no past"),
    row((2, 1, 3, 2), (2, 1, 4, 2), (2, 1, 4, 2), filled=np.array([3, 4]), since=24),
    row((2, 1, 3, 2), (2, 1, 5, 2), (2, 1, 5, 2), filled=np.array([3, 5]), since=24, is_causal=1),
    row(Q, K, V, since=25, left_window_size=1, right_window_size=1),
    row(Q, K, V, since=25, left_window_size=1, is_causal=1),
]
SHUT_ROWS = [
    row(Q, K, V, SHUT, named="a query that sees nothing"),
    row((2, 1, 3, 2), (2, 1, 4, 2), (2, 1, 4, 2), filled=np.array([2, 4]), since=24, is_causal=1,
        named="a query that sees nothing"),
]  # fmt: skip


def rotary(interleaved=0, rotary_embedding_dim=0, num_heads=None):
    """Each pair of entries turned by its angle."""

    def rotate(x, cos, sin, positions=None):
        flat = x.ndim == 3
        y = (heads(x, num_heads) if flat else x).copy()
        size = rotary_embedding_dim or y.shape[3]
        for n, h, t in np.ndindex(*y.shape[:3]):
            c, s = (cache[n, t] if positions is None else cache[positions[n, t]] for cache in (cos, sin))
            before = y[n, h, t].copy()
            for i in range(size // 2):
                a, b = (2 * i, 2 * i + 1) if interleaved else (i, i + size // 2)
                y[n, h, t, a] = c[i] * before[a] - s[i] * before[b]
                y[n, h, t, b] = s[i] * before[a] + c[i] * before[b]
        return y.transpose(0, 2, 1, 3).reshape(x.shape) if flat else y

    return rotate


POSITIONS = np.array([[0, 2, 1], [3, 3, 0]])
ROTARY = [
    Row("RotaryEmbedding", [normal(2, 2, 3, 4), normal(5, 2), normal(5, 2), POSITIONS], wrt=[0, 1, 2], since=23,
        definition=rotary()),
    Row("RotaryEmbedding", [normal(2, 2, 3, 4), normal(5, 2), normal(5, 2), POSITIONS], {"interleaved": 1}, fed=[3],
        since=23, definition=rotary(interleaved=1)),
    Row("RotaryEmbedding", [normal(2, 2, 3, 6), normal(2, 3, 2), normal(2, 3, 2)], {"rotary_embedding_dim": 4},
        since=23, definition=rotary(rotary_embedding_dim=4)),
    Row("RotaryEmbedding", [normal(2, 3, 8), normal(5, 2), normal(5, 2), POSITIONS], {"num_heads": 2}, since=23,
        definition=rotary(num_heads=2)),
    Row("RotaryEmbedding", [normal(2, 3, 12), normal(2, 3, 2), normal(2, 3, 2)],
        {"num_heads": 2, "interleaved": 1, "rotary_embedding_dim": 4}, wrt=[0, 1, 2], since=23,
        definition=rotary(1, 4, 2)),
]  # fmt: skip

ROWS = [*ATTENTION, *SHUT_ROWS, *ROTARY]
OPSETS = [Variant(opset, shapes) for opset in (23, 24, NEWEST) for shapes in ("no", "batch", "all")]


@pytest.mark.parametrize(("row", "variant"), cases(ROWS, OPSETS))
def test_gradient(row, variant):
    check(row, variant)


def test_outputs_may_be_left_out_before_the_last():
    signature = "(double[1, 2, 3, 4] x) => (double[1, 2, 3, 4] y, double[1, 2, 3, 3] w)"
    named, blank = (
        parse(signature, f"y, {keys}, {values}, w = Attention<qk_matmul_output_mode = 3>(x, x, x)", NEWEST)
        for keys, values in (("k", "v"), ("", ""))
    )
    assert list(blank.graph.node[0].output) == ["y", "", "", "w"]
    feeds = {"x": normal(1, 2, 3, 4), "v0": normal(1, 2, 3, 4), "v1": normal(1, 2, 3, 3)}
    wanted, found = (run(differentiate(model, ["x"], np.float64)[0], feeds) for model in (named, blank))
    assert np.abs(wanted["d_x"]).max() > 0.1
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)
