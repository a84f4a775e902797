"""auto_pad written out: the same outputs, and a refusal where the size is open."""

import onnx_ir as ir
import pytest
from nets import array, close, graph, images, run

from onnx_saliency.errors import ModelError
from onnx_saliency.graph import load, normalise

SAME = ["SAME_UPPER", "SAME_LOWER", "VALID"]
WINDOWS = [([3, 3], [1, 1]), ([2, 4], [1, 1]), ([3, 3], [2, 2]), ([4, 2], [2, 3]), ([5, 5], [3, 2]), ([1, 2], [2, 2])]


def check(body, height=9, width=8, channels=3, outputs="float[N,C,H,W] y", **weights):
    model = graph(body, inputs=f"float[N,3,{height},{width}] image", outputs=outputs, **weights)
    made = ir.to_proto(normalise(load(model)))
    stays = "output_shape" in body
    assert stays == any(a.name == "auto_pad" for node in made.graph.node for a in node.attribute)
    feeds = {"image": images(2, 3, height if height != "H" else 9, width if width != "W" else 7)}
    close(run(made, feeds)[0], run(model, feeds)[0])
    return made.graph.node[0]


@pytest.mark.parametrize("mode", SAME)
@pytest.mark.parametrize(("kernel", "strides"), WINDOWS)
@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_pools(mode, kernel, strides, pool):
    check(f'y = {pool}<auto_pad = "{mode}", kernel_shape = {kernel}, strides = {strides}>(image)')


@pytest.mark.parametrize("mode", SAME)
@pytest.mark.parametrize(("kernel", "strides"), WINDOWS)
def test_conv(mode, kernel, strides):
    check(f'y = Conv<auto_pad = "{mode}", strides = {strides}>(image, w)', w=array((4, 3, *kernel), "w"))


@pytest.mark.parametrize(
    ("mode", "pads"), [("SAME_UPPER", [1, 3, 2, 3]), ("SAME_LOWER", [2, 3, 1, 3]), ("VALID", [0, 0, 0, 0])]
)
def test_dilated_conv(mode, pads):
    """onnxruntime refuses these, the standard does not: 1 (4 - 1) and 3 (3 - 1) rows and columns are added."""
    body = f'y = Conv<auto_pad = "{mode}", dilations = [1, 3]>(image, w)'
    model = graph(body, inputs="float[N,3,9,8] image", outputs="float[N,C,H,W] y", w=(4, 3, 4, 3))
    node = next(iter(normalise(load(model)).graph))
    assert list(node.attributes.get_ints("pads")) == pads


@pytest.mark.parametrize("mode", SAME)
@pytest.mark.parametrize(("kernel", "strides"), WINDOWS)
def test_conv_transpose(mode, kernel, strides):
    check(f'y = ConvTranspose<auto_pad = "{mode}", strides = {strides}>(image, w)', w=array((3, 4, *kernel), "w"))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("shape", [[18, 16], [19, 17], [17, 16]])
def test_conv_transpose_with_an_output_shape(mode, shape):
    attributes = f'auto_pad = "{mode}", strides = [2, 2], output_shape = {shape}'
    check(f"y = ConvTranspose<{attributes}>(image, w)", w=array((3, 4, 3, 4), "w"))


def test_average_pool_that_counts_its_padding():
    check('y = AveragePool<auto_pad = "SAME_UPPER", kernel_shape = [3, 3], count_include_pad = 1>(image)')


def test_stride_1_over_an_open_size():
    node = check('y = Conv<auto_pad = "SAME_LOWER">(image, w)', "H", "W", w=array((4, 3, 4, 3), "w"))
    assert next(list(a.ints) for a in node.attribute if a.name == "pads") == [2, 1, 1, 1]


@pytest.mark.parametrize("size", [("H", "W"), (8, "W")])
def test_valid_over_an_open_size(size):
    check('y = MaxPool<auto_pad = "VALID", kernel_shape = [3, 3], strides = [2, 2]>(image)', *size)


def test_stride_2_over_an_open_size_is_refused_and_every_node_named():
    body = """
    [first] c = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(image, w)
    [second] p = MaxPool<auto_pad = "SAME_LOWER", strides = [1, 2], kernel_shape = [2, 2]>(c)
    [third] y = MaxPool<auto_pad = "SAME_LOWER", kernel_shape = [2, 2]>(p)
    """
    with pytest.raises(ModelError) as caught:
        check(body, "H", "W", w=array((4, 3, 3, 3), "w"))
    assert "'first': Conv, auto_pad SAME_UPPER, strides [2, 2]" in str(caught.value)
    assert "'second'" in str(caught.value)
    assert "third" not in str(caught.value)
    assert "fixed height and width" in str(caught.value)
