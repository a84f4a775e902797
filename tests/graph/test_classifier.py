"""Image, layout and score found in classifiers of every shape, and a sentence where there are none or several."""

import numpy as np
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, graph, small

from onnx_saliency.errors import AmbiguousModelError, ModelError
from onnx_saliency.graph import find_classifier, load, normalise

ALL = {**CONV_WEIGHTS, **HEAD_WEIGHTS}


def find(model, **names):
    return find_classifier(normalise(load(model)), **names)


def refusal(model, **names):
    with pytest.raises(ModelError) as caught:
        find(model, **names)
    return str(caught.value)


# --- image ---------------------------------------------------------------------------------------

TRANSPOSED = "t = Transpose<perm = [0, 3, 1, 2]>(image)" + CONV.replace("(image", "(t") + HEAD


def test_nchw():
    found = find(small())
    assert (found.image.name, found.layout, found.channel_axis) == ("image", "NCHW", 1)
    assert (found.batch, found.channels, found.size) == (None, 3, (8, 8))


def test_nhwc():
    found = find(graph(TRANSPOSED, inputs="float[4,8,9,3] image", **ALL))
    assert (found.layout, found.channel_axis) == ("NHWC", 3)
    assert (found.batch, found.channels, found.size) == (4, 3, (8, 9))


@pytest.mark.parametrize("inputs", ["float[N,H,W,C] image", "float[N,3,8,3] image", "float[N,H,W,3] image"])
def test_nhwc_by_its_transpose(inputs):
    assert find(graph(TRANSPOSED, inputs=inputs, **ALL)).layout == "NHWC"


@pytest.mark.parametrize("shape", ["1,1,1,3", "1,3,1,1", "1,1,1,1"])
def test_one_pixel_is_no_image(shape):
    body = CONV + HEAD.replace("logits", "l") + " m = ReduceMean<keepdims = 0>(mean) logits = Add(l, m)"
    found = find(graph(body, inputs=f"float[N,3,8,8] image, float[{shape}] mean", **ALL))
    assert found.image.name == "image"


@pytest.mark.parametrize("shape", ["N,C,H,W", "N,3,H,W", "N,3,3,3", "N,3,8,1"])
def test_nchw_by_its_convolution(shape):
    body = "z = Sub(image, mean) q = Mul(z, mean)" + CONV.replace("(image", "(q") + HEAD
    found = find(graph(body, inputs=f"float[{shape}] image", mean=np.float32(2), **ALL))
    assert found.layout == "NCHW"


def test_open_sizes():
    found = find(small(inputs="float[N,3,H,W] image"))
    assert (found.batch, found.size) == (None, (None, None))


@pytest.mark.parametrize(("channels", "layout"), [(1, "NCHW"), (4, "NCHW"), (1, "NHWC")])
def test_grey_and_four_channels(channels, layout):
    shape = f"N,{channels},8,8" if layout == "NCHW" else f"N,8,8,{channels}"
    body = CONV + HEAD if layout == "NCHW" else TRANSPOSED
    found = find(graph(body, inputs=f"float[{shape}] image", **{**ALL, "w": (4, channels, 3, 3)}))
    assert (found.channels, found.layout) == (channels, layout)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "double"])
def test_images_of_other_types(dtype):
    body = "x = Cast<to = 1>(image)" + CONV.replace("(image", "(x") + HEAD
    assert find(graph(body, inputs=f"{dtype}[N,3,8,8] image", **ALL)).image.name == "image"


def test_layout_that_cannot_be_told():
    body = "f = Flatten(image) logits = Gemm<transB = 1>(f, w)"
    message = refusal(graph(body, inputs="float[N,3,8,3] image", w=(5, 72)))
    assert "second or last axis" in message
    assert "'image' float [N, 3, 8, 3]" in message


def test_a_second_input_that_is_no_image():
    body = CONV + HEAD.replace("logits", "l") + " logits = Add(l, bias)"
    assert find(graph(body, inputs="float[N,3,8,8] image, float[N,5] bias", **ALL)).image.name == "image"


def test_two_images():
    body = "d = Sub(image, other)" + CONV.replace("(image", "(d") + HEAD
    model = graph(body, inputs="float[N,3,8,8] image, float[N,3,8,8] other", **ALL)
    with pytest.raises(AmbiguousModelError) as caught:
        find(model)
    for part in ("'image' float [N, 3, 8, 8]", "'other' float [N, 3, 8, 8]", "input=NAME"):
        assert part in str(caught.value)
    assert find(model, input="other").image.name == "other"


