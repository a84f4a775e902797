"""Branches and loops against differences of the plain model, which no code of this project has touched."""

import numpy as np
import onnx_ir as ir
import pytest

from onnx_saliency.backward import GRADIENT, Tape, Tensor, backward, check_rules, find_path
from onnx_saliency.backward.walk import nodes_on
from onnx_saliency.errors import UnsupportedOperatorError
from onnx_saliency.graph import normalise

from .harness import NEWEST, STEP, assert_close, differentiate, normal, parse, positive, run, session

TESTED = ["If", "Loop", "Scan", "SequenceMap"]
OPSETS = pytest.mark.parametrize("opset", [18, NEWEST])


def check(model, feeds, wrt=("x",), tolerance=1e-7):
    """Outputs as those of `model`, gradients as its central differences; returns the differentiated model."""
    plain = session(model)
    rng = np.random.default_rng(0)
    y = plain.run(None, feeds)
    v = [np.asarray(rng.standard_normal(each.shape)) for each in y]
    differentiated, reached = differentiate(model, wrt, np.float64)
    assert all(reached)
    found = run(differentiated, feeds | {f"v{index}": each for index, each in enumerate(v)})
    for output, each in zip(model.graph.output, y, strict=True):
        assert_close(found[output.name], each, 1e-12, output.name)

    def score(name, array):
        return sum(float(np.sum(c * a)) for c, a in zip(v, plain.run(None, feeds | {name: array}), strict=True))

    for name in wrt:
        x = feeds[name]
        wanted = np.zeros_like(x)
        for entry in np.ndindex(x.shape):
            unit = np.zeros_like(x)
            unit[entry] = STEP
            wanted[entry] = (score(name, x + unit) - score(name, x - unit)) / (2 * STEP)
        assert_close(found[f"d_{name}"], wanted, tolerance, f"gradient of {name}")
    return differentiated


def operators(model):
    return {node.op_type for node in ir.from_proto(model).graph.all_nodes()}


# --- If ----------------------------------------------------------------------------------------

CHOICE = """
    total = ReduceSum<keepdims = 0>(x)
    zero = Constant<value = double {0}>()
    c = Greater(total, zero)
    e = Exp(x)
    y = If(c) <
        then_branch = a () => (p) { s = Mul(e, x)  p = Mul(s, w) },
        else_branch = b () => (q) { q = Tanh(x) }
    >
"""


@OPSETS
@pytest.mark.parametrize("shape", ["[2, 3]", "[N, 3]", "[N, M]"])
@pytest.mark.parametrize("sign", [1, -1])
def test_if_differentiates_the_branch_that_is_taken(sign, shape, opset):
    model = parse(f"(double{shape} x, double[3] w) => (double[] y)", CHOICE, opset)
    feeds = {"x": sign * positive(2, 3), "w": normal(3)}
    differentiated, _ = differentiate(model, ["x", "w"], np.float64)
    assert "If" in operators(differentiated)
    check(model, feeds, ["x", "w"])


@OPSETS
def test_if_of_several_outputs_one_of_which_nothing_depends_on(opset):
    body = """
        a, b, k = If(c) <
            then_branch = t () => (a1, b1, k1) { a1 = Mul(x, x)  b1 = Exp(x)  k1 = Shape(x) },
            else_branch = f () => (a2, b2, k2) { a2 = Neg(x)  b2 = Identity(x)  k2 = Shape(x) }
        >
        y = Exp(a)
    """
    model = parse("(double[N, 2] x, bool c) => (double[] y, int64[] k)", body, opset)
    model.graph.output.pop()
    for c in (True, False):
        check(model, {"x": normal(2, 2), "c": np.array(c)})


@OPSETS
def test_a_branch_that_reads_nothing_of_the_image_gives_zeros(opset):
    body = "y = If(c) <then_branch = t () => (a) { a = Exp(x) }, else_branch = f () => (b) { b = Neg(w) }>"
    model = parse("(double[2] x, double[2] w, bool c) => (double[2] y)", body, opset)
    check(model, {"x": normal(2), "w": normal(2), "c": np.array(True)}, ["x", "w"])
    check(model, {"x": normal(2), "w": normal(2), "c": np.array(False)}, ["x", "w"])


