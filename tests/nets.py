"""Small classifiers in ONNX's own text form, and what runs them: shared by the tests of all rooms."""

import zlib

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
from onnx import numpy_helper

from onnx_saliency.errors import OutOfMemoryError
from onnx_saliency.runtime import Session

IMAGE, SCORES = "float[N,3,8,8] image", "float[N,5] logits"

CONV = """
    c = Conv<pads = [1, 1, 1, 1]>(image, w, b)
    s = Sigmoid(c)
    p = GlobalAveragePool(s)
    f = Flatten(p)
"""
"""Image to four smooth features f [N, 4]; CONV_WEIGHTS are its weights."""

CONV_WEIGHTS = {"w": (4, 3, 3, 3), "b": (4,)}
HEAD = "logits = Gemm<transB = 1>(f, v, a)"
HEAD_WEIGHTS = {"v": (5, 4), "a": (5,)}


def array(shape, name="x", dtype=np.float32):
    """Random numbers that depend on the name only."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(dtype)


def graph(body, *, inputs=IMAGE, outputs=SCORES, opset=18, ir=8, domains="", functions="", **weights):
    """A checked-by-nobody ModelProto: `body` in ONNX's text form, weights as arrays or as shapes to fill."""
    domains = f', "{domains}": 1' if domains else ""
    text = f'<ir_version: {ir}, opset_import: ["": {opset}{domains}]> net ({inputs}) => ({outputs}) {{ {body} }}'
    model = onnx.parser.parse_model(text + functions)
    for name, value in weights.items():
        value = array(value, name) if isinstance(value, tuple) else np.asarray(value)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


def small(body="", **options):
    """The usual net: convolution, sigmoid, mean, Gemm. `body` may follow, from `logits` to other outputs."""
    return graph(CONV + HEAD + body, **{**CONV_WEIGHTS, **HEAD_WEIGHTS, **options})


def session(model):
    """A session of a ModelProto, bytes or a path in onnxruntime, unoptimised."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(model, feeds, outputs=None):
    """Run a ModelProto, bytes or a path in onnxruntime, unoptimised; a list of arrays."""
    return session(model).run(outputs, feeds)


def images(*shape, seed=0):
    """A batch of float images."""
    return np.random.default_rng(seed).standard_normal(shape or (2, 3, 8, 8)).astype(np.float32)


def close(actual, expected, tolerance=1e-5):
    """Assert that two arrays are equal to a relative L2 difference."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    difference = np.linalg.norm(actual.astype(np.float64) - expected) / max(np.linalg.norm(expected), 1e-30)
    assert difference <= tolerance, f"relative difference {difference:.2g}"


def differences(model, image, classes, output="logits", step=1e-2):
    """Gradient of `output`[n, classes[n]] by central differences in every pixel; float32, so good to about 1e-4."""
    flat = image.reshape(len(image), -1)
    found = np.zeros_like(flat)
    for n, c in enumerate(classes):
        nudges = np.concatenate([np.eye(flat.shape[1]), -np.eye(flat.shape[1])]).astype(np.float32) * step
        batch = (flat[n] + nudges).reshape(-1, *image.shape[1:])
        (values,) = run(model, {"image": batch}, [output])
        plus, minus = np.split(values.reshape(len(batch), -1)[:, c].astype(np.float64), 2)
        found[n] = (plus - minus) / (2 * step)
    return found.reshape(image.shape)


def little_memory(monkeypatch, name, most):
    """Our sessions have none for more than `most` rows of input `name`; the list fills with what was asked for."""
    asked, ample = [], Session.run

    def narrow(self, feeds, outputs=None):
        asked.append(len(feeds[name]))
        if asked[-1] > most:
            raise OutOfMemoryError("full")
        return ample(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", narrow)
    return asked
