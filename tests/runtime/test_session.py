"""Sessions: which provider runs, and what is said when something is missing or refused."""

import os
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from nets import graph, images, run, small

import onnx_saliency as xs
from onnx_saliency.errors import ModelError, ProviderError, ProviderWarning, RuntimeMissingError
from onnx_saliency.runtime import Session

X = {"image": images()}
HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()


def test_every_form_runs_the_same(net):
    model = onnx.load(net)
    (expected,) = run(model, X)
    for form in (net, str(net), net.read_bytes(), ir.from_proto(model)):
        session = Session(form, providers=["cpu"], threads=1)
        np.testing.assert_allclose(session.run(X)[0], expected, rtol=1e-5)
        assert (list(session.inputs), session.outputs) == (["image"], ("logits",))


def test_outputs_in_the_order_asked_for():
    session = Session(small(" y = Softmax(logits)", outputs="float[N,5] y, float[N,5] logits").SerializeToString())
    y, logits = session.run(X)
    again = session.run(X, ["logits", "y"])
    np.testing.assert_array_equal(again[0], logits)
    np.testing.assert_array_equal(again[1], y)


def test_threads_of_the_runtime_do_not_spin_between_runs(net):
    """Else two sessions in turn, or NumPy after one, wait for cores that do nothing."""
    options = Session(net, providers=["cpu"]).runtime.get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_a_large_model_travels_through_a_file(monkeypatch):
    monkeypatch.setattr(sys.modules["onnx_saliency.runtime.session"], "_PROTOBUF_LIMIT", 100)
    session = Session(ir.from_proto(small()), providers=["cpu"])
    np.testing.assert_allclose(session.run(X)[0], run(small(), X)[0], rtol=1e-5)


# --- providers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider"])
def test_the_provider_is_reported(name, net):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        session = Session(net, providers=[name])
    assert session.provider == "cpu"
    assert session.providers == ("CPUExecutionProvider",)


def test_none_takes_what_works_without_a_warning(net):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Session(net).provider == ("cuda" if HAS_CUDA else "cpu")


@pytest.fixture
def without_cuda(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])


@pytest.mark.parametrize("names", [["cuda"], ["cuda", "cpu"], ["CUDAExecutionProvider"]])
def test_cuda_that_is_absent_is_said(net, names, without_cuda):
    with pytest.warns(ProviderWarning, match=r"CUDAExecutionProvider was asked for .*running on CPUExecutionProvider"):
        session = Session(net, providers=names)
    assert session.provider == "cpu"
    assert len(session.run(X)[0]) == 2


def test_the_explainer_says_it_too(net, without_cuda):
    with pytest.warns(ProviderWarning, match="CUDAExecutionProvider"):
        assert xs.Explainer(net, providers=["cuda"]).provider == "cpu"


@pytest.mark.parametrize("names", [["tpu"], ["cpu", "NoSuchExecutionProvider"], [""]])
def test_an_unknown_provider(net, names):
    with pytest.raises(ProviderError, match=rf"'{names[-1]}'; the installed ONNX Runtime has .*CPUExecutionProvider"):
        Session(net, providers=names)


def test_providers_given_as_one_text(net):
    assert Session(net, providers="cpu").provider == "cpu"


def test_no_providers(net):
    with pytest.raises(ProviderError, match="No execution provider"):
        Session(net, providers=[])


@pytest.mark.parametrize("threads", [0, -2, 1025, 100_000])
def test_threads_that_make_no_sense(net, threads):
    with pytest.raises(
        ProviderError, match=rf"1 to 1024 threads, not {threads}; this machine has {os.cpu_count()} cores"
    ):
        Session(net, threads=threads)


@pytest.mark.parametrize("what", ["Session", "Explainer", "export"])
def test_no_runtime(net, monkeypatch, what):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    call = {"Session": Session, "Explainer": xs.Explainer, "export": xs.export}[what]
    with pytest.raises(RuntimeMissingError, match=r"pip install 'onnx-saliency\[cpu\]'"):
        call(net)


def test_a_broken_runtime(net, monkeypatch):
    """What is left in site-packages when the CPU and the GPU build were installed over each other."""
    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace())
    with pytest.raises(RuntimeMissingError, match="install one of"):
        Session(net)


# --- feeds and models ----------------------------------------------------------------------------

FEEDS = {
    "another shape": {"image": images(2, 3, 9, 9)},
    "another rank": {"image": images(2, 192)},
    "another type": {"image": images().astype(np.float64)},
    "another name": {"picture": images()},
    "nothing": {},
}


@pytest.mark.parametrize("feeds", FEEDS.values(), ids=FEEDS)
def test_wrong_feeds(net, feeds):
    shown = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in feeds.items())
    with pytest.raises(ModelError) as caught:
        Session(net, providers=["cpu"]).run(feeds)
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_output_that_is_not_there(net):
    with pytest.raises(ModelError, match="nothing_of_this_name"):
        Session(net, providers=["cpu"]).run(X, ["nothing_of_this_name"])


@pytest.mark.parametrize("model", [b"", b"not a model", "missing.onnx"])
def test_a_model_that_is_none(model):
    with pytest.raises(ModelError, match="ONNX Runtime refuses the model"):
        Session(model, providers=["cpu"])


def test_a_model_that_contradicts_itself():
    model = graph("logits = MatMul(image, w)", outputs="float[N,5] logits", w=(7, 5))
    with pytest.raises(ModelError, match="ONNX Runtime refuses the model"):
        Session(model.SerializeToString(), providers=["cpu"])