@OPSETS
def test_nested_ifs_and_a_value_captured_at_every_depth(opset):
    body = """
        e = Exp(x)
        y = If(c) <
            then_branch = t () => (a) {
                h = Mul(e, x)
                i = If(d) <
                    then_branch = tt () => (aa) { g = Mul(h, e)  aa = Add(g, x) },
                    else_branch = tf () => (ab) { ab = Tanh(h) }
                >
                a = Mul(i, h)
            },
            else_branch = f () => (b) { b = Mul(e, e) }
        >
        """
    model = parse("(double[N, 3] x, bool c, bool d) => (double[] y)", body, opset)
    for c in (True, False):
        for d in (True, False):
            check(model, {"x": normal(2, 3), "c": np.array(c), "d": np.array(d)})


@OPSETS
def test_a_branch_that_stretches_what_it_captures(opset):
    body = "y = If(c) <then_branch = t () => (a) { a = Mul(x, w) }, else_branch = f () => (b) { b = Add(x, w) }>"
    model = parse("(double[N, 3] x, double[M, 1] w, bool c) => (double[] y)", body, opset)
    for c in (True, False):
        check(model, {"x": normal(1, 3), "w": normal(2, 1), "c": np.array(c)}, ["x", "w"])


# --- Loop --------------------------------------------------------------------------------------

DYNAMIC = "(double[{n}, 3] x, int64 trips, double[3] w) => (double[] y, double[] z)"
RECURRENCE = """
    true = Constant<value = bool {{1}}>()
    y, z = Loop(trips, {start}, x) <body = b (int64 i, bool go, double[{state}] s) => (on, s2, out) {{
        k = Cast<to = 11>(i)
        p = Mul(s, w)
        t = Tanh(p)
        q = Add(t, k)
        s2 = Mul(q, x)
        out = Mul(s2, s)
        on = {on}
    }}>
"""


def recurrence(n="N", state="N, 3", start="true", on="Identity(go)", opset=NEWEST):
    return parse(DYNAMIC.format(n=n), RECURRENCE.format(start=start, state=state, on=on), opset)


@OPSETS
@pytest.mark.parametrize("trips", [0, 1, 4])
@pytest.mark.parametrize("start", ["true", ""])
@pytest.mark.parametrize("n", ["N", "2"])
def test_a_loop_of_open_length(n, start, trips, opset):
    model = recurrence(n, f"{n}, 3", start, opset=opset)
    feeds = {"x": normal(2, 3), "w": normal(3), "trips": np.array(trips)}
    if trips == 0 and n == "N":
        model.graph.output.pop()  # onnxruntime gives an empty stack of no known shape
    check(model, feeds, ["x", "w"])


@OPSETS
def test_a_loop_that_leaves_early(opset):
    """The condition is computed from what is carried: as many passes are run backward as were forward."""
    body = """
        limit = Constant<value = double {4}>()
        true = Constant<value = bool {1}>()
        y, z = Loop(, true, x) <body = b (int64 i, bool go, s) => (on, s2, out) {
            p = Mul(s, s)
            s2 = Add(p, w)
            out = Exp(s)
            total = ReduceSum<keepdims = 0>(s2)
            on = Less(total, limit)
        }>
        """
    model = parse("(double[N, 3] x, double[3] w) => (double[] y, double[] z)", body, opset)
    for scale in (0.1, 0.7, 2.0):
        check(model, {"x": scale * positive(2, 3), "w": 0.2 * positive(3)}, ["x", "w"], 1e-6)


@OPSETS
def test_a_loop_that_picks_a_row_in_each_pass(opset):
    """As exported: the sum over rows of an image of open height, and a count that carries no gradient."""
    body = """
        height = Shape<start = 0, end = 1>(x)
        none = Constant<value = int64[0] {}>()
        trips = Reshape(height, none)
        true = Constant<value = bool {1}>()
        start = Constant<value = double[3] {0, 0, 0}>()
        count = Constant<value = int64 {0}>()
        y, n = Loop(trips, true, start, count) <body = b (int64 i, bool go, s, c) => (on, s2, c2) {
            row = Gather(x, i)
            e = Exp(row)
            f = Mul(e, s)
            s2 = Add(f, row)
            one = Constant<value = int64 {1}>()
            c2 = Add(c, one)
            on = Identity(go)
        }>
        """
    model = parse("(double[H, 3] x) => (double[] y)", body, opset)
    for height in (1, 4):
        check(model, {"x": 0.3 * normal(height, 3)})


@OPSETS
def test_an_if_in_a_loop_in_a_loop(opset):
    body = """
        true = Constant<value = bool {1}>()
        y = Loop(n, true, x) <body = b (int64 i, bool go, s) => (on, s2) {
            a = Loop(m, true, s) <body = bb (int64 j, bool go2, r) => (on2, r2) {
                c = Less(j, i)
                r2 = If(c) <
                    then_branch = t () => (p) { e = Mul(r, s)  p = Tanh(e) },
                    else_branch = f () => (q) { q = Mul(r, x) }
                >
                on2 = Identity(go2)
            }>
            s2 = Add(a, s)
            on = Identity(go)
        }>
        """
    model = parse("(double[N, 2] x, int64 n, int64 m) => (double[] y)", body, opset)
    for n, m in [(3, 2), (2, 3), (1, 1), (2, 0)]:
        check(model, {"x": normal(2, 2), "n": np.array(n), "m": np.array(m)})


