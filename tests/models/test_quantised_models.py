"""Quantised classifiers: what onnxruntime's own quantiser writes, and trained ones on photographs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from nets import array, close, graph
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from pictures import data_folder, model_path, read_pictures
from scipy.stats import spearmanr

from onnx_saliency import Channel, Explainer, export, vjp
from onnx_saliency.errors import UnsupportedOperatorError
from onnx_saliency.exporter import read_metadata
from onnx_saliency.graph.quantised import FORMS
from onnx_saliency.inspection import inspect_model

DATA = data_folder()
EXACT = {"ConvInteger", "MatMulInteger", "MatMulIntegerToFloat"}
ROUNDING = (FORMS.keys() | {"QuantizeLinear", "QLinearConcat", "QGemm", "DynamicQuantizeLinear"}) - EXACT


def session(model: onnx.ModelProto, *, whole: bool = True) -> ort.InferenceSession:
    """`whole`: with all of the runtime's optimisations, which compute groups of a quantised graph in whole numbers."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not whole:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def stated(model: onnx.ModelProto) -> dict[str, str]:
    return read_metadata({entry.key: entry.value for entry in model.metadata_props})


def check(model: onnx.ModelProto, images: np.ndarray, *, whole: bool = True) -> list[np.ndarray]:
    """Outputs are the original's, bit for bit; the gradient of each image is finite and not zero. Returns gradients."""
    image, output = model.graph.input[0].name, model.graph.output[0].name
    explained = export(model)
    before, after = session(model, whole=whole), session(explained, whole=whole)
    gradients = []
    for each in images:
        (wanted,) = before.run([output], {image: each[None]})
        found, saliency, gradient = after.run([output, "saliency", "input_gradient"], {image: each[None]})
        np.testing.assert_array_equal(found, wanted)
        assert np.isfinite(gradient).all()
        assert (saliency > 0).mean() > 0.9
        gradients.append(gradient[0])
    appended = [node for node in explained.graph.node if node.name.startswith("saliency/")]
    assert {node.domain for node in appended} == {""}
    assert quantised_nodes(explained) == quantised_nodes(model)
    rounding = sum(node.op_type in ROUNDING for node in model.graph.node)
    on_path = int(stated(explained)["straight_through_count"])
    assert 0 < on_path <= rounding
    return gradients


def quantised_nodes(model: onnx.ModelProto) -> dict[tuple[str, str], int]:
    """How many there are of each kind; nothing that is appended is one of them."""
    return Counter((node.domain, node.op_type) for node in model.graph.node if node.op_type in ROUNDING | EXACT)


# --- a small net, quantised here ----------------------------------------------------------------

BODY = """
    c0 = Conv<pads = [1, 1, 1, 1]>(image, w0, b0)  r0 = Relu(c0)
    c1 = Conv<pads = [1, 1, 1, 1], group = 8>(r0, w1, b0)  r1 = LeakyRelu<alpha = 0.1>(c1)
    a = Add(r0, r1)  g = Sigmoid(c1)  m = Mul(a, g)  j = Concat<axis = 1>(m, r0)
    x = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(j)  v = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(x)
    p = GlobalAveragePool(v)  f = Flatten(p)
    logits = Gemm<transB = 1>(f, w2, b2)
"""
WEIGHTS = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (8, 1, 3, 3), "w2": (5, 16), "b2": (5,)}
IMAGES = np.random.default_rng(7).standard_normal((16, 3, 8, 8)).astype(np.float32)


class Reader(CalibrationDataReader):
    def __init__(self) -> None:
        self.images = iter(IMAGES)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else {"image": image[None]}


@pytest.fixture(scope="module")
def plain():
    return graph(BODY, **{name: array(shape, name) / 2 for name, shape in WEIGHTS.items()})


def quantised(plain: onnx.ModelProto, folder, *, prepared: bool = True, **options) -> onnx.ModelProto:
    source, goal = folder / "plain.onnx", folder / "quantised.onnx"
    onnx.save(plain, source)
    if prepared:
        quant_pre_process(str(source), str(source), skip_symbolic_shape=True)
    quantize_static(str(source), str(goal), Reader(), **options)
    return onnx.load(goal)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b))


