"""Mixed and double precision: exact to their own rounding, on kernels that onnxruntime has."""

import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, array, close, graph, images, run, small
from onnx.reference import ReferenceEvaluator

import onnx_saliency as xs
from onnx_saliency.errors import ExportError
from onnx_saliency.exporter.double import LOWERINGS, write_out_double
from onnx_saliency.exporter.methods import METHODS
from onnx_saliency.graph import normalise

ROWS = {
    "Conv": ("Conv<pads = [1, 2, 0, 1], strides = [2, 1]>(x, w, b)", (2, 6, 9, 8), {"w": (4, 6, 3, 2), "b": (4,)}),
    "Conv, groups": ("Conv<group = 3, dilations = [1, 2]>(x, w)", (2, 6, 7, 8), {"w": (9, 2, 2, 3)}),
    "Conv, depthwise": ("Conv<group = 6, pads = [1, 1, 1, 1]>(x, w)", (2, 6, 7, 8), {"w": (6, 1, 3, 3)}),
    "Conv, depthwise, apart": (
        "Conv<group = 6, pads = [1, 1, 1, 1], strides = [2, 3], dilations = [2, 1]>(x, w, b)",
        (2, 6, 9, 8), {"w": (12, 1, 3, 3), "b": (12,)},
    ),
    "Conv, 1 x 1, apart": ("Conv<strides = [2, 3]>(x, w)", (2, 6, 5, 4), {"w": (3, 6, 1, 1)}),
    "Conv, 1 x 1": ("Conv(x, w)", (2, 6, 5, 4), {"w": (3, 6, 1, 1)}),
    "Conv, one axis": ("Conv<strides = [3]>(x, w, b)", (2, 6, 10), {"w": (4, 6, 4), "b": (4,)}),
    "Conv, three axes": ("Conv<strides = [1, 2, 1]>(x, w)", (1, 4, 5, 6, 4), {"w": (2, 4, 2, 3, 1)}),
    "ConvTranspose": (
        "ConvTranspose<strides = [2, 3], pads = [1, 0, 0, 2], output_padding = [1, 2]>(x, w, b)",
        (2, 6, 5, 4), {"w": (6, 3, 3, 4), "b": (3,)},
    ),
    "ConvTranspose, groups": ("ConvTranspose<group = 2>(x, w)", (2, 6, 5, 4), {"w": (6, 3, 2, 3)}),
    "ConvTranspose, dilated": ("ConvTranspose<dilations = [2, 1]>(x, w)", (2, 6, 5, 4), {"w": (6, 3, 2, 3)}),
    "ConvTranspose, one axis": ("ConvTranspose<strides = [2]>(x, w)", (2, 6, 5), {"w": (6, 3, 3)}),
    "AveragePool": (
        "AveragePool<kernel_shape = [3, 2], strides = [2, 1], pads = [1, 1, 1, 0]>(x)", (2, 3, 8, 7), {}
    ),
    "AveragePool, pads counted": (
        "AveragePool<kernel_shape = [3, 2], pads = [1, 1, 1, 0], count_include_pad = 1>(x)", (2, 3, 8, 7), {}
    ),
    "AveragePool, ceil_mode": (
        "AveragePool<kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1>(x)", (2, 3, 8, 7), {}
    ),
    "AveragePool, 1 and strides": ("AveragePool<kernel_shape = [1, 3], strides = [2, 1]>(x)", (2, 3, 8, 7), {}),
    "GlobalAveragePool": ("GlobalAveragePool(x)", (2, 3, 8, 7), {}),
    "GlobalMaxPool": ("GlobalMaxPool(x)", (2, 3, 8, 7), {}),
    "LRN": ("LRN<size = 5, alpha = 0.3, beta = 0.6, bias = 1.5>(x)", (7, 7, 3, 2), {}),
    "InstanceNormalization": (
        "InstanceNormalization<epsilon = 0.01>(x, s, b)", (2, 3, 4, 5), {"s": (3,), "b": (3,)}
    ),
    "Erf": ("Erf(x)", (2, 3, 4), {}),
    "Mean": ("Mean(x, w, x)", (2, 3), {"w": (2, 3)}),
}  # fmt: skip
BY_DEFINITION = ["LeakyRelu<alpha = 0.3>", "Elu<alpha = 0.7>", "Selu", "HardSigmoid", "Softplus",
                 "Softsign", "ThresholdedRelu"]  # fmt: skip


SHAPE = (2, 3, 4)  # of what is written by its definition
# The standard's own evaluator takes one channel a group, and computes Erf in float32.
_WRONG = {"ConvTranspose, groups", "Erf"}


