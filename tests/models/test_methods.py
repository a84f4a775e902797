"""DeconvNet and guided backpropagation of trained classifiers against float64, and their integrated gradients.

The reference is the NumPy reverse pass of tests/reference, which shares no code with the package.
"""

import warnings
from functools import cached_property
from pathlib import Path

import net as nets
import numpy as np
import onnx
import pytest
from autodiff import Reference
from nets import run
from pictures import NAMES, data_folder, model_path, read_pictures
from PIL import Image

import onnx_saliency as xs

DATA = data_folder()
MODELS = Path(__file__).parents[2] / "models"
REAL = pytest.mark.skipif(
    not DATA.is_dir(),
    reason=f"no trained models and photographs in {DATA}; ONNX_SALIENCY_TEST_DATA names another folder",
)
POLICIES = ("deconvnet", "guided")
WANTED = 1e-4
RECTIFIERS = {"Relu", "LeakyRelu", "Clip"}  # those of these nets; each Clip of theirs is a ReLU6


def load(name):
    if name == "default":
        with Image.open(MODELS / PICTURE) as file:
            pixels = np.asarray(file.convert("RGB").resize((128, 128)), np.float32)
        image = (pixels.transpose(2, 0, 1)[None] - 127.5) / 127.5
        return Trained(onnx.load(MODELS / "default.onnx"), image)
    return Trained(onnx.load(model_path(DATA, name)), read_pictures(DATA, name, 1))


class Trained:
    """A classifier and one image for it."""

    def __init__(self, model, image):
        self.model, self.image = model, image
        self.reference = Reference(model)

    @cached_property
    def kinks(self):
        """The values from which float32 takes the side of each kink."""
        names = self.reference.kinks
        session = nets.session(nets.tapped(xs.export(self.model, check=False), names))
        return dict(zip(names, session.run(names, {self.reference.image: self.image}), strict=True))

    def expected(self, policy):
        return self.reference.explain(self.image, branches=self.kinks, policy=policy)


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=() if name == "default" else REAL) for name in ("default", *NAMES)]
)
def trained(request):
    return load(request.param)


@pytest.mark.parametrize("policy", POLICIES)
def test_rectifiers_follow_the_policy(trained, policy):
    expected = trained.expected(policy)
    made = xs.export(trained.model, method=policy, check=False)
    feeds = {trained.reference.image: trained.image}
    saliency, found = nets.session(made).run(["saliency", "input_gradient"], feeds)
    np.testing.assert_array_equal(saliency, np.abs(found).max(axis=1))
    error = nets.relative(found, expected.gradient)
    print(f"relative L2 error {error:.2g}")
    assert error < WANTED
    plain = nets.session(xs.export(trained.model, check=False)).run(["input_gradient"], feeds)[0]
    assert nets.relative(plain, expected.gradient) > 0.1  # it is another map


@pytest.mark.parametrize("policy", POLICIES)
def test_every_rectifier_is_changed_and_told(trained, policy):
    count = sum(node.op_type in RECTIFIERS for node in trained.model.graph.node)
    explainer = xs.Explainer(trained.model, method=policy, providers=["cpu"])
    assert len(set(explainer.changed)) == len(explainer.changed) == count
    assert not explainer.smooth
    made = xs.export(trained.model, method=policy, check=False)
    told = {entry.key: entry.value for entry in made.metadata_props}
    assert told["onnx_saliency.method"] == policy
    assert told["onnx_saliency.changed_count"] == str(count)
    assert told["onnx_saliency.changed_nodes"].split(",") == list(explainer.changed)


QUANTISED = {  # convolutions whose quantiser cut off what is below 0, counted by hand in Netron
    "mobilenetv1_0.75_192_qdq": "gradient",
}


def test_a_model_without_rectifiers_is_told_of():
    body = "f = Flatten(image) t = Tanh(f) logits = MatMul(t, m)"
    from nets import array, graph, images

    model = graph(body, m=array((192, 5), "m"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = xs.export(model)
    x = {"image": images()}
    for policy in POLICIES:
        with pytest.warns(xs.MethodWarning, match="no rectifier"):
            made = xs.export(model, method=policy)
        for one, other in zip(run(made, x), run(plain, x), strict=True):
            np.testing.assert_array_equal(one, other)


# --- integrated gradients: the values add up to the score's change ------------------------------

COUNT = 4


@REAL
@pytest.mark.parametrize("name", ["resnet20_cifar10", "mobilenetv1_0.25_224"])
def test_integrated_gradients_are_complete(name):
    photos = read_pictures(DATA, name, COUNT)
    model = onnx.load(model_path(DATA, name))
    explainer = xs.Explainer(model, method=xs.IntegratedGradients(steps=128), providers=["cpu"])
    found = explainer.explain(photos)
    black = xs.Explainer(model, providers=["cpu"]).explain(np.zeros_like(photos[:1])).logits[0]
    rows = np.arange(COUNT)
    change = found.logits[rows, found.target] - black[found.target]
    gap = (found.gradient.sum(axis=(1, 2, 3), dtype=np.float64) - change) / np.abs(change)
    print(f"median |gap| {np.median(np.abs(gap)):.3%}")
    np.testing.assert_allclose(found.gap, gap, atol=2e-4)
    assert np.median(np.abs(found.gap)) < 0.01
