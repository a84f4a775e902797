"""The canonical form: constants folded, BatchNormalization folded, Dropout gone, and nothing computed otherwise."""

import numpy as np
import onnx_ir as ir
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, close, graph, images, run, small

from onnx_saliency.errors import ModelError
from onnx_saliency.graph import load, normalise
from onnx_saliency.runtime import Session

X = {"image": images()}
IMAGES = "float[N,C,H,W] y"


def same(model, feeds=None, tolerance=1e-5):
    """The canonical model's operators, in order; its outputs are the original's."""
    made = ir.to_proto(normalise(load(model)))
    assert [v.name for v in made.graph.output] == [v.name for v in model.graph.output]
    for before, after in zip(run(model, feeds or X), run(made, feeds or X), strict=True):
        close(after, before, tolerance)
    return [node.op_type for node in made.graph.node], made


# --- constants ----------------------------------------------------------------------------------

FLATTEN = """
    shape = Shape(image)  zero = Constant<value_int = 0>()  n = Gather(shape, zero)
    axes = Constant<value_ints = [0]>()  first = Unsqueeze(n, axes)
    rest = Constant<value_ints = [-1]>()  target = Concat<axis = 0>(first, rest)
    y = Reshape(image, target)
"""


def test_arithmetic_of_shapes_vanishes_where_the_shape_is_fixed():
    ops, made = same(graph(FLATTEN, inputs="float[2,3,8,8] image", outputs="float[2,192] y"))
    assert ops == ["Reshape"]
    assert [list(v.dims) for v in made.graph.initializer] == [[2]]


def test_and_stays_where_it_is_open():
    ops, _ = same(graph(FLATTEN, outputs="float[N,192] y"))
    assert "Shape" in ops
    assert "Constant" not in ops


@pytest.mark.parametrize(
    ("start", "end"), [("start = 1", ""), ("start = -3", ", end = -1"), ("start = 2", ", end = 3")]
)
def test_a_part_of_a_shape(start, end):
    body = f"s = Shape<{start}{end}>(image)  f = Cast<to = 1>(s)  y = ReduceSum<keepdims = 0>(f)"
    ops, _ = same(graph(body + " z = Relu(y)", outputs="float z"))
    assert ops == ["Relu"]


def test_weights_that_callers_may_override_are_not_folded():
    body = "t = Mul(k, two)  y = Mul(image, t)"
    two, k = np.float32(2), np.float32(3)
    ops, made = same(graph(body, inputs="float[N,3,8,8] image, float k", outputs=IMAGES, k=k, two=two))
    assert ops == ["Mul", "Mul"]
    (y,) = run(made, {**X, "k": np.array(5, np.float32)})
    close(y, 10 * X["image"])


def test_the_same_weight_without_an_input_is():
    body = "t = Mul(k, two)  y = Mul(image, t)"
    ops, _ = same(graph(body, outputs=IMAGES, k=np.float32(3), two=np.float32(2)))
    assert ops == ["Mul"]


LARGE = {
    "ConstantOfShape": "y = ConstantOfShape<value = float[1] {1.0}>(size)",
    "Expand": "y = Expand(one, size)",
    "Tile": "y = Tile(ones, size)",
    "Range": "y = Range(zero, end, one)",
}


@pytest.mark.parametrize("body", LARGE.values(), ids=LARGE)
def test_large_constants_are_not_expanded(body):
    """10^12 values: to make them would take 4 terabytes."""
    size = np.array([10**6, 10**6], np.int64)
    one, end = np.float32(1), np.float32(1e12)
    weights = {"size": size, "one": one, "zero": np.float32(0), "end": end, "ones": np.ones((1, 1), np.float32)}
    used = {name: value for name, value in weights.items() if name in body}
    model = graph(
        CONV + HEAD + body.replace("y =", "big =") + " m = ReduceMax<keepdims = 0>(big) y = Add(logits, m)",
        outputs="float[N,5] y",
        **CONV_WEIGHTS,
        **HEAD_WEIGHTS,
        **used,
    )
    made = ir.to_proto(normalise(load(model)))
    assert made.ByteSize() < 10_000
    assert body.split()[2].split("<")[0].split("(")[0] in [node.op_type for node in made.graph.node]


def test_a_range_whose_step_is_its_start():
    body = "r = Range(one, end, one) y = Add(image, r)"
    ops, _ = same(graph(body, outputs=IMAGES, one=np.float32(1), end=np.float32(9)))
    assert ops == ["Add"]


