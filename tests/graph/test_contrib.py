"""Models that onnxruntime's optimiser has written: its own operators come apart, and compute what they did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from nets import array, close, graph, images, run

from onnx_saliency import export
from onnx_saliency.errors import ModelError
from onnx_saliency.graph import load, normalise
from onnx_saliency.graph.contrib import DEFINITIONS

# --- each operator -----------------------------------------------------------------------------


@dataclass(eq=False)
class Row:
    """One call of one operator on the input `x`, in ONNX's text form."""

    call: str
    x: tuple[int, ...] = (2, 3, 8)
    outputs: str = "float[a,b,c] y"
    opset: int = 18
    weights: dict[str, Any] = field(default_factory=dict)

    @property
    def op(self) -> str:
        return self.call.partition("com.microsoft.")[2].partition("(")[0].partition("<")[0]

    def __str__(self) -> str:
        return self.call.partition("com.microsoft.")[2].replace(" ", "") or self.call.partition("= ")[2].replace(
            " ", ""
        )

    def model(self) -> onnx.ModelProto:
        shape = ",".join(map(str, self.x))
        return graph(
            self.call,
            inputs=f"float[{shape}] x",
            outputs=self.outputs,
            opset=self.opset,
            domains="com.microsoft",
            **self.weights,
        )


def conv(attributes: str, inputs: str = "w, b", **weights: Any) -> Row:
    call = f"y = com.microsoft.FusedConv<pads = [1, 1, 1, 1], {attributes}>(x, {inputs})"
    return Row(call, (2, 3, 5, 5), "float[a,b,c,d] y", weights={"w": (4, 3, 3, 3), "b": (4,), **weights})


def gemm(attributes: str, inputs: str = "w, b") -> Row:
    call = f"y = com.microsoft.FusedGemm<{attributes}>(x, {inputs})"
    return Row(call, (3, 6), "float[a,b] y", weights={"w": (6, 5), "b": (5,)})


def matmul(attributes: str, w: tuple[int, ...], x: tuple[int, ...] = (2, 3, 4), op: str = "FusedMatMul") -> Row:
    return Row(f"y = com.microsoft.{op}<{attributes}>(x, w)", x, weights={"w": w})


NORM = {"g": (8,), "b": (8,), "skip": (2, 3, 8), "c": (8,)}
EPS = "<epsilon = 1e-5>"
HEADS = "<num_heads = 2>"