def test_a_weight_that_is_listed_as_an_input_is_no_image():
    assert find(small(inputs="float[N,3,8,8] image, float[4,3,3,3] w")).image.name == "image"


@pytest.mark.parametrize(
    "inputs", ["float[N,192] image", "float[192] image", "float[N,7,8,8] image", "float[N,3,8] image"]
)
def test_no_image(inputs):
    model = graph("f = Flatten(image) logits = MatMul(f, w)", inputs=inputs, w=(192, 5))
    message = refusal(model)
    assert "No image input" in message
    assert "'image' float [" in message


def test_an_input_that_is_not_there_or_no_image():
    model = graph(CONV + HEAD, inputs="float[N,3,8,8] image, float[N,5] bias", **ALL)
    assert "no input 'picture'; it has 'image' float [N, 3, 8, 8], 'bias'" in refusal(model, input="picture")
    assert "'bias' float [N, 5] is not an image" in refusal(model, input="bias")
    assert "no input 'w'" in refusal(small(inputs="float[N,3,8,8] image, float[4,3,3,3] w"), input="w")


# --- score ---------------------------------------------------------------------------------------


def test_logits_as_they_are():
    found = find(small())
    assert (found.score.name, found.output.name, found.activation, found.classes) == ("logits", "logits", None, 5)


@pytest.mark.parametrize("activation", ["Softmax", "LogSoftmax", "Sigmoid"])
@pytest.mark.parametrize("opset", [9, 11, 13, 18])
def test_a_final_activation_is_stepped_over(activation, opset):
    found = find(small(f" y = {activation}(logits)", outputs="float[N,5] y", opset=opset))
    assert (found.score.name, found.output.name, found.activation, found.classes) == ("logits", "y", activation, 5)


AROUND = {
    "Flatten behind": (" y = Softmax(logits) z = Flatten(y)", "logits"),
    "Reshape behind": (" y = Softmax(logits) z = Reshape(y, shape)", "logits"),
    "Identity behind": (" y = Softmax(logits) z = Identity(y)", "logits"),
    "Cast behind": (" y = Softmax(logits) z = Cast<to = 1>(y)", "logits"),
    "Reshape before": (" l = Reshape(logits, shape) z = Softmax(l)", "logits"),
    "Unsqueeze, Softmax, Squeeze": (
        " l = Unsqueeze(logits, axes) y = Softmax<axis = 1>(l) z = Squeeze(y, axes)",
        "logits",
    ),
    "only a Flatten": (" z = Flatten(logits)", "z"),
}


@pytest.mark.parametrize(("body", "score"), AROUND.values(), ids=AROUND)
def test_reshapes_around_the_activation(body, score):
    given = {"shape": np.array([-1, 5]), "axes": np.array([2, 3])}
    used = {name: value for name, value in given.items() if name in body}
    found = find(small(body, outputs="float[N,5] z", **used))
    assert (found.score.name, found.classes) == (score, 5)


@pytest.mark.parametrize("activation", ["Softmax", "Sigmoid"])
@pytest.mark.parametrize("opset", [11, 18])
def test_an_activation_over_rows_that_are_not_images(activation, opset):
    """Five rows of two numbers per image: no score [batch, classes] lies before the activation."""
    body = f" both = Concat<axis = 1>(logits, logits) r = Reshape(both, rows) t = {activation}(r) y = Reshape(t, back)"
    shapes = {"rows": np.array([-1, 2]), "back": np.array([-1, 10])}
    found = find(small(body, outputs="float[N,10] y", opset=opset, **shapes))
    assert (found.score.name, found.activation, found.classes) == ("y", None, 10)


SPATIAL = CONV.replace("f = Flatten(p)", "") + "logits = Conv(p, v, a)"
SPATIAL_WEIGHTS = {**ALL, "v": (5, 4, 1, 1)}


@pytest.mark.parametrize("tail", ["", " y = Softmax<axis = 1>(logits)", " f = Flatten(logits) y = Softmax(f)"])
def test_scores_with_axes_of_length_1(tail):
    outputs = "float[N,5,1,1] logits" if not tail else "float[] y"
    found = find(graph(SPATIAL + tail, outputs=outputs, **SPATIAL_WEIGHTS))
    assert (found.score.name, found.classes) == ("logits", 5)


