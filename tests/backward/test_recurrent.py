"""LSTM, GRU and RNN: outputs against onnxruntime, gradients against the formulas of the standard in plain numpy."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from onnx_saliency.backward import is_expanded
from onnx_saliency.errors import ModelError
from onnx_saliency.graph import normalise

from .harness import NEWEST, STEP, _model, assert_close, differentiate, normal, run, session

TESTED = ["LSTM", "GRU", "RNN"]
OPSETS = pytest.mark.parametrize("opset", [18, NEWEST])
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
NAMES = {"RNN": "x w r b lens h0", "GRU": "x w r b lens h0", "LSTM": "x w r b lens h0 c0 p"}
BATCH, STEPS, WIDTH, SIZE = 2, 3, 2, 3


# --- the standard's formulas, step by step and gate by gate --------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {
    "Sigmoid": lambda x, a, b: sigmoid(x),
    "Tanh": lambda x, a, b: np.tanh(x),
    "Relu": lambda x, a, b: np.maximum(x, 0),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: np.where(x >= 0, x, a * x),
    "ThresholdedRelu": lambda x, a, b: np.where(x > a, x, 0),
    "ScaledTanh": lambda x, a, b: a * np.tanh(b * x),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "Elu": lambda x, a, b: np.where(x >= 0, x, a * (np.exp(np.minimum(x, 0)) - 1)),
    "Softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "Softplus": lambda x, a, b: np.log1p(np.exp(x)),
}


def definition(op_type, inputs, attrs):
    """All outputs of a recurrent operator of layout 0 for float64 arrays by name."""
    x, w, r = inputs["x"], inputs["w"], inputs["r"]
    directions, (steps, batch, _), size = w.shape[0], x.shape, r.shape[2]
    b = inputs.get("b", np.zeros((directions, 2 * GATES[op_type] * size)))
    lens = inputs.get("lens", np.full(batch, steps))
    h0 = inputs.get("h0", np.zeros((directions, batch, size)))
    c0 = inputs.get("c0", np.zeros((directions, batch, size)))
    p = inputs.get("p", np.zeros((directions, 3 * size)))
    names = attrs.get("activations") or directions * {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"]}.get(
        op_type, ["Sigmoid", "Tanh", "Tanh"]
    )
    alphas = attrs.get("activation_alpha", [0.0] * len(names))
    betas = attrs.get("activation_beta", [0.0] * len(names))
    clip = attrs.get("clip", np.inf)

    y = np.zeros((steps, directions, batch, size))
    y_h, y_c = np.zeros((2, directions, batch, size))
    for d in range(directions):
        per = len(names) // directions
        chosen = [lambda v, i=i: ACTIVATIONS[names[i]](v, alphas[i], betas[i]) for i in range(d * per, (d + 1) * per)]
        wb, rb = b[d, : GATES[op_type] * size], b[d, GATES[op_type] * size :]
        backwards = attrs.get("direction") == "reverse" or d == 1
        for row in range(batch):
            h, c = h0[d, row], c0[d, row]
            order = range(lens[row])
            for t in reversed(order) if backwards else order:
                gates = [slice(k * size, (k + 1) * size) for k in range(GATES[op_type])]
                ax = [w[d][g] @ x[t, row] + wb[g] for g in gates]
                ah = [r[d][g] @ h + rb[g] for g in gates]
                f = lambda v, c=clip, k=0, chosen=chosen: chosen[k](np.clip(v, -c, c))  # noqa: E731
                if op_type == "RNN":
                    h = f(ax[0] + ah[0])
                elif op_type == "GRU":
                    z, reset = f(ax[0] + ah[0]), f(ax[1] + ah[1])
                    inner = (
                        reset * ah[2]
                        if attrs.get("linear_before_reset")
                        else r[d][gates[2]] @ (reset * h) + rb[gates[2]]
                    )
                    h = (1 - z) * f(ax[2] + inner, k=1) + z * h
                else:
                    pi, po, pf = p[d].reshape(3, size)
                    i = f(ax[0] + ah[0] + pi * c)
                    forget = 1 - i if attrs.get("input_forget") else f(ax[2] + ah[2] + pf * c)
                    c = forget * c + i * f(ax[3] + ah[3], k=1)
                    h = f(ax[1] + ah[1] + po * c) * chosen[2](c)
                y[t, d, row] = h
            y_h[d, row], y_c[d, row] = h, c
    return [y, y_h, y_c] if op_type == "LSTM" else [y, y_h]


# --- models --------------------------------------------------------------------------------------


def arrays(op_type, directions=1, given=("b",)):
    """Random inputs of these names, float64."""
    gates = GATES[op_type] * SIZE
    every = {
        "x": normal(STEPS, BATCH, WIDTH),
        "w": normal(directions, gates, WIDTH),
        "r": normal(directions, gates, SIZE) / 2,
        "b": normal(directions, 2 * gates),
        "lens": np.array([STEPS, STEPS - 2], dtype=np.int32),
        "h0": normal(directions, BATCH, SIZE),
        "c0": normal(directions, BATCH, SIZE),
        "p": normal(directions, 3 * SIZE),
    }
    return {name: every[name] for name in NAMES[op_type].split() if name in ("x", "w", "r", *given)}


def recurrent(op_type, inputs, attrs, opset, dims=("T", "N", WIDTH), fed=("x",), dtype=np.float64):
    """A model of one node; those of `inputs` that are not `fed` are initializers."""
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    names = [name if name in inputs else "" for name in NAMES[op_type].split()]
    while not names[-1]:
        names.pop()
    typed = {name: array if name == "lens" else array.astype(dtype) for name, array in inputs.items()}
    types = [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(typed[name].dtype),
            list(dims) if name == "x" else list(typed[name].shape),
        )
        for name in fed
    ]
    outputs = ["y", "y_h", "y_c"] if op_type == "LSTM" else ["y", "y_h"]
    node = helper.make_node(op_type, names, outputs, name="cell", hidden_size=SIZE, **attrs)
    results = [helper.make_tensor_value_info(name, element, None) for name in outputs]
    weights = [numpy_helper.from_array(array, name) for name, array in typed.items() if name not in fed]
    return _model(helper.make_graph([node], "recurrent", types, results, weights), opset)


# (operator, number of directions, attributes, optional inputs)
FORMS = [
    (op_type, directions, {"direction": direction} | attrs, given)
    for op_type, attrs in [("RNN", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("LSTM", {})]
    for direction, directions in [("forward", 1), ("reverse", 1), ("bidirectional", 2)]
    for given in [(), ("b", "lens", "h0", "c0", "p")]
] + [
    ("LSTM", 1, {"input_forget": 1}, ("b", "h0", "c0", "p")),
    ("LSTM", 1, {}, ("p",)),
    ("LSTM", 1, {}, ("c0",)),
    ("GRU", 1, {"linear_before_reset": 1}, ("h0",)),
    *((op_type, 1, {"clip": 0.4}, ("b",)) for op_type in GATES),
    ("RNN", 2, {"direction": "bidirectional", "activations": ["Relu", "Sigmoid"]}, ("b",)),
    ("GRU", 1, {"activations": ["HardSigmoid", "ScaledTanh"], "activation_alpha": [0.3, 1.5],
                "activation_beta": [0.4, 0.5]}, ("b",)),
    ("LSTM", 1, {"activations": ["Affine", "ScaledTanh", "ScaledTanh"], "activation_alpha": [0.2, 1.1, 0.9],
                 "activation_beta": [0.1, 0.5, 1.2]}, ("b",)),
]  # fmt: skip
PARAMETRISED = {
    "LeakyRelu": [0.3],
    "ThresholdedRelu": [0.2],
    "Elu": [0.7],
    "Affine": [0.5, 0.1],
    "ScaledTanh": [0.8, 1.3],
    "HardSigmoid": [0.3, 0.4],
    "Softsign": [],
    "Softplus": [],
}


def parametrised(name):
    lists = zip(("activation_alpha", "activation_beta"), PARAMETRISED[name], strict=False)
    return {"activations": [name]} | {key: [value] for key, value in lists}


def named(form):
    op_type, _, attrs, given = form
    return "-".join([op_type, *(f"{key}={value}" for key, value in attrs.items()), *given]).replace(" ", "")


FUNCTION_FORMS = [("RNN", 1, parametrised(name), ("b",)) for name in PARAMETRISED]
EVERY_FORM = pytest.mark.parametrize("form", FORMS, ids=named)


def expanded(model):
    return ir.to_proto(normalise(ir.from_proto(model), is_expanded))


# --- outputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [("T", "N", WIDTH), (STEPS, BATCH, WIDTH)], ids=["open", "static"])
@pytest.mark.parametrize("form", [*FORMS, *FUNCTION_FORMS], ids=named)
def test_written_out_it_gives_what_onnxruntime_gives(form, dims):
    op_type, directions, attrs, given = form
    inputs = arrays(op_type, directions, given)
    model = recurrent(op_type, inputs, attrs, NEWEST if op_type == "GRU" else 18, dims, dtype=np.float32)
    out = expanded(model)
    assert not {node.op_type for node in out.graph.node} & set(GATES)
    assert any(node.op_type == "Scan" for node in out.graph.node) == (dims[0] == "T")
    feeds = {"x": inputs["x"].astype(np.float32)}
    found, wanted = run(out, feeds), run(model, feeds)
    numbers = definition(op_type, inputs, attrs)
    for (name, array), by_formula in zip(wanted.items(), numbers, strict=True):
        assert_close(found[name], array, 2e-6, f"{name} of onnxruntime")
        assert_close(found[name], by_formula, 2e-5, f"{name} by the formulas")


@OPSETS
def test_the_batch_may_come_first(opset):
    """onnxruntime refuses layout 1; it is layout 0 with axes in another order."""
    given = ("b", "lens", "h0", "c0", "p")
    for op_type in GATES:
        inputs = arrays(op_type, 2, given)
        y, *last = definition(op_type, inputs, {"direction": "bidirectional"})
        moved = {name: a.swapaxes(0, 1) if name in ("x", "h0", "c0") else a for name, a in inputs.items()}
        model = recurrent(
            op_type, moved, {"direction": "bidirectional", "layout": 1}, opset, ("N", "T", WIDTH), dtype=np.float64
        )
        found = list(run(expanded(model), {"x": moved["x"]}).values())
        assert_close(found[0], y.transpose(2, 0, 1, 3), 1e-12, "y")
        for index, state in enumerate(last):
            assert_close(found[1 + index], state.swapaxes(0, 1), 1e-12, "last state")


def test_a_long_sequence_stays_a_loop():
    inputs = arrays("LSTM")
    model = recurrent("LSTM", inputs, {}, NEWEST, (400, "N", WIDTH), dtype=np.float32)
    out = expanded(model)
    assert [node.op_type for node in out.graph.node].count("Scan") == 1
    x = {"x": normal(400, 1, WIDTH).astype(np.float32)}
    for name, array in run(model, x).items():
        assert_close(run(out, x)[name], array, 2e-6, name)


def test_it_is_left_alone_unless_asked_for():
    model = recurrent("LSTM", arrays("LSTM"), {}, NEWEST)
    assert [node.op_type for node in normalise(ir.from_proto(model)).graph] == ["LSTM"]


def test_a_function_that_is_not_known_is_refused():
    model = recurrent("RNN", arrays("RNN"), {"activations": ["Wobble"]}, NEWEST)
    with pytest.raises(ModelError, match="'wobble' is no activation function"):
        expanded(model)


# --- gradients -----------------------------------------------------------------------------------


def check(form, opset, dims, fed, dtype=np.float64):
    """Every entry of the gradients of those `fed` against central differences of the formulas."""
    op_type, directions, attrs, given = form
    inputs = arrays(op_type, directions, given)
    fed = [name for name in fed if name in inputs]
    wrt = [name for name in fed if name != "lens"]
    model = recurrent(op_type, inputs, attrs, opset, dims, fed, dtype)
    differentiated, reached = differentiate(model, wrt, dtype)
    assert all(reached)
    y = definition(op_type, inputs, attrs)
    v = [normal(*each.shape) for each in y]
    feeds = {name: inputs[name] if name == "lens" else inputs[name].astype(dtype) for name in fed}
    found = run(differentiated, feeds | {f"v{index}": each.astype(dtype) for index, each in enumerate(v)})

    def score(name, array):
        return sum(np.sum(a * b) for a, b in zip(v, definition(op_type, inputs | {name: array}, attrs), strict=True))

    for name in wrt:
        wanted = np.zeros(inputs[name].shape)
        for entry in np.ndindex(wanted.shape):
            unit = np.zeros(wanted.shape)
            unit[entry] = STEP
            wanted[entry] = (score(name, inputs[name] + unit) - score(name, inputs[name] - unit)) / (2 * STEP)
        assert_close(found[f"d_{name}"], wanted, 1e-7 if dtype is np.float64 else 1e-4, f"gradient of {name}")


@EVERY_FORM
@pytest.mark.parametrize("dims", [("T", "N", WIDTH), (STEPS, BATCH, WIDTH)], ids=["open", "static"])
def test_gradient_of_the_picture(form, dims):
    dtype = np.float32 if "HardSigmoid" in form[2].get("activations", []) else np.float64  # no kernel in double
    check(form, 18 if form[1] == 1 else NEWEST, dims, ["x"], dtype)


@pytest.mark.parametrize("form", FUNCTION_FORMS, ids=named)
def test_gradient_through_each_function(form):
    check(form, NEWEST, ("T", "N", WIDTH), ["x"], np.float32)  # not all have a kernel in double


@OPSETS
@pytest.mark.parametrize("op_type", GATES)
def test_gradient_of_initial_states_and_lengths_that_are_fed(op_type, opset):
    form = (op_type, 1, {}, ("b", "lens", "h0", "c0"))
    check(form, opset, ("T", "N", WIDTH), ["x", "lens", "h0", "c0"])


def test_no_output_is_asked_for_but_the_last():
    """The outputs left out in between are not missed."""
    inputs = arrays("LSTM")
    model = recurrent("LSTM", inputs, {}, NEWEST, dtype=np.float32)
    model.graph.node[0].output[:] = ["", "", "y_c"]
    del model.graph.output[:2]
    x = {"x": inputs["x"].astype(np.float32)}
    assert_close(run(expanded(model), x)["y_c"], session(model).run(None, x)[0], 2e-6, "y_c")
