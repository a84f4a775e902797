"""Small nets of a dozen architectures, exported by PyTorch, beside what its float64 autograd said of them.

Made by tools/regression_nets.py; nothing here needs PyTorch.
"""

import lzma
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnx_saliency as xs
from onnx_saliency.runtime import Session

FOLDER = Path(__file__).parent
NAMES = sorted(path.name.removesuffix(".onnx.xz") for path in FOLDER.glob("*.onnx.xz"))


def test_the_dozen_is_there():
    assert len(NAMES) == 12


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_float64_autograd(name):
    model = onnx.ModelProto.FromString(lzma.decompress((FOLDER / f"{name}.onnx.xz").read_bytes()))
    known = np.load(FOLDER / f"{name}.npz")
    side = int(known["side"])
    image = np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32)
    session = Session(xs.export(model).SerializeToString(), providers=["cpu"])
    scores, gradient = session.run({"image": image}, [session.outputs[0], "input_gradient"])
    expected = known["gradient"]
    actual = gradient.reshape(-1)[known["positions"]].astype(np.float64)
    assert scores.argmax() == known["target"]
    assert np.linalg.norm(expected) > 0
    error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    assert error < max(1e-4, 3 * known["autograd_error"]), f"relative L2 error {error:.2g}"
