"""Raising old models to opset 18: the outputs stay, weights and inputs too."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, array, close, graph, images, run, small

from onnx_saliency.errors import ModelError
from onnx_saliency.graph import load, normalise

X = {"image": images()}


def raised(model):
    return ir.to_proto(normalise(load(model)))


def same(model, feeds=None, tolerance=1e-6):
    """Outputs before and after are equal; returns the canonical model."""
    made = raised(model)
    assert made.opset_import[0].version == max(18, model.opset_import[0].version)
    onnx.checker.check_model(made, full_check=True)
    for before, after in zip(run(model, feeds or X), run(made, feeds or X), strict=True):
        close(after, before, tolerance)
    return made


STATISTICS = {"scale": (3,), "offset": (3,), "mean": (3,), "var": np.array([0.5, 1, 2], np.float32)}
IMAGES = "float[N,3,H,W] y"
CASES = {
    "Softmax axis 1": (range(7, 18), "y = Softmax<axis = 1>(image)", {}),
    "Softmax default axis": (range(7, 18), "y = Softmax(image)", {}),
    "LogSoftmax axis 2": (range(7, 18), "y = LogSoftmax<axis = 2>(image)", {}),
    "Dropout": (range(7, 12), "d = Dropout<ratio = 0.5>(image) y = Relu(d)", {}),
    "Clip attributes": (range(7, 11), "y = Clip<min = -0.5, max = 0.5>(image)", {}),
    "Clip one bound": (range(7, 11), "y = Clip<min = 0.0>(image)", {}),
    "Upsample 7": ((7, 8), 'y = Upsample<mode = "nearest", scales = [1.0, 1.0, 2.0, 3.0]>(image)', {}),
    "Upsample 7 linear": ((7, 8), 'y = Upsample<mode = "linear", scales = [1.0, 1.0, 2.0, 3.0]>(image)', {}),
    "Upsample 9": ((9,), 'y = Upsample<mode = "nearest">(image, scales)', {"scales": [1, 1, 2, 3]}),
    "Upsample 9 linear": ((9,), 'y = Upsample<mode = "linear">(image, scales)', {"scales": [1, 1, 2, 1.5]}),
    "Resize 10 nearest": ((10,), 'y = Resize<mode = "nearest">(image, scales)', {"scales": [1, 1, 2, 1.5]}),
    "Resize 10 nearest, smaller": ((10,), 'y = Resize<mode = "nearest">(image, scales)', {"scales": [1, 1, 0.6, 0.5]}),
    "Resize 10 linear": ((10,), 'y = Resize<mode = "linear">(image, scales)', {"scales": [1, 1, 2, 1.5]}),
    "Resize 10 linear, smaller": ((10,), 'y = Resize<mode = "linear">(image, scales)', {"scales": [1, 1, 0.6, 0.5]}),
    "Squeeze, Unsqueeze": (range(7, 13), "u = Unsqueeze<axes = [0, 3]>(image) y = Squeeze<axes = [0, 3]>(u)", {}),
    "ReduceSum": (range(7, 13), "s = ReduceSum<axes = [2], keepdims = 1>(image) y = Sub(image, s)", {}),
    "ReduceMean": (range(7, 18), "s = ReduceMean<axes = [2, 3], keepdims = 1>(image) y = Sub(image, s)", {}),
    "ReduceMax": (range(7, 18), "s = ReduceMax<axes = [1], keepdims = 1>(image) y = Sub(image, s)", {}),
    "BatchNormalization": (range(7, 18), "y = BatchNormalization(image, scale, offset, mean, var)", STATISTICS),
    "Slice 1": (range(7, 10), "y = Slice<axes = [2, 3], starts = [1, -6], ends = [-1, 2147483647]>(image)", {}),
    "Pad 2": (range(7, 11), 'y = Pad<mode = "constant", pads = [0, 0, 1, 2, 0, 0, 3, 0], value = 0.5>(image)', {}),
    "Pad reflect": (range(7, 11), 'y = Pad<mode = "reflect", pads = [0, 0, 1, 2, 0, 0, 3, 0]>(image)', {}),
    "Split": (range(7, 13), "a, b = Split<axis = 2, split = [3, 5]>(image) y = Concat<axis = 2>(b, a)", {}),
    "Split without sizes": (range(7, 18), "a, b = Split<axis = 2>(image) y = Concat<axis = 2>(b, a)", {}),
    "Hardmax": (range(7, 13), "h = Hardmax<axis = 3>(image) y = Mul(h, image)", {}),
    "AveragePool": (range(7, 18), "y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(image)", {}),
}
PARAMETERS = [
    pytest.param(opset, body, weights, id=f"{name}, opset {opset}")
    for name, (opsets, body, weights) in CASES.items()
    for opset in opsets
]


@pytest.mark.parametrize(("opset", "body", "weights"), PARAMETERS)
def test_outputs_stay(opset, body, weights):
    arrays = {name: np.asarray(v, np.float32) if isinstance(v, list) else v for name, v in weights.items()}
    same(graph(body, outputs=IMAGES, opset=opset, **arrays))


@pytest.mark.parametrize("opset", range(7, 24))
def test_the_usual_net(opset):
    made = same(small(" probabilities = Softmax(logits)", outputs="float[N,5] probabilities", opset=opset))
    assert [v.name for v in made.graph.input] == ["image"]
    assert [v.name for v in made.graph.output] == ["probabilities"]


@pytest.mark.parametrize("opset", [18, 19, 20, 21, 22])
def test_newer_opsets_stay(opset):
    assert raised(small(opset=opset)).opset_import[0].version == opset


@pytest.mark.parametrize("opset", [1, 6])
def test_older_opsets_are_refused(opset):
    with pytest.raises(ModelError, match=rf"opset {opset}; opsets 7 to \d+ are read"):
        normalise(load(small(opset=opset)))


def test_opsets_to_come_are_refused():
    with pytest.raises(ModelError, match=r"opset 999; the installed onnx package knows up to"):
        normalise(load(small(opset=999)))


def test_a_node_that_the_converter_refuses():
    body = CONV + HEAD + ' o = Upsample<mode = "nearest", height_scale = 2.0, width_scale = 2.0>(image)'
    with pytest.raises(ModelError, match=r"Opset 9 cannot be raised to 18: .*Export the model at opset 18"):
        raised(graph(body, opset=9, outputs="float[N,5] logits, float[N,3,H,W] o", **CONV_WEIGHTS, **HEAD_WEIGHTS))


@pytest.mark.parametrize("opset", [11, 18])
def test_weights_that_callers_may_override_stay_inputs(opset):
    """From IR version 4 an initializer that is listed as an input is a default, not a constant; small or large."""
    size = 4000
    inputs = f"{IMAGE_AND} float[5,4] v, float[{size}] large"
    body = CONV + HEAD + " m = ReduceMax<keepdims = 0>(large) z = Add(logits, m)"
    weights = {**CONV_WEIGHTS, **HEAD_WEIGHTS, "large": array((size,), "large")}
    model = graph(body, inputs=inputs, outputs="float[N,5] z", opset=opset, **weights)
    made = same(model)
    assert [v.name for v in made.graph.input] == ["image", "v", "large"]
    other = {**X, "v": array((5, 4), "other"), "large": array((size,), "more")}
    close(run(made, other)[0], run(model, other)[0])


IMAGE_AND = "float[N,3,8,8] image,"


def test_before_ir_4_all_initializers_are_constants():
    inputs = IMAGE_AND + "float[4,3,3,3] w, float[4] b, float[5,4] v, float[5] a"
    model = graph(CONV + HEAD, inputs=inputs, opset=8, ir=3, **CONV_WEIGHTS, **HEAD_WEIGHTS)
    made = same(model)
    assert [v.name for v in made.graph.input] == ["image"]
    assert made.ir_version >= 8


def test_large_weights_do_not_change():
    model = graph(
        "f = Flatten(image) logits = Gemm<transB = 1>(f, v, a)",
        outputs="float[N,50] logits",
        opset=9,
        v=(50, 192),
        a=(50,),
    )
    found = load(raised(model)).graph.initializers["v"].const_value.numpy()
    np.testing.assert_array_equal(found, array((50, 192), "v"))


def test_metadata_survive():
    model = small(opset=11)
    model.metadata_props.add(key="author", value="someone")
    assert [(p.key, p.value) for p in raised(model).metadata_props] == [("author", "someone")]
