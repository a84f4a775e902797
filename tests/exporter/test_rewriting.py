"""Rewritten models come from the cache exactly where all that makes them is the same, and are then the same."""

import sys
import threading
import warnings
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, array, graph, images, small

import onnx_saliency as xs
from onnx_saliency.exporter import Facts, Options, find_method, rewrite, rewriting
from onnx_saliency.exporter.cache import Cache
from onnx_saliency.exporter.methods import Gradient

X = images(2, 3, 8, 8)
FIELDS = ("saliency", "gradient", "logits", "target", "score", "gap")
RELU = CONV.replace("Sigmoid", "Relu")


@pytest.fixture
def count(monkeypatch):
    """A list that grows by one whenever a model is rewritten."""
    calls = []
    original = rewriting.explain_loaded

    def counted(*arguments, **options):
        calls.append(1)
        return original(*arguments, **options)

    monkeypatch.setattr(rewriting, "explain_loaded", counted)
    return calls


def explain(model, *, target=None, x=X, **options):
    return xs.Explainer(model, providers=["cpu"], threads=1, **options).explain(x, target)


def entries(folder):
    return sorted(folder.iterdir()) if folder.exists() else []


def same(found, expected):
    """Bit for bit."""
    for field in FIELDS:
        one, other = getattr(found, field), getattr(expected, field)
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes()


def another():
    """The usual net with other weights."""
    return small(w=array((4, 3, 3, 3), "another"))


# --- hits ----------------------------------------------------------------------------------------

