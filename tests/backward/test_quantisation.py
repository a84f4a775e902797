"""Gradients of quantised operators against the straight-through estimate by its definition.

The definition, slow and plain: run the graph once in float64 and note at every quantiser what rounding added and which
numbers the range of the codes held back. With that noted, a quantiser is an affine function of its input; central
differences of the graph, every quantiser so replaced, are the gradient. The first run is the quantised graph itself,
so the definition is checked against onnxruntime as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from nets import graph

from onnx_saliency.backward import find_path, is_straight_through
from onnx_saliency.errors import UnsupportedOperatorError
from onnx_saliency.graph import normalise
from onnx_saliency.graph.quantised import CONTRIB

from .harness import assert_close, differentiate, run

RANGES = {
    "f8": (-448, 448),
    "u8": (0, 255),
    "i8": (-128, 127),
    "u16": (0, 65535),
    "i16": (-32768, 32767),
    "i4": (-8, 7),
    "u4": (0, 15),
}


class Quantisers:
    """`q(x, s, z)` for each quantiser of a graph, in order: rounding on the first run, affine afterwards."""

    half = 0.5  # of a code: what lies nearer to a code than that is rounded to it

    def __init__(self) -> None:
        self.noted: list[tuple[np.ndarray, np.ndarray]] = []
        self.position: int | None = None

    def again(self) -> Quantisers:
        self.position = 0
        return self

    def __call__(
        self, x: np.ndarray, s: Any, z: Any = 0, kind: str = "u8", *, open: bool = True, result: bool = False
    ) -> np.ndarray:
        """Codes of x. `open`: the ends of the range belong to it; else a code there was held back."""
        low, high = RANGES[kind]
        if self.position is None:
            r = x / s if kind == "f8" else np.round(x / s) + z
            q = np.clip(r, low, high)
            q = q.astype(ml_dtypes.float8_e4m3fn).astype(np.float64) if kind == "f8" else q
            passes = (r >= low) & (r <= high) if open else (q > low) & (q < high)
            self.noted.append((q, np.where(passes | result, q - x / s, np.nan)))
            return q
        q, offset = self.noted[self.position]
        self.position += 1
        return np.where(np.isnan(offset), q, x / s + offset)


@dataclass(eq=False)
class Case:
    """A graph from float `x` to float `y` around one operator, and the same in numpy.

    Attributes:
        op: the operator.
        body: the graph in ONNX's text form.
        definition: y from (x, quantiser, weights).
        x: the input.
        weights: its other inputs.
    """

    op: str
    body: str
    definition: Callable[..., np.ndarray]
    x: np.ndarray
    weights: dict[str, Any] = field(default_factory=dict)
    named: str = ""
    opset: int = 18

    def __str__(self) -> str:
        return f"{self.op}-{self.named}" if self.named else self.op

    def model(self) -> onnx.ModelProto:
        shape = ",".join(map(str, self.x.shape))
        inputs, outputs = f"float[{shape}] x", f"float[{','.join('abcdef'[: self.evaluate().ndim])}] y"
        made = graph(self.body, inputs=inputs, outputs=outputs, opset=self.opset, ir=10, domains="com.microsoft")
        made.graph.initializer.extend(
            w if isinstance(w, onnx.TensorProto) else onnx.numpy_helper.from_array(np.asarray(w), name)
            for name, w in self.weights.items()
        )
        return made

    def evaluate(self, q: Quantisers | None = None) -> np.ndarray:
        return self._call(self.x.astype(np.float64), Quantisers() if q is None else q)

    def gradient(self, v: np.ndarray, q: Quantisers | None = None, step: float = 1e-4) -> np.ndarray:
        q = Quantisers() if q is None else q
        x = self.x.astype(np.float64)
        self._call(x, q)
        found = np.zeros(x.shape)
        for entry in np.ndindex(x.shape):
            unit = np.zeros(x.shape)
            unit[entry] = step
            ahead, behind = self._call(x + unit, q.again()), self._call(x - unit, q.again())
            found[entry] = np.sum(v * (ahead - behind)) / (2 * step)
        return found

    def _call(self, x: np.ndarray, q: Quantisers) -> np.ndarray:
        return self.definition(x, q, **{k: _plain(w) for k, w in self.weights.items()})


def _plain(weight: Any) -> np.ndarray:
    array = onnx.numpy_helper.to_array(weight) if isinstance(weight, onnx.TensorProto) else np.asarray(weight)
    return array if array.dtype == np.bool_ else array.astype(np.float64)


RNG = np.random.default_rng(2013)


def floats(*shape: int, scale: float = 3.0) -> np.ndarray:
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def codes(*shape: int, dtype: type = np.int8) -> np.ndarray:
    """int8 within 7 bits: x64 without VNNI adds pairs of products by uint8 in 16 bits; 255 * 100 * 2 saturates."""
    low, high = (-64, 64) if dtype is np.int8 else (20, 230)
    return RNG.integers(low, high, shape).astype(dtype)


def scale(value: float) -> np.ndarray:
    return np.array(value, np.float32)


X = {"xs": scale(0.04), "xz": np.uint8(110)}  # -4.4 .. 5.8: a tenth of the numbers are beyond it
Y = {"ys": scale(0.3), "yz": np.uint8(90)}
TWO = {"two": scale(2.0)}
IN = "xq = QuantizeLinear(x, xs, xz)"
OUT = "r = DequantizeLinear(yq, ys, yz) y = Mul(r, two)"
"""Around an operator from xq to yq. The Mul keeps the codes from being those of a result, which nothing holds back."""


def qlinear(op: str, body: str, definition: Callable[..., np.ndarray], x: np.ndarray, **options: Any) -> Case:
    """A case x - xq - (op) - yq - y; `definition` is the real number y before it is quantised, from the real x."""
    named, opset, open = (options.pop(key, default) for key, default in (("named", ""), ("opset", 18), ("open", False)))
    weights = {**X, **Y, **TWO, **options}

    def whole(x: np.ndarray, q: Quantisers, **w: np.ndarray) -> np.ndarray:
        x = (q(x, w["xs"], w["xz"]) - w["xz"]) * w["xs"]
        return 2 * (q(definition(x, **w), w["ys"], w["yz"], open=open) - w["yz"]) * w["ys"]

    return Case(op, f"{IN} {body} {OUT}", whole, x, weights, named, opset)


def convolve(x: np.ndarray, w: np.ndarray, stride: int = 1, pad: int = 0, group: int = 1) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    (m, c, k, _), each = w.shape, w.shape[0] // group
    side = (x.shape[2] - k) // stride + 1
    y = np.zeros((len(x), m, side, side))
    for o in range(m):
        part = x[:, o // each * c : (o // each + 1) * c]
        for i in range(side):
            for j in range(side):
                window = part[:, :, i * stride : i * stride + k, j * stride : j * stride + k]
                y[:, o, i, j] = (window * w[o]).sum(axis=(1, 2, 3))
    return y


# --- between floats and codes ------------------------------------------------------------------


def linear(kind: str, s: Any, z: Any, body: str, *, opset: int = 21, x: np.ndarray | None = None, **w: Any) -> Case:
    """x - codes - y with the tensors s and z, spread as `along` says."""
    along = w.pop("along", lambda array: array)
    named, op = w.pop("named", kind), w.pop("op", "QuantizeLinear")
    between = w.pop("between", lambda q: q)

    def definition(x: np.ndarray, q: Quantisers, **known: np.ndarray) -> np.ndarray:
        s, z = along(known["s"]), along(known["z"]) if "z" in known else 0
        return 2 * (between(q(x, s, z, kind)) - z) * s

    given = {"s": s, **({} if z is None else {"z": z}), **TWO, **w}
    return Case(op, body + " y = Mul(r, two)", definition, floats(2, 3, 4) if x is None else x, given, named, opset)


def tensor(kind: str, values: np.ndarray) -> onnx.TensorProto:
    if kind == "f8":
        return onnx.helper.make_tensor("z", onnx.TensorProto.FLOAT8E4M3FN, values.shape, [0.0])
    element = {"i4": onnx.TensorProto.INT4, "u4": onnx.TensorProto.UINT4}[kind]
    return onnx.helper.make_tensor("z", element, values.shape, values.reshape(-1).astype(int).tolist())


QDQ = "q = QuantizeLinear(x, s, z) r = DequantizeLinear(q, s, z)"
AXIS = "q = QuantizeLinear<axis = 1>(x, s, z) r = DequantizeLinear<axis = 1>(q, s, z)"
BLOCK = "q = QuantizeLinear<axis = 2, block_size = 2>(x, s, z) r = DequantizeLinear<axis = 2, block_size = 2>(q, s, z)"
PER_CHANNEL = np.array([0.02, 0.03, 0.04], np.float32)


def channel(array: np.ndarray) -> np.ndarray:
    return array[:, None]


def block(array: np.ndarray) -> np.ndarray:
    return np.repeat(array, 2, axis=2)


LINEAR = [
    linear("u8", scale(0.03), np.uint8(100), QDQ, opset=18),
    linear("i8", scale(0.03), np.int8(-7), QDQ, opset=18),
    linear("u8", scale(0.03), None, QDQ.replace(", z", ""), opset=18, named="no zero point"),
    linear("u16", scale(1e-4), np.uint16(30000), QDQ),
    linear("i16", scale(1e-4), np.int16(5), QDQ),
    linear("i4", scale(0.5), tensor("i4", np.array(-1)), QDQ),
    linear("u4", scale(0.4), tensor("u4", np.array(6)), QDQ),
    linear("f8", scale(0.01), tensor("f8", np.array(0)), QDQ, opset=19),
    linear("i8", PER_CHANNEL, np.array([3, -5, 0], np.int8), AXIS, along=channel, named="an axis", opset=18),
    linear(
        "i8",
        RNG.uniform(0.01, 0.05, (2, 3, 2)).astype(np.float32),
        codes(2, 3, 2) // np.int8(20),
        BLOCK,
        along=block,
        named="blocks",
    ),
    linear(
        "u16",
        scale(1e-4),
        np.uint16(30000),
        QDQ.replace("= ", "= com.microsoft."),
        named="of com.microsoft",
        opset=18,
    ),
]


def moved(named: str, body: str, between: Callable[[np.ndarray], np.ndarray], **options: Any) -> Case:
    """Operators on the codes themselves, as quantisers leave them between QuantizeLinear and DequantizeLinear."""
    whole = f"q = QuantizeLinear(x, s, z) {body} r = DequantizeLinear(m, s, z)"
    x = floats(2, 3, 4, 4)
    return linear("u8", scale(0.03), np.uint8(100), whole, x=x, between=between, named=named, **options)


def pooled(q: np.ndarray) -> np.ndarray:
    return q.reshape(2, 3, 2, 2, 2, 2).max(axis=(3, 5))


MOVED = [
    moved("Reshape", "m = Reshape(q, shape)", lambda q: q.reshape(6, 16), shape=np.array([6, -1])),
    moved("Transpose", "m = Transpose<perm = [0, 2, 3, 1]>(q)", lambda q: q.transpose(0, 2, 3, 1)),
    moved("Concat", "t = Transpose<perm = [0, 1, 3, 2]>(q) m = Concat<axis = 1>(q, t)",
          lambda q: np.concatenate([q, q.swapaxes(2, 3)], axis=1)),
    moved("Flatten", "m = Flatten(q)", lambda q: q.reshape(2, 48)),
    moved("MaxPool", "m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(q)", pooled),
    moved("Slice", "m = Slice(q, one, three, axis)", lambda q: q[:, :, 1:3],
          one=np.array([1]), three=np.array([3]), axis=np.array([2])),
    moved("Gather", "m = Gather<axis = 1>(q, places)", lambda q: q[:, [2, 0]], places=np.array([2, 0])),
    moved("Squeeze", "u = Unsqueeze(q, axis) m = Squeeze(u, axis)", lambda q: q, axis=np.array([0])),
    moved("Split", "a, b = Split<axis = 2, num_outputs = 2>(q) m = Concat<axis = 2>(b, a)",
          lambda q: np.concatenate([q[:, :, 2:], q[:, :, :2]], axis=2)),
    moved("Clip", "m = Clip(q, low, high)", lambda q: np.where(q < 61.5, 61, np.where(q > 151.5, 152, q)),
          low=np.uint8(61), high=np.uint8(152)),
    moved("Max", "m = Max(q, low)", lambda q: np.where(q < 97.5, 97, q), low=np.uint8(97)),
]  # fmt: skip

RELU_ON_CODES = linear(
    "i8", scale(0.03), np.int8(0), "q = QuantizeLinear(x, s, z) m = Relu(q) r = DequantizeLinear(m, s, z)",
    between=lambda q: np.maximum(q, 0), named="Relu",
)  # fmt: skip


# --- groups of DequantizeLinear, an operator and QuantizeLinear ----------------------------------

SHORT = "d = DequantizeLinear(xq, xs, xz) f_w = DequantizeLinear(w, ws, wz)"
CODED = "yq = QuantizeLinear(f, ys, yz)"
SMALL = {"w": codes(3, 2, 3, 3), "ws": scale(0.004), "wz": np.int8(0)}


def group(named: str, body: str, definition: Callable[..., np.ndarray], x: np.ndarray, **options: Any) -> Case:
    return qlinear("DequantizeLinear", f"{SHORT} {body} {CODED}", definition, x, named=named, **{**SMALL, **options})


GROUPS = [
    group("Conv", "f = Conv<pads = [1, 1, 1, 1]>(d, f_w)", lambda x, **w: convolve(x, deq(**w), pad=1),
          floats(1, 2, 5, 5)),
    group("Conv-no Relu left", "f = Conv(d, f_w)", lambda x, **w: convolve(x, deq(**w)), floats(1, 2, 5, 5),
          yz=np.uint8(0)),
    group("Add", "f = Add(d, d)", lambda x, **_: x + x, floats(1, 2, 5, 5), ys=scale(0.05)),
    group("GlobalAveragePool", "f = GlobalAveragePool(d)", lambda x, **_: x.mean(axis=(2, 3), keepdims=True),
          floats(1, 9, 2, 2), open=True, ys=scale(0.04), yz=np.uint8(0)),
    group("MaxPool", "f = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(d)",
          lambda x, **_: x.reshape(1, 3, 2, 2, 2, 2).max(axis=(3, 5)), floats(1, 3, 4, 4), open=True, ys=scale(0.02)),
    group("Split", "f, g = Split<axis = 1, num_outputs = 2>(d)", lambda x, **_: x[:, :2], floats(2, 4), open=True,
          ys=scale(0.04)),
]  # fmt: skip


def kept(x: np.ndarray, q: Quantisers, **w: np.ndarray) -> np.ndarray:
    """A Relu inside a group is read from the codes behind it: open where they stand for more than 0."""
    x = (q(x, w["xs"], w["xz"]) - w["xz"]) * w["xs"]
    r = q(convolve(x, w["w"] * w["ws"]), w["ys"], w["yz"], open=False) - w["yz"]
    return 2 * np.where(r > q.half, r, 0) * w["ys"]


KEPT = Case(
    "DequantizeLinear", f"{IN} {SHORT} c = Conv(d, f_w) f = Relu(c) {CODED} {OUT}", kept, floats(1, 2, 5, 5),
    {**X, **Y, **TWO, **SMALL, "ys": scale(1.0)}, "Relu",
)  # fmt: skip


# --- operators on codes ------------------------------------------------------------------------

W = {"w": codes(3, 2, 3, 3), "ws": scale(0.004), "wz": np.int8(0)}
CHANNELS = {"w": codes(4, 1, 3, 3), "ws": np.array([0.003, 0.004, 0.01, 0.02], np.float32), "wz": np.zeros(4, np.int8)}
FACTOR = {"w": codes(4, 5, dtype=np.uint8), "ws": scale(0.004), "wz": np.uint8(130)}
COLUMNS = {
    "w": codes(4, 5),
    "ws": np.array([0.003, 0.004, 0.01, 0.02, 0.005], np.float32),
    "wz": np.array([0, 3, 0, -2, 0], np.int8),
}


def deq(w: np.ndarray, ws: np.ndarray, wz: np.ndarray, **_: Any) -> np.ndarray:
    if ws.ndim and w.ndim == 4:
        ws, wz = ws[:, None, None, None], wz[:, None, None, None]
    return (w - wz) * ws


def conv_integer(x: np.ndarray, q: Quantisers, **w: np.ndarray) -> np.ndarray:
    return 0.5 * convolve(q(x, w["xs"], w["xz"]) - w["xz"], w["w"] - w["wz"])


def dynamic(x: np.ndarray) -> tuple[float, float]:
    """DynamicQuantizeLinear's own scale and zero point, in float32 as it computes them."""
    low, high = min(np.float32(x.min()), np.float32(0)), max(np.float32(x.max()), np.float32(0))
    s = np.float32(high - low) / np.float32(255)
    return float(s), float(np.round(np.float32(0) - low / s))


