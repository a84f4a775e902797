"""Explained nets, node by node: what runs on the CPU has kernels there, and CUDA takes what its list says."""

import pytest
from light import light_model

from onnx_saliency.exporter import Options, explain_model
from onnx_saliency.graph.shapes import infer_shapes
from onnx_saliency.runtime.kernels import place


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
@pytest.mark.parametrize("profile", ["cpu", "portable"])
def test_what_runs_on_the_cpu_has_kernels_there(name, profile):
    explained = explain_model(light_model(name), Options(profile=profile)).model  # and check_export has run it
    infer_shapes(explained)
    found = place(explained, "cpu")
    assert found.elsewhere == ()
    assert sum(found.operators.values()) == sum(node.op_type != "Constant" for node in explained.graph.all_nodes())
    assert found.operators["Conv"] > 40


def test_cuda_takes_an_explained_squeezenet():
    explained = explain_model(light_model("squeezenet"), Options(profile="cuda")).model
    infer_shapes(explained)
    found = place(explained, "CUDAExecutionProvider")
    assert (found.provider, found.elsewhere) == ("cuda", ())
    assert found.runtime.startswith("onnxruntime-gpu 1.")
