"""Fourier transforms: against numpy's, and windows against loops over the frames."""

import numpy as np
import pytest
from onnx import numpy_helper

from onnx_saliency.errors import UnsupportedOperatorError

from .harness import EVERY, NEWEST, Row, Variant, cases, check, differentiate, normal, parse

BEFORE_AXIS_INPUT = [v for v in EVERY if v.opset == 18] + [Variant(19, "no")]


def whole_scalar(value):
    return np.array(value, np.int64)


def to_complex(x):
    return x[..., 0] + (1j * x[..., 1] if x.shape[-1] == 2 else 0)


def to_pairs(z):
    return np.stack([z.real, z.imag], axis=-1)


def transform(axis, length, inverse, onesided):
    def dft(x, *_):
        if inverse and onesided:
            return np.fft.irfft(to_complex(x), length, axis=axis)[..., None]
        y = (np.fft.ifft if inverse else np.fft.fft)(to_complex(x), length, axis=axis)
        return to_pairs(np.take(y, range(y.shape[axis] // 2 + 1), axis) if onesided else y)

    return dft


def dft(x, axis, length=None, *, by_attribute, fed=(), reference=False, **attrs):
    """Before opset 20 the axis is an attribute, since then an input."""
    inputs = [normal(*x), None if length is None else whole_scalar(length)]
    if by_attribute:
        attrs["axis"] = axis
    else:
        inputs.append(whole_scalar(axis))
    definition = transform(axis % len(x), length, attrs.get("inverse", 0), attrs.get("onesided", 0))
    return Row("DFT", inputs, attrs, since=18 if by_attribute else 20, fed=fed, definition=definition,
               named=f"axis {axis} length {length} {'open' * bool(fed)}".strip(), reference=reference)  # fmt: skip


def transforms(by_attribute):
    def row(*args, **attrs):
        return dft(*args, by_attribute=by_attribute, **attrs)

    return [
        *(row((2, 5, parts), 1, length, inverse=inverse)
          for parts in (1, 2) for length in (None, 3, 7) for inverse in (0, 1)),
        *(row((2, 5, 1), 1, length, onesided=1) for length in (4, 6, 8)),
        row((2, 3, 4, 1), 1), row((2, 3, 4, 2), 2), row((2, 3, 4, 2), -3, inverse=1),
        row((2, 3, 4, 1), -2, 4, onesided=1),
        *(row((2, 5, 2), 1, length, inverse=1, onesided=1) for length in (None, 8, 9)),
        row((2, 4, 3, 2), 1, inverse=1, onesided=1), row((2, 4, 3, 2), -3, 7, inverse=1, onesided=1),
        # onnxruntime reads beyond the spectrum where it is not of the length that the signal has
        *(row((2, 5, 2), 1, length, inverse=1, onesided=1, reference=True) for length in (4, 6, 12)),
    ]  # fmt: skip


def halves(by_attribute):
    """One-sided, and of the length of the signal, which must be known."""
    return [
        dft((2, 5, 1), 1, by_attribute=by_attribute, onesided=1),
        dft((2, 3, 4, 1), -2, by_attribute=by_attribute, onesided=1),
    ]


def stft(onesided=1):
    def frames(x, step, window=None, length=None):
        if length is None:
            length = x.shape[1] if window is None else len(window)
        signal = to_complex(x) if x.ndim == 3 else x
        starts = range(0, x.shape[1] - int(length) + 1, int(step))
        cut = [signal[:, f : f + int(length)] * (1 if window is None else window) for f in starts]
        y = np.fft.fft(np.stack(cut, axis=1), axis=2)
        return to_pairs(y[:, :, : int(length) // 2 + 1] if onesided else y)

    return frames


def framed(x, step, window=None, length=None, fed=(), reference=False, **attrs):
    inputs = [normal(*x), whole_scalar(step), None if window is None else normal(window)]
    inputs.append(None if length is None else whole_scalar(length))
    return Row("STFT", inputs, attrs, fed=fed, definition=stft(**attrs), reference=reference,
               named=f"step {step} window {window} length {length} {'open' * bool(fed)}".strip())  # fmt: skip


FRAMED = [
    framed((2, 16, 1), 4, 8, onesided=1),
    framed((2, 17, 1), 3, 5, 5, onesided=1),
    framed((1, 17, 1), 2, None, 6, onesided=1),
    framed((2, 14, 1), 5, 4, onesided=0),
    framed((2, 12, 2), 3, 6, onesided=0),
    framed((2, 9), 2, 4, onesided=1),
    framed((1, 16, 1), 4, 8, fed=[1, 2], onesided=1),
    framed((1, 16, 1), 4, None, 7, fed=[3], onesided=1),
    framed((1, 6, 1), 1, reference=True, onesided=1),  # onnxruntime asks for a window or a length
]
DEFAULTS = [framed((2, 16, 1), 4, 8)]  # where the shape is known, onnx's inference takes it for two-sided
OLD, NEW = transforms(by_attribute=True), transforms(by_attribute=False)
OTHERS = [
    Row("DFT", [normal(2, 3, 4, 1)], since=20, definition=transform(2, None, 0, 0), named="last axis by default"),
    dft((2, 5, 1), 1, 7, by_attribute=False, fed=[1]),
    dft((2, 5, 2), 1, 8, by_attribute=False, fed=[1, 2], inverse=1),
    dft((2, 3, 5, 2), 2, None, by_attribute=False, fed=[2], inverse=1, onesided=1),
]
ROWS = [*NEW, *OTHERS, *FRAMED]
FIXED = [Variant(opset, shapes) for opset in (18, NEWEST) for shapes in ("no", "batch")]
OPEN = [v for v in EVERY if v.open == "all"]


@pytest.mark.parametrize(
    ("row", "variant"),
    [
        *cases(OLD, BEFORE_AXIS_INPUT),
        *cases(halves(by_attribute=True), FIXED[:2]),
        *cases(NEW, EVERY[3:]),
        *cases(halves(by_attribute=False), FIXED[2:]),
        *cases([*OTHERS, *FRAMED]),
        *cases(DEFAULTS, OPEN),
    ],
)
def test_gradient(row, variant):
    check(row, variant)


def test_a_window_that_depends_on_the_image_is_refused():
    model = parse("(float[1, 8, 1] s, int64 step, float[4] x) => (float[] y)", "y = STFT(s, step, x)", NEWEST)
    with pytest.raises(UnsupportedOperatorError, match="window is not fixed"):
        differentiate(model, ["x"], np.float32)


def test_half_a_spectrum_of_open_length_is_refused():
    model = parse("(float[1, L, 1] x) => (float[] y)", "y = DFT<onesided=1>(x, , axis)", NEWEST)
    model.graph.initializer.append(numpy_helper.from_array(whole_scalar(1), "axis"))
    with pytest.raises(UnsupportedOperatorError, match="one-sided along an axis of open length L"):
        differentiate(model, ["x"], np.float32)
