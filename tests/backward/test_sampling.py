"""Sampling between pixels: against loops over the points."""

import itertools

import numpy as np
import pytest

from onnx_saliency.errors import UnsupportedOperatorError

from .harness import EVERY, FEW, NEWEST, Row, Variant, cases, check, differentiate, distinct, normal, parse, whole


class SingleRow(Row):
    """onnxruntime has no CPU kernel in double for this form."""

    dtype = np.float32


class ReferenceRow(Row):
    """onnxruntime refuses this form; onnx's reference implementation takes it, and computes points in float32."""

    tolerance = 1e-6


# --- grids -------------------------------------------------------------------------------------


def cubic(t, a=-0.75):
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def mirrored(i, length, aligned):
    """Walk back and forth until inside."""
    while not 0 <= i < length:
        if length == 1:
            return 0
        edge = 0 if i < 0 else length - 1
        i = 2 * edge - i if aligned else 2 * edge - i + (1 if edge else -1)
    return i


def grid_sample(mode="linear", padding_mode="zeros", align_corners=0):
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)

    def entry(x, at):
        if padding_mode == "zeros" and not all(0 <= i < length for i, length in zip(at, x.shape[1:], strict=True)):
            return 0.0
        if padding_mode == "border":
            at = np.clip(at, 0, np.array(x.shape[1:]) - 1)
        if padding_mode == "reflection":
            at = [mirrored(i, length, align_corners) for i, length in zip(at, x.shape[1:], strict=True)]
        return x[(slice(None), *at)]

    def point(x, g):
        size = zip(g[::-1], x.shape[1:], strict=True)
        c = [(v + 1) / 2 * (length - 1) if align_corners else ((v + 1) * length - 1) / 2 for v, length in size]
        if mode == "nearest":
            return entry(x, [round(v) for v in c])
        reach, weight = (1, lambda t: 1 - abs(t)) if mode == "linear" else (2, cubic)
        ranges = [range(int(np.floor(v)) - reach + 1, int(np.floor(v)) + reach + 1) for v in c]
        return sum(
            np.prod([weight(v - i) for v, i in zip(c, at, strict=True)]) * entry(x, at)
            for at in itertools.product(*ranges)
        )

    def sample(x, grid):
        y = np.empty((*x.shape[:2], *grid.shape[1:-1]))
        for n, *p in np.ndindex(*grid.shape[:-1]):
            y[(n, slice(None), *p)] = point(x[n], grid[(n, *p)])
        return y

    return sample


def sampled(x, grid, kind=Row, **attrs):
    nearest = attrs.get("mode") == "nearest"
    since, named = attrs.pop("since", 20), attrs.pop("named", "")
    return kind("GridSample", [x, grid], attrs, wrt=[0] if nearest else [0, 1], fed=[1] if nearest else [],
                definition=grid_sample(**attrs), since=since, named=named, reference=kind is ReferenceRow)  # fmt: skip


PADDINGS = ("zeros", "border", "reflection")
GRIDS = [
    sampled(normal(2, 2, 3, 4), 1.5 * normal(2, 3, 2, 2), mode=mode, padding_mode=padding, align_corners=aligned)
    for mode, padding, aligned in itertools.product(("linear", "nearest", "cubic"), PADDINGS, (0, 1))
]
VOLUMES = [
    sampled(normal(1, 2, 2, 3, 2), 1.2 * normal(1, 2, 1, 2, 3), mode=mode, padding_mode=padding, align_corners=aligned)
    for mode, padding, aligned in itertools.product(("linear", "nearest"), PADDINGS, (0, 1))
]
OLD_GRIDS = [
    sampled(normal(1, 2, 4, 3), 1.3 * normal(1, 2, 3, 2), SingleRow, mode=mode, padding_mode=padding,
            align_corners=aligned, since=18)
    for mode, padding, aligned in itertools.product(("bilinear", "nearest", "bicubic"), PADDINGS, (0, 1))
]  # fmt: skip
OTHER_GRIDS = [
    sampled(normal(1, 1, 3, 3), 0.9 * normal(1, 2, 2, 2), named="defaults"),
    sampled(normal(1, 1, 1, 4), 2 * normal(1, 3, 2, 2), padding_mode="reflection", align_corners=1, named="one row"),
    sampled(normal(1, 1, 1, 4), 2 * normal(1, 3, 2, 2), padding_mode="reflection", named="one row"),
    sampled(normal(1, 2, 2, 2), 9 * normal(1, 2, 3, 2), mode="cubic", padding_mode="reflection", named="far outside"),
    sampled(normal(1, 2, 3, 3), np.full((1, 3, 3, 2), 0.1), named="all at one place"),
    Row("GridSample", [normal(1, 2, 3, 4), normal(1, 2, 2, 2)], wrt=[1], since=20, definition=grid_sample(),
        named="grid alone"),
    # onnxruntime takes pictures, and volumes but for cubic
    sampled(normal(2, 2, 5), 1.2 * normal(2, 4, 1), ReferenceRow, padding_mode="border"),
    sampled(normal(1, 1, 2, 2, 3), normal(1, 1, 2, 1, 3), ReferenceRow, mode="cubic", padding_mode="border"),
]  # fmt: skip