def operator(call, shape, weights, *, kind="double", is_open=False):
    letters = ["N", str(shape[1]), *"HWD"[: len(shape) - 2]] if is_open else map(str, shape)
    made = ", ".join(f"o{axis}" for axis in range(len(shape)))
    values = {name: array(sides, name, np.dtype(kind)) for name, sides in weights.items()}
    kind = kind.removesuffix("32")
    return graph(f"y = {call}", inputs=f"{kind}[{', '.join(letters)}] x", outputs=f"{kind}[{made}] y", **values)


@pytest.mark.parametrize("is_open", [False, True], ids=["fixed", "open"])
@pytest.mark.parametrize("row", [*ROWS, *BY_DEFINITION])
def test_operator(row, is_open):
    """What onnxruntime cannot run in float64 it runs in another form, and gives what the standard's evaluator gives."""
    call, shape, weights = ROWS.get(row, (f"{row}(x)", SHAPE, {}))
    model = operator(call, shape, weights, is_open=is_open)
    x = array(shape, "x", np.float64)
    if row in ROWS:
        with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
            run(model, {"x": x})
    written = normalise(ir.from_proto(model))
    write_out_double(written)
    (y,) = run(ir.to_proto(written), {"x": x})
    close(y, run(operator(call, shape, weights, kind="float32"), {"x": x.astype(np.float32)})[0], 1e-6)
    if row not in _WRONG:
        close(y, ReferenceEvaluator(model).run(None, {"x": x})[0], 1e-13)


def test_erf_everywhere():
    """To a few roundings of float64, also where it has long been 1; NaN stays NaN."""
    x = np.append(np.linspace(-7, 7, 10_000), [0.0, 1e-300, 1e9, -np.inf, np.nan])
    written = normalise(ir.from_proto(graph("y = Erf(x)", inputs="double[N] x", outputs="double[N] y")))
    write_out_double(written)
    (y,) = run(ir.to_proto(written), {"x": x})
    np.testing.assert_allclose(y, np.vectorize(math.erf)(x), rtol=0, atol=2e-15)


def test_every_lowering_has_a_row():
    assert {row.split(",")[0] for row in ROWS} == set(LOWERINGS)


def test_the_gradient_is_that_of_a_double_model():
    """Inputs, outputs and their types are the model's own, and the gradient rounded once, to float32."""
    single = xs.export(small(), precision="double")
    for values in (single.graph.input, single.graph.output):
        for value in values:
            assert value.type.tensor_type.elem_type == (7 if value.name == "target" else 1)
    weights = {name: array(shape, name).astype(np.float64) for name, shape in (CONV_WEIGHTS | HEAD_WEIGHTS).items()}
    twin = graph(CONV + HEAD, inputs="double[N,3,8,8] image", outputs="double[N,5] logits", **weights)
    x = images()
    feeds = {"image": x.astype(np.float64)}
    (expected,) = ReferenceEvaluator(xs.export(twin, check=False)).run(["input_gradient"], feeds)
    actual, logits = run(single, {"image": x}, ["input_gradient", "logits"])
    close(actual, expected, 1e-7)
    close(logits, run(small(), {"image": x})[0], 1e-6)


longer = pytest.mark.parametrize("precision", ["mixed", "double"])


@pytest.mark.parametrize("profile", ["portable", "cpu"])
@pytest.mark.parametrize(
    "body",
    [
        "a = Add(image, t) b = Sub(a, one) d = Relu(b)",
        "a = Add(image, t) b = Sub(a, one) d = LeakyRelu(b)",
        "a = Sub(image, t) d = Clip(a, zero, one)",
        "a = Add(image, slant) d = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a)",
        "a = Add(image, slant) d = GlobalMaxPool(a)",
        "a = Add(image, slant) d = ReduceMax(a, axes)",
    ],
    ids=["Relu", "LeakyRelu", "Clip", "MaxPool", "GlobalMaxPool", "ReduceMax"],
)
def test_what_rounding_would_decide(body, profile):
    """Numbers that float32 cannot tell apart lie on the sides they lie on, in mixed precision too."""
    numbers = {"t": 1e-12, "zero": 0, "one": 1, "slant": 1e-12 * np.arange(64).reshape(1, 1, 8, 8)}
    weights = {name: np.float32(value) for name, value in numbers.items()} | {"axes": np.array([2, 3])}
    body += " p = GlobalAveragePool(d) f = Flatten(p) logits = Gemm<transB = 1>(f, v)"
    model = graph(body, **weights, v=(5, 3))
    x = {"image": np.ones((1, 3, 8, 8), np.float32)}
    single, mixed, double = (
        run(xs.export(model, precision=each, profile=profile), x, ["input_gradient"])[0]
        for each in ("single", "mixed", "double")
    )
    close(mixed, double, 1e-6)
    assert np.linalg.norm(single - double) > 0.1 * np.linalg.norm(double)