CASES = {
    "gradient": {},
    "guided": {"method": "guided"},
    "smoothgrad": {"method": xs.SmoothGrad(samples=3, seed=4)},
    "integrated gradients": {"method": xs.IntegratedGradients(steps=3)},
    "class activation": {"method": xs.GradCAM(layer="s")},
    "probability": {"score": "probability"},
    "neuron": {"score": xs.Neuron("c", (2, 3)), "target": 1},
    "channel": {"score": xs.Channel("c"), "target": 1},
    "several": {"several": 3},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@pytest.mark.filterwarnings("ignore::onnx_saliency.errors.MethodWarning")
def test_results_are_the_same_with_and_without(cache_folder, count, options):
    first, second = explain(small(), **options), explain(small(), **options)
    assert len(count) == len(entries(cache_folder)) == 1
    without = explain(small(), cache=False, **options)
    assert len(count) == 2
    same(second, first)
    same(second, without)


@pytest.mark.parametrize("opset", [11, 18])
def test_what_an_explainer_knows_is_the_same(cache_folder, count, opset):
    model = graph(RELU + HEAD + " y = Softmax(logits)", outputs="float[N,5] y", opset=opset, **ALL)
    for key, value in {"labels": '["a", "b", "c", "d", "é"]', "preprocess": xs.Preprocess(mean=1.0).to_json()}.items():
        model.metadata_props.add(key=f"onnx_saliency.{key}", value=value)
    fresh, kept = (xs.Explainer(model, method="guided", providers=["cpu"]) for _ in range(2))
    assert len(count) == 1
    ours = {"session", "_given", "source"}
    left, right = ({k: v for k, v in vars(each).items() if k not in ours} for each in (fresh, kept))
    assert left == right
    assert (kept.labels.names[-1], kept.preprocess_source) == ("é", "stored in the model")
    assert (kept.changed, kept.size, kept.batch) == (fresh.changed, fresh.size, None)
    assert len(kept.changed) == 1


def test_facts_survive_the_way(cache_folder):
    for options in (Options(details=True), Options(find_method("gradcam"), several=2, details=True)):
        for dtype in ("float", "float16", "double"):
            cast = "x = Cast<to = 1>(image)" + CONV.replace("(image", "(x") + HEAD
            model = graph(cast, inputs=f"{dtype}[N,3,8,8] image", **ALL)
            facts = rewrite(model, options, input=None, output=None, cache=None).facts
            assert Facts.from_json(facts.to_json()) == facts
            assert facts.dtype == {"float": np.float32, "float16": np.float16, "double": np.float64}[dtype]
            assert (facts.shape, facts.size, facts.batch) == ((None, 3, 8, 8), (8, 8), None)


def test_a_valid_entry_is_believed(cache_folder, tmp_path):
    explain(small())
    cache = Cache(cache_folder, 10**9)
    (key,) = [path.stem for path in entries(cache_folder)]
    other = rewrite(another(), Options(details=True), input=None, output=None, cache=None)
    cache.keep(key, other.facts.to_json(), other.model)
    same(explain(small()), explain(another(), cache=False))


def test_the_same_content_from_a_file_and_from_its_bytes(cache_folder, count, net):
    for source in (net, str(net), net.read_bytes()):
        explain(source)
    assert len(count) == 1
    for source in (onnx.load(net), ir.load(net), ir.from_proto(onnx.load(net))):
        explain(source)
    assert len(count) <= 2  # serialised anew


def test_verbs_share_entries(cache_folder, count, net, picture):
    xs.Segmenter(net, providers=["cpu"])
    xs.Segmenter(net, providers=["cpu"])
    assert len(count) == 1


def test_warnings_are_given_again(cache_folder, count):
    for _ in range(2):
        with pytest.warns(xs.MethodWarning, match="guided is the plain gradient here") as caught:
            xs.Explainer(small(), method="guided", providers=["cpu"])
        assert [each.filename for each in caught] == [__file__]
    assert len(count) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explain(small())


# --- misses --------------------------------------------------------------------------------------

ALL = {**CONV_WEIGHTS, **HEAD_WEIGHTS}
TWO = "float[N,3,8,8] image, float[N,3,8,8] other", "float[N,5] logits, float[N,5] more"


def test_anything_else_is_another_entry(cache_folder, count):
    variants = [
        (small(), {}),
        (another(), {}),
        (small(opset=19), {}),
        (small(), {"method": "input_x_gradient"}),
        (small(), {"method": xs.SmoothGrad()}),
        (small(), {"method": xs.SmoothGrad(samples=26)}),
        (small(), {"method": xs.VarGrad()}),
        (small(), {"method": xs.IntegratedGradients(baseline=0.5)}),
        (small(), {"method": xs.GradCAM()}),
        (small(), {"method": xs.GradCAM(layer="c")}),
        (small(), {"score": "probability"}),
        (small(), {"score": xs.Neuron("c")}),
        (small(), {"score": xs.Neuron("c", (1, 2))}),
        (small(), {"score": xs.Channel("c")}),
        (small(), {"several": 1}),
        (small(), {"several": 2}),
    ]
    for number, (model, options) in enumerate(variants, 1):
        xs.Explainer(model, providers=["cpu"], **options)
        assert len(count) == len(entries(cache_folder)) == number
    for model, options in variants:
        xs.Explainer(model, providers=["cpu"], **options)
    assert len(count) == len(variants)


def test_another_input_or_output_is_another_entry(cache_folder, count):
    body = CONV + HEAD + " d = Flatten(other) e = MatMul(d, k) more = Add(logits, e)"
    model = graph(body, inputs=TWO[0], outputs=TWO[1], k=(192, 5), **ALL)
    for input, output in (("image", "logits"), ("image", "more"), ("other", "more")):
        feeds = {"image" if input == "other" else "other": X[:1]}
        xs.Explainer(model, input=input, output=output, feeds=feeds, providers=["cpu"])
    assert len(count) == len(entries(cache_folder)) == 3


def test_a_changed_file_of_weights_is_another_model(cache_folder, count, tmp_path):
    path = tmp_path / "net.onnx"
    model = small()
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    first = explain(path)
    same(explain(path), first)
    assert len(count) == 1
    data = tmp_path / "net.data"
    data.write_bytes((np.frombuffer(data.read_bytes(), np.float32) * 2).tobytes())
    assert not np.array_equal(explain(path).saliency, first.saliency)
    assert len(count) == 2
    data.unlink()
    with pytest.raises(xs.ModelError, match="external data that cannot be read"):
        explain(path)


@pytest.mark.parametrize("package", ["onnx-saliency", "onnx", "onnx-ir", "numpy"])
def test_another_version_is_another_entry(cache_folder, count, monkeypatch, package):
    explain(small())
    real = rewriting.version
    monkeypatch.setattr(rewriting, "version", lambda name: "99" if name == package else real(name))
    rewriting._makers.cache_clear()
    try:
        explain(small())
        assert len(count) == len(entries(cache_folder)) == 2
    finally:
        rewriting._makers.cache_clear()


def test_another_code_is_another_entry(cache_folder, count, monkeypatch, tmp_path):
    explain(small())
    monkeypatch.setattr(rewriting, "__file__", str(tmp_path / "package" / "room" / "rewriting.py"))
    rewriting._makers.cache_clear()
    try:
        explain(small())
        assert len(count) == 2
    finally:
        rewriting._makers.cache_clear()


@dataclass(frozen=True)
class Mine(Gradient):
    """A method of a user's own, whose code no version tells."""


def test_a_method_of_ones_own_is_not_kept(cache_folder, count):
    for _ in range(2):
        explain(small(), method=Mine())
    assert len(count) == 2
    assert not entries(cache_folder)


def test_models_over_two_gigabytes_are_not_kept(cache_folder, count, monkeypatch, net):
    expected = explain(net, cache=False)
    monkeypatch.setattr(sys.modules["onnx_saliency.graph.load"], "fits_in_one_file", lambda model: False)
    for _ in range(2):
        same(explain(net), expected)
    assert len(count) == 3
    assert not entries(cache_folder)


def damaged():
    model = small()
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-3]
    return model