class Dynamic:
    """Keeps the scale and zero point of the first run: they count as fixed."""

    def __init__(self, definition: Callable[..., np.ndarray]) -> None:
        self.definition = definition
        self.found: tuple[float, float] | None = None

    def __call__(self, x: np.ndarray, q: Quantisers, **w: np.ndarray) -> np.ndarray:
        self.found = self.found or dynamic(x)
        s, z = self.found
        return self.definition((q(x, s, z) - z) * s, **w)


STANDARD = [
    qlinear("QLinearConv", "yq = QLinearConv<pads = [1, 1, 1, 1]>(xq, xs, xz, w, ws, wz, ys, yz, b)",
            lambda x, b, **w: convolve(x, deq(**w), pad=1) + (b * w["xs"] * w["ws"])[None, :, None, None],
            floats(1, 2, 5, 5), b=np.array([900, -500, 0], np.int32), **W),
    qlinear("QLinearConv", "yq = QLinearConv<strides = [2, 2], group = 4>(xq, xs, xz, w, ws, wz, ys, yz)",
            lambda x, **w: convolve(x, deq(**w), stride=2, group=4), floats(1, 4, 6, 6), named="channels",
            **{**CHANNELS, "yz": np.uint8(0), "ys": scale(0.02)}),
    qlinear("QLinearConv", 'yq = QLinearConv<auto_pad = "SAME_UPPER">(xq, xs, xz, w, ws, wz, ys, yz)',
            lambda x, **w: convolve(x, deq(**w), pad=1), floats(1, 2, 4, 4), named="auto_pad", **W),
    qlinear("QLinearMatMul", "yq = QLinearMatMul(xq, xs, xz, w, ws, wz, ys, yz)", lambda x, **w: x @ deq(**w),
            floats(2, 3, 4), **FACTOR, ),
    qlinear("QLinearMatMul", "yq = QLinearMatMul(xq, xs, xz, w, ws, wz, ys, yz)", lambda x, **w: x @ deq(**w),
            floats(3, 4), named="columns", **COLUMNS),
    Case("ConvInteger", f"{IN} i = ConvInteger(xq, w, xz, wz) c = Cast<to = 1>(i) y = Mul(c, half)", conv_integer,
         floats(1, 2, 5, 5), {**X, "w": codes(3, 2, 3, 3, dtype=np.uint8), "wz": np.uint8(128), "half": scale(0.5)}),
    Case("MatMulInteger", "q, s, z = DynamicQuantizeLinear(x) i = MatMulInteger(q, w, z, wz) c = Cast<to = 1>(i) "
         "t = Mul(s, ws) y = Mul(c, t)", Dynamic(lambda x, **w: x @ deq(**w)), floats(3, 4), FACTOR),
    Case("DynamicQuantizeLinear", "q, s, z = DynamicQuantizeLinear(x) r = DequantizeLinear(q, s, z) y = Mul(r, r)",
         Dynamic(lambda x: x * x), floats(3, 4)),
]  # fmt: skip


