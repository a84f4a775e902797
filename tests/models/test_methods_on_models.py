"""DeconvNet and guided backpropagation of trained classifiers against float64, and their integrated gradients.

The reference is the NumPy reverse pass of tests/reference, which shares no code with the package.
"""

import lzma
import warnings
from functools import cached_property
from pathlib import Path

import net as nets
import numpy as np
import onnx
import pytest
from autodiff import Reference
from nets import array, graph, images, run
from pictures import NAMES, data_folder, model_path, read_pictures
from PIL import Image

import onnx_saliency as xs
from onnx_saliency.exporter import Options, explain_model, find_method

DATA = data_folder()
ZOO = Path(__file__).parents[1] / "zoo"
MODELS = Path(__file__).parents[2] / "models"
REAL = pytest.mark.skipif(
    not DATA.is_dir(),
    reason=f"no trained models and photographs in {DATA}; ONNX_SALIENCY_TEST_DATA names another folder",
)
POLICIES = ("deconvnet", "guided")
WANTED = 1e-4
RECTIFIERS = {"Relu", "LeakyRelu", "Clip"}  # those of these nets; each Clip of theirs is a ReLU6


def load(name):
    if name == "zoo resnet":
        model = onnx.ModelProto.FromString(lzma.decompress((ZOO / "resnet.onnx.xz").read_bytes()))
        return Trained(model, images(1, 3, 64, 64))
    if name == "default":
        with Image.open(sorted((MODELS / "pictures").iterdir())[0]) as file:
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
    def made(self):
        """The explained model of each policy."""
        return {policy: xs.export(self.model, method=policy, check=False) for policy in ("gradient", *POLICIES)}

    @cached_property
    def values(self):
        """Those of float64, but for the side of each kink, which is that of float32."""
        names, feeds = self.reference.kinks, {self.reference.image: self.image}
        single = nets.session(nets.tapped(self.made["gradient"], names)).run(names, feeds)
        return self.reference.forward(self.image) | dict(zip(names, single, strict=True))

    def expected(self, policy):
        score = self.values[self.reference.score]
        seed = np.eye(score.size)[score.argmax()].reshape(score.shape)
        return self.reference.backward(self.values, {self.reference.score: seed}, policy)

    def run(self, policy, *names):
        return nets.session(self.made[policy]).run(names, {self.reference.image: self.image})


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=REAL if name in NAMES else ()) for name in ("default", "zoo resnet", *NAMES)],
)
def trained(request):
    return load(request.param)


def test_rectifiers_follow_the_policy(trained):
    (plain,) = trained.run("gradient", "input_gradient")
    for policy in POLICIES:
        expected = trained.expected(policy)
        saliency, found = trained.run(policy, "saliency", "input_gradient")
        np.testing.assert_array_equal(saliency, np.abs(found).max(axis=1))
        error = nets.relative(found, expected)
        print(f"{policy}: relative L2 error {error:.2g}")
        assert error < WANTED
        assert nets.relative(plain, expected) > 0.1  # it is another map


@pytest.mark.parametrize("policy", POLICIES)
def test_every_rectifier_is_changed_and_told(trained, policy):
    count = sum(node.op_type in RECTIFIERS for node in trained.model.graph.node)
    found = explain_model(trained.model, Options(find_method(policy)))
    assert len(set(found.changed)) == len(found.changed) == count
    assert not found.smooth
    told = {entry.key: entry.value for entry in trained.made[policy].metadata_props}
    assert told["onnx_saliency.method"] == policy
    assert told["onnx_saliency.changed_count"] == str(count)
    assert told["onnx_saliency.changed_nodes"].split(",") == list(found.changed)


def test_the_explainer_tells_the_same():
    explainer = xs.Explainer(MODELS / "default.onnx", method="guided", providers=["cpu"])
    model = onnx.load(MODELS / "default.onnx")
    assert len(explainer.changed) == sum(node.op_type == "Relu" for node in model.graph.node) > 0


def test_a_model_without_rectifiers_is_told_of():
    model = graph("f = Flatten(image) t = Tanh(f) logits = MatMul(t, m)", m=array((192, 5), "m"))
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
LIMITS = {"resnet20_cifar10": 0.01, "mobilenetv1_0.25_224": 0.02}
"""Of what the rule alone misses, the median: a net of kinks leaves a per cent or so, here or there by chance."""


@REAL
@pytest.mark.parametrize("name", LIMITS)
def test_integrated_gradients_are_complete(name):
    photos = read_pictures(DATA, name, COUNT)
    model = onnx.load(model_path(DATA, name))
    explainer = xs.Explainer(model, method=xs.IntegratedGradients(steps=128), providers=["cpu"])
    found = explainer.explain(photos)
    black = xs.Explainer(model, providers=["cpu"]).explain(np.zeros_like(photos[:1])).logits[0]
    rows = np.arange(COUNT)
    change = found.logits[rows, found.target] - black[found.target]
    gap = (found.gradient.sum(axis=(1, 2, 3), dtype=np.float64) - change) / np.abs(change)
    print(f"largest |gap| {np.abs(gap).max():.3%}, of the rule alone {np.abs(found.gap).max():.3%}")
    assert np.abs(gap).max() < 1e-3
    assert np.median(np.abs(found.gap)) < LIMITS[name]