FORMATS = [(QuantFormat.QDQ, {}), (QuantFormat.QOperator, {"QLinearConv", "QLinearConcat", "QLinearSigmoid", "QGemm"})]


@pytest.mark.parametrize("activations", [QuantType.QUInt8, QuantType.QInt8], ids=["uint8", "int8"])
@pytest.mark.parametrize(("form", "operators"), FORMATS, ids=["QDQ", "QOperator"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
def test_a_net_from_onnxruntimes_quantiser(plain, tmp_path, form, operators, activations, per_channel):
    options = {"activation_type": activations, "weight_type": QuantType.QInt8, "per_channel": per_channel}
    model = quantised(plain, tmp_path, quant_format=form, **options)
    assert {node.op_type for node in model.graph.node} >= set(operators)
    # int8: onnxruntime's optimiser on x64 makes uint8 of some codes, not of the same in both models
    gradients = check(model, IMAGES[:4], whole=form == QuantFormat.QOperator or activations == QuantType.QUInt8)
    twin = session(export(plain))
    for image, gradient in zip(IMAGES[:4], gradients, strict=True):
        (wanted,) = twin.run(["input_gradient"], {"image": image[None]})
        assert cosine(gradient, wanted[0]) > 0.95


@pytest.mark.parametrize(("form", "operators"), FORMATS, ids=["QDQ", "QOperator"])
@pytest.mark.parametrize("method", ["gradient", "guided", "gradcam", "integrated_gradients"])
def test_scores_and_classes_are_those_of_the_quantised_net(plain, tmp_path, form, operators, method):
    """The gradient is that of real numbers; what is said of the model is what it computes."""
    model = quantised(plain, tmp_path, quant_format=form)
    (logits,) = session(model).run(["logits"], {"image": IMAGES})
    explainer = Explainer(model, method=method)
    found = explainer.explain(IMAGES)
    np.testing.assert_array_equal(found.logits, logits)
    np.testing.assert_array_equal(found.target, logits.argmax(axis=1))
    np.testing.assert_array_equal(found.score, logits.max(axis=1))
    several = Explainer(model, method=method, several=3).explain(IMAGES)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(several.score, np.take_along_axis(logits, best, axis=1).ravel())
    close(several.saliency[::3], found.saliency, 1e-5)


def test_layers_of_a_quantised_net_are_asked_for_by_name(plain, tmp_path):
    model = quantised(plain, tmp_path, quant_format=QuantFormat.QOperator)
    names = {name for node in model.graph.node if node.op_type == "QLinearConv" for name in (node.name, node.output[0])}
    for name in names - {""}:
        found = Explainer(model, score=Channel(name)).explain(IMAGES[:2], 3)
        assert (found.saliency > 0).mean() > 0.9


def test_a_dynamically_quantised_net(plain, tmp_path):
    onnx.save(plain, tmp_path / "plain.onnx")
    quantize_dynamic(str(tmp_path / "plain.onnx"), str(tmp_path / "quantised.onnx"), weight_type=QuantType.QUInt8)
    model = onnx.load(tmp_path / "quantised.onnx")
    assert {node.op_type for node in model.graph.node} >= {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
    twin = session(export(plain))
    for image, gradient in zip(IMAGES, check(model, IMAGES[:4]), strict=False):
        assert cosine(gradient, twin.run(["input_gradient"], {"image": image[None]})[0][0]) > 0.95


RECURRENT = """
    c = Conv<pads = [1, 1, 1, 1]>(image, w0, b0)  r = Relu(c)
    t = Reshape(r, rows)  x = Transpose<perm = [2, 0, 1]>(t)
    y, last, cell = LSTM<direction = "bidirectional", hidden_size = 6>(x, wx, wh, bx)
    p = Transpose<perm = [1, 0, 2]>(last)  f = Flatten(p)  logits = Gemm<transB = 1>(f, w3, b2)
"""


@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
def test_a_dynamically_quantised_lstm(tmp_path, per_channel):
    shapes = {"w0": (8, 3, 3, 3), "b0": (8,), "wx": (2, 24, 8), "wh": (2, 24, 6), "bx": (2, 48), "w3": (5, 12)}
    weights = {name: array(shape, name) / 2 for name, shape in (shapes | {"b2": (5,)}).items()}
    plain = graph(RECURRENT, rows=np.array([0, 8, 64]), **weights)
    onnx.save(plain, tmp_path / "plain.onnx")
    # 7 bits: with 8, x64 without VNNI saturates, and another class than the twin's may win
    options = {"weight_type": QuantType.QInt8, "per_channel": per_channel, "reduce_range": True}
    quantize_dynamic(str(tmp_path / "plain.onnx"), str(tmp_path / "quantised.onnx"), **options)
    model = onnx.load(tmp_path / "quantised.onnx")
    assert "DynamicQuantizeLSTM" in {node.op_type for node in model.graph.node}
    twin = session(export(plain))
    for image, gradient in zip(IMAGES, check(model, IMAGES[:4]), strict=False):
        assert cosine(gradient, twin.run(["input_gradient"], {"image": image[None]})[0][0]) > 0.95
    found = inspect_model(tmp_path / "quantised.onnx")
    assert found.explainable
    assert str(found.straight_through) == stated(export(model))["straight_through_count"]
    with pytest.raises(UnsupportedOperatorError, match=r"DynamicQuantizeLSTM.*without its rounding"):
        vjp(model, outputs=["logits"], inputs=["image"])


def test_a_quantised_net_that_onnxruntime_has_optimised(plain, tmp_path):
    """Groups of DequantizeLinear and QuantizeLinear have become operators on codes."""
    model = quantised(plain, tmp_path, quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(tmp_path / "optimised.onnx")
    assert {node.op_type for node in optimised.graph.node} >= {"QLinearConv", "QLinearAdd", "QLinearConcat"}
    for groups, codes in zip(check(model, IMAGES[:4]), check(optimised, IMAGES[:4]), strict=True):
        close(codes, groups, 0.05)


def test_inspection_says_so(plain, tmp_path):
    model = quantised(plain, tmp_path, quant_format=QuantFormat.QOperator)
    onnx.save(model, tmp_path / "quantised.onnx")
    found = inspect_model(tmp_path / "quantised.onnx")
    assert found.explainable
    assert str(found.straight_through) == stated(export(model))["straight_through_count"]
    lines = [text for _, text in found.facts() if "straight-through" in text]
    assert len(lines) == 1
    assert lines[0].startswith(f"{found.straight_through} ")
    onnx.save(plain, tmp_path / "plain.onnx")
    twin = inspect_model(tmp_path / "plain.onnx")
    assert found.rectifiers == int(stated(export(model, method="guided"))["changed_count"])
    assert not [text for _, text in twin.facts() if "straight-through" in text]
    assert found.multiply_accumulates == twin.multiply_accumulates
    scales = found.parameters - sum(np.prod(WEIGHTS[name]) for name in ("w0", "w1", "w2"))
    assert 0 < scales < 50  # and no weight is lost


# --- trained classifiers on photographs ----------------------------------------------------------

trained = pytest.mark.skipif(
    not DATA.is_dir(),
    reason=f"no trained models and photographs in {DATA}; ONNX_SALIENCY_TEST_DATA names another folder",
)

# Nodes that round, all of them between image and score.
TRAINED = {"mobilenetv1_0.75_192_qdq": 30, "mobilenetv2_inat_birds_qdq": 65, "mobilenetv2_1.0_224_qlinear": 67}


@trained
@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_classifier(name):
    model = onnx.load(model_path(DATA, name))
    check(model, read_pictures(DATA, name, 4))
    assert int(stated(export(model, check=False))["straight_through_count"]) == TRAINED[name]


@trained
def test_the_map_of_a_quantised_classifier_is_that_of_its_float_twin():
    """Spearman's rank correlation of single maps, plain gradients."""
    float_name, quantised_name = "mobilenetv1_0.75_192", "mobilenetv1_0.75_192_qdq"
    pictures = read_pictures(DATA, float_name, 6)
    twins = [session(export(onnx.load(model_path(DATA, name)), check=False)) for name in (float_name, quantised_name)]
    (logits,) = twins[0].run(["logits"], {"input": pictures})
    feeds = {"input": pictures, "target": logits.argmax(axis=1)}
    pairs = zip(*(twin.run(["saliency"], feeds)[0] for twin in twins), strict=True)
    found = [spearmanr(one.ravel(), other.ravel()).statistic for one, other in pairs]
    assert np.mean(found) > 0.95
    assert min(found) > 0.6