def test_random_numbers_are_not_constants():
    body = "r = RandomNormal<shape = [8]>() y = Add(image, r)"
    assert "RandomNormal" in [n.op_type for n in normalise(load(graph(body, outputs=IMAGES))).graph]
    body = "r = Bernoulli(half) y = Mul(image, r)"
    model = graph(body, outputs=IMAGES, half=np.full(8, 0.5, np.float32))
    assert "Bernoulli" in [n.op_type for n in normalise(load(model)).graph]


def test_a_sequence_is_no_tensor():
    body = "s = SequenceConstruct(a, b)  k = SequenceAt(s, one)  y = Add(image, k)"
    same(graph(body, outputs=IMAGES, a=(8,), b=(8,), one=np.int64(1)))


def test_a_node_that_cannot_be_computed_stays():
    """Index 9 of an axis of 3: the runtime says so when it meets it."""
    body = "k = Gather(a, nine)  y = Add(image, k)"
    model = graph(body, outputs=IMAGES, a=(3,), nine=np.int64(9))
    assert [n.op_type for n in normalise(load(model)).graph] == ["Gather", "Add"]


def test_a_constant_that_is_an_output_stays():
    body = CONV + HEAD + " t = Mul(two, two)"
    ops, _ = same(graph(body, outputs="float[N,5] logits, float t", two=np.float32(2), **CONV_WEIGHTS, **HEAD_WEIGHTS))
    assert "Mul" in ops


# --- BatchNormalization -------------------------------------------------------------------------

NORM = " y = BatchNormalization<epsilon = 0.01>(c, scale, offset, mean, var)"


def statistics(channels):
    rng = np.random.default_rng(3)
    names = ("scale", "offset", "mean")
    return {n: rng.standard_normal(channels).astype(np.float32) for n in names} | {
        "var": rng.uniform(0.5, 2, channels).astype(np.float32)
    }


LINEAR = {
    "Conv": ("c = Conv(image, w, b)", {"w": (4, 3, 3, 3), "b": (4,)}, 4),
    "Conv without bias": ("c = Conv(image, w)", {"w": (4, 3, 3, 3)}, 4),
    "grouped Conv": ("c = Conv<group = 3>(image, w, b)", {"w": (6, 1, 3, 3), "b": (6,)}, 6),
    "ConvTranspose": ("c = ConvTranspose<strides = [2, 2]>(image, w, b)", {"w": (3, 4, 3, 3), "b": (4,)}, 4),
}
GEMM = {
    "Gemm": ("c = Gemm(f, w, b)", {"w": (192, 4), "b": (4,)}, 4),
    "Gemm transB": ("c = Gemm<transB = 1>(f, w, b)", {"w": (4, 192), "b": (4,)}, 4),
    "Gemm without C": ("c = Gemm<transB = 1>(f, w)", {"w": (4, 192)}, 4),
    "Gemm, C a row": ("c = Gemm<transB = 1>(f, w, b)", {"w": (4, 192), "b": (1, 4)}, 4),
    "Gemm, C a number": ("c = Gemm<transB = 1>(f, w, b)", {"w": (4, 192), "b": np.float32(0.3)}, 4),
}


@pytest.mark.parametrize(("body", "weights", "channels"), LINEAR.values(), ids=LINEAR)
def test_folded_into(body, weights, channels):
    ops, _ = same(graph(body + NORM + " z = Relu(y)", outputs="float[N,C,H,W] z", **weights, **statistics(channels)))
    assert ops == [body.split()[2].split("(")[0].split("<")[0], "Relu"]


@pytest.mark.parametrize(("body", "weights", "channels"), GEMM.values(), ids=GEMM)
def test_folded_into_gemm(body, weights, channels):
    text = "f = Flatten(image) " + body + NORM + " z = Relu(y)"
    ops, _ = same(graph(text, outputs="float[N,C] z", **weights, **statistics(channels)))
    assert ops == ["Flatten", "Gemm", "Relu"]


def test_a_folded_output_keeps_its_name():
    body, weights, channels = LINEAR["Conv"]
    ops, made = same(graph(body + NORM, outputs=IMAGES, **weights, **statistics(channels)))
    assert ops == ["Conv"]
    assert made.graph.node[0].output[0] == "y"


