"""Curves of insertion and deletion, against a definition that replaces pixels one by one, and the known traps."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from nets import graph, images, little_memory, run, small
from scipy import signal

from onnx_saliency import Explainer, Preprocess
from onnx_saliency.errors import ExportError, MetricError, TargetError
from onnx_saliency.evaluation.faithfulness import (
    PROTOCOLS,
    Blur,
    Constant,
    Scorer,
    area_under,
    perturbation_curve,
    rank_pixels,
)
from onnx_saliency.evaluation.faithfulness.curves import fills

ODD = {"inputs": "float[N,3,7,5] image"}
CHANNELS = """
    p = GlobalAveragePool(image)
    logits = Flatten(p)
"""  # the logits are the means of the channels


def means(**options):
    return graph(CHANNELS, inputs="float[N,3,7,5] image", outputs="float[N,3] logits", **options)


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def slow_curve(model, image, saliency, fill, steps, mode, target, channels_last=False):
    """One picture, one pixel, one run of the model at a time."""
    height, width = saliency.shape
    places = sorted(((y, x) for y in range(height) for x in range(width)), key=lambda at: -saliency[at])
    shown, other = (image, fill) if mode == "deletion" else (fill, image)
    points = []
    for step in range(steps + 1):
        now = shown.copy()
        for y, x in places[: step * height * width // steps]:
            where = (0, y, x) if channels_last else (0, slice(None), y, x)
            now[where] = other[where]
        points.append(float(softmax(run(model, {"image": now})[0])[0, target]))
    return np.array(points)


def slow_area(points):
    total = 0.0
    for left, right in pairwise(points):
        total += (left + right) / 2 / (len(points) - 1)
    return total


def curve_of(model, image, saliency, target, mode, protocol, preprocess=None, **options):
    explainer = Explainer(model, cache=False, preprocess=preprocess or Preprocess())
    fill = fills(protocol, image, explainer.preprocess, 1 if explainer.layout == "NCHW" else 3)[mode]
    ranks = rank_pixels(saliency, protocol.ties)
    return perturbation_curve(Scorer(explainer, **options), image, ranks, target, mode, protocol, fill), fill


@pytest.mark.parametrize("mode", ["deletion", "insertion"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_what_replacing_pixel_by_pixel_gives(name, mode):
    protocol = replace(PROTOCOLS[name], score="probability", pixels=None, deletion_steps=10, insertion_steps=8)
    image, saliency = images(1, 3, 7, 5), np.random.default_rng(3).random((7, 5))
    found, fill = curve_of(small(**ODD), image, saliency, 2, mode, protocol)
    steps = protocol.steps(mode, 35)
    expected = slow_curve(small(**ODD), image, saliency, fill, steps, mode, 2)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert area_under(found) == pytest.approx(slow_area(expected), abs=1e-6)


def test_channels_last():
    body = "t = Transpose<perm = [0, 3, 1, 2]>(image)" + CHANNELS.replace("image", "t")
    model = graph(body, inputs="float[N,7,5,3] image", outputs="float[N,3] logits")
    image, saliency = images(1, 7, 5, 3), np.random.default_rng(3).random((7, 5))
    found, fill = curve_of(model, image, saliency, 1, "deletion", PROTOCOLS["openvino-xai"])
    as_probability, _ = curve_of(model, image, saliency, 1, "deletion", replace(PROTOCOLS["plain"], deletion_steps=30))
    zero = np.zeros_like(image)
    expected = slow_curve(model, image, saliency, zero, 30, "deletion", 1, channels_last=True)
    np.testing.assert_allclose(as_probability, expected, atol=1e-6)
    np.testing.assert_allclose(fill, -1.0)
    assert len(found) == 31


def test_all_channels_of_a_pixel_go_together():
    image = np.abs(images(1, 3, 7, 5)) + 1
    saliency = np.zeros((7, 5))
    saliency[4, 2] = 1
    protocol = replace(PROTOCOLS["plain"], deletion_steps=35, score="logit")
    for channel in range(3):
        found, _ = curve_of(means(), image, saliency, channel, "deletion", protocol)
        assert found[0] - found[1] == pytest.approx(image[0, channel, 4, 2] / 35, rel=1e-4)


def test_an_odd_number_of_pixels_is_used_up_and_the_ends_are_whole():
    image = images(1, 3, 7, 5)
    for name, protocol in PROTOCOLS.items():
        for mode in ("deletion", "insertion"):
            counts = protocol.counts(mode, 35)
            assert (counts[0], counts[-1]) == (0, 35), name
            assert (np.diff(counts) >= 0).all()
            assert np.ptp(np.diff(counts)) <= 1
    assert PROTOCOLS["rise"].counts("deletion", 500).tolist() == [0, 224, 448, 500]
    saliency = np.random.default_rng(3).random((7, 5))
    protocol = replace(PROTOCOLS["plain"], score="logit")
    deletion, fill = curve_of(means(), image, saliency, 0, "deletion", protocol)
    insertion, _ = curve_of(means(), image, saliency, 0, "insertion", protocol)
    assert deletion[0] == insertion[-1] == pytest.approx(image[0, 0].mean(), abs=1e-6)
    assert deletion[-1] == insertion[0] == fill.mean() == 0


@pytest.mark.parametrize("points", [2, 11, 26, 225])
def test_the_axis_ends_at_1(points):
    assert area_under(np.ones(points)) == pytest.approx(1)
    assert area_under(np.linspace(0, 1, points)) == pytest.approx(0.5)
    assert area_under(np.linspace(0, 1, points) ** 2) == pytest.approx(slow_area(np.linspace(0, 1, points) ** 2))


@pytest.mark.parametrize("curve", [[1.0], [[1.0, 2.0]], [0.0, np.nan], []])
def test_what_is_no_curve(curve):
    with pytest.raises(MetricError, match="two or more finite points"):
        area_under(curve)


def test_the_fill_is_in_the_space_that_it_says():
    image = images(1, 3, 4, 4)
    way = Preprocess(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0), channels="BGR")
    black = Constant(0, "picture").of(image, way, 1)
    assert black[0, :, 0, 0].tolist() == [-5, -5, -6]
    np.testing.assert_array_equal(Constant(0).of(image, way, 1), np.zeros_like(image))
    last = Constant(40, "picture").of(np.moveaxis(image, 1, 3), way, 3)
    assert last[0, 2, 1].tolist() == [15, 5, 2]
    whole = Constant(300, "picture").of((image * 50 + 128).clip(0, 255).astype(np.uint8), Preprocess(mean=0, std=1), 1)
    assert whole.dtype == np.uint8
    assert (whole == 255).all()


def test_blur_is_a_convolution_with_zeros_around():
    image = images(1, 3, 20, 16)
    dirac = np.zeros((11, 11))
    dirac[5, 5] = 1
    from scipy.ndimage import gaussian_filter

    kernel = gaussian_filter(dirac, 5)
    assert kernel.sum() == pytest.approx(1)
    made = Blur().of(image, Preprocess(), 1)
    for channel in range(3):
        expected = signal.convolve2d(image[0, channel].astype(np.float64), kernel, mode="same")
        np.testing.assert_allclose(made[0, channel], expected, atol=1e-6)
    last = Blur().of(np.moveaxis(image, 1, 3), Preprocess(), 3)
    np.testing.assert_array_equal(np.moveaxis(last, 3, 1), made)


def test_a_model_of_a_fixed_batch_runs_in_parts():
    image, saliency = images(1, 3, 7, 5), np.random.default_rng(3).random((7, 5))
    open_, _ = curve_of(small(**ODD), image, saliency, 2, "insertion", PROTOCOLS["plain"])
    fixed = small(inputs="float[4,3,7,5] image", outputs="float[4,5] logits")
    found, _ = curve_of(fixed, image, saliency, 2, "insertion", PROTOCOLS["plain"])
    np.testing.assert_allclose(found, open_, atol=1e-7)
    parts, _ = curve_of(small(**ODD), image, saliency, 2, "insertion", PROTOCOLS["plain"], batch_size=3)
    np.testing.assert_allclose(parts, open_, atol=1e-7)


def test_memory_that_does_not_suffice_halves_the_batch_for_good(monkeypatch):
    image, saliency = images(1, 3, 7, 5), np.random.default_rng(3).random((7, 5))
    explainer = Explainer(small(**ODD), cache=False, preprocess=Preprocess())
    scorer = Scorer(explainer)
    ranks, counts = rank_pixels(saliency), PROTOCOLS["plain"].counts("deletion", 35)
    expected = scorer.score(image, np.zeros_like(image), ranks, counts).logits
    asked = little_memory(monkeypatch, "count", 4)
    np.testing.assert_allclose(scorer.score(image, np.zeros_like(image), ranks, counts).logits, expected, atol=1e-6)
    assert asked == [11, 5, 2, 2, 2, 2, 2, 1]
    asked.clear()
    scorer.score(image, np.zeros_like(image), ranks, counts)
    assert max(asked) == 2


@pytest.mark.parametrize("activation", [None, "Softmax", "LogSoftmax", "Sigmoid"])
def test_the_score_is_the_one_that_is_said(activation):
    model = small(f"answer = {activation}(logits)", outputs="float[N,5] answer") if activation else small()
    image = images(1, 3, 8, 8)
    scorer = Scorer(Explainer(model, cache=False, preprocess=Preprocess()))
    none = np.zeros(1, np.int32)
    scores = scorer.score(image, image, np.zeros((8, 8), np.int32), none)
    (logits,) = run(small(), {"image": image})
    (answers,) = run(model, {"image": image})
    probability = 1 / (1 + np.exp(-logits)) if activation == "Sigmoid" else softmax(logits)
    for target in range(5):
        assert scores.of(target, "logit")[0] == pytest.approx(logits[0, target], abs=1e-6)
        assert scores.of(target, "answer")[0] == pytest.approx(answers[0, target], abs=1e-6)
        assert scores.of(target, "probability")[0] == pytest.approx(probability[0, target], abs=1e-6)
    with pytest.raises(TargetError, match="No class 5: the model has 5"):
        scores.of(5, "logit")


def test_a_pixel_each_may_have_its_own_order():
    image = images(1, 3, 7, 5)
    ranks = np.stack([rank_pixels(np.random.default_rng(seed).random((7, 5))) for seed in range(4)])
    scorer = Scorer(Explainer(means(), cache=False, preprocess=Preprocess()), batch_size=3)
    counts = np.array([3, 0, 35, 20], np.int32)
    found = scorer.score(image, np.zeros_like(image), ranks, counts).logits
    for row, (order, count) in enumerate(zip(ranks, counts, strict=True)):
        np.testing.assert_allclose(found[row], (image[0] * (order >= count)).mean(axis=(1, 2)), atol=1e-6)


def test_names_that_are_added_are_not_the_models():
    model = graph(
        "d = Mul(image, rank)" + CHANNELS.replace("image", "d"),
        inputs="float[N,3,7,5] image, float[1] rank",
        outputs="float[N,3] logits",
    )
    with pytest.raises(ExportError, match="'rank'"):
        Scorer(Explainer(model, cache=False, preprocess=Preprocess(), feeds={"rank": [1.0]}))