@OPSETS
def test_a_state_that_is_written_anew_in_each_pass(opset):
    """Only what the last pass wrote counts, and two states change places."""
    body = """
        true = Constant<value = bool {1}>()
        y, a, b = Loop(n, true, x, x, w) <body = g (int64 i, bool go, r, s, t) => (on, r2, s2, t2) {
            k = Cast<to = 11>(i)
            p = Mul(x, k)
            r2 = Exp(p)
            s2 = Identity(t)
            t2 = Mul(s, s)
            on = Identity(go)
        }>
        """
    model = parse("(double[2] x, double[2] w, int64 n) => (double[] y, double[] a, double[] b)", body, opset)
    for n in (1, 2, 3):
        check(model, {"x": 0.5 * normal(2), "w": normal(2), "n": np.array(n)}, ["x", "w"])


@OPSETS
def test_a_state_that_changes_its_shape(opset):
    """What grows cannot be stacked: its values are kept in a sequence. The other state keeps its shape."""
    body = """
        y, z, t = Loop(n, , x, w) <body = g (int64 i, bool go, s, r) => (on, s2, r2, o) {
            p = Mul(s, r)
            q = Tanh(p)
            s2 = Concat<axis = 0>(q, x)
            m = ReduceMean<keepdims = 0>(s2)
            r2 = Mul(r, m)
            o = Exp(r2)
            on = Identity(go)
        }>
        """
    signature = "(double[N, 2] x, double[2] w, int64 n) => (double[] y, double[2] z, double[] t)"
    for n in (1, 3):
        feeds = {"x": normal(2, 2), "w": normal(2), "n": np.array(n)}
        differentiated = check(parse(signature, body, opset), feeds, ["x", "w"])
        assert "SequenceInsert" in operators(differentiated)


@OPSETS
def test_a_loop_that_only_counts_and_doubles_saves_nothing(opset):
    """Where the backward needs nothing of the passes, their number is all that is kept."""
    body = "y = Loop(n, , x) <body = g (int64 i, bool go, s) => (on, r) { r = Add(s, s)  on = Identity(go) }>"
    model = parse("(double[2] x, int64 n) => (double[] y)", body, opset)
    check(model, {"x": normal(2), "n": np.array(3)})


@OPSETS
@pytest.mark.parametrize("trips", [0, 1, 5])
def test_a_loop_of_known_length_is_written_out(trips, opset):
    model = recurrence("2", "2, 3", opset=opset)
    model.graph.input.pop(1)
    model.graph.initializer.append(parse(f"() => () <int64 trips = {{{trips}}}>", "", opset).graph.initializer[0])
    differentiated = check(model, {"x": normal(2, 3), "w": normal(3)}, ["x", "w"] if trips else ["x"])
    assert "Loop" not in operators(differentiated)


# --- Scan --------------------------------------------------------------------------------------

SCAN = """
    y, z = Scan <
        num_scan_inputs = 2, scan_input_axes = [{a}, {b}], scan_input_directions = [{da}, {db}],
        scan_output_axes = [{c}], scan_output_directions = [{dc}],
        body = g (double[3] s, double[3] u, double[3] v) => (s2, out) {{
            p = Mul(s, u)
            q = Add(p, v)
            s2 = Tanh(q)
            r = Mul(s2, w)
            out = Mul(r, s)
        }}
    >(h, x, t)
"""


@OPSETS
@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("name", ["T", None])
@pytest.mark.parametrize("axes", [(0, 0, 0, 0, 0, 0), (1, 0, 1, 0, 1, 1), (0, 1, -1, 1, 0, -1), (-1, 1, -1, 0, 0, 1)])
def test_scan(axes, name, length, opset):
    a, da, b, db, dc, c = axes
    shapes = [["3", "3"], ["3", "3"]]
    for shape, axis in zip(shapes, (a, b), strict=True):
        shape[axis] = str(name or length)
    signature = "(double[3] h, double[{}, {}] x, double[{}, {}] t, double[3] w) => (double[] y, double[] z)"
    text = SCAN.format(a=a, b=b, c=c, da=da, db=db, dc=dc)
    model = parse(signature.format(*shapes[0], *shapes[1]), text, opset)

    def stacked(axis):
        return normal(length, 3) if axis % 2 == 0 else normal(3, length)

    feeds = {"h": normal(3), "x": stacked(a), "t": stacked(b), "w": normal(3)}
    differentiated = check(model, feeds, ["h", "x", "t", "w"])
    assert ("Scan" in operators(differentiated)) == (name is not None)


