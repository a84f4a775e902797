"""Which preprocessing holds, and where it is said to come from."""

from dataclasses import replace

import pytest

from onnx_saliency.errors import ImageError
from onnx_saliency.images import Preprocess, preset
from onnx_saliency.images.choice import Fallback, choose_preprocess

ASSUMED = preset("inception", (8, 8))
STATED = Preprocess(resize=None, mean=1)
STORED = {"preprocess": STATED.to_json()}
OTHER = Preprocess(size=8, mean=3)


def brighter(base):
    return replace(base, mean=9)


@pytest.mark.parametrize(
    ("given", "stored", "expected"),
    [
        (None, {}, (ASSUMED, "assumed")),
        (None, STORED, (STATED, "stored in the model")),
        ("unit", STORED, (preset("unit", (8, 8)), "given")),
        (OTHER, STORED, (OTHER, "given")),
        (brighter, {}, (replace(ASSUMED, mean=9), "given")),
        (brighter, STORED, (replace(STATED, size=8, mean=9), "given")),
        (lambda base: base, {}, (ASSUMED, "assumed")),
        (lambda base: base, STORED, (STATED, "stored in the model")),
        (lambda base: preset("unit", base.size), STORED, (preset("unit", (8, 8)), "given")),
        (Fallback(OTHER, "protocol x"), {}, (OTHER, "protocol x")),
        (Fallback(OTHER, "protocol x"), STORED, (STATED, "stored in the model")),
        (Fallback(OTHER, "protocol x", brighter), {}, (replace(OTHER, mean=9), "given")),
        (Fallback(OTHER, "protocol x", brighter), STORED, (replace(STATED, size=8, mean=9), "given")),
    ],
)
def test_what_holds_and_where_it_comes_from(given, stored, expected):
    assert choose_preprocess(given, stored, (8, 8)) == expected


def test_a_function_that_returns_something_else():
    with pytest.raises(ImageError, match="returns a Preprocess, not NoneType"):
        choose_preprocess(lambda base: None, {}, (8, 8))
