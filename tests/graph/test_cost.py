"""Multiply-accumulates and parameters by hand."""

import numpy as np
import onnx
import pytest
from nets import CONV_WEIGHTS, graph, small

from onnx_saliency.graph import load, normalise
from onnx_saliency.graph.cost import multiply_accumulates, parameters
from onnx_saliency.inspection import inspect_model


def costs(model):
    canonical = normalise(load(model)).graph
    return multiply_accumulates(canonical), parameters(canonical)


IMAGES = "float[N,C,H,W] y"
CASES = {
    "Conv": ("y = Conv(image, w)", {"w": (4, 3, 3, 3)}, 4 * 6 * 6 * 27, 108),
    "padded Conv": ("y = Conv<pads = [1, 1, 1, 1]>(image, w, b)", CONV_WEIGHTS, 4 * 8 * 8 * 27, 112),
    "strided Conv": ("y = Conv<strides = [2, 2]>(image, w)", {"w": (4, 3, 2, 2)}, 4 * 4 * 4 * 12, 48),
    "grouped Conv": ("y = Conv<group = 3>(image, w)", {"w": (6, 1, 3, 3)}, 6 * 6 * 6 * 9, 54),
    "ConvTranspose": ("y = ConvTranspose<strides = [2, 2]>(image, w)", {"w": (3, 5, 2, 2)}, 3 * 64 * 5 * 4, 60),
    "no linear operator": ("y = Relu(image)", {}, 0, 0),
}


@pytest.mark.parametrize(("body", "weights", "products", "floats"), CASES.values(), ids=CASES)
def test_of_one_image(body, weights, products, floats):
    assert costs(graph(body, outputs=IMAGES, **weights)) == (products, floats)


@pytest.mark.parametrize("batch", ["N", "1", "4"])
def test_inspection_counts_one_image(batch, tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(small(inputs=f"float[{batch},3,8,8] image", outputs=f"float[{batch},5] logits"), path)
    found = inspect_model(path)
    assert (found.multiply_accumulates, found.parameters) == (4 * 64 * 27 + 5 * 4, 108 + 4 + 20 + 5)


@pytest.mark.parametrize("body", ["y = Gemm(f, w)", "y = Gemm<transB = 1>(f, v)", "y = MatMul(f, w)"])
def test_products(body):
    weights = {"v": (7, 192)} if "v)" in body else {"w": (192, 7)}
    assert costs(graph("f = Flatten(image) " + body, outputs="float[N,7] y", **weights)) == (192 * 7, 192 * 7)


def test_a_product_of_the_first_factors_columns():
    body = "f = Flatten(image) t = Transpose<perm = [1, 0]>(f) y = Gemm<transA = 1>(t, w)"
    assert costs(graph(body, outputs="float[N,7] y", w=(192, 7)))[0] == 192 * 7


def test_integers_are_no_parameters():
    model = graph("y = Reshape(image, shape)", outputs="float[N,R] y", shape=np.array([0, -1]))
    assert costs(model) == (0, 0)
