"""Operators that pass nothing on, and those that are refused."""

import io
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from onnx_saliency.backward import classify
from onnx_saliency.backward.registry import refusal
from onnx_saliency.errors import UnsupportedOperatorError

from .harness import NEWEST, differentiate, normal, parse, run


@dataclass(frozen=True)
class Stop:
    """A function of x by way of one operator: `body` makes t, whose sum is looked at."""

    op: str
    body: str
    x: np.ndarray = field(default_factory=lambda: np.array([[0.7, -1.2, 2.4], [3.1, 1.6, -0.3]], np.float32))
    since: int = 18
    reference: bool = False  # onnxruntime has no kernel for it, or none since opset 22
    until: int = NEWEST

    def __str__(self) -> str:
        return self.op


def picture() -> np.ndarray:
    """The bytes of a small picture file, as floats."""
    file = io.BytesIO()
    Image.fromarray(np.array([[10, 20], [30, 40]], np.uint8)).save(file, "PNG")
    return np.frombuffer(file.getvalue(), np.uint8).astype(np.float32)


WHOLE, BYTES, TEXT = "i = Cast<to = 6>(x)", "a = Abs(x) i = Cast<to = 2>(a)", "s = Cast<to = 8>(x)"
ROWS = [
    Stop("BitShift", f'{BYTES} t = BitShift<direction = "LEFT">(i, i)'),
    Stop("BitwiseAnd", f"{WHOLE} t = BitwiseAnd(i, i)"),
    Stop("BitwiseNot", f"{WHOLE} t = BitwiseNot(i)"),
    Stop("BitwiseOr", f"{WHOLE} t = BitwiseOr(i, i)"),
    Stop("BitwiseXor", f"{WHOLE} j = Neg(i) t = BitwiseXor(i, j)"),
    Stop("RegexFullMatch", f'{TEXT} t = RegexFullMatch<pattern = ".*">(s)', since=20),
    Stop("StringConcat", f"{TEXT} c = StringConcat(s, zero) t = Cast<to = 1>(c)", since=20),
    Stop("StringNormalizer", "f = Reshape(x, all) s = Cast<to = 8>(f) c = StringNormalizer(s) t = Cast<to = 1>(c)"),
    Stop("StringSplit", f'{TEXT} parts, t = StringSplit<delimiter = ".">(s)', since=20),
    Stop("TfIdfVectorizer", f"""{WHOLE} t = TfIdfVectorizer<mode = "TF", min_gram_length = 1, max_gram_length = 1,
         max_skip_count = 0, ngram_counts = [0], ngram_indexes = [0, 1], pool_int64s = [0, 3]>(i)"""),
    Stop("ImageDecoder", 'i = Cast<to = 2>(x) t = ImageDecoder<pixel_format = "Grayscale">(i)', x=picture(),
         since=20, reference=True),
    Stop("NonMaxSuppression", "scores = Reshape(x, each) t = NonMaxSuppression(boxes, scores, six)"),
    Stop("Constant", "t = Constant<value = float[1] {2.0}>()"),
    *(
        Stop(name, f"n = Size(x) t = {name}(n)") for name in ("BlackmanWindow", "HammingWindow", "HannWindow")
    ),
    Stop("MelWeightMatrix", "e = ReduceMax<keepdims = 0>(x) t = MelWeightMatrix(six, sixteen, rate, e, top)"),
    Stop("RandomNormal", "t = RandomNormal<shape = [3], mean = 9.0>()", reference=True),
    Stop("RandomNormalLike", "t = RandomNormalLike<mean = 9.0>(x)", reference=True),
    Stop("RandomUniform", "t = RandomUniform<shape = [3], low = 2.0, high = 3.0>()", reference=True),
    Stop("RandomUniformLike", "t = RandomUniformLike<low = 2.0, high = 3.0>(x)", reference=True),
    Stop("Bernoulli", "p = Div(x, x) t = Bernoulli(p)", reference=True),
    Stop("Multinomial", "m = Multinomial<sample_size = 3>(x) t = Sub(m, seven)", until=21),
]  # fmt: skip
CONSTANTS = """string[1] zero = {"0"}, int64[1] all = {-1}, int64[3] each = {1, 1, 6}, int64 six = {6},
    int64 sixteen = {16}, int64 rate = {8000}, float top = {4000.0}, int32 seven = {7},
    float[1, 6, 4] boxes = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11}"""


@pytest.mark.parametrize("open_", [False, True])
@pytest.mark.parametrize(
    ("stop", "opset"), [(stop, opset) for stop in ROWS for opset in sorted({max(18, stop.since), stop.until})], ids=str
)
def test_nothing_flows(stop, opset, open_):
    """dy/dx of y = x Σ t is Σ t alone."""
    shape = ", ".join("NM"[axis] if open_ else str(size) for axis, size in enumerate(stop.x.shape))
    model = parse(
        f"(float[{shape}] x) => (float[{shape}] y) <{CONSTANTS}>",
        f"{stop.body} sum = Cast<to = 1>(t) total = ReduceSum<keepdims = 0>(sum) y = Mul(x, total)",
        opset,
    )
    v = normal(*stop.x.shape).astype(np.float32)
    differentiated, reached = differentiate(model, ["x"], np.float32)
    found = run(differentiated, {"x": stop.x, "v0": v}, reference=stop.reference)
    total = found["y"].flat[0] / stop.x.flat[0]
    assert reached == [True]
    assert abs(total) > 0.1
    np.testing.assert_allclose(found["d_x"], v * total, rtol=1e-5)


REFUSED = {"BitCast": "t = BitCast<to = 1>(x)"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_with_its_reason(name):
    model = parse("(float[2] x) => (float[2] t)", REFUSED[name])
    reason = refusal(ir.node(name, []))
    assert classify(name) == "refused"
    with pytest.raises(UnsupportedOperatorError, match=rf"'make_t': {name}, opset {NEWEST} \({reason}\)"):
        differentiate(model, ["x"], np.float32)