@OPSETS
def test_scan_of_one_value_in_two_parts(opset):
    """The image is what is cut and what is captured and what the first pass takes."""
    body = """
        y, z = Scan<num_scan_inputs = 1, body = g (s, u) => (s2, out) {
            m = ReduceMean<keepdims = 0>(x)
            p = Mul(s, m)
            s2 = Add(p, u)
            out = Mul(u, u)
        }>(h, x)
        """
    model = parse("(double[T, N] x, double[N] h) => (double[] y, double[] z)", body, opset)
    check(model, {"x": normal(3, 2), "h": normal(2)}, ["x", "h"])


def test_sequence_map():
    body = """
        parts = SplitToSequence<axis = 1>(x, sizes)
        mapped = SequenceMap<body = g (double[N, M] a) => (double[N, M] b) { e = Exp(a)  b = Mul(e, w) }>(parts)
        y = ConcatFromSequence<axis = 1>(mapped)
        """
    model = parse("(double[N, 6] x, double[1] w) => (double[] y) <int64[2] sizes = {2, 4}>", body)
    check(model, {"x": normal(2, 6), "w": normal(1)}, ["x", "w"])


LISTS = {  # how the list is read again
    "stacked first": "y = ConcatFromSequence<axis = 0, new_axis = 1>(l)",
    "stacked last": "y = ConcatFromSequence<axis = -1, new_axis = 1>(l)",
    "joined": "y = ConcatFromSequence<axis = 0>(l)",
    "joined last": "y = ConcatFromSequence<axis = -1>(l)",
    "the last but one, and how many": """
        m = SequenceAt(l, k)
        n = SequenceLength(l)
        f = Cast<to = 11>(n)
        y = Mul(m, f)
        """,
}


@OPSETS
@pytest.mark.parametrize("how", LISTS)
def test_a_list_of_open_length(how, opset):
    """Rows of an image of open height, taken apart, each put through a layer, and collected in a list."""
    body = """
        rows = SplitToSequence<axis = 1, keepdims = 0>(x)
        n = SequenceLength(rows)
        empty = SequenceEmpty<dtype = 11>()
        l, h = Loop(n, , empty, h0) <body = b (int64 i, bool go, seq(double[2, 3]) s, double[2, 3] h1) => (on, s2, h2) {
            row = SequenceAt(rows, i)
            p = Mul(row, h1)
            h2 = Tanh(p)
            e = Add(h2, row)
            s2 = SequenceInsert(s, e)
            on = Identity(go)
        }>
        """
    body += LISTS[how].replace("n =", "count =").replace("(n)", "(count)")
    model = parse("(double[2, H, 3] x, double[2, 3] h0) => (double[] y, double[2, 3] h) <int64 k = {-2}>", body, opset)
    differentiated = check(model, {"x": normal(2, 4, 3), "h0": normal(2, 3)}, ["x", "h0"])
    assert not {name for name in operators(differentiated) if "Sequence" in name}


@OPSETS
def test_a_tensor_taken_apart_and_joined_again(opset):
    body = "s = SplitToSequence<axis = 1>(x)  m = SequenceAt(s, k)  j = ConcatFromSequence<axis = 1>(s)  y = Mul(j, m)"
    model = parse("(double[2, N] x, int64 k) => (double[] y)", body, opset)
    check(model, {"x": normal(2, 3), "k": np.array(1)})


@OPSETS
def test_a_member_that_is_chosen_when_the_model_runs(opset):
    body = "e = Exp(x)  s = SequenceConstruct(x, e, w)  y = SequenceAt(s, k)"
    model = parse("(double[2] x, double[2] w, int64 k) => (double[] y)", body, opset)
    for k in (0, 1, -1):
        check(model, {"x": normal(2), "w": normal(2), "k": np.array(k)}, ["x", "w"])


# --- refusals ----------------------------------------------------------------------------------

MISSING = """
    e = Exp(x)
    y = If(c) <
        then_branch = t () => (p) { p = Exp(e) },
        else_branch = f () => (q) {
            true = Constant<value = bool {1}>()
            off = Exp(w)
            r = Mul(e, off)
            q = Loop(n, true, r) <body = b (int64 i, bool go, s) => (on, s2) { s2 = Exp(s)  on = Identity(go) }>
        }
    >
"""


