"""What CUDA is asked for, as it reaches ONNX Runtime; and buffers that stay on the device, here the CPU."""

import numpy as np
import onnxruntime as ort
import pytest
from nets import images, small

import onnx_saliency as xs
from onnx_saliency.errors import ModelError, ProviderError
from onnx_saliency.runtime import CudaOptions, Session

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
X = {"image": images()}


@pytest.fixture
def asked(monkeypatch):
    """What sessions are built with, on a machine whose runtime says that it has CUDA; they run on the CPU."""
    found = []
    real = ort.InferenceSession

    def build(model, options, providers):
        found.append({"providers": providers, "pattern": options.enable_mem_pattern})
        session = real(model, options, providers=[CPU])
        session.get_providers = lambda: [name for name, _ in providers]
        return session

    monkeypatch.setattr(ort, "InferenceSession", build)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    return found


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (None, {"use_tf32": "0", "enable_cuda_graph": "0"}),
        (CudaOptions(tf32=True), {"use_tf32": "1", "enable_cuda_graph": "0"}),
        (CudaOptions(graph=True), {"use_tf32": "0", "enable_cuda_graph": "1"}),
        (CudaOptions(memory_limit=2**31), {"use_tf32": "0", "enable_cuda_graph": "0", "gpu_mem_limit": "2147483648"}),
    ],
)
def test_options_reach_the_provider(net, asked, options, sent):
    session = Session(net, cuda=options)
    assert asked[-1]["providers"] == [(CUDA, sent), (CPU, {})]
    assert (session.provider, session.device) == ("cuda", "cuda")


def test_the_explainer_passes_them_on(net, asked):
    """Its memory limit is the device's, and is not measured."""
    one = xs.Explainer(net, cuda=CudaOptions(tf32=True), memory_limit="1GiB", cache=False)
    ((name, sent), _) = asked[-1]["providers"]
    assert (name, sent) == (CUDA, {"use_tf32": "1", "enable_cuda_graph": "0", "gpu_mem_limit": str(2**30)})
    assert one.at_once == 16


def test_the_cpu_gets_none_of_it(net, asked):
    Session(net, providers=["cpu"], cuda=CudaOptions(tf32=True))
    assert asked[-1]["providers"] == [(CPU, {})]


def test_values_are_planned_as_the_provider_likes_it(net, asked):
    Session(net)
    Session(net, providers=["cpu"])
    assert [each["pattern"] for each in asked] == [True, False]


def test_a_graph_without_cuda(net):
    with pytest.raises(ProviderError, match=r"A CUDA graph was asked for, and the model runs on CPUExecutionProvider"):
        Session(net, providers=["cpu"], cuda=CudaOptions(graph=True))


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_that_makes_no_sense(limit):
    with pytest.raises(ProviderError, match="1 byte or more"):
        CudaOptions(memory_limit=limit)


# --- buffers that stay --------------------------------------------------------------------------


def test_bound_runs_give_what_free_ones_give():
    session = Session(small(" y = Softmax(logits)", outputs="float[N,5] y, float[N,5] logits").SerializeToString())
    bound = session.bind(X, ["logits", "y"])
    for seed in range(3):
        feeds = {"image": images(seed=seed)}
        for found, expected in zip(bound.run(feeds), session.run(feeds, ["logits", "y"]), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_bound_run_reads_what_lies_there(net):
    """`step` copies nothing; results that were handed out stay as they are; what was given first is left alone."""
    session = Session(net, providers=["cpu"])
    first = {"image": images(seed=1)}
    bound = session.bind(first, ["logits"])
    (before,) = bound.run({"image": images(seed=2)})
    kept = before.copy()
    bound.fill({"image": images(seed=3)})
    bound.step()
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_array_equal(bound.read()[0], session.run({"image": images(seed=3)})[0])
    np.testing.assert_array_equal(first["image"], images(seed=1))


def test_a_graph_is_recorded_once_for_inputs_of_a_kind(net, asked, monkeypatch):
    """The CPU runs the model each time and takes no notice of graphs; CUDA is told which of them a run belongs to."""
    session = Session(net, cuda=CudaOptions(graph=True))
    monkeypatch.setattr(Session, "device", "cpu")  # where buffers can be had here
    numbers = []
    run = session.runtime.run_with_iobinding

    def record(binding, options):
        numbers.append(int(options.get_run_config_entry("gpu_graph_id")))
        run(binding, options)

    monkeypatch.setattr(session.runtime, "run_with_iobinding", record)
    plain = Session(net, providers=["cpu"])
    for feeds in (X, {"image": images(seed=1)}, {"image": images(5, 3, 8, 8)}, X):
        np.testing.assert_array_equal(session.run(feeds)[0], plain.run(feeds)[0])
    assert numbers == [-1, 1, 1, -1, 2, 1]  # -1: shapes are found without one


def test_faults_of_a_graphs_run_are_said_as_ever(net, asked, monkeypatch):
    session = Session(net, cuda=CudaOptions(graph=True))
    monkeypatch.setattr(Session, "device", "cpu")
    with pytest.raises(ModelError, match=r"cannot run the model on image float32\[2, 3, 9, 9\]"):
        session.run({"image": images(2, 3, 9, 9)})
