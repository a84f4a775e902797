"""Which nodes a provider takes, told from its list of kernels, and why not the others."""

import onnx_ir as ir
import pytest
from nets import graph, small

from onnx_saliency.errors import ProviderError
from onnx_saliency.graph.shapes import infer_shapes
from onnx_saliency.runtime.kernels import Kernel, place


def placed(model, provider="cuda"):
    model = ir.from_proto(model)
    infer_shapes(model)
    return place(model, provider)


def reasons(body, provider="cuda", **options):
    return {operator: why for operator, _, why in placed(graph(body, **options), provider).elsewhere}


def test_a_kernel_serves_its_versions():
    """One without a last version serves the operator as it is now, and not as it may be one day."""
    closed, open_ = Kernel(11, 21, {}), Kernel(22, None, {})
    assert [version for version in (8, 11, 16, 21, 22, 23) if closed.serves(version)] == [11, 16, 21]
    assert [version for version in (8, 11, 16, 21, 22, 23) if open_.serves(version)] == [22]


def test_operators_are_counted():
    assert placed(small()).operators == {"Conv": 1, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1, "Sigmoid": 1}


@pytest.mark.parametrize(
    ("body", "options", "operator", "why"),
    [
        ("logits = Hardmax(image)", {}, "Hardmax", "no kernel"),
        ("logits = Abs(image)", {"inputs": "bool[N] image", "outputs": "bool[N] logits"}, "Abs", "no kernel of T bool"),
        ("logits = MaxPool<kernel_shape = [3, 3]>(image)", {"opset": 22}, "MaxPool", "no kernel of opset 22"),
        ("logits = MaxPool<kernel_shape = [3, 3]>(image)", {"opset": 21}, None, None),
        ("logits = com.example.Fold(image)", {"domains": "com.example"}, "Fold", "not of the standard domain"),
        (
            "logits = ConvTranspose<pads = [0, 0, 1, 1]>(image, w)",
            {"w": (3, 3, 3, 3)},
            "ConvTranspose",
            "pads [0, 0, 1, 1], not the same at both ends",
        ),
        (
            'logits = ConvTranspose<auto_pad = "SAME_UPPER">(image, w)',
            {"w": (3, 3, 3, 3)},
            "ConvTranspose",
            "auto_pad SAME_UPPER",
        ),
        ("logits = ConvTranspose<pads = [1, 0, 1, 0]>(image, w)", {"w": (3, 3, 3, 3)}, None, None),
    ],
)
def test_what_cuda_leaves_to_the_cpu(body, options, operator, why):
    """As onnxruntime-gpu 1.31.1 places them itself: tools/kernels.py --without-cuda --place."""
    assert reasons(body, **options) == ({} if operator is None else {operator: why})


def test_the_cpu_takes_pads_of_any_kind():
    assert reasons("logits = ConvTranspose<pads = [0, 0, 1, 1]>(image, w)", "cpu", w=(3, 3, 3, 3)) == {}


def test_a_provider_without_a_list():
    with pytest.raises(ProviderError, match=r"'tensorrt' is kept; there are lists for cuda, cpu"):
        placed(small(), "tensorrt")