ROWS = [
    conv('activation = "Relu"'),
    conv('activation = "Relu"', "w, b, z", z=(2, 4, 5, 5)),
    conv('activation = "Relu"', "w, , z", z=(2, 4, 5, 5)),
    conv('activation = "Tanh"', "w"),
    conv('activation = "Sigmoid"'),
    conv('activation = "LeakyRelu", activation_params = [0.3]'),
    conv('activation = "Clip", activation_params = [-1.0, 2.5]'),
    conv('activation = "HardSigmoid", activation_params = [0.25, 0.4]'),
    conv("strides = [2, 2]", "w, b, z", z=(2, 4, 3, 3)),
    gemm('activation = "Relu", transB = 0'),
    gemm('activation = "Relu", alpha = 0.5, beta = 2.0'),
    gemm('activation = "LeakyRelu", activation_alpha = 0.3'),
    gemm('activation = "Elu", activation_alpha = 0.5', "w"),
    gemm('activation = "HardSigmoid", activation_alpha = 0.25, activation_beta = 0.4'),
    gemm('activation = "Selu", activation_alpha = 1.5, activation_gamma = 1.2'),
    gemm('activation = "ThresholdedRelu", activation_alpha = 0.5'),
    gemm('activation = "Sigmoid"'),
    gemm('activation = "Tanh"'),
    gemm('activation = "Softplus"'),
    gemm('activation = "Softsign"'),
    matmul("alpha = 0.25", (4, 5)),
    matmul("transA = 1, alpha = 1.0", (2, 3, 5)),
    matmul("transB = 1, alpha = 3.0", (2, 5, 4)),
    matmul("transA = 1, transB = 1", (2, 5, 3)),
    matmul("transBatchA = 1", (3, 4, 5)),
    matmul("transBatchA = 1, transA = 1", (3, 2, 5)),
    matmul("transBatchB = 1", (4, 2, 5)),
    matmul("transBatchB = 1, transB = 1", (5, 2, 4)),
    matmul("transB = 1, alpha = 2.0", (2, 5, 4), op="TransposeMatMul"),
    Row("y = com.microsoft.Gelu(x)"),
    Row("y = com.microsoft.BiasGelu(x, b)", weights={"b": (8,)}),
    Row("y = com.microsoft.FastGelu(x)"),
    Row("y = com.microsoft.FastGelu(x, b)", weights={"b": (8,)}),
    Row("y = com.microsoft.QuickGelu(x)"),
    Row("y = com.microsoft.QuickGelu<alpha = 0.5>(x)"),
    Row(f"y = com.microsoft.SkipLayerNormalization{EPS}(x, skip, g)", weights=NORM),
    Row(f"y = com.microsoft.SkipLayerNormalization{EPS}(x, skip, g, b)", weights=NORM),
    Row(f"y, , , t = com.microsoft.SkipLayerNormalization{EPS}(x, skip, g, b, c)",
        outputs="float[a,b,c] y, float[a,b,c] t", weights=NORM),
    Row(f"y, , , t = com.microsoft.SkipSimplifiedLayerNormalization{EPS}(x, skip, g, c)",
        outputs="float[a,b,c] y, float[a,b,c] t", weights=NORM),
    Row(f"y = com.microsoft.SkipSimplifiedLayerNormalization{EPS}(x, skip, g)", weights=NORM),
    Row("y = SimplifiedLayerNormalization<axis = -1, epsilon = 1e-5>(x, g)", weights=NORM),
    Row("y = SimplifiedLayerNormalization<axis = 1, epsilon = 1e-5>(x, skip)",
        weights={"skip": (3, 8)}),
    Row("y = LayerNormalization<axis = -1, epsilon = 1e-3>(x, g, b)", opset=12, weights=NORM),
    Row(f"y = com.microsoft.Attention{HEADS}(x, w, b)", weights={"w": (8, 18), "b": (18,)}),
    Row("y = com.microsoft.Attention<num_heads = 3, scale = 0.7>(x, w, b)", weights={"w": (8, 18), "b": (18,)}),
    Row("y = com.microsoft.Attention<num_heads = 2, qkv_hidden_sizes = [4, 4, 10]>(x, w, b)",
        weights={"w": (8, 18), "b": (18,)}),
    Row(f"y = com.microsoft.Attention{HEADS}(x, w, b, , , a)", weights={"w": (8, 18), "b": (18,), "a": (2, 2, 3, 3)}),
    Row("q = QuantizeLinear(x, s, z) y = com.microsoft.QAttention<num_heads = 2>(q, w, b, s, t, , z, u)", weights={
        "w": (array((8, 18), "w") * 40).astype(np.int8), "b": (18,), "s": np.float32(0.03), "t": np.float32(0.02),
        "z": np.uint8(120), "u": np.int8(3)}),
    Row(f"y = com.microsoft.MultiHeadAttention{HEADS}(x, k, v)", weights={"k": (2, 5, 8), "v": (2, 5, 6)}),
    Row(f"y = com.microsoft.MultiHeadAttention{HEADS}(x, k, v, b)",
        weights={"k": (2, 5, 8), "v": (2, 5, 6), "b": (22,)}),
    Row(f"y = com.microsoft.MultiHeadAttention{HEADS}(x, k, v, , , a)",
        weights={"k": (2, 5, 8), "v": (2, 5, 6), "a": (2, 2, 3, 5)}),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_definition(row):
    model = row.model()
    made = ir.to_proto(normalise(load(model)))
    assert {node.domain for node in made.graph.node} == {""}
    onnx.checker.check_model(made, full_check=True)
    assert [v.name for v in made.graph.output] == [v.name for v in model.graph.output]
    x = {"x": array(row.x, "image")}
    for found, wanted in zip(run(made, x), run(model, x), strict=True):
        close(found, wanted, 2e-6)


def test_every_operator_has_a_row():
    plain = {"SimplifiedLayerNormalization", "LayerNormalization"}  # rows of these are written in the standard domain
    assert {row.op for row in ROWS if row.op} | plain == set(DEFINITIONS)


REFUSED = {
    "com.microsoft.Attention<num_heads = 2, unidirectional = 1>(x, w)": "unidirectional",
    "com.microsoft.Attention<num_heads = 2>(x, w, , mask)": "mask_index",
    "com.microsoft.MultiHeadAttention<num_heads = 2>(x, kv)": "query, key and value",
    'com.microsoft.FusedGemm<activation = "ScaledTanh">(m, w)': "ScaledTanh",
}


@pytest.mark.parametrize("call", REFUSED)
def test_a_form_without_a_definition_is_named(call):
    weights = {"w": (8, 18), "kv": (2, 5, 2, 2, 4), "mask": np.ones((2, 3), np.int32)}
    body = f"g = com.microsoft.Gelu(x) m = Flatten(x) y = {call}"
    model = graph(body, inputs="float[2,3,8] x", outputs="float[a,b,c] y", domains="com.microsoft", **weights)
    with pytest.raises(ModelError, match=REFUSED[call]) as found:
        normalise(load(model))
    assert "node 'y'" in str(found.value)
    assert "1 node(s)" in str(found.value)


# --- nets that the optimiser has really rewritten ----------------------------------------------

CNN = """
    c0 = Conv<pads = [1, 1, 1, 1]>(image, w0, b0)  r0 = Relu(c0)
    c1 = Conv<pads = [1, 1, 1, 1]>(r0, w1, b1)  s1 = Add(c1, r0)  r1 = Relu(s1)
    c2 = Conv<pads = [1, 1, 1, 1]>(r1, w2, b1)  r2 = LeakyRelu<alpha = 0.2>(c2)
    c3 = Conv<pads = [1, 1, 1, 1]>(r2, w3, b1)  r3 = Clip(c3, low, high)
    c4 = Conv(r3, w4, b1)  r4 = HardSigmoid<alpha = 0.3>(c4)
    c5 = Conv(r4, w5, b1)  r5 = Tanh(c5)
    p = GlobalAveragePool(r5)  f = Flatten(p)
    h = Gemm(f, w6, b6)  r6 = Relu(h)
    logits = Gemm(r6, w7, b7)
"""
CNN_WEIGHTS = {
    "w0": (8, 3, 3, 3), "b0": (8,), **{f"w{i}": (8, 8, 3, 3) for i in range(1, 6)}, "b1": (8,),
    "low": np.float32(0), "high": np.float32(6), "w6": (8, 6), "b6": (6,), "w7": (6, 5), "b7": (5,),
}  # fmt: skip

NORMALISE = """
    m{i} = ReduceMean<axes = [-1]>(x{i})  d{i} = Sub(x{i}, m{i})  q{i} = Pow(d{i}, two)
    v{i} = ReduceMean<axes = [-1]>(q{i})  e{i} = Add(v{i}, epsilon)  s{i} = Sqrt(e{i})
    n{i} = Div(d{i}, s{i})  g{i} = Mul(n{i}, gamma{i})  y{i} = Add(g{i}, beta{i})
"""
GELU = "a = Div(h, root)  b = Erf(a)  c = Add(b, one)  d = Mul(h, c)  u = Mul(d, half)"
QUICK = "a = Mul(h, alpha)  b = Sigmoid(a)  u = Mul(h, b)"
ROOT_MEAN_SQUARE = """
    q{i} = Pow(x{i}, two)  v{i} = ReduceMean<axes = [-1]>(q{i})  e{i} = Add(v{i}, epsilon)  s{i} = Sqrt(e{i})
    n{i} = Div(x{i}, s{i})  y{i} = Mul(n{i}, gamma{i})
"""


def transformer(norm: str = NORMALISE, gelu: str = GELU) -> str:
    """Patches, one block of attention and perceptron, the mean of the tokens; every operator of opset 12 by itself."""
    return (
        "p = Conv<strides = [2, 2]>(image, wp, bp)  r = Reshape(p, tokens)  x0 = Transpose<perm = [0, 2, 1]>(r)"
        + norm.format(i=0)
        + """
    q = MatMul(y0, wq)  qh = Reshape(q, heads)  qt = Transpose<perm = [0, 2, 1, 3]>(qh)
    k = MatMul(y0, wk)  kh = Reshape(k, heads)  kt = Transpose<perm = [0, 2, 3, 1]>(kh)
    v = MatMul(y0, wv)  vh = Reshape(v, heads)  vt = Transpose<perm = [0, 2, 1, 3]>(vh)
    scores = MatMul(qt, kt)  scaled = Div(scores, two)  weights = Softmax<axis = -1>(scaled)
    o = MatMul(weights, vt)  ot = Transpose<perm = [0, 2, 1, 3]>(o)  oh = Reshape(ot, flat)
    out = MatMul(oh, wo)  ob = Add(out, bo)  x1 = Add(x0, ob)
"""
        + norm.format(i=1)
        + f"h0 = MatMul(y1, wh)  h = Add(h0, bh) {gelu} l0 = MatMul(u, wl)  l = Add(l0, bl)  x2 = Add(x1, l)"
        + norm.format(i=2)
        + "z = ReduceMean<axes = [1], keepdims = 0>(y2)  logits = Gemm(z, w7, b7)"
    )


TRANSFORMER_WEIGHTS = {
    "wp": (8, 3, 2, 2), "bp": (8,), **{f"w{c}": (8, 8) for c in "qkvo"}, "bo": (8,),
    "wh": (8, 16), "bh": (16,), "wl": (16, 8), "bl": (8,), "w7": (8, 5), "b7": (5,),
    **{f"gamma{i}": (8,) for i in range(3)}, **{f"beta{i}": (8,) for i in range(3)},
    "tokens": np.array([0, 8, -1]), "heads": np.array([0, 0, 2, 4]), "flat": np.array([0, 0, 8]),
    "epsilon": np.float32(1e-5), "one": np.float32(1), "two": np.float32(2), "half": np.float32(0.5),
    "root": np.float32(np.sqrt(2)), "alpha": np.float32(1.702),
}  # fmt: skip

# The net, and what the optimiser makes of it: if it stops doing so, the test must find another net.
NETS = {
    "convolutions": (CNN, CNN_WEIGHTS, {"FusedConv", "FusedGemm"}),
    "transformer": (transformer(), TRANSFORMER_WEIGHTS, {"LayerNormalization", "FusedMatMul", "BiasGelu"}),
    "quick": (transformer(gelu=QUICK), TRANSFORMER_WEIGHTS, {"LayerNormalization", "QuickGelu"}),
    "root mean square": (transformer(ROOT_MEAN_SQUARE), TRANSFORMER_WEIGHTS, {"SimplifiedLayerNormalization"}),
}


def optimised(model, level, folder):
    """What onnxruntime makes of `model` and saves."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


@pytest.mark.parametrize("level", ["BASIC", "EXTENDED"])
@pytest.mark.parametrize("name", NETS)
def test_an_optimised_net(name, level, tmp_path):
    body, weights, wanted = NETS[name]
    plain = graph(body, opset=12, **weights)
    model = optimised(plain, level, tmp_path)
    if level == "EXTENDED":
        assert {node.op_type for node in model.graph.node} & set(DEFINITIONS) >= wanted & set(DEFINITIONS)
    x = {"image": images()}
    explained, reference = export(model), export(plain)
    assert {node.domain for node in explained.graph.node} == {""}
    close(run(explained, x, ["logits"])[0], run(model, x)[0], 2e-6)
    close(run(explained, x, ["input_gradient"])[0], run(reference, x, ["input_gradient"])[0], 1e-4)


def test_the_layout_level_is_refused(tmp_path):
    channels = {f"w{i}": (16, 16, 3, 3) for i in range(1, 6)} | {"w0": (16, 3, 3, 3), "b0": (16,), "b1": (16,)}
    plain = graph(CNN, opset=12, **{**CNN_WEIGHTS, **channels, "w6": (16, 6)})
    model = optimised(plain, "ALL", tmp_path)
    laid_out = [node for node in model.graph.node if node.domain == "com.microsoft.nchwc"]
    if not laid_out:  # a processor without that layout: write by hand what others write
        laid_out = [model.graph.node[0]]
        laid_out[0].domain = "com.microsoft.nchwc"
    with pytest.raises(ModelError, match="ORT_ENABLE_EXTENDED") as found:
        load(model)
    assert f"{len(laid_out)} node(s)" in str(found.value)


def test_operators_that_are_not_known_stay_refused():
    body = "g = com.microsoft.Gelu(image) h = com.microsoft.BiasSplitGelu(g, g) logits = com.other.Gelu(h)"
    model = graph(body, domains="com.microsoft")
    with pytest.raises(ModelError, match=r"2 node\(s\)") as found:
        load(model)
    assert "BiasSplitGelu" in str(found.value)
    assert "'com.other'" in str(found.value)
