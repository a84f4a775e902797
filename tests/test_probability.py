"""Probabilities of logits: against what the network itself answers, at any size of them."""

from dataclasses import replace

import numpy as np
import pytest
from nets import images, run, small

import onnx_saliency as xs
from onnx_saliency.probability import probabilities
from onnx_saliency.vision import SEGMENT_RECIPES

X = images(4, 3, 8, 8)
LARGE = np.array([[-1000.0, 0.0, 1000.0], [-np.inf, 3.0, 3.0]], np.float32)


def ending_in(activation):
    return small(f" y = {activation}(logits)", outputs="float[N,5] y")


@pytest.mark.parametrize("activation", ["Softmax", "Sigmoid"])
def test_they_are_what_the_network_answers(activation):
    model = ending_in(activation)
    (answers,) = run(model, {"image": X})
    found = xs.Explainer(model, providers=["cpu"]).explain(X)
    assert found.activation == activation
    assert found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities, answers, rtol=1e-5)


def test_behind_the_logarithm_too():
    (answers,) = run(ending_in("LogSoftmax"), {"image": X})
    found = xs.Explainer(ending_in("LogSoftmax"), providers=["cpu"]).explain(X)
    np.testing.assert_allclose(found.probabilities, np.exp(answers), rtol=1e-5)


def test_of_a_class_model():
    found = xs.class_model(ending_in("Sigmoid"), [1, 3], recipe=xs.Recipe("few", steps=2, rate=0.1), providers=["cpu"])
    (answers,) = run(ending_in("Sigmoid"), {"image": found.inputs})
    np.testing.assert_allclose(found.probabilities, answers, rtol=1e-5)


def test_of_a_segmentation(picture):
    explainer = xs.Explainer(ending_in("Sigmoid"), providers=["cpu"])
    path = picture()
    (answers,) = run(ending_in("Sigmoid"), {"image": explainer.prepare(path)[0]})
    found = xs.segment(explainer, path, 2, recipe=replace(SEGMENT_RECIPES["paper"], mirror=False))
    assert found.score == pytest.approx(answers[0, 2], rel=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("activation", "expected"),
    [("Sigmoid", [[0, 0.5, 1], [0, 0.952574, 0.952574]]), (None, [[0, 0, 1], [0, 0.5, 0.5]])],
)
def test_large_logits_do_not_overflow(activation, expected):
    found = probabilities(LARGE, activation)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
