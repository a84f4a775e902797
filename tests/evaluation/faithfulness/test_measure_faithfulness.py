"""Methods and baselines side by side on the same pictures."""

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
from nets import array, graph, small
from PIL import Image

from onnx_saliency import Explainer, Preprocess
from onnx_saliency.errors import ImageError, MetricError
from onnx_saliency.evaluation.bootstrap import LEAST
from onnx_saliency.evaluation.faithfulness import (
    BASELINES,
    METRICS,
    PROTOCOLS,
    Case,
    find_protocol,
    measure_faithfulness,
)
from onnx_saliency.report.faithfulness import as_json, best_methods, cells, legend

PLAIN = PROTOCOLS["plain"]
WAY = Preprocess(resize=None)
METHODS = ("gradient", "input_x_gradient")


def linear():
    """Logits linear in the pixels: what each pixel is worth is known."""
    body = "f = Flatten(image) logits = Gemm(f, w)"
    return graph(body, w=array((192, 5), "w"))


def explainers(model=None, methods=METHODS, **options):
    model = small() if model is None else model
    return {each: Explainer(model, method=each, preprocess=WAY, cache=False, **options) for each in methods}


def pictures(count=6, size=(8, 8)):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)) for _ in range(count)]


def cases(count=6, accepted=frozenset()):
    return [Case(each, accepted) for each in pictures(count)]


def test_every_metric_of_every_contender_for_every_picture():
    done = []
    result = measure_faithfulness(explainers(), cases(10), PLAIN, progress=done.append)
    assert [each.name for each in result.contenders] == [*METHODS, *BASELINES]
    assert [each.baseline for each in result.contenders] == [False, False, True, True, True]
    assert done == list(range(1, 11))
    for each in result.contenders:
        assert all(len(each.values[metric]) == 10 for metric in METRICS)
        assert each.mean_curve("deletion").shape == (11,)
        areas = each.measure("deletion").mean()
        mean = each.mean_curve("deletion")
        assert areas == pytest.approx((mean[:-1] + mean[1:]).mean() / 2, abs=1e-12)  # either way of averaging


def test_what_each_pixel_is_worth_is_the_best_order():
    """Of a linear score, input x gradient is the worth of each pixel where the fill is 0, but for its sign."""
    protocol = replace(PLAIN, score="logit", target="predicted")
    # a positive linear score: weights and pixels above 0, so that the sign is no matter
    model = graph("f = Flatten(image) logits = Gemm(f, w)", w=np.abs(array((192, 5), "w")))
    each = Explainer(model, method="input_x_gradient", preprocess=Preprocess(resize=None, mean=0, std=255), cache=False)
    result = measure_faithfulness({"input_x_gradient": each}, cases(), protocol)
    best = result.find("input_x_gradient")
    for name in BASELINES:
        assert (best.measure("deletion") < result.find(name).measure("deletion")).all()
        assert (best.measure("insertion") > result.find(name).measure("insertion")).all()
    assert best.measure("sensitivity_n").mean() > 0.8
    assert best.measure("infidelity").mean() < result.find("random order").measure("infidelity").mean()


def test_drop_and_increase_are_of_the_picture_kept_by_its_map():
    protocol = replace(PLAIN, score="probability", target="predicted")
    found = explainers(methods=("gradient",))
    result = measure_faithfulness(found, cases(), protocol)
    for row, picture in enumerate(pictures()):
        image, _, _ = found["gradient"].prepare([picture])
        explained = found["gradient"].explain(image)
        saliency = explained.saliency[0].astype(np.float64)
        kept = image * (saliency - saliency.min()) / np.ptp(saliency)
        target = int(explained.target[0])
        before = explained.probabilities[0, target]
        after = found["gradient"].explain(kept.astype(np.float32), target).probabilities[0, target]
        contender = result.find("gradient")
        assert contender.values["average_drop"][row] == pytest.approx(max(0, before - after) / before, abs=1e-6)
        assert contender.values["average_increase"][row] == float(after > before)


def test_the_likeliest_of_the_right_classes_is_explained():
    found = explainers()
    logits = np.concatenate([found["gradient"].explain([each]).logits for each in pictures()])
    result = measure_faithfulness(found, cases(accepted=frozenset({1, 3})), PLAIN)
    assert result.targets == [1 + 2 * int(row[3] > row[1]) for row in logits]
    predicted = measure_faithfulness(found, cases(accepted=frozenset({1, 3})), find_protocol("rise"))
    assert predicted.targets == logits.argmax(axis=1).tolist()
    unlabelled = measure_faithfulness(found, cases(), PLAIN)
    assert unlabelled.targets == logits.argmax(axis=1).tolist()


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    first, again, other = (
        measure_faithfulness(explainers(), cases(), PLAIN, seed=seed).find("random order") for seed in (0, 0, 1)
    )
    assert first.values == again.values
    assert first.values["deletion"] != other.values["deletion"]