def score(op: str, body: str, definition: Callable[..., np.ndarray], x: np.ndarray, **options: Any) -> Case:
    """The codes of `op` are those of the output y: nothing holds them back, whatever their range."""

    def whole(x: np.ndarray, q: Quantisers, **w: np.ndarray) -> np.ndarray:
        x = (q(x, w["xs"], w["xz"]) - w["xz"]) * w["xs"]
        return (q(definition(x, **w), w["ys"], w["yz"], result=True) - w["yz"]) * w["ys"]

    return Case(op, f"{IN} {body} y = DequantizeLinear(yq, ys, yz)", whole, x, {**X, **Y, **options}, "a score")


NARROW = {"ys": scale(0.001), "yz": np.uint8(128)}
SCORES = [
    score("QLinearMatMul", "yq = QLinearMatMul(xq, xs, xz, w, ws, wz, ys, yz)", lambda x, **w: x @ deq(**w),
          floats(3, 4), **{**FACTOR, **NARROW}),
    score("QuantizeLinear", "d = DequantizeLinear(xq, xs, xz) e = Mul(d, d) yq = QuantizeLinear(e, ys, yz)",
          lambda x, **w: x * x, floats(3, 4), **NARROW),
    score("QLinearAdd", "m = QLinearMatMul(xq, xs, xz, w, ws, wz, ys, yz) "
          "yq = com.microsoft.QLinearAdd(m, ys, yz, b, ws, wz, ys, yz)",
          lambda x, b, **w: x @ deq(**w) + 0 * b, floats(3, 4), b=np.full(5, 130, np.uint8), **{**FACTOR, **NARROW}),
]  # fmt: skip