def affine_grid(align_corners=0):
    def grid(theta, size):
        rank = len(size) - 2
        y = np.empty((size[0], *size[2:], rank))
        for n, *p in np.ndindex(*y.shape[:-1]):
            at = [
                (-1 + 2 * i / max(length - 1, 1) if align_corners else (2 * i + 1) / length - 1)
                for i, length in zip(p, size[2:], strict=True)
            ]
            y[(n, *p)] = theta[n] @ [*at[::-1], 1]
        return y

    return grid


AFFINE = [
    Row("AffineGrid", [normal(size[0], len(size) - 2, len(size) - 1), whole(*size)], {"align_corners": aligned},
        since=20, fed=fed, definition=affine_grid(aligned), named=f"{size} {'open' * len(fed)}".strip())
    for size in ((2, 3, 4, 5), (1, 1, 2, 3, 4)) for aligned in (0, 1) for fed in ([], [1])
]  # fmt: skip

# --- deformable convolution --------------------------------------------------------------------


def bilinear(x, c):
    """The picture [C, ...] at one point, zeros around it."""
    total = np.zeros(len(x))
    for at in itertools.product(*((int(np.floor(v)), int(np.floor(v)) + 1) for v in c)):
        if all(0 <= i < length for i, length in zip(at, x.shape[1:], strict=True)):
            total += np.prod([1 - abs(v - i) for v, i in zip(c, at, strict=True)]) * x[(slice(None), *at)]
    return total