def test_two_in_a_row():
    body, weights, channels = LINEAR["Conv"]
    text = body + NORM + " z = BatchNormalization(y, scale, offset, mean, var)"
    assert same(graph(text, outputs="float[N,C,H,W] z", **weights, **statistics(channels)))[0] == ["Conv"]


SCALED = " y = Mul(c, scale) z = Add(bias, y)"
PER_CHANNEL = {
    "a number per channel": (4, 1, 1),
    "all axes": (1, 4, 1, 1),
    "one number": (),
    "one, three axes": (1, 1, 1),
}


@pytest.mark.parametrize("shape", PER_CHANNEL.values(), ids=PER_CHANNEL)
def test_scale_and_bias_of_channels(shape):
    numbers = dict(zip(("scale", "bias"), np.random.default_rng(0).standard_normal((2, *shape)), strict=True))
    numbers = {name: value.astype(np.float32) for name, value in numbers.items()}
    for body, weights, _ in (LINEAR["Conv"], LINEAR["Conv without bias"], LINEAR["ConvTranspose"]):
        ops, made = same(graph(body + SCALED, outputs="float[N,C,H,W] z", **weights, **numbers))
        assert ops == [body.split()[2].split("(")[0].split("<")[0]]
        assert made.graph.node[0].output[0] == "z"


@pytest.mark.parametrize("name", GEMM)
def test_scale_and_bias_behind_gemm(name):
    body, weights, _ = GEMM[name]
    numbers = {"scale": (4,), "bias": (1, 4)}
    assert same(graph("f = Flatten(image) " + body + SCALED, outputs="float[N,C] z", **weights, **numbers))[0] == [
        "Flatten",
        "Gemm",
    ]


def test_scale_and_bias_behind_a_normalisation_that_stays():
    body = "c = BatchNormalization(image, scale, offset, mean, var) y = Mul(c, s) z = Add(y, b)"
    model = graph(body, outputs="float[N,C,H,W] z", s=(3, 1, 1), b=(3, 1, 1), **statistics(3))
    assert same(model)[0] == ["BatchNormalization"]


NOT_OF_CHANNELS = {
    "along a row": "s = Mul(c, row)",
    "along both": "s = Mul(c, plane)",
    "one per image": "s = Mul(c, image4)",
    "a longer one": "s = Mul(c, five)",
    "another value": "d = Conv(image, w) s = Mul(c, d)",
    "itself": "s = Add(c, c)",
}


@pytest.mark.parametrize("name", NOT_OF_CHANNELS)
def test_what_is_not_per_channel_stays(name):
    shapes = {"row": (8,), "plane": (8, 8), "image4": (2, 1, 1, 1), "five": (1, 1, 4, 1, 1)}
    text = "c = Conv<pads = [1, 1, 1, 1]>(image, w)" + NOT_OF_CHANNELS[name].replace(
        "d = Conv", " d = Conv<pads = [1, 1, 1, 1]>"
    )
    used = {key: shape for key, shape in shapes.items() if f" {key})" in text}
    model = graph(
        text,
        inputs="float[2,3,8,8] image",
        outputs="float[a,b,e,f] s" if name != "a longer one" else "float[a,b,e,f,g] s",
        w=(4, 3, 3, 3),
        **used,
    )
    ops, _ = same(model)
    assert ops[-1] in ("Mul", "Add")


KEPT = {
    "used twice": ("c = Conv(image, w, b)" + NORM + " z = Add(c, y)", "float[N,C,H,W] z", {}),
    "an output itself": ("c = Conv(image, w, b)" + NORM, "float[N,C,H,W] y, float[N,C,H,W] c", {}),
    "grouped ConvTranspose": ("c = ConvTranspose<group = 3>(image, w)" + NORM, IMAGES, {"w": (3, 2, 3, 3), "b": None}),
    "alpha": ("f = Flatten(image) c = Gemm<alpha = 0.5>(f, w, b)" + NORM, "float[N,C] y", {"w": (192, 4)}),
    "after Relu": ("k = Conv(image, w, b) c = Relu(k)" + NORM, IMAGES, {}),
}


@pytest.mark.parametrize(("body", "outputs", "changes"), KEPT.values(), ids=KEPT)
def test_not_folded(body, outputs, changes):
    weights = {"w": (4, 3, 3, 3), "b": (4,), **changes}
    channels = 6 if "group" in body else 4
    weights = {name: value for name, value in weights.items() if value is not None}
    ops, _ = same(graph(body, outputs=outputs, **weights, **statistics(channels)))
    assert "BatchNormalization" in ops


