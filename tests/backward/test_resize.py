"""Resize: linear in x in every mode, so the forward pass itself says what the transposed map is."""

import itertools

import numpy as np
import pytest

from .harness import FEW, Row, cases, check, normal

MODES = [
    ("nearest", {"nearest_mode": "round_prefer_floor"}),
    ("nearest", {"nearest_mode": "round_prefer_ceil"}),
    ("nearest", {"nearest_mode": "floor"}),
    ("nearest", {"nearest_mode": "ceil"}),
    ("linear", {}),
    ("cubic", {}),
    ("cubic", {"cubic_coeff_a": -0.5, "exclude_outside": 1}),
]
COORDINATES = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"]
SINCE = {"half_pixel_symmetric": 19}
UP, DOWN, MIXED = (2.0, 3.0), (0.5, 0.4), (1.7, 0.6)


def resize(x, scales=None, sizes=None, roi=None, *, fed=(), since=18, named="", reference=False, **attrs):
    inputs = [x, None if roi is None else np.array(roi, np.float32)]
    inputs.append(None if scales is None else np.array(scales, np.float32))
    if sizes is not None:
        inputs.append(np.array(sizes, np.int64))
    said = f"scales {scales}" if sizes is None else f"sizes {sizes}"
    return Row("Resize", inputs, attrs, fed=fed, since=since, reference=reference, named=f"{said} {named}".strip())


TABLE = [
    resize(normal(1, 2, 5, 4), (1.0, 1.0, *scale), mode=mode, coordinate_transformation_mode=coordinate,
           since=SINCE.get(coordinate, 18), **attrs)
    for (mode, attrs), coordinate, scale in itertools.product(MODES, COORDINATES, (UP, DOWN, MIXED))
]  # fmt: skip
SIZED = [
    resize(normal(1, 2, 5, 4), sizes=(1, 2, *size), mode=mode, coordinate_transformation_mode=coordinate,
           since=SINCE.get(coordinate, 18), **attrs)
    for (mode, attrs), coordinate, size in itertools.product(MODES, COORDINATES, ((9, 8), (3, 2), (7, 4), (1, 1)))
]  # fmt: skip
ANTIALIASED = [
    resize(
        normal(1, 2, 7, 6),
        (1.0, 1.0, *scale),
        mode=mode,
        antialias=1,
        coordinate_transformation_mode=coordinate,
        **attrs,
    )
    for (mode, attrs), coordinate, scale in itertools.product(MODES[4:], COORDINATES[:1], (UP, DOWN, MIXED))
]
OTHERS = [
    resize(normal(1, 2, 5, 4), (1.0, 1.0, 1.0, 1.0), named="to itself"),
    resize(normal(1, 2, 5, 4), (1.0, 1.0, 2.0, 1.0), mode="linear"),
    resize(normal(1, 2, 5, 4), (1.0, 1.0, 1.0, 0.5), mode="linear"),
    resize(normal(2, 2, 5, 4), (2.0, 3.0), axes=[2, 3], mode="linear"),
    resize(normal(2, 2, 5, 4), (2.0, 3.0), axes=[-1, -2], mode="linear"),
    resize(normal(2, 2, 5, 4), (3.0,), axes=[3], mode="nearest"),
    resize(normal(2, 2, 5, 4), sizes=(7,), axes=[2], mode="nearest"),
    resize(normal(2, 2, 5, 4), sizes=(8, 7), axes=[3, 2], mode="linear"),
    resize(normal(2, 3, 5), (1.0, 1.0, 2.0), mode="nearest"),
    resize(normal(2, 3, 5), (1.0, 1.0, 2.0), mode="linear"),
    resize(normal(3, 5), (2.0, 1.5), mode="linear", named="a picture alone"),
    resize(normal(1, 2, 3, 4, 2), (1.0, 1.0, 2.0, 1.5, 2.0), mode="nearest"),
    resize(normal(1, 2, 3, 4, 2), (1.0, 1.0, 2.0, 1.5, 2.0), mode="linear"),
    resize(normal(1, 5, 4, 2), (1.0, 2.0, 2.0, 1.0), mode="linear", named="channels last"),
    resize(normal(1, 5, 4, 2), sizes=(1, 9, 3, 2), mode="linear", named="channels last"),
    resize(normal(2, 5, 4, 3), sizes=(9, 3), axes=[1, 2], mode="nearest", named="channels last"),
    resize(normal(2, 3, 4, 2), (2.0, 2.0, 1.0, 1.0), mode="nearest", named="batch and channels"),
    resize(normal(2, 3, 4, 2), sizes=(4, 2, 4, 2), mode="nearest", named="batch and channels"),
    resize(normal(1, 2, 5, 4), (1.0, 1.0, 2.0, 1.5), fed=[2], mode="linear", named="open"),
    resize(normal(1, 2, 5, 4), sizes=(1, 2, 9, 3), fed=[3], mode="linear", named="open"),
    resize(normal(1, 2, 5, 4), sizes=(9, 3), fed=[3], axes=[2, 3], mode="cubic", named="open"),
    resize(normal(1, 2, 5, 4), (), sizes=(1, 2, 9, 3), mode="linear", named="empty scales"),
    resize(normal(1, 2, 5, 4), sizes=(1, 2, 4, 3), roi=(0, 0, 0.1, 0.2, 1, 1, 0.8, 0.7), mode="linear",
           coordinate_transformation_mode="tf_crop_and_resize"),
    resize(normal(1, 2, 5, 4), (1.0, 1.0, 1.0, 1.0), roi=(0, 0, 0.1, 0.2, 1, 1, 0.8, 0.7), mode="linear",
           coordinate_transformation_mode="tf_crop_and_resize", named="crop alone"),
    resize(normal(1, 2, 5, 4), sizes=(1, 2, 5, 4), roi=(0, 0, 0.1, 0.2, 1, 1, 0.8, 0.7), mode="linear",
           coordinate_transformation_mode="tf_crop_and_resize", named="crop alone"),
    resize(normal(1, 2, 5, 4), sizes=(1, 2, 4, 3), roi=(0, 0, -0.3, 0.2, 1, 1, 1.4, 0.7), mode="linear",
           coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=3.0),
    resize(normal(1, 2, 5, 4), sizes=(4, 3), roi=(0.1, 0.2, 0.8, 0.7), axes=[2, 3], mode="linear",
           coordinate_transformation_mode="tf_crop_and_resize"),
]  # fmt: skip

ROWS = OTHERS


@pytest.mark.parametrize(("row", "variant"), [*cases(ROWS), *cases([*TABLE, *SIZED, *ANTIALIASED], FEW)])
def test_gradient(row, variant):
    check(row, variant)