def not_a_number():
    return small(w=np.full((4, 3, 3, 3), np.nan, np.float32))


@pytest.mark.parametrize("make", [damaged, not_a_number])
def test_what_is_damaged_is_refused_in_the_same_words(cache_folder, make, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(make().SerializeToString())
    for source in (path, path.read_bytes(), make()):
        said = []
        for cache in (True, False):
            with pytest.raises(xs.ModelError) as caught:
                explain(source, cache=cache)
            said.append(str(caught.value))
        assert said[0] == said[1]
    assert not entries(cache_folder)


def test_what_is_refused_leaves_nothing(cache_folder, count):
    for _ in range(2):
        with pytest.raises(xs.ModelError, match="piecewise constant"):
            explain(graph("x = Round(image) " + CONV.replace("(image", "(x") + HEAD, **ALL))
    assert not entries(cache_folder)


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"0" * 64 + b"\n{}\n", None])
def test_a_damaged_entry_is_replaced(cache_folder, count, content):
    expected = explain(small())
    (path,) = entries(cache_folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] if content is None else content)
    same(explain(small()), expected)
    assert len(count) == 2
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_made(cache_folder, count):
    cache_folder.parent.write_text("a file")
    for _ in range(2):
        explain(small())
    assert len(count) == 2


def test_without_it_nothing_is_read_or_left(cache_folder, count, net, picture, tmp_path, command):
    path = picture()
    for verb in (["explain"], ["segment"], ["localize"], ["top-activations", "--layer", "s"]):
        ran = command(verb[0], net, path, *verb[1:], "--no-cache", "-o", tmp_path / verb[0])
        assert ran.code == 0, ran.err
    assert command("demo", "--no-cache", "-o", tmp_path / "demo").code == 0
    assert not entries(cache_folder)
    explain(net)
    before = len(count)
    explain(net, cache=False)
    assert len(count) == before + 1


def test_without_it_holds_for_what_is_made_of_an_explainer(cache_folder, net):
    xs.Segmenter(xs.Explainer(net, cache=False, providers=["cpu"]))
    assert not entries(cache_folder)


def test_the_command_line_uses_it(cache_folder, count, net, picture, tmp_path, command):
    for _ in range(2):
        assert command("explain", net, picture(), "-o", tmp_path / "out").code == 0
    assert len(count) == len(entries(cache_folder)) == 1


def test_two_at_once(cache_folder, net):
    expected = explain(net, cache=False)
    found, barrier = [], threading.Barrier(4)

    def work():
        barrier.wait()
        found.append(explain(net))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for each in found:
        same(each, expected)
    assert len(entries(cache_folder)) == 1


def test_the_oldest_goes_where_the_limit_is_small(cache_folder, count, monkeypatch):
    explain(small())
    (first,) = entries(cache_folder)
    monkeypatch.setenv("ONNX_SALIENCY_CACHE_LIMIT", str(int(first.stat().st_size * 1.5)))
    explain(another())
    (second,) = entries(cache_folder)
    assert second != first
    explain(another())
    assert len(count) == 2
    explain(small())
    assert len(count) == 3


def test_a_limit_that_is_no_number(cache_folder, monkeypatch):
    monkeypatch.setenv("ONNX_SALIENCY_CACHE_LIMIT", "plenty")
    with pytest.raises(xs.CacheError):
        xs.Explainer(small())
    xs.Explainer(small(), cache=False)


def test_options_are_all_in_their_repr():
    for kind in xs.exporter.METHODS.values():
        method = kind()
        assert all(f"{name}={value!r}" in repr(method) for name, value in vars(method).items())
    assert repr(Options()) != repr(replace(Options(), details=True))
