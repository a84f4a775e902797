"""What is called a row per image is one: f(x[rows]) = f(x)[rows]. What mixes images is not called so."""

import numpy as np
import onnx_ir as ir
import pytest
from nets import array, graph, images, run

from onnx_saliency.graph import load, normalise
from onnx_saliency.graph.rows import _KINDS, find_rows

ROWS = np.array([0, 0, 0, 1, 2, 2])
ONE, TWO = (
    "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish "
    + (
        "LeakyRelu Log Mish Neg Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt "
        "Tan Tanh ThresholdedRelu GlobalAveragePool GlobalMaxPool Softmax LogSoftmax Hardmax Flatten Transpose"
    ),
    "Add Sub Mul Div Pow Max Min Sum Mean Greater GreaterOrEqual Less LessOrEqual",
)
LINES = {
    **{name: f"y = {name}(x)" for name in ONE.split()},
    **{name: f"y = {name}(x, w)  z = {name}(x, x)" for name in TWO.split()},
    **{
        f"Reduce{name}": f"y = Reduce{name}<keepdims = 0>(x, last)"
        for name in ("Mean", "Sum", "Max", "Min", "L2", "Prod")
    },
    **{name: f"h = Greater(x, w) g = Less(x, w) y = {name}(h, g)" for name in ("And", "Or", "Xor")},
    "Transpose": "y = Transpose<perm = [0, 2, 3, 1]>(x)",
    "Identity": "y = Identity(x)",
    "Not": "h = Greater(x, w) y = Not(h)",
    "Equal": "y = Equal(x, w)",
    "Where": "h = Greater(x, w) y = Where(h, x, w)",
    "Cast": "y = Cast<to = 11>(x)",
    "Clip": "y = Clip(x, low)",
    "PRelu": "y = PRelu(x, w)",
    "Swish": "y = Swish(x)",
    "Concat": "y = Concat<axis = 1>(x, x)",
    "Conv": "y = Conv(x, k)",
    "ConvTranspose": "y = ConvTranspose(x, k)",
    "QLinearConv": "y = QLinearConv(codes, s, zero, kq, s, zero, s, zero)",
    "QLinearMatMul": "y = QLinearMatMul(codes, s, zero, mq, s, zero, s, zero)",
    "QuantizeLinear": "y = QuantizeLinear(x, s, zero)",
    "DequantizeLinear": "y = DequantizeLinear(codes, s, zero)",
    "Gemm": "f = Flatten(x) y = Gemm(f, v)",
    "MatMul": "y = MatMul(x, m) t = Transpose<perm = [0, 1, 3, 2]>(x) z = MatMul(x, t)",
    "AveragePool": "y = AveragePool<kernel_shape = [2, 2]>(x)",
    "MaxPool": "y = MaxPool<kernel_shape = [2, 2]>(x)",
    "LpPool": "y = LpPool<kernel_shape = [2, 2]>(x)",
    "BatchNormalization": "y = BatchNormalization(x, c, c, c, c)",
    "InstanceNormalization": "y = InstanceNormalization(x, c, c)",
    "LayerNormalization": "y = LayerNormalization(x, six)",
    "LRN": "y = LRN<size = 3>(x)",
    "Squeeze": "h = ReduceSum(x, last) y = Squeeze(h, last)",
    "Unsqueeze": "y = Unsqueeze(x, last)",
    "DepthToSpace": "y = DepthToSpace<blocksize = 2>(x)",
    "SpaceToDepth": "y = SpaceToDepth<blocksize = 2>(x)",
    "Split": "y, z = Split<axis = 1, num_outputs = 2>(x)",
    "Gather": "y = Gather<axis = 1>(x, last)",
    "Reshape": "y = Reshape(x, flat) h = Shape<end = 1>(x) n = Concat<axis = 0>(h, rest) z = Reshape(x, n)",
    "Expand": "h = Shape<end = 1>(x) n = Concat<axis = 0>(h, rest) y = Expand(token, n)",
    "Slice": "y = Slice(x, first, last, last)",
    "Pad": "y = Pad(x, pads) z = Pad(x, ones, none, last)",
}
"""Of each operator, a use that keeps rows apart: what it makes is y, and z."""

WEIGHTS = {
    "w": np.abs(array((4, 1, 1), "w")),
    "k": (4, 4, 3, 3),
    "v": (144, 5),
    "m": (6, 6),
    "c": np.abs(array((4,), "c")),
    "six": (6,),
    "token": (1, 144),
    "s": np.float32(0.5),
    "low": np.float32(0.5),
    "zero": np.uint8(3),
    "kq": np.full((4, 4, 3, 3), 2, np.uint8),
    "mq": np.full((6, 6), 2, np.uint8),
    "last": np.array([3]),
    "first": np.array([0]),
    "rest": np.array([144]),
    "flat": np.array([-1, 144]),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "ones": np.array([1, 1]),
}


X = images(3, 4, 6, 6)


def canonical(body, inputs="float[N,4,6,6] x, uint8[N,4,6,6] codes"):
    """A graph whose every value is inferred, none declared; y and z are what is asked about.

    But an Identity is only left where it joins an input and an output.
    """
    body = body.replace("none", "")
    results = [name for name in "yz" if f"{name} =" in body or f"{name}, " in body.split("=")[0]]
    tails = "".join(f" {name}s = Shape({name})" for name in results)
    outputs = ", ".join(f"int64[R{name}] {name}s" for name in results)
    outputs += ", float[N,4,6,6] y" if "Identity" in body else ""
    opset = 24 if "Swish(" in body and "HardSwish" not in body else 20
    return normalise(
        load(graph(body + tails, inputs=inputs, outputs=outputs, opset=opset, **WEIGHTS)), expand=lambda node: False
    )


