"""The reference itself: values against ONNX Runtime, gradients against finite differences."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from autodiff import OPERATORS, Reference
from onnx import helper, numpy_helper

X = (2, 4, 7, 6)
RNG = np.random.default_rng(0)


def weights(*shape, low=-1.0, high=1.0):
    return RNG.uniform(low, high, shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def case(opset, op, *constants, shape=X, name=None, **attributes):
    """One node that reads `x` and then `constants`; None leaves an input out, "x" is the image again."""
    return pytest.param(opset, op, shape, constants, attributes, id=name or f"{op}-{opset}")


BATCH = (weights(4), weights(4), weights(4), weights(4, low=0.5, high=2))

CASES = [
    case(11, "Conv", weights(3, 4, 3, 2), weights(3), strides=[2, 1], pads=[1, 0, 2, 1], name="Conv"),
    case(11, "Conv", weights(6, 2, 3, 3), group=2, dilations=[2, 2], pads=[2, 2, 2, 2], name="Conv-group-dilated"),
    case(11, "Conv", weights(4, 1, 3, 3), weights(4), group=4, strides=[2, 2], name="Conv-depthwise"),
    case(11, "Conv", weights(2, 4, 3), shape=(1, 4, 9), pads=[1, 1], name="Conv-1d"),
    case(11, "Conv", weights(3, 4, 1, 1), pads=[1, 1, 1, 1], name="Conv-1x1-pads"),
    case(12, "MaxPool", kernel_shape=[3, 3], strides=[2, 2], name="MaxPool-overlap"),
    case(12, "MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, name="MaxPool-ceil"),
    case(12, "MaxPool", kernel_shape=[2, 2], strides=[2, 3], pads=[1, 0, 1, 1], ceil_mode=1, name="MaxPool-ceil-pads"),
    case(12, "MaxPool", kernel_shape=[2, 3], strides=[1, 2], pads=[1, 0, 0, 1], name="MaxPool-pads"),
    case(12, "MaxPool", kernel_shape=[2, 2], dilations=[2, 3], name="MaxPool-dilated"),
    case(11, "AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    case(
        11,
        "AveragePool",
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 0, 1],
        count_include_pad=1,
        name="Average-in",
    ),
    case(11, "AveragePool", kernel_shape=[3, 2], strides=[2, 3], ceil_mode=1, name="Average-ceil"),
    case(7, "GlobalAveragePool"),
    case(9, "BatchNormalization", *BATCH, epsilon=0.1),
    case(15, "BatchNormalization", *BATCH),
    case(7, "LRN", size=3, alpha=0.5, beta=0.75, bias=1.5, name="LRN-odd"),
    case(13, "LRN", size=5, alpha=0.5, name="LRN-wide"),
    case(9, "Softmax"),
    case(11, "Softmax", axis=2, name="Softmax-11-axis"),
    case(13, "Softmax"),
    case(13, "Softmax", axis=1, name="Softmax-13-axis"),
    case(7, "Relu"),
    case(7, "LeakyRelu"),
    case(7, "LeakyRelu", alpha=0.3, name="LeakyRelu-slope"),
    case(7, "Clip", min=-0.5, max=0.7),
    case(12, "Clip", np.float32(-0.5), np.float32(0.7)),
    case(12, "Clip", None, np.float32(0.7), name="Clip-upper"),
    case(8, "Sum", weights(6), "x", weights(4, 1, 1)),
    case(8, "Add", "x", name="Add-itself"),
    case(8, "Add", weights(2, 4, 7, 6), name="Add-same"),
    case(8, "Add", weights(3, 1, 1, 6), shape=(1, 7, 6), name="Add-broadcast"),
    case(8, "Mul", "x", name="Mul-itself"),
    case(8, "Mul", weights(3, 1, 1, 6), shape=(1, 7, 6), name="Mul-broadcast"),
    case(9, "Gemm", weights(5, 3), weights(3), shape=(2, 5)),
    case(9, "Gemm", weights(3, 2), weights(3), shape=(2, 5), transA=1, transB=1, alpha=0.5, beta=2.0, name="Gemm-T"),
    case(7, "Identity"),
    case(7, "Dropout"),
    case(12, "Dropout"),
    case(7, "Reshape", ints(0, 2, -1)),
    case(9, "Flatten"),
    case(11, "Flatten", axis=-2, name="Flatten-axis"),
    case(9, "Unsqueeze", axes=[0, 3]),
    case(13, "Unsqueeze", ints(0, 3)),
    case(7, "Transpose"),
    case(7, "Transpose", perm=[0, 2, 3, 1], name="Transpose-perm"),
    case(7, "Concat", weights(2, 3, 7, 6), "x", axis=1),
    case(9, "Slice", starts=[1, -4], ends=[3, 100], axes=[1, 2]),
    case(13, "Slice", ints(-1, 0), ints(-100, 6), ints(2, 3), ints(-2, 3)),
    case(13, "Slice", ints(0, 1), ints(2, 3), name="Slice-default"),
    case(10, "Pad", pads=[0, 1, 0, 2, 0, 0, 3, 0], value=0.5),
    case(13, "Pad", ints(0, 1, 0, 2, 0, 0, 3, 0), np.float32(0.5)),
    case(18, "Pad", ints(1, 2), None, ints(3)),
    case(13, "ReduceMean", axes=[2, 3], keepdims=0),
    case(18, "ReduceMean", ints(-1, 1)),
    case(18, "ReduceMean", name="ReduceMean-all"),
    case(13, "Cast", to=onnx.TensorProto.FLOAT),
]


def model(nodes, opset, shape, constants=None):
    image = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "case", [image], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def one_node(opset, op, shape, constants, attributes):
    names = ["x"] + [
        "" if value is None else "x" if isinstance(value, str) else f"c{i}" for i, value in enumerate(constants)
    ]
    stored = {name: value for name, value in zip(names[1:], constants, strict=True) if name.startswith("c")}
    return model([helper.make_node(op, names, ["y"], **attributes)], opset, shape, stored)


def finite_differences(reference, x, cotangent, step=1e-6):
    """∂(Σ cotangent y)/∂x, one entry at a time"""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        moved = []
        for sign in (1, -1):
            shifted = x.copy()
            shifted[index] += sign * step
            moved.append(np.sum(cotangent * reference.forward(shifted)["y"]))
        gradient[index] = (moved[0] - moved[1]) / (2 * step)
    return gradient


def run(proto, x):
    return ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


@pytest.mark.parametrize(("opset", "op", "shape", "constants", "attributes"), CASES)
def test_operator(opset, op, shape, constants, attributes):
    proto = one_node(opset, op, shape, constants, attributes)
    x = np.random.default_rng(1).standard_normal(shape)
    reference = Reference(proto)
    values = reference.forward(x)
    np.testing.assert_allclose(values["y"], run(proto, x.astype(np.float32)), rtol=1e-5, atol=1e-5)

    cotangent = np.random.default_rng(2).standard_normal(values["y"].shape)
    gradient = reference.backward(values, {"y": cotangent})
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, finite_differences(reference, x, cotangent), rtol=1e-6, atol=1e-7)

    narrow = Reference(proto, np.float32)
    values = narrow.forward(x.astype(np.float32))
    assert all(value.dtype != np.float64 for value in values.values())
    rounded = narrow.backward(values, {"y": cotangent})
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, gradient, rtol=1e-4, atol=1e-5)


def test_constants_are_computed():
    """The zeros of a Pad computed from a shape, as exporters write it."""
    nodes = [
        helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(ints(1))),
        helper.make_node(
            "ConstantOfShape", ["one"], ["fill"], value=helper.make_tensor("v", onnx.TensorProto.INT64, [1], [2])
        ),
        helper.make_node("Cast", ["fill"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "float"], ["doubled"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Reshape", ["doubled", "shape"], ["y"]),
    ]
    x = np.random.default_rng(1).standard_normal((2, 3))
    reference = Reference(model(nodes, 13, [2, 3]))
    values = reference.forward(x)
    np.testing.assert_array_equal(values["y"], 2 * x)
    np.testing.assert_array_equal(reference.backward(values, {"y": np.ones((2, 3))}), np.full((2, 3), 2.0))


def test_every_operator_is_tested():
    tested = {parameters.values[1] for parameters in CASES}
    assert tested | {"Constant", "ConstantOfShape", "Shape"} == set(OPERATORS)


def test_of_equal_values_the_first_is_the_maximum():
    proto = model([helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])], 12, [1, 1, 3, 3])
    x = np.zeros((1, 1, 3, 3))
    reference = Reference(proto)
    gradient = reference.backward(reference.forward(x), {"y": np.ones((1, 1, 2, 2))})
    np.testing.assert_array_equal(gradient[0, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize(("op", "attributes"), [("Relu", {}), ("Clip", {"min": 0.0, "max": 6.0})])
def test_at_a_kink_the_gradient_is_zero(op, attributes):
    proto = model([helper.make_node(op, ["x"], ["y"], **attributes)], 7, [3])
    reference = Reference(proto)
    gradient = reference.backward(reference.forward(np.array([0.0, 1.0, 7.0])), {"y": np.ones(3)})
    np.testing.assert_array_equal(gradient, [0, 1, 0] if op == "Clip" else [0, 1, 1])


@pytest.fixture(scope="module")
def classifier():
    """A value used twice, two branches, a Softmax at the end."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Softmax", ["f"], ["y"]),
    ]
    return Reference(model(nodes, 13, ["N", 2, 5, 5], {"w": weights(3, 2, 3, 3)}))