def one(op: str, attributes: str, definition: Callable[..., np.ndarray], x: np.ndarray, **options: Any) -> Case:
    body = f"yq = com.microsoft.{op}{attributes}(xq, xs, xz, ys, yz)"
    return qlinear(op, body, definition, x, **options)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


FINE = {"ys": scale(0.02), "yz": np.uint8(110)}
UNIT = {"ys": scale(1 / 256), "yz": np.uint8(0)}
OTHER = {"w": codes(2, 1, 5, dtype=np.uint8), "ws": scale(0.02), "wz": np.uint8(130)}

ONNXRUNTIMES = [
    qlinear("QLinearAdd", "yq = com.microsoft.QLinearAdd(xq, xs, xz, w, ws, wz, ys, yz)", lambda x, **w: x + deq(**w),
            floats(2, 3, 5), **{**OTHER, **FINE}),
    qlinear("QLinearAdd", "yq = com.microsoft.QLinearAdd(w, ws, wz, xq, xs, xz, ys, yz)", lambda x, **w: x + deq(**w),
            floats(3, 1, scale=1.0), named="stretched", **{**OTHER, **FINE}),
    qlinear("QLinearMul", "yq = com.microsoft.QLinearMul(xq, xs, xz, w, ws, wz, ys, yz)", lambda x, **w: x * deq(**w),
            floats(2, 3, 5), **{**OTHER, **FINE}),
    qlinear("QLinearMul", "yq = com.microsoft.QLinearMul(xq, xs, xz, xq, xs, xz, ys, yz)", lambda x, **w: x * x,
            floats(2, 3, 5), named="a square"),
    qlinear("QLinearWhere", "yq = com.microsoft.QLinearWhere(c, xq, xs, xz, w, ws, wz, ys, yz)",
            lambda x, c, **w: np.where(c, x, deq(**w)), floats(2, 3, 5), open=True,
            c=np.array([[True], [False], [True]]), **{**OTHER, **FINE}),
    one("QLinearGlobalAveragePool", "", lambda x, **_: x.mean(axis=(2, 3), keepdims=True), floats(1, 9, 2, 2),
        open=True, ys=scale(0.03), yz=np.uint8(0)),
    one("QLinearAveragePool", "<kernel_shape = [2, 2], strides = [2, 2]>",
        lambda x, **_: x.reshape(1, 3, 2, 2, 2, 2).mean(axis=(3, 5)), floats(1, 3, 4, 4), open=True, ys=scale(0.01)),
    one("QLinearLeakyRelu", "<alpha = 0.1>", lambda x, **_: np.where(x > 1e-3, x, 0.1 * x), floats(2, 5), **FINE),
    one("QLinearSigmoid", "", lambda x, **_: 1 / (1 + np.exp(-x)), floats(2, 5), open=True, **UNIT),
    one("QLinearSoftmax", "<axis = -1, opset = 13>", lambda x, **_: softmax(x), floats(3, 5, scale=1.0), open=True,
        **UNIT),
    qlinear("QLinearConcat",
            "t = Transpose(xq) yq = com.microsoft.QLinearConcat<axis = 1>(ys, yz, xq, xs, xz, t, s, z)",
            lambda x, s, z, **w: np.concatenate([x, (x.T / w["xs"] + w["xz"] - z) * s], axis=1), floats(3, 3),
            open=True, s=scale(0.0311), z=np.uint8(100), **FINE),
    qlinear("QGemm", "yq = com.microsoft.QGemm<transB = 1, alpha = 0.5>(xq, xs, xz, w, ws, wz, c, ys, yz)",
            lambda x, c, **w: 0.5 * (x @ deq(**w).T + c * w["xs"] * w["ws"]), floats(3, 5), open=False,
            c=np.array([900, -300, 0, 50], np.int32), **FACTOR),
    qlinear("QLinearConv", "yq = com.microsoft.QLinearConv(xq, xs, xz, w, ws, wz, ys, yz)",
            lambda x, **w: convolve(x, deq(**w)), floats(1, 2, 5, 5), **W),
    Case("MatMulIntegerToFloat", f"{IN} y = com.microsoft.MatMulIntegerToFloat(xq, w, xs, ws, xz, wz, b)",
         lambda x, q, b, **w: (q(x, w["xs"], w["xz"]) - w["xz"]) * w["xs"] @ deq(**w) + b, floats(3, 4),
         {**X, **FACTOR, "b": floats(5)}),
    Case("DynamicQuantizeMatMul", "y = com.microsoft.DynamicQuantizeMatMul(x, w, ws, wz)",
         Dynamic(lambda x, **w: x @ deq(**w)), floats(3, 4), FACTOR),
]  # fmt: skip