def test_operators_without_a_rule_inside_branches_are_named_with_all_others():
    """Not among them: one of the other branch that no path runs through."""
    signature = "(double[2] x, double[2] w, bool c, int64 n) => (double[] y)"
    graph = normalise(ir.from_proto(parse(signature, MISSING))).graph
    for node in graph.all_nodes():
        if node.outputs[0].name in ("p", "off", "s2"):
            node.op_type = "Strange"
    with pytest.raises(UnsupportedOperatorError) as error:
        check_rules(find_path(graph, graph.outputs, graph.inputs[:1]))
    lines = str(error.value).splitlines()
    assert lines[0].startswith("2 node(s)")
    assert [line.strip() for line in lines[1:3]] == [f"node '{name}': Strange, opset {NEWEST}" for name in ("p", "s2")]


def test_the_nodes_on_a_path_are_those_inside_too():
    graph = normalise(ir.from_proto(parse("(double[2, 3] x, double[3] w) => (double[] y)", CHOICE))).graph
    on_path = [node.op_type for node in nodes_on(find_path(graph, graph.outputs, graph.inputs[:1]))]
    assert on_path == ["Exp", "If", "Mul", "Mul", "Tanh"]


def test_a_list_whose_members_differ_in_shape_is_refused():
    body = """
        empty = SequenceEmpty<dtype = 11>()
        s = Loop(n, , empty) <body = b (int64 i, bool go, seq(double[M]) l) => (on, l2) {
            stop = Unsqueeze(i, axis)
            part = Slice(x, axis, stop)
            l2 = SequenceInsert(l, part)
            on = Identity(go)
        }>
        y = ConcatFromSequence<axis = 0>(s)
        """
    model = parse("(double[9] x, int64 n) => (double[] y) <int64[1] axis = {0}>", body)
    with pytest.raises(UnsupportedOperatorError, match="members or positions are not known before the model runs"):
        differentiate(model, ["x"], np.float64)


def test_what_draws_random_numbers_in_a_loop_is_refused():
    body = """
        y = Loop(n, , x) <body = b (int64 i, bool go, s) => (on, s2) {
            r = RandomUniformLike(s)
            s2 = Mul(s, r)
            on = Identity(go)
        }>
        """
    with pytest.raises(UnsupportedOperatorError, match="RandomUniformLike inside it draws other numbers"):
        differentiate(parse("(double[2] x, int64 n) => (double[2] y)", body), ["x"], np.float64)


@OPSETS
def test_a_loop_in_half_precision_is_differentiated_in_single_precision(opset):
    body = """
        t, z = Loop(n, , x) <body = g (int64 i, bool go, s) => (on, s2, o) {
            p = Mul(s, x)
            c = Less(i, one)
            s2 = If(c) <then_branch = a () => (q) { q = Tanh(p) }, else_branch = b () => (r) { r = Add(p, s) }>
            o = Exp(s2)
            on = Identity(go)
        }>
        y = Add(t, x)
        """
    found = []
    for name, dtype in (("float16", np.float16), ("float", np.float32)):
        model = parse(f"({name}[N, 2] x, int64 n) => ({name}[N, 2] y, {name}[] z) <int64 one = {{1}}>", body, opset)
        differentiated, _ = differentiate(model, ["x"], np.float32)
        v = {"v0": np.full((1, 2), 1e-7, np.float32), "v1": np.full((3, 1, 2), 1e-7, np.float32)}
        feeds = {"x": np.array([[0.5, -0.25]], dtype), "n": np.array(3)}
        found.append(run(differentiated, feeds | v)["d_x"])
    half, single = found
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, single, rtol=2e-3)  # of the forward pass; backward, 1e-7 would be 0 in half


def test_a_policy_holds_inside_a_branch():
    body = "y = If(c) <then_branch = t () => (a) { a = Relu(x) }, else_branch = f () => (b) { b = Exp(x) }>"
    model = normalise(ir.from_proto(parse("(double[2] x, bool c) => (double[] y)", body)))
    asked = []

    def loud(gradient):
        def rule(n, dy):
            asked.append(n.node.op_type)
            return dy

        return rule

    tape = Tape("p/", ir.DataType.DOUBLE)
    seed = Tensor(tape, ir.Value(name="v", type=ir.TensorType(ir.DataType.DOUBLE)))
    policy = type(GRADIENT)("loud", loud)
    backward(model.graph, tape, {model.graph.outputs[0]: seed}, [model.graph.inputs[0]], policy)
    assert asked == ["Relu"]
