"""A classifier beside its explained model and the float64 reference, and what must hold between them."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from autodiff import Reference

from onnx_saliency.exporter import Precision, export

Array = npt.NDArray[np.float32]

SHARP = 1e-5
"""Limit of the relative L2 error of a gradient against float64 on the same side of every kink: pure rounding."""

PLAIN = 5e-2
"""Its limit against plain float64, for trained nets. A rectifier or pool so near its kink that rounding decides costs
any float32 gradient some thousandths, and there are millions of them."""

LIMITS: dict[Precision, float] = {"mixed": SHARP, "double": 1e-7}
"""Its limits against plain float64 where scores are computed in float64, and where all is but the result."""

VALUES = 1e-4
"""Limit of the relative L2 error of the values at the kinks, so that only those within rounding may lie elsewhere."""

OUTPUTS = 1e-5
"""Limit of the relative L2 difference of the original outputs."""


def relative(actual: npt.NDArray[np.floating], expected: npt.NDArray[np.floating]) -> float:
    """‖actual - expected‖ / ‖expected‖, in float64"""
    expected = expected.astype(np.float64)
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def tapped(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """`model` with further values as outputs."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    return copy


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU that says nothing of initializers among the inputs."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Net:
    """A model, its explained model in ONNX Runtime, its reference, and images for them."""

    def __init__(self, model: onnx.ModelProto, images: Array) -> None:
        self.model, self.images = model, images
        self.explained = export(model, check=False)
        self.reference = Reference(model)
        self.output = model.graph.output[0].name
        self._session = session(self.explained)
        (image,) = [value for value in self._session.get_inputs() if value.name == self.reference.image]
        self.fixed = image.shape[0] == 1  # to a batch of one

    @cached_property
    def actual(self) -> dict[str, Array]:
        """What the explained model gives for the images, without a target."""
        return self.run()

    @cached_property
    def kinks(self) -> list[dict[str, Array]]:
        """For each image, the values of the explained model from which its gradient takes the side of each kink."""
        names = self.reference.kinks
        tapping = session(tapped(self.explained, names))
        return [
            dict(zip(names, tapping.run(names, {self.reference.image: image[None]}), strict=True))
            for image in self.images
        ]

    def run(self, target: list[int] | None = None) -> dict[str, Array]:
        """All outputs for the images: in one batch, or one by one where the model is fixed to that."""
        if not self.fixed:
            return self._run(self.images, target)
        count = len(self.images)
        targets = [None] * count if target is None else np.broadcast_to(target, count)[:, None]
        runs = [self._run(image[None], wanted) for image, wanted in zip(self.images, targets, strict=True)]
        return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}

    def _run(self, images: Array, target: npt.ArrayLike | None) -> dict[str, Array]:
        names = [value.name for value in self._session.get_outputs()]
        feeds = {self.reference.image: images}
        if target is not None:
            feeds["target"] = np.asarray(target, np.int64)
        return dict(zip(names, self._session.run(names, feeds), strict=True))


def check_interface(net: Net) -> None:
    """Original outputs first, then the two new ones; one input more; `saliency` is made of the gradient."""
    original = [value.name for value in net.model.graph.output]
    assert [value.name for value in net.explained.graph.output] == [*original, "saliency", "input_gradient"]
    required = {value.name for value in net.explained.graph.input} - {t.name for t in net.explained.graph.initializer}
    assert required == {net.reference.image}
    onnx.checker.check_model(net.explained, full_check=True)
    gradient, saliency = net.actual["input_gradient"], net.actual["saliency"]
    assert gradient.shape == net.images.shape
    assert gradient.dtype == saliency.dtype == np.float32
    np.testing.assert_array_equal(saliency, np.abs(gradient).max(axis=1))


def check_gradient(net: Net) -> None:
    """The gradient of the predicted class's logit is that of float64, for every image."""
    for i, actual in enumerate(net.actual["input_gradient"]):
        expected = net.reference.explain(net.images[i : i + 1], branches=net.kinks[i])
        assert expected.target[0] == net.actual[net.output][i].argmax()
        assert max(relative(value, expected.values[name]) for name, value in net.kinks[i].items()) < VALUES
        assert relative(actual, expected.gradient[0]) < SHARP


def check_plain_gradient(net: Net) -> None:
    """Nor do kinks matter much."""
    for actual, image in zip(net.actual["input_gradient"], net.images, strict=True):
        assert relative(actual, net.reference.explain(image[None]).gradient[0]) < PLAIN


def check_longer_precisions(net: Net) -> None:
    """With scores in float64 no kink lies elsewhere; what is left is the rounding of the way back, or of the result."""
    image = net.images[:1]
    expected = net.reference.explain(image).gradient
    for precision, limit in LIMITS.items():
        explained = session(export(net.model, precision=precision, check=False))
        gradient, *after = explained.run(["input_gradient", net.output], {net.reference.image: image})
        assert relative(gradient, expected) < limit
        assert relative(after[0], net.actual[net.output][:1]) < OUTPUTS


def check_outputs(net: Net) -> None:
    """What the model computed it still computes."""
    original = session(net.model)
    batches = [image[None] for image in net.images] if net.fixed else [net.images]
    for name in [value.name for value in net.model.graph.output]:
        before = np.concatenate([original.run([name], {net.reference.image: batch})[0] for batch in batches])
        after = net.actual[name]
        assert after.shape == before.shape
        assert after.dtype == before.dtype
        assert relative(after, before) < OUTPUTS
        np.testing.assert_array_equal(
            after.reshape(len(after), -1).argmax(axis=1), before.reshape(len(before), -1).argmax(axis=1)
        )


def check_targets(net: Net) -> None:
    """-1 is the default; one class for all; one for each image."""
    np.testing.assert_array_equal(net.run([-1])["input_gradient"], net.actual["input_gradient"])
    for target in [[7]] if len(net.images) == 1 else [[7], [3, 5, 8][: len(net.images)]]:
        actual = net.run(target)["input_gradient"][-1]
        expected = net.reference.explain(net.images[-1:], target[-1], net.kinks[-1])
        assert relative(actual, expected.gradient[0]) < SHARP


def check_deterministic(net: Net) -> None:
    """Two exports are the same bytes."""
    assert export(net.model, check=False).SerializeToString() == net.explained.SerializeToString()


def check_deterministic_across_processes(net: Net, folder: Path) -> None:
    """So are those of two processes, whose sets and dictionaries hash strings differently."""
    onnx.save(net.model, folder / "net.onnx")
    program = "import sys; from onnx_saliency.exporter import export; export(*sys.argv[1:], check=False)"
    for seed in ("1", "2"):
        subprocess.run(
            [sys.executable, "-c", program, folder / "net.onnx", folder / f"{seed}.onnx"],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
        )
    assert (folder / "1.onnx").read_bytes() == (folder / "2.onnx").read_bytes()


def check_reference_evaluator(net: Net) -> None:
    """The standard's own evaluator gives the same numbers: nothing hangs on ONNX Runtime."""
    from onnx.reference import ReferenceEvaluator

    feeds = {net.reference.image: net.images[:1], "target": np.array([-1])}
    names = [net.output, "saliency", "input_gradient"]
    for name, value in zip(names, ReferenceEvaluator(net.explained).run(names, feeds), strict=True):
        assert relative(value, net.actual[name][:1]) < PLAIN, name