ROWS = [*LINEAR, *MOVED, RELU_ON_CODES, *GROUPS, KEPT, *STANDARD]
ALL = [*ROWS, *SCORES, *ONNXRUNTIMES]


@pytest.mark.parametrize("case", ALL, ids=str)
def test_gradient_is_the_straight_through_estimate(case):
    model, y = case.model(), case.evaluate()
    v = np.random.default_rng(1).standard_normal(y.shape)
    explained, reached = differentiate(model, ["x"], np.float32)
    assert reached == [True]
    found = run(explained, {"x": case.x, "v0": v.astype(np.float32)})
    assert_close(found["y"], y, 1e-5, f"{case}: output")
    wanted = case.gradient(v)
    assert np.count_nonzero(wanted) > 0, "the case says nothing"
    assert_close(found["d_x"], wanted, 1e-4, f"{case}: gradient")


def test_every_operator_of_onnxruntimes_quantiser_has_a_case():
    elsewhere = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLSTM"}  # tests/models/test_quantised_models.py
    assert CONTRIB - elsewhere == {case.op for case in ONNXRUNTIMES} & CONTRIB


# --- where codes end ---------------------------------------------------------------------------


def test_an_image_of_whole_numbers_is_differentiated_as_of_reals():
    body = "t = Transpose<perm = [0, 2, 3, 1]>(x) c = Cast<to = 1>(t) y = Mul(c, c)"
    model = graph(body, inputs="uint8[1,3,2,2] x", outputs="float[1,2,2,3] y")
    explained, reached = differentiate(model, ["x"], np.float32)
    assert reached == [True]
    x, v = RNG.integers(0, 256, (1, 3, 2, 2)).astype(np.uint8), floats(1, 2, 2, 3)
    found = run(explained, {"x": x, "v0": v})
    assert_close(found["d_x"], 2 * x.astype(np.float64) * v.transpose(0, 3, 1, 2), 1e-6, "gradient")


