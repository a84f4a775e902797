"""Control flow and sequences whose way is known are written out; what they compute stays."""

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest

from onnx_saliency.graph import control_flow, normalise
from onnx_saliency.graph.bodies import bodies

CASES = {  # signature, body, feeds, operators that must be gone
    "If of a constant": (
        "(float[2] x) => (float[2] y) <bool c = {1}>",
        "y = If(c) <then_branch = t () => (a) { a = Exp(x) }, else_branch = f () => (b) { b = Neg(x) }>",
        {"x": (2,)},
        {"If"},
    ),
    "If whose condition is a shape's": (
        "(float[2, 3] x) => (float[2, 3] y)",
        """
        s = Shape(x)
        one = Constant<value_int = 1>()
        n = Gather(s, one)
        three = Constant<value_int = 4>()
        c = Less(n, three)
        y = If(c) <then_branch = t () => (a) { a = Exp(x) }, else_branch = f () => (b) { b = Neg(x) }>
        """,
        {"x": (2, 3)},
        {"If"},
    ),
    "If that hands on what it captures and a constant": (
        "(float[2] x) => (float[2] y, float[1] k) <bool c = {0}>",
        """
        e = Exp(x)
        y, k = If(c) <
            then_branch = t () => (a, l) { a = Neg(e)  l = Constant<value = float[1] {1}>() },
            else_branch = f () => (b, m) { b = Identity(e)  m = Constant<value = float[1] {2}>() }
        >
        """,
        {"x": (2,)},
        {"If"},
    ),
    "If in an If, with values of one name": (
        "(float[2] x) => (float[2] y) <bool c = {1}, bool d = {0}>",
        """
        a = If(c) <
            then_branch = t () => (r) {
                q = Exp(x)
                r = If(d) <then_branch = t () => (s) { s = Neg(q) }, else_branch = f () => (u) { u = Tanh(q) }>
            },
            else_branch = f () => (v) { v = Neg(x) }
        >
        b = If(c) <then_branch = t () => (r) { q = Neg(x) r = Add(q, x) }, else_branch = f () => (v) { v = Neg(x) }>
        y = Add(a, b)
        """,
        {"x": (2,)},
        {"If"},
    ),
    "Loop": (
        "(float[2] x) => (float[2] y, float[3, 2] z) <int64 n = {3}, bool on = {1}>",
        """
        y, z = Loop(n, on, x) <body = b (int64 i, bool go, float[2] s) => (go2, s2, out) {
            k = Cast<to = 1>(i)
            two = Constant<value = float {2}>()
            p = Mul(s, two)
            s2 = Add(p, k)
            out = Mul(s2, x)
            go2 = Identity(go)
        }>
        """,
        {"x": (2,)},
        {"Loop"},
    ),
    "Loop of no pass": (
        "(float[2] x) => (float[2] y, float[0, 2] z) <int64 n = {0}>",
        """
        y, z = Loop(n, , x) <body = b (int64 i, bool go, float[2] s) => (go, s2, out) {
            s2 = Exp(s)
            out = Neg(s)
        }>
        """,
        {"x": (2,)},
        {"Loop"},
    ),
    "Loop that is told not to begin": (
        "(float[2] x, int64 n) => (float[2] y) <bool on = {0}>",
        "y = Loop(n, on, x) <body = b (int64 i, bool go, float[2] s) => (c, s2) { s2 = Exp(s) c = Identity(go) }>",
        {"x": (2,), "n": 4},
        {"Loop"},
    ),
    "Loop in a Loop whose length depends on the pass": (
        "(float[2] x) => (float[2] y) <int64 n = {3}>",
        """
        y = Loop(n, , x) <body = b (int64 i, bool go, float[2] s) => (c, s2) {
            one = Constant<value_int = 1>()
            m = Add(i, one)
            s2 = Loop(m, , s) <body = bb (int64 j, bool go2, float[2] r) => (c2, r2) {
                e = Tanh(r)
                r2 = Add(e, x)
                c2 = Identity(go2)
            }>
            c = Identity(go)
        }>
        """,
        {"x": (2,)},
        {"Loop"},
    ),
    "Loop with an If on the number of the pass": (
        "(float[2] x) => (float[2] y) <int64 n = {4}>",
        """
        y = Loop(n, , x) <body = b (int64 i, bool go, float[2] s) => (c, s2) {
            two = Constant<value_int = 2>()
            zero = Constant<value_int = 0>()
            rest = Mod(i, two)
            even = Equal(rest, zero)
            s2 = If(even) <then_branch = t () => (a) { a = Exp(s) }, else_branch = f () => (d) { d = Tanh(s) }>
            c = Identity(go)
        }>
        """,
        {"x": (2,)},
        {"Loop", "If"},
    ),
    "Scan along other axes and backwards": (
        "(float[2] h, float[2, 3] x, float[3, 2] t) => (float[2] y, float[2, 3] z, float[3, 2] q)",
        """
        y, z, q = Scan <
            num_scan_inputs = 2, scan_input_axes = [1, 0], scan_input_directions = [0, 1],
            scan_output_axes = [-1, 0], scan_output_directions = [1, 0],
            body = b (float[2] s, float[2] u, float[2] v) => (s2, a, c) {
                p = Mul(s, u)
                s2 = Add(p, v)
                a = Sub(u, v)
                c = Exp(s)
            }
        >(h, x, t)
        """,
        {"h": (2,), "x": (2, 3), "t": (3, 2)},
        {"Scan"},
    ),
    "a list built by a Loop": (
        "(float[3, 2] x) => (float[2, 3] y) <int64 n = {3}>",
        """
        empty = SequenceEmpty()
        l = Loop(n, , empty) <body = b (int64 i, bool go, seq(float[2]) s) => (c, s2) {
            row = Gather(x, i)
            s2 = SequenceInsert(s, row)
            c = Identity(go)
        }>
        y = ConcatFromSequence<axis = 1, new_axis = 1>(l)
        """,
        {"x": (3, 2)},
        {"Loop", "SequenceEmpty", "SequenceInsert", "ConcatFromSequence"},
    ),
    "SplitToSequence by ones, without the axis": (
        "(float[3, 2] x) => (float[2] y, int64 n) <int64 k = {-2}>",
        "s = SplitToSequence<axis = 0, keepdims = 0>(x)  y = SequenceAt(s, k)  n = SequenceLength(s)",
        {"x": (3, 2)},
        {"SplitToSequence", "SequenceAt", "SequenceLength"},
    ),
    "SplitToSequence by a number that does not divide": (
        "(float[2, 5] x) => (float[2, 1] y, float[2, 5] z) <int64 n = {2}, int64 k = {2}>",
        "s = SplitToSequence<axis = 1>(x, n)  y = SequenceAt(s, k)  z = ConcatFromSequence<axis = 1>(s)",
        {"x": (2, 5)},
        {"SplitToSequence", "SequenceAt", "ConcatFromSequence"},
    ),
    "a sequence changed and read": (
        "(float[2] x, float[2] w) => (float[6] y, float[2, 2] z) <int64 k = {0}, int64 l = {-1}>",
        """
        s = SequenceConstruct(x, w)
        e = Exp(x)
        t = SequenceInsert(s, e, k)
        y = ConcatFromSequence<axis = 0>(t)
        u = SequenceErase(t, l)
        v = SequenceInsert(u, w)
        f = SequenceErase(v)
        z = ConcatFromSequence<axis = 0, new_axis = 1>(f)
        """,
        {"x": (2,), "w": (2,)},
        {"SequenceConstruct", "SequenceInsert", "SequenceErase", "ConcatFromSequence"},
    ),
    "a sequence read inside a branch": (
        "(float[4] x, bool c) => (float[2] y) <int64[2] sizes = {2, 2}, int64 k = {1}>",
        """
        s = SplitToSequence<axis = 0>(x, sizes)
        y = If(c) <
            then_branch = t () => (a) { m = SequenceAt(s, k)  a = Exp(m) },
            else_branch = f () => (b) { zero = Constant<value_int = 0>()  b = SequenceAt(s, zero) }
        >
        """,
        {"x": (4,), "c": True},
        {"SplitToSequence", "SequenceAt"},
    ),
    "SequenceMap over a sequence and what is the same for all": (
        "(float[4] x, float[1] w) => (float[4] y) <int64[2] sizes = {3, 1}>",
        """
        s = SplitToSequence<axis = 0>(x, sizes)
        m = SequenceMap<body = b (float[N] a, float[1] f) => (float[N] g) { g = Mul(a, f) }>(s, w)
        y = ConcatFromSequence<axis = 0>(m)
        """,
        {"x": (4,), "w": (1,)},
        {"SplitToSequence", "SequenceMap", "ConcatFromSequence"},
    ),
    "an Optional that holds something": (
        "(float[2] x) => (float[2] y, bool h)",
        "o = Optional(x)  h = OptionalHasElement(o)  g = OptionalGetElement(o)  y = Exp(g)",
        {"x": (2,)},
        {"Optional", "OptionalHasElement", "OptionalGetElement"},
    ),
    "what is no Optional, asked whether it holds something": (
        "(float[2] x) => (float[2] y)",
        """
        h = OptionalHasElement(x)
        y = If(h) <
            then_branch = t () => (a) { a = OptionalGetElement(x) },
            else_branch = f () => (b) { b = Neg(x) }
        >
        """,
        {"x": (2,)},
        {"If", "OptionalHasElement", "OptionalGetElement"},
    ),
}