@longer
def test_an_image_with_channels_last(precision):
    """The runtime's optimiser moves the Transpose behind the pads, which it takes for those of all axes."""
    body = (
        "t = Transpose<perm = [0, 3, 1, 2]>(image) u = Conv<pads = [1, 1, 1, 1]>(t, k) "
        + CONV.replace("image", "u")
        + HEAD
    )
    weights = {"k": (3, 3, 3, 3), **CONV_WEIGHTS, **HEAD_WEIGHTS}
    model = graph(body, inputs="float[N,8,8,3] image", **weights)
    x = {"image": np.moveaxis(images(), 1, -1)}
    single, more = (run(xs.export(model, precision=each), x, ["input_gradient"])[0] for each in ("single", precision))
    close(more, single, 1e-5)


@longer
@pytest.mark.parametrize("method", METHODS)
def test_methods(method, precision):
    """Each gives what it gives in single precision, but for rounding, in the same types."""
    body = CONV.replace("Sigmoid", "Relu") + HEAD
    model = graph(body, **{**CONV_WEIGHTS, **HEAD_WEIGHTS})
    single, more = (xs.Explainer(model, method=method, precision=each, cache=False) for each in ("single", precision))
    expected, actual = (explainer.explain(images(), 3) for explainer in (single, more))
    assert actual.saliency.dtype == actual.logits.dtype == np.float32
    close(actual.saliency, expected.saliency, 1e-4)
    close(actual.logits, expected.logits, 1e-5)
    close(actual.score, expected.score, 1e-5)


@longer
@pytest.mark.parametrize("pool", ["AveragePool<kernel_shape = [2, 2]>(k)", "LRN<size = 3>(k)"])
def test_in_the_body_of_a_loop(pool, precision):
    """Of what a loop computes, in many passes, no shape is inferred."""
    body = CONV.replace("c = Conv", "k = Conv").replace("s = Sigmoid(c)", f"c = {pool} s = Sigmoid(c)") + HEAD
    model = graph(body, **{**CONV_WEIGHTS, **HEAD_WEIGHTS})
    method = xs.IntegratedGradients(steps=4)
    x = {"image": images()}
    single, more = (
        run(xs.export(model, method=method, precision=each), x, ["saliency"])[0] for each in ("single", precision)
    )
    close(more, single, 1e-4)


@longer
def test_half_precision_models(precision):
    body = "x = Cast<to = 1>(image)" + CONV.replace("(image", "(x") + HEAD
    half = graph(body, inputs="float16[N,3,8,8] image", **{**CONV_WEIGHTS, **HEAD_WEIGHTS})
    x = images().astype(np.float16)
    names = ["input_gradient", "logits"]
    single, more = (run(xs.export(half, precision=each), {"image": x}, names) for each in ("single", precision))
    for expected, actual in zip(single, more, strict=True):
        assert actual.dtype == expected.dtype
        close(actual, expected, 1e-3)


def test_what_has_no_double_form_is_named():
    body = CONV.replace("s = Sigmoid(c)", "e = Cosh(c) s = Sinh(e)") + HEAD
    model = graph(body, **{**CONV_WEIGHTS, **HEAD_WEIGHTS})
    with pytest.raises(
        ExportError, match=r"no form in double precision.*\n.*Cosh, opset 18\n.*Sinh, opset 18\n"
    ) as caught:
        xs.export(model, precision="double")
    assert "'e'" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "inputs"),
    [("ConvTranspose<output_shape = [9, 7]>(x, w)", ""), ("Conv(x, w)", ", double[A,B,C,D] w")],
    ids=["output_shape", "weight of an open shape"],
)
def test_windows_that_are_not_known_are_named(call, inputs):
    weights = {} if inputs else {"w": array((6, 3, 3, 3), "w", np.float64)}
    model = graph(f"y = {call}", inputs=f"double[2,6,5,4] x{inputs}", outputs="double[a,b,c,d] y", **weights)
    with pytest.raises(ExportError, match=r"no form in double precision.*\n.*'y': Conv.*, opset 18\n"):
        write_out_double(normalise(ir.from_proto(model)))


def test_quantised_models_have_none():
    body = """q = QuantizeLinear(image, t, z) d = DequantizeLinear(q, t, z) p = GlobalAveragePool(d) f = Flatten(p)
              logits = Gemm<transB = 1>(f, m)"""
    model = graph(body, m=(5, 3), t=np.float32(0.1), z=np.uint8(128))
    with pytest.raises(ExportError, match="no form in double precision"):
        xs.export(model, precision="double")


def test_an_unknown_precision():
    with pytest.raises(ExportError, match="A precision is one of single, mixed, double, not 'quad'"):
        xs.export(small(), precision="quad")


def test_on_the_command_line(tmp_path, command):
    onnx.save(small(), tmp_path / "net.onnx")
    ran = command("export", tmp_path / "net.onnx", "--precision", "double", "-o", tmp_path / "out.onnx")
    assert ran.code == 0
    expected = xs.export(small(), precision="double").SerializeToString()
    assert (tmp_path / "out.onnx").read_bytes() == expected