def test_nothing_is_built_again_for_a_picture(monkeypatch):
    found, built, real = explainers(), [], ort.InferenceSession
    monkeypatch.setattr(ort, "InferenceSession", lambda *a, **k: built.append(1) or real(*a, **k))
    measure_faithfulness(found, cases(2), PLAIN)
    measure_faithfulness(found, cases(9), PLAIN)
    assert len(built) == 2  # one for each set of pictures


def test_pictures_that_cannot_be_read(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    some = [Case(broken), *cases(2)]
    with pytest.raises(ImageError, match=r"broken\.png"):
        measure_faithfulness(explainers(), some, PLAIN)
    result = measure_faithfulness(explainers(), some, PLAIN, skip=True)
    assert len(result) == 2
    assert [name for name, _ in result.failed] == [str(broken)]
    with pytest.raises(ImageError, match="None of the 1 pictures"):
        measure_faithfulness(explainers(), some[:1], PLAIN, skip=True)


def test_nothing_to_measure():
    with pytest.raises(MetricError, match="found 0 and 1"):
        measure_faithfulness({}, cases(1), PLAIN)
    with pytest.raises(MetricError, match="found 2 and 0"):
        measure_faithfulness(explainers(), [], PLAIN)


def test_the_best_method_is_no_baseline_and_none_where_all_are_alike():
    result = measure_faithfulness(explainers(linear()), cases(), PLAIN)
    gradient, other = (result.find(name) for name in METHODS)
    for metric, way in METRICS.items():
        gradient.values[metric], other.values[metric] = [0.3, 0.5], [0.2, 0.5]
        assert result.best(metric) == (METHODS[0] if way == "higher" else METHODS[1])
        other.values[metric] = [0.5, 0.3]
        assert result.best(metric) is None


@pytest.mark.parametrize(("count", "enough"), [(1, False), (LEAST - 1, False), (LEAST, True)])
def test_few_pictures_have_neither_marks_nor_a_best_method(count, enough):
    result = measure_faithfulness(explainers(methods=METHODS[:1]), cases(count), PLAIN)
    for each in result.contenders:
        each.values |= {name: [float(each.name == METHODS[0])] * count for name in METRICS}
    found = as_json(result)
    assert (found["best"]["insertion"], found["note"] is None) == (METHODS[0] if enough else None, enough)
    assert [mark.strip() for mark in cells(found["contenders"][0])[1:2]] == ["1.000**" if enough else "1.000"]
    assert best_methods(found)[1] == (METHODS[0] if enough else "too few pictures")
    assert ("* better than" in legend(found)) is enough


def test_differences_are_paired():
    result = measure_faithfulness(explainers(), cases(), PLAIN)
    first, second = (result.find(name) for name in METHODS)
    first.values["deletion"] = [0.9, 0.1, 0.5] * 2
    second.values["deletion"] = [0.8, 0.0, 0.4] * 2
    interval = result.difference(*METHODS, "deletion")
    assert interval == pytest.approx((0.1, 0.1, 0.1))


def test_protocols_say_what_they_are():
    for name, protocol in PROTOCOLS.items():
        text = str(protocol)
        assert name in text
        for subject in ("steps", "order", "fill", "score", "channels", "averaging"):
            assert f"{subject}: " in text
    assert "25 for insertion" in str(PROTOCOLS["smdl-cub"])
    assert "224 pixels a step" in str(PROTOCOLS["rise"])
    assert "Gaussian of 5 in 11 x 11" in str(PROTOCOLS["rise"])
    assert "0 in pixels 0..255" in str(PROTOCOLS["openvino-xai"])
    more = find_protocol("rise", steps=40)
    assert (more.pixels, more.steps("deletion", 35), len(more.counts("insertion", 4000))) == (None, 40, 41)
    assert "rise, 40 steps" in str(more)
    with pytest.raises(MetricError, match="found 0"):
        find_protocol("rise", steps=0)
    with pytest.raises(MetricError, match="did you mean 'smdl-celeba'"):
        find_protocol("smdl-celebA")