def test_what_is_piecewise_constant_in_codes_stops():
    body = f"{IN} l = Shape(xq) c = Cast<to = 1>(l) d = DequantizeLinear(xq, xs, xz) y = Mul(d, c)"
    canonical = normalise(ir.from_proto(graph(body, inputs="float[a,b] x", outputs="float[c,d] y", **X)))
    path = find_path(canonical.graph, canonical.graph.outputs, canonical.graph.inputs[:1])
    assert [node.op_type for node in path.nodes] == ["QuantizeLinear", "DequantizeLinear", "Mul"]
    assert [is_straight_through(node) for node in path.nodes] == [True, False, False]


REFUSED = {
    "yq = com.microsoft.QLinearSoftmax<axis = 1, opset = 12>(xq, xs, xz, ys, yz)": "several axes",
    "yq = com.microsoft.QLinearGlobalAveragePool<channels_last = 1>(xq, xs, xz, ys, yz)": "channels are last",
}


@pytest.mark.parametrize("body", REFUSED)
def test_forms_without_a_rule_are_named(body):
    options = {"inputs": "float[1,3,4,4] x", "outputs": "float[a,b,c,d] y", "domains": "com.microsoft"}
    with pytest.raises(UnsupportedOperatorError, match=REFUSED[body]) as found:
        differentiate(graph(f"{IN} {body} {OUT}", **options, **X, **Y, **TWO), ["x"], np.float32)
    assert "com.microsoft::QLinear" in str(found.value)