def model(signature, body, opset=21):
    graph = onnx.parser.parse_graph(f"graph {signature} {{ {body} }}")
    imports = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=onnx.helper.find_min_ir_version_for(imports))


def run(proto, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def fed(feeds):
    rng = np.random.default_rng(1)
    return {
        name: rng.standard_normal(shape).astype(np.float32) if isinstance(shape, tuple) else np.array(shape)
        for name, shape in feeds.items()
    }


def canonical(proto):
    out = normalise(ir.from_proto(proto))
    return ir.to_proto(out), {node.op_type for node in out.graph.all_nodes()}


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("case", CASES)
def test_it_is_written_out_and_computes_the_same(case, opset):
    signature, body, feeds, gone = CASES[case]
    proto, arrays = model(signature, body, opset), fed(feeds)
    out, left = canonical(proto)
    onnx.checker.check_model(out, full_check=True)
    assert not left & gone
    assert [value.name for value in out.graph.output] == [value.name for value in proto.graph.output]
    for found, wanted in zip(run(out, arrays), run(proto, arrays), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


KEPT = {  # signature, body, feeds, operators that must stay
    "If of an open condition, with a branch of constants": (
        "(float[2] x, bool c) => (float[2] y)",
        """
        y = If(c) <
            then_branch = t () => (a) { a = Constant<value = float[2] {1, 2}>() },
            else_branch = f () => (b) { k = Constant<value = float {2}>()  b = Mul(x, k) }
        >
        """,
        {"x": (2,), "c": True},
        {"If"},
    ),
    "two Ifs whose branches use one name": (
        "(float[2] x, bool c) => (float[2] y)",
        """
        a = If(c) <
            then_branch = t () => (r) { k = Constant<value = float {2}>()  r = Mul(x, k) },
            else_branch = f () => (s) { k = Constant<value = float {3}>()  s = Mul(x, k) }
        >
        y = If(c) <
            then_branch = t () => (r) { k = Constant<value = float {5}>()  r = Mul(a, k) },
            else_branch = f () => (s) { k = Exp(a)  s = Mul(x, k) }
        >
        """,
        {"x": (2,), "c": False},
        {"If"},
    ),
    "Loop that leaves early": (
        "(float[2] x) => (float[2] y) <int64 n = {9}, float limit = {4}>",
        """
        y = Loop(n, , x) <body = b (int64 i, bool go, float[2] s) => (c, s2) {
            a = Abs(s)
            s2 = Add(a, a)
            m = ReduceMax<keepdims = 0>(s2)
            c = Less(m, limit)
        }>
        """,
        {"x": (2,)},
        {"Loop"},
    ),
    "Loop of open length whose state grows": (
        "(float[2] x, int64 n) => (float[M] y)",
        """
        y = Loop(n, , x) <body = b (int64 i, bool go, float[K] s) => (c, s2) {
            s2 = Concat<axis = 0>(s, x)
            c = Identity(go)
        }>
        """,
        {"x": (2,), "n": 3},
        {"Loop"},
    ),
    "a sequence read at an open position": (
        "(float[2] x, float[3] w, int64 k) => (float[M] y)",
        "s = SequenceConstruct(x, w)  m = SequenceAt(s, k)  y = Exp(m)",
        {"x": (2,), "w": (3,), "k": 1},
        {"SequenceConstruct", "SequenceAt"},
    ),
    "a sequence that is an output": (
        "(float[4] x) => (seq(float[2]) s, float[2] y) <int64[2] sizes = {2, 2}, int64 k = {1}>",
        "s = SplitToSequence<axis = 0>(x, sizes)  m = SequenceAt(s, k)  y = Exp(m)",
        {"x": (4,)},
        {"SequenceConstruct"},
    ),
}


@pytest.mark.parametrize("opset", [18, 21])
@pytest.mark.parametrize("case", KEPT)
def test_what_is_open_stays_and_computes_the_same(case, opset):
    signature, body, feeds, stays = KEPT[case]
    proto, arrays = model(signature, body, opset), fed(feeds)
    out, left = canonical(proto)
    onnx.checker.check_model(out)
    assert stays <= left
    for found, wanted in zip(run(out, arrays), run(proto, arrays), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


LONG = "y = Loop(n, , x) <body = b (int64 i, bool go, float[2] s) => (c, s2) { s2 = Neg(s)  c = Identity(go) }>"


@pytest.mark.parametrize(("passes", "written"), [(control_flow.MAX_NODES // 2, True), (control_flow.MAX_NODES, False)])
def test_a_loop_is_written_out_up_to_a_bound(passes, written):
    """Two nodes a pass."""
    _, left = canonical(model(f"(float[2] x) => (float[2] y) <int64 n = {{{passes}}}>", LONG))
    assert ("Loop" not in left) == written


def test_the_bound_is_for_all_loops_together():
    passes = control_flow.MAX_NODES // 3
    body = LONG.replace("y = Loop", "a = Loop") + LONG.replace("Loop(n, , x)", "Loop(n, , a)").replace("b (", "bb (")
    _, left = canonical(model(f"(float[2] x) => (float[2] y) <int64 n = {{{passes}}}>", body))
    assert "Loop" in left


def test_the_model_given_stays_what_it_was():
    """Writing out twice gives the same bytes."""
    signature, body, *_ = CASES["Loop in a Loop whose length depends on the pass"]
    first, second = (canonical(model(signature, body))[0].SerializeToString() for _ in range(2))
    assert first == second


STATES = """
    y, g, z = Loop(n, , x, x, w) <body = b (int64 i, bool go, a, c, d) => (on, a2, c2, d2) {
        a2 = Tanh(a)
        c2 = Concat<axis = 0>(c, x)
        d2 = MatMul(a, d)
        on = Identity(go)
    }>
"""


def test_the_shapes_of_what_a_loop_carries_are_found():
    """One that keeps its shape, one that grows along its first axis, one that is computed anew."""
    proto = model("(float[N, 3] x, float[3, 3] w, int64 n) => (float[N, 3] y, float[M, 3] g, float[K, 3] z)", STATES)
    out = normalise(ir.from_proto(proto))
    (node,) = (node for node in out.graph if node.op_type == "Loop")
    kept, grown, new = (
        [dim if isinstance(dim, int) else dim.value for dim in value.shape or ()]
        for value in bodies(node)[0].graph.inputs[2:]
    )
    assert kept == ["N", 3]
    assert not isinstance(grown[0], int)
    assert grown[1:] == [3]
    assert new[1:] == [3]