def test_weights_that_callers_may_override_are_not_folded_into():
    inputs = "float[N,3,8,8] image, float[4,3,3,3] w"
    body = "c = Conv(image, w, b)" + NORM
    model = graph(body, inputs=inputs, outputs=IMAGES, w=(4, 3, 3, 3), b=(4,), **statistics(4))
    assert same(model)[0] == ["Conv", "BatchNormalization"]


def test_statistics_of_the_batch_are_not_folded():
    """In training mode the normalisation is by this batch's own mean and variance."""
    training = NORM.replace("epsilon", "training_mode = 1, epsilon").replace("y =", "y, m, v =")
    for body in (training, training.replace("y, m, v =", "y =")):
        model = graph("c = Conv(image, w, b)" + body, outputs=IMAGES, w=(4, 3, 3, 3), b=(4,), **statistics(4))
        assert "BatchNormalization" in [n.op_type for n in normalise(load(model)).graph]


def test_a_weight_that_two_convolutions_share():
    body = "c = Conv(image, w, b)" + NORM + " d = Conv(image, w, b) z = Add(y, d)"
    model = graph(body, outputs="float[N,C,H,W] z", w=(4, 3, 3, 3), b=(4,), **statistics(4))
    assert same(model)[0] == ["Conv", "Conv", "Add"]


# --- Dropout, Identity ---------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [7, 10, 12, 13, 18, 22])
def test_dropout_is_the_identity(opset):
    body = "d = Dropout(image) i = Identity(d) y = Relu(i)"
    assert same(graph(body, outputs=IMAGES, opset=opset))[0] == ["Relu"]


@pytest.mark.parametrize("mode", [False, True])
def test_dropout_in_training_mode_stays(mode):
    body = "d = Dropout(image, ratio, training) y = Relu(d)"
    model = graph(body, outputs=IMAGES, ratio=np.float32(0.5), training=np.bool_(mode))
    assert [n.op_type for n in normalise(load(model)).graph] == (["Dropout", "Relu"] if mode else ["Relu"])


def test_dropout_that_a_caller_can_switch_on_stays():
    inputs = "float[N,3,8,8] image, bool training"
    body = "d = Dropout(image, ratio, training) y = Relu(d)"
    model = graph(body, inputs=inputs, outputs=IMAGES, ratio=np.float32(0.5), training=np.bool_(False))
    assert same(model)[0] == ["Dropout", "Relu"]


def test_dropout_whose_mask_is_used_stays():
    body = "d, mask = Dropout(image) m = Cast<to = 1>(mask) y = Mul(d, m)"
    assert "Dropout" in same(graph(body, outputs=IMAGES))[0]


def test_an_identity_between_input_and_output():
    model = small(" copy = Identity(image)", outputs="float[N,5] logits, float[N,3,8,8] copy")
    same(model)
    same(small(" copy = Identity(logits)", outputs="float[N,5] logits, float[N,5] copy"))


def test_what_nothing_reads_goes():
    ops, made = same(small(" unused = Relu(c)", extra=(3, 3)))
    assert ops == ["Conv", "Sigmoid", "GlobalAveragePool", "Flatten", "Gemm"]
    assert {v.name for v in made.graph.initializer} == {"w", "b", "v", "a"}


def test_names_that_onnxruntime_gives_again():
    """As in a graph it has optimised: it would make another "gemm_output_shape" and refuse to replace the first."""
    body = """
        t = Reshape(image, gemm_input_shape)  m = MatMul(t, w)  y = Reshape(m, gemm_output_shape)
        r = Reshape(y, rows)  n = MatMul(r, w)  a = Add(n, b)  logits = ReduceMean<keepdims = 0>(a, one)
    """
    shapes = {"gemm_input_shape": (3, 8, 8), "gemm_output_shape": (1, 3, 8, 8), "rows": (1, 24, 8), "one": (1,)}
    constants = {name: np.array(shape) for name, shape in shapes.items()}
    model = graph(body, inputs="float[1,3,8,8] image", outputs="float[1,8] logits", w=(8, 8), b=(8,), **constants)
    feeds = {"image": images(1, 3, 8, 8)}
    made = normalise(load(model))
    with pytest.raises(ModelError):
        Session(model.SerializeToString(), providers=["cpu"])
    close(Session(made, providers=["cpu"]).run(feeds)[0], run(model, feeds)[0])