def deform_conv(strides=None, pads=None, dilations=None, group=1, offset_group=1):
    def convolve(x, w, offset, b=None, mask=None):
        kernel = w.shape[2:]
        rank, taps = len(kernel), list(np.ndindex(*kernel))
        s, d, p = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
        channels, outputs = w.shape[1], len(w) // group
        y = np.zeros((len(x), len(w), *offset.shape[2:]))
        for n, *o in np.ndindex(len(x), *offset.shape[2:]):
            column = np.zeros((x.shape[1], len(taps)))
            for k, g in itertools.product(range(len(taps)), range(offset_group)):
                first = (g * len(taps) + k) * rank
                c = [o[i] * s[i] - p[i] + taps[k][i] * d[i] + offset[(n, first + i, *o)] for i in range(rank)]
                part = slice(g * x.shape[1] // offset_group, (g + 1) * x.shape[1] // offset_group)
                weight = 1.0 if mask is None else mask[(n, g * len(taps) + k, *o)]
                column[part, k] = weight * bilinear(x[n, part], c)
            for m in range(len(w)):
                h = m // outputs
                seen = column[h * channels : (h + 1) * channels]
                y[(n, m, *o)] = np.sum(w[m].reshape(channels, -1) * seen) + (0 if b is None else b[m])
        return y  # fmt: skip

    return convolve


def deformed(x, w, out, *, bias=False, mask=False, wrt=None, named="", **attrs):
    groups, taps = attrs.get("offset_group", 1), int(np.prod(w[2:]))
    inputs = [normal(*x), normal(*w), normal(x[0], groups * taps * (len(w) - 2), *out)]
    inputs += [normal(w[0]) if bias else None, normal(x[0], groups * taps, *out) if mask else None]
    wrt = wrt or [0, 2, *[3] * bias, *[4] * mask]
    return Row("DeformConv", inputs, attrs, wrt=wrt, since=19, definition=deform_conv(**attrs),
               named=f"{w} {named}{' bias' * bias}{' mask' * mask}")  # fmt: skip


DEFORMED = [
    deformed((1, 2, 4, 3), (2, 2, 2, 2), (3, 2)),
    deformed((2, 2, 3, 3), (1, 2, 2, 1), (2, 3), bias=True, mask=True),
    deformed((1, 4, 3, 4), (4, 2, 2, 2), (2, 3), group=2, offset_group=2, mask=True),
    deformed((1, 4, 3, 3), (2, 4, 1, 2), (3, 2), offset_group=4, bias=True),
    deformed((1, 2, 5, 4), (2, 1, 2, 2), (3, 2), group=2, strides=[2, 2], pads=[1, 0, 1, 1], dilations=[2, 1]),
    deformed((1, 2, 3, 3), (1, 2, 2, 2), (2, 2), wrt=[0], mask=True, named="picture alone"),
    deformed((1, 2, 3, 3), (1, 2, 2, 2), (2, 2), wrt=[4], mask=True, named="mask alone"),
]

# --- columns to pictures -----------------------------------------------------------------------


def col2im(strides=None, pads=None, dilations=None):
    def fold(x, image, block):
        rank, taps = len(image), list(np.ndindex(*block))
        s, d, p = strides or [1] * rank, dilations or [1] * rank, pads or [0] * 2 * rank
        windows = [(image[i] + p[i] + p[rank + i] - d[i] * (block[i] - 1) - 1) // s[i] + 1 for i in range(rank)]
        columns = x.reshape(len(x), -1, len(taps), x.shape[-1])
        y = np.zeros((*columns.shape[:2], *image))
        for (k, tap), (o, window) in itertools.product(enumerate(taps), enumerate(np.ndindex(*windows))):
            at = [window[i] * s[i] - p[i] + tap[i] * d[i] for i in range(rank)]
            if all(0 <= a < length for a, length in zip(at, image, strict=True)):
                y[(..., *at)] += columns[:, :, k, o]
        return y  # fmt: skip

    return fold


def folded(x, image, block, fed=(), **attrs):
    return SingleRow("Col2Im", [normal(*x), whole(*image), whole(*block)], attrs, fed=fed, definition=col2im(**attrs),
                     named=f"{image} {block} {'open' * bool(fed)}".strip())  # fmt: skip


FOLDED = [
    folded((2, 12, 6), (3, 4), (2, 2)),
    folded((1, 12, 4), (4, 5), (2, 3), strides=[2, 2]),
    folded((1, 4, 6), (5, 4), (2, 2), pads=[0, 1, 1, 0], strides=[2, 2], dilations=[1, 2]),
    folded((1, 6, 5), (7,), (3,)),
    folded((1, 16, 8), (3, 3, 3), (2, 2, 2)),
    folded((2, 12, 6), (3, 4), (2, 2), fed=[1, 2]),
]

# --- regions -----------------------------------------------------------------------------------


def roi_align(x, rois, images, mode="avg", output_height=1, output_width=1, sampling_ratio=0, spatial_scale=1.0,
              coordinate_transformation_mode="half_pixel"):  # fmt: skip
    half = coordinate_transformation_mode == "half_pixel"
    height, width = x.shape[2:]
    y = np.zeros((len(rois), x.shape[1], output_height, output_width))

    def corners(picture, v, h):
        if not (-1 <= v <= height and -1 <= h <= width):
            return [np.zeros(len(picture))]
        v, h = min(max(v, 0), height - 1), min(max(h, 0), width - 1)
        top, left = int(v), int(h)
        return [
            (1 - abs(v - i)) * (1 - abs(h - j)) * picture[:, min(i, height - 1), min(j, width - 1)]
            for i in (top, top + 1) for j in (left, left + 1)
        ]  # fmt: skip

    for r, (roi, image) in enumerate(zip(rois, images, strict=True)):
        left, top, right, bottom = roi * spatial_scale - half / 2
        h, w = bottom - top, right - left
        if not half:
            h, w = max(h, 1), max(w, 1)
        down = sampling_ratio or int(np.ceil(h / output_height))
        across = sampling_ratio or int(np.ceil(w / output_width))
        for i, j in np.ndindex(output_height, output_width):
            seen = [
                corners(x[image], top + (i + (a + 0.5) / down) * h / output_height,
                        left + (j + (b + 0.5) / across) * w / output_width)
                for a in range(down) for b in range(across)
            ]  # fmt: skip
            if mode == "avg":
                y[r, :, i, j] = sum(sum(each) for each in seen) / max(down * across, 1)
            else:
                y[r, :, i, j] = np.max([corner for each in seen for corner in each] or [0.0], axis=0)
    return y


REGIONS = np.array([[1, 1.5, 6, 5], [-3.1, 0, 9, 4.2], [2, 2, 2.3, 2.1], [5, -2.5, 9.3, 13]])
EMPTY_REGION = np.array([[2, 1, 2, 4], [1, 1, 4, 3]])


def aligned(x, regions=REGIONS, images=(0, 1, 1, 0), fed=(), named="", **attrs):
    attrs = {"output_height": 2, "output_width": 3, "spatial_scale": 0.75, **attrs}
    return Row("RoiAlign", [x, np.array(regions, np.float64), whole(*images)], attrs, fed=fed, named=named,
               definition=lambda x, rois, images: roi_align(x, rois, images, **attrs))  # fmt: skip


ALIGNED = [
    aligned(normal(2, 2, 4, 5), mode=mode, sampling_ratio=ratio, coordinate_transformation_mode=coordinate)
    for mode, ratio, coordinate in itertools.product(("avg", "max"), (0, 1, 2), ("half_pixel", "output_half_pixel"))
] + [
    *(aligned(normal(2, 1, 4, 5), EMPTY_REGION, (0, 1), mode=mode, named="an empty region") for mode in ("avg", "max")),
    aligned(normal(2, 1, 4, 5), fed=[1, 2], mode="avg", named="open"),
    aligned(distinct(2, 1, 4, 5), fed=[1, 2], mode="max", named="open"),
    Row("RoiAlign", [normal(1, 2, 4, 4), np.array([[0.5, 1, 3, 3.5]]), whole(0)], named="defaults",
        definition=roi_align),
]  # fmt: skip


def max_roi_pool(pooled_shape, spatial_scale=1.0):
    def rounded(v):
        return int(np.sign(v) * np.floor(abs(v) + 0.5))

    def pool(x, rois):
        y = np.zeros((len(rois), x.shape[1], *pooled_shape))
        for r, (image, *roi) in enumerate(rois):
            left, top, right, bottom = (rounded(v * spatial_scale) for v in roi)
            cells = [max(bottom - top + 1, 1) / pooled_shape[0], max(right - left + 1, 1) / pooled_shape[1]]
            for at in np.ndindex(*pooled_shape):
                (v0, v1), (h0, h1) = (
                    np.clip([int(np.floor(i * c)) + start, int(np.ceil((i + 1) * c)) + start], 0, length)
                    for i, c, start, length in zip(at, cells, (top, left), x.shape[2:], strict=True)
                )
                if v1 > v0 and h1 > h0:
                    y[(r, slice(None), *at)] = x[int(image), :, v0:v1, h0:h1].max(axis=(1, 2))
        return y

    return pool


POOLED_REGIONS = np.array([[0, 1, 1, 3, 4], [1, 0, 0, 2, 5], [1, 4, 3, 9, 12], [0, 2.5, 1.5, 2, 1], [0, -4, -2, 1, 2]])


def pooled(x, regions=POOLED_REGIONS, fed=(), named="", gradient=None, **attrs):
    return SingleRow("MaxRoiPool", [x, regions], attrs, fed=fed, definition=max_roi_pool(**attrs), named=named,
                     gradient=gradient)  # fmt: skip


def both_to_first(v):
    dx = np.zeros((1, 1, 2, 3))
    dx[0, 0, 0, 0] = v[0, 0, 0, 0]
    return dx


POOLED = [
    pooled(distinct(2, 2, 6, 5), pooled_shape=[2, 2]),
    pooled(distinct(2, 1, 6, 5), pooled_shape=[3, 2], spatial_scale=0.5),
    pooled(distinct(2, 1, 6, 5), pooled_shape=[1, 4], fed=[1], named="open"),
    pooled(np.ones((1, 1, 2, 3)), np.array([[0.0, 0, 0, 2, 1]]), pooled_shape=[1, 1], named="ties",
           gradient=both_to_first),
]  # fmt: skip

ROWS = [*OTHER_GRIDS, *AFFINE, *DEFORMED, *FOLDED, *ALIGNED, *POOLED]
OLD = [v for v in EVERY if v.opset == 18]
LAST_WITH_KERNEL = [Variant(18, "no"), Variant(21, "batch"), Variant(21, "all")]  # of the regions' operators


@pytest.mark.parametrize(
    ("row", "variant"),
    [
        *cases([*OTHER_GRIDS, *AFFINE, *DEFORMED, *FOLDED]),
        *cases([*GRIDS, *VOLUMES], FEW),
        *cases(OLD_GRIDS, OLD),
        *cases([*ALIGNED, *POOLED], LAST_WITH_KERNEL),
    ],
)
def test_gradient(row, variant):
    check(row, variant)


# --- what is refused ---------------------------------------------------------------------------

REFUSED = {
    "regions are not fixed": (
        "(float[1, 1, 4, 4] p, float[1, 4] x, int64[1] b) => (float[] y)", "y = RoiAlign(p, x, b)"
    ),
    "weight is not fixed": (
        "(float[1, 1, 3, 3] p, float[1, 1, 2, 2] x, float[1, 8, 2, 2] o) => (float[] y)", "y = DeformConv(p, x, o)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_is_refused(reason):
    signature, body = REFUSED[reason]
    with pytest.raises(UnsupportedOperatorError, match=reason):
        differentiate(parse(signature, body, NEWEST), ["x"], np.float32)


def test_nothing_flows_to_a_grid_of_nearest_points():
    model = parse("(float[1, 1, 3, 3] p, float[1, 2, 2, 2] x) => (float[] y)", 'y = GridSample<mode="nearest">(p, x)')
    assert differentiate(model, ["x"], np.float32)[1] == [False]


def test_nothing_flows_to_rounded_regions():
    body = "y = MaxRoiPool<pooled_shape=[1, 1]>(p, x)"
    model = parse("(float[1, 1, 3, 3] p, float[1, 5] x) => (float[] y)", body, 21)
    assert differentiate(model, ["x"], np.float32)[1] == [False]