def test_scores_without_a_batch_axis():
    body = CONV + HEAD + " z = Squeeze(logits, zero)"
    found = find(graph(body, inputs="float[1,3,8,8] image", outputs="float[5] z", zero=np.array([0]), **ALL))
    assert found.classes == 5


@pytest.mark.parametrize(("batch", "classes"), [("N", 1), ("4", 1), ("1", 1)])
def test_one_score_an_image(batch, classes):
    body = CONV + HEAD.replace("logits", "l") + " z = Squeeze(l, one) y = Sigmoid(z)"
    inputs, outputs = f"float[{batch},3,8,8] image", f"float[{batch}] y"
    weights = {**CONV_WEIGHTS, "v": (1, 4), "a": (1,), "one": np.array([1])}
    assert find(graph(body, inputs=inputs, outputs=outputs, **weights)).classes == classes


OWN_SOFTMAX = {
    "plain": (CONV + HEAD, " y = Softmax(logits)"),
    "behind a Flatten": (SPATIAL.replace("logits", "l") + " logits = Flatten(l)", " y = Softmax(logits)"),
    "beside a Flatten": (SPATIAL.replace("logits", "l") + " logits = Flatten(l)", " y = Softmax<axis = 1>(l)"),
    "through an Identity": (CONV + HEAD.replace("logits", "l") + " logits = Identity(l)", " y = Softmax(l)"),
}


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("outputs", ["float[N,5] logits, float[] y", "float[] y, float[N,5] logits"])
@pytest.mark.parametrize(("body", "softmax"), OWN_SOFTMAX.values(), ids=OWN_SOFTMAX)
def test_an_output_and_its_own_softmax_are_one_score(body, softmax, outputs, opset):
    weights = SPATIAL_WEIGHTS if "Conv(p" in body else ALL
    found = find(graph(body + softmax, outputs=outputs, opset=opset, **weights))
    assert found.classes == 5
    assert found.score.name in ("logits", "l")


TWO = CONV + HEAD + " age = Gemm<transB = 1>(f, u) y = Softmax(age)"
TWO_OUTPUTS = "float[N,5] logits, float[N,2] y"


def test_two_scores():
    model = graph(TWO, outputs=TWO_OUTPUTS, u=(2, 4), **ALL)
    with pytest.raises(AmbiguousModelError) as caught:
        find(model)
    for part in ("'logits' float [N, 5]", "'y' float [N, 2]", "output=NAME"):
        assert part in str(caught.value)
    found = find(model, output="y")
    assert (found.score.name, found.activation, found.classes) == ("age", "Softmax", 2)


def test_outputs_of_other_kinds_are_passed_over():
    body = CONV + HEAD + " label = ArgMax<axis = 1>(logits)"
    model = graph(body, outputs="int64[N,1] label, float[N,4,8,8] c, float[N,5] logits", **ALL)
    assert find(model).score.name == "logits"
    assert "'label' int64 [N, 1] holds no class scores" in refusal(model, output="label")
    assert "'c' float [N, 4, 8, 8] holds no class scores" in refusal(model, output="c")


@pytest.mark.parametrize("shape", ["N,4,8,8", "N,4,H,W", "1,4,8,8"])
def test_a_segmentation_is_refused(shape):
    model = graph("c = Conv<pads = [1, 1, 1, 1]>(image, w, b)", outputs=f"float[{shape}] c", **CONV_WEIGHTS)
    message = refusal(model)
    assert "Only classifiers" in message
    assert "'c' float [" in message


def test_no_classes():
    model = small(outputs="float[N,0] logits", v=(0, 4), a=(0,))
    assert "'logits' float [N, 0] has 0 classes" in refusal(model)


def test_an_output_that_is_not_there():
    assert "no output 'scores'; it has 'logits' float [N, 5]" in refusal(small(), output="scores")


def test_an_output_of_unknown_shape_is_taken_at_its_name():
    body = CONV + HEAD + " z = Reshape(logits, shape)"
    model = graph(body, inputs="float[N,3,8,8] image, int64[R] shape", outputs="float[] z", **ALL)
    assert find(model, output="z").score.name == "z"