def kinds(model):
    """How y and z are taken: a row each, or not."""
    made = {value.name: value for node in model.graph for value in node.outputs}
    rows = find_rows(model.graph, model.graph.inputs[0])
    return {name: rows is not None and made[name] in rows.each for name in "yz" if name in made}


@pytest.mark.parametrize("name", sorted(_KINDS))
def test_rows_of_an_operator(name):
    model = canonical(LINES[name])
    found = kinds(model)
    assert found
    assert all(found.values()), found
    assert name in {node.op_type for node in model.graph}
    if name == "Swish":
        return  # no kernel in onnxruntime yet
    made = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.extend(made[value] for value in found if not made[value].is_graph_output())
    x = np.abs(X) % 1 if name in ("Acos", "Asin", "Atanh", "Log", "Sqrt", "Pow") else np.abs(X) + (name == "Acosh")
    codes = (X * 20 + 100).astype(np.uint8)
    taken = {value.name for value in model.graph.inputs}
    feeds = {key: value for key, value in {"x": x, "codes": codes}.items() if key in taken}
    proto = ir.to_proto(model)
    wanted = run(proto, feeds, list(found))
    actual = run(proto, {key: value[ROWS] for key, value in feeds.items()}, list(found))
    for one, other in zip(wanted, actual, strict=True):
        np.testing.assert_allclose(other, one[ROWS], rtol=1e-6)


MIXED = {
    "a mean over images": "h = ReduceMean<keepdims = 1>(x, first) y = Sub(x, h)",
    "a sum along images": "y = CumSum(x, first)",
    "the softmax of images": "f = Flatten(x) y = Softmax<axis = 0>(f)",
    "the softmax of images, from behind": "y = Softmax<axis = -4>(x)",
    "a norm over images": "y = LayerNormalization<axis = 0>(x, six)",
    "images in reverse": "y = Slice(x, end, begin, first, back)",
    "every image twice": "y = Concat<axis = 0>(x, x)",
    "some images": "y = Gather(x, first)",
    "images by number": "h = Shape<end = 1>(x) n = Squeeze(h) r = Range(null, n, unit) y = Gather(x, r)",
    "the numbers of images": "h = Shape<end = 1>(x) n = Squeeze(h) y = Range(null, n, unit)",
    "the batch in a tensor": "y = Shape(x)",
    "the batch behind an axis": "y = Transpose<perm = [1, 0, 2, 3]>(x)",
    "the batch behind an axis and back": "t = Transpose<perm = [1, 0, 2, 3]>(x) y = Transpose<perm = [1, 0, 2, 3]>(t)",
    "the batch with an axis": "y = Reshape(x, tokens)",
    "the batch with an axis and back": "t = Reshape(x, tokens) r = Relu(t) y = Reshape(r, whole)",
    "all images in one row": "y = Reshape(x, all)",
    "images with each other": "f = Flatten(x) t = Transpose(f) y = MatMul(f, t)",
    "one by all": "f = Flatten(x) s1 = ReduceSum<keepdims = 0>(f, unit1) y = Add(s1, f2)",
    "places in the whole batch": "p, y = MaxPool<kernel_shape = [2, 2]>(x) z = Add(y, y)",
    "a scale of the whole batch": "y, h, i = DynamicQuantizeLinear(x)",
    "noise": "y = RandomNormalLike(x)",
    "padded images": "y = Pad(x, around)",
    "shifted images": "y = Pad(x, shifted)",
    "images split": "y, z = Split<num_outputs = 2>(x)",
    "zeros a batch": "h = Shape(x) y = ConstantOfShape(h)",
    "a scale an image, of its own batch": "y = Mul(x, other)",
    "a branch": "h = If(yes) <then_branch = t () => (float[N,4,6,6] a) { a = Relu(x) }, "
    "else_branch = e () => (float[N,4,6,6] b) { b = Neg(x) }> y = Relu(h)",
}
WEIGHTS |= {
    "begin": np.array([-1000]),
    "end": np.array([-1]),
    "back": np.array([-1]),
    "null": np.array(0),
    "unit": np.array(1),
    "unit1": np.array([1]),
    "f2": (5, 1),
    "tokens": np.array([-1, 36]),
    "all": np.array([1, -1]),
    "whole": np.array([-1, 4, 6, 6]),
    "around": np.array([1, 0, 0, 0, 1, 0, 0, 0]),
    "shifted": np.array([1, 0, 0, 0, -1, 0, 0, 0]),
}


@pytest.mark.parametrize("case", MIXED)
def test_no_rows(case):
    others = {"other": ", float[M,1,1,1] other", "yes": ", bool yes"}
    inputs = "float[N,4,6,6] x" + "".join(text for name, text in others.items() if name in MIXED[case])
    found = kinds(canonical(MIXED[case], inputs))
    assert found
    assert not any(found.values())


@pytest.mark.parametrize("batch", ["1", "4", "?"])
def test_a_batch_that_is_fixed_or_has_no_name(batch):
    assert not any(kinds(canonical("y = Relu(x)", f"float[{batch},4,6,6] x")).values())


def test_a_second_input_of_the_batch():
    assert kinds(canonical("y = Mul(x, other)", "float[N,4,6,6] x, float[N,1,1,1] other"))["y"]


def test_open_sizes_and_names_twice():
    assert kinds(canonical("y = Conv(x, k)", "float[N,4,H,W] x"))["y"]
    assert not kinds(canonical("y = Conv(x, k)", "float[N,4,N,W] x"))["y"]