@pytest.mark.parametrize(("target", "classes"), [(-1, None), (2, [2, 2]), ([1, 0], [1, 0])])
def test_explains_the_logit_of_the_target(classifier, target, classes):
    images = np.random.default_rng(3).standard_normal((2, 2, 5, 5))
    result = classifier.explain(images, target)
    assert classifier.score == "f"
    np.testing.assert_array_equal(result.target, result.logits.argmax(1) if classes is None else classes)
    np.testing.assert_allclose(result.values["y"].sum(axis=1), 1)
    direction, step = np.random.default_rng(4).standard_normal(images.shape), 1e-6
    ahead, behind = (classifier.explain(images + s * step * direction).logits for s in (1, -1))
    slope = ((ahead - behind) / (2 * step))[[0, 1], result.target]
    np.testing.assert_allclose((result.gradient * direction).sum(axis=(1, 2, 3)), slope, rtol=1e-6)


def test_takes_the_side_of_a_kink_from_another_run(classifier):
    images = np.random.default_rng(3).standard_normal((2, 2, 5, 5))
    others = classifier.explain(images + 0.1)
    branches = {name: others.values[name] for name in classifier.kinks}
    assert classifier.kinks == ["b", "c"]
    mixed = classifier.explain(images, others.target, branches)
    assert not np.array_equal(mixed.gradient, classifier.explain(images, others.target).gradient)
    np.testing.assert_allclose(mixed.gradient, others.gradient)  # between kinks this net is linear
