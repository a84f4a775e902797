"""One function, several ways to write it in standard operators: a profile chooses, by what was measured.

| profile    | for                                                                        |
|------------|----------------------------------------------------------------------------|
| "portable" | any runtime: the plainest way, safe for infinite gradients                 |
| "cpu"      | onnxruntime's CPU kernels                                                  |
| "cuda"     | its CUDA kernels; as "portable" but where one has none, or needs the host  |

Nanoseconds are of one element, onnxruntime 1.31, one thread of an x86-64 CPU.
"""

from __future__ import annotations

import math
from functools import reduce
from operator import mul

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward.tensor import PROFILES, Profile, Tensor, op

Limit = Tensor | float | None

STEEP = 2.0**100  # makes 1 or more of what is above 1e-30, exactly; no activation lies between zero and that
BLOCK = 16  # channels; the blocked layout of onnxruntime's CPU kernels holds 8 or 16 of them together
_BLOCKED = frozenset({"Conv", "BatchNormalization", "Relu", "Clip", "Add", "Sum", "Mul", "Concat"})
_SPATIAL = [2, 3]  # axes
_ALL = 2**63 - 1  # beyond the end of every axis
_FAR = 2.0**27  # limits from here on are infinite when they are made steep


def profile_for(provider: str) -> Profile:
    """The profile of a provider's name, such as "cpu"; that of any runtime for others."""
    return next((profile for profile in PROFILES if profile == provider), "portable")


def for_cpu(x: Tensor) -> bool:
    """Whether x is one for the fast kernels of the profile "cpu", which are of float32 only."""
    return x.tape.profile == "cpu" and x.dtype == ir.DataType.FLOAT


def between(dy: Tensor, y: Tensor, low: Limit = None, high: Limit = None) -> Tensor:
    """dy where low < y < high, else 0; None is no limit; where there are two, y does not go beyond them

    cpu: dy · clip(steep (y − low), 0, 1), a HardSigmoid, which stays in the blocked layout: 0.8 ns for one limit, where
    Greater, Cast and Mul take 1.7 and Where takes 2.8; 1.5 for two, where those take 2.2. Where alone gives 0 of an
    infinite dy.
    """
    if low is None and high is None:
        return dy
    limits = [None if limit is None else _number(limit) for limit in (low, high)]
    if for_cpu(y) and [low, high].count(None) == limits.count(None):
        return dy * _steps(y, *limits)
    above = None if low is None else y > low
    below = None if high is None else y < high
    return op.Where(above & below if above is not None and below is not None else above or below, dy, 0.0)


def _steps(y: Tensor, low: float | None, high: float | None) -> Tensor:
    """1 where low < y < high, else 0."""
    if low is not None and high is not None and max(2 * low, 1 / _FAR) < high and _channels_in_blocks(y):
        # What has reached `high` is taken below `low` by a depthwise convolution, into which the runtime fuses the sum
        # and the step behind it: two passes over memory, not the three of two steps and their product, 7 % of
        # MobileNetV2.
        _, exponent = math.frexp(high)
        slope = 2.0 ** (24 - exponent)  # so steep that the number before `high` makes 1/2 or less
        reached = op.HardSigmoid(y, alpha=slope, beta=1 - slope * high)
        y, high = _multiplied(reached, 1.5 * (low - high), _channels_in_blocks(y)) + y, None
    slopes = [(limit, slope) for limit, slope in ((low, STEEP), (high, -STEEP)) if limit is not None]
    return reduce(mul, [op.HardSigmoid(y, alpha=slope, beta=-slope * limit) for limit, slope in slopes])


def _number(limit: Limit) -> float | None:
    """A limit that can be made steep, as a number."""
    known = limit.array if isinstance(limit, Tensor) else np.asarray(limit)
    return float(known.item()) if known is not None and known.size == 1 and abs(known.item()) < _FAR else None


def bent(dy: Tensor, x: Tensor, slope: float) -> Tensor:
    """dy where x > 0, else slope · dy

    cpu: dy · clip(steep x, slope, 1), 1.7 ns, where Where of two numbers and Mul take 3.2.
    """
    if dy.tape.profile == "cpu" and 0 <= slope <= 1:
        return dy * op.Clip(x * STEEP, slope, 1.0)
    return dy * op.Where(x > 0, 1.0, slope)


def fraction(x: Tensor, a: float, b: float) -> Tensor:
    """a x + b, known to lie in [0, 1]

    cpu: a HardSigmoid: once over the numbers, not twice, and it stays in the blocked layout, which Sub leaves.
    """
    if for_cpu(x):
        return op.HardSigmoid(x, alpha=float(a), beta=float(b))
    return b - x if a == -1 else x * a + b


def standardised(x: Tensor, axes: list[int], epsilon: float) -> tuple[Tensor, Tensor]:
    """x̂ = (x − μ) / σ over `axes`, and 1 / σ

    cpu, over the last axes: both are outputs of a LayerNormalization, one kernel for eight.
    """
    lengths = [length for length in (x.dims or ())[axes[0] :] if isinstance(length, int)]
    if for_cpu(x) and len(lengths) == x.rank - axes[0]:
        ones = np.ones(lengths, np.float32)
        x_hat, _, inverse = op.several("LayerNormalization", x, ones, outputs=3, axis=axes[0], epsilon=epsilon)
        return x_hat, inverse
    centred = x - op.ReduceMean(x, axes, keepdims=1)
    inverse = 1 / op.Sqrt(op.ReduceMean(centred * centred, axes, keepdims=1) + epsilon)
    return centred * inverse, inverse


def scaled_by_channel(dy: Tensor, scale: Tensor) -> Tensor:
    """dy [N, C, ...] · scale [C]

    cpu: a depthwise convolution of one pixel where there are two spatial axes: it stays in the blocked layout of the
    convolutions around it, which Mul by a vector leaves. Its convolutions are of float32 only.
    """
    channels = dy.dims[1] if dy.dims is not None else None
    if for_cpu(dy) and dy.rank == 4 and isinstance(channels, int):
        return op.Conv(dy, op.Reshape(scale, [channels, 1, 1, 1]), group=channels)
    return dy * (op.Reshape(scale, [-1] + [1] * (dy.rank - 2)) if dy.rank > 2 else scale)


def spread(dy: Tensor, lengths: list[int], strides: list[int]) -> Tensor | None:
    """dy [N, C, `lengths`] with s − 1 zeros behind each number along each spatial axis, for a depthwise convolution

    cpu: the nearest neighbours times a mask of zeros and ones, which stays in the blocked layout until there; with the
    convolution 3x3 3.9 ms on 96 x 56 x 56, 5x5 1.5 ms on 144 x 28 x 28, where ConvTranspose takes 4.3 and 2.3, and
    one thread for its columns. Elsewhere None: ConvTranspose.
    """
    if not for_cpu(dy) or len(lengths) != 2:
        return None
    first = np.zeros([1, 1, *(m * s for m, s in zip(lengths, strides, strict=True))], np.float32)
    first[:, :, :: strides[0], :: strides[1]] = 1
    return _nearest(dy, strides) * first


def transposed_pads(dy: Tensor, begins: list[int], ends: list[int]) -> tuple[list[int], list[int]]:
    """What a ConvTranspose may cut off at both ends of each axis; the rest has to be cropped behind it

    cuda: as much at one end as at the other, since its kernel takes nothing else, and one node on the CPU takes dy
    there and back, and forbids a CUDA graph.
    """
    if dy.tape.profile != "cuda":
        return begins, ends
    least = [min(pair) for pair in zip(begins, ends, strict=True)]
    return least, least


def may_stand_left(rows: Tensor) -> bool:
    """Whether a matrix may be multiplied from the left with a batch of others

    cuda: not, since the addresses of all of them are copied to the device, in ResNet-50 49 kB for a picture. From
    the right, with the others turned, it is one product.
    """
    return rows.tape.profile != "cuda"


def into_blocks(dx: Tensor, x: Tensor) -> Tensor:
    """The gradient of x from a kernel that knows no blocked layout

    cpu, where x comes from one that does: through a depthwise convolution by 1. Sum and Mul keep the layout only if all
    their inputs have it, so one gradient without would draw all others out that join it on its way back through the
    blocks of a residual net: 8 % of ResNet-50.
    """
    channels = _channels_in_blocks(x)
    return _multiplied(dx, 1.0, channels) if for_cpu(dx) and channels else dx


def stretched(t: Tensor, x: Tensor, axes: list[int] | Tensor | None) -> Tensor:
    """t, 1 long along `axes`, in the shape of x

    cpu, along both spatial axes, where x comes from a kernel of the blocked layout: nearest neighbours, which stay in
    it. What broadcasts leaves it, and draws out what it meets: the gates of squeeze and excitation and their means,
    2 to 4 % of EfficientNet-B0.
    """
    channels, lengths = _channels_in_blocks(x), _lengths(x)
    if for_cpu(t) and axes == _SPATIAL and channels and lengths:
        return _nearest(_multiplied(t, 1.0, channels), lengths)
    return into_blocks(op.Expand(t, x.shape), x)


def factor(t: Tensor, dy: Tensor) -> Tensor:
    """t, as what dy is multiplied with; cpu, one number per channel: stretched, for the same reason"""
    if for_cpu(t) and _lengths(dy) and t.dims == (*(dy.dims or ())[:1], _channels_in_blocks(dy), 1, 1):
        return stretched(t, dy, _SPATIAL)
    return t


def summed(dx: Tensor, axes: list[int]) -> Tensor:
    """Σ dx over `axes`, which stay, 1 long

    cpu, over both spatial axes of what comes from a kernel of the blocked layout: its mean, which stays in it.
    """
    lengths = _lengths(dx)
    if for_cpu(dx) and axes == _SPATIAL and lengths and _channels_in_blocks(dx):
        return op.GlobalAveragePool(dx) * math.prod(lengths)
    return op.ReduceSum(dx, axes, keepdims=1)


def parted(dy: Tensor, parts: list[Tensor], axis: int) -> list[Tensor] | None:
    """dy cut along an axis into the gradients of `parts`

    cpu, where a convolution made dy: a convolution per part, with its part of the weights, as many operations in all;
    nothing leaves the blocked layout for Split and comes back to it. 5 % of SqueezeNet. cuda, unequal parts: slices,
    since their sizes and addresses are copied to the device for Split, 270 kB per run of DenseNet-121. Elsewhere None:
    Split.
    """
    if dy.tape.profile == "cuda":
        return _sliced(dy, [None if part.dims is None else part.dims[axis] for part in parts], axis)
    node = dy.value.producer()
    if not for_cpu(dy) or axis != 1 or node is None or node.op_type != "Conv":
        return None
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    channels = [dim for part in parts if part.rank == 4 and isinstance(dim := (part.dims or ())[1], int)]
    if len(channels) != len(parts) or any(c % BLOCK for c in channels) or attributes.get("group", 1) != 1:
        return None
    source, weight = (Tensor(dy.tape, value) for value in node.inputs if value is not None)
    ends = np.cumsum(channels).tolist()
    return [
        op.Conv(source, op.Slice(weight, [end - c], [end], [0]), **attributes)
        for c, end in zip(channels, ends, strict=True)
    ]


def _sliced(dy: Tensor, lengths: list[int | str | None], axis: int) -> list[Tensor] | None:
    """dy cut along an axis into unequal parts; None for equal ones, where a length is open, or without another axis."""
    known = [length for length in lengths if isinstance(length, int)]
    if len(known) < len(lengths) or len(set(known)) == 1 or dy.rank == 1:
        return None
    # All of another axis is cut out as well, since the runtime makes one Split of slices along one axis.
    other, ends = int(axis == 0), np.cumsum(known).tolist()
    return [op.Slice(dy, [end - n, 0], [end, _ALL], [axis, other]) for n, end in zip(known, ends, strict=True)]


def _multiplied(x: Tensor, factor: float, channels: int) -> Tensor:
    """x times a number, by a depthwise convolution of one pixel, whose result is in the blocked layout."""
    return op.Conv(x, np.full((channels, 1, 1, 1), factor, np.float32), group=channels)


def _nearest(x: Tensor, scales: list[int]) -> Tensor:
    """x [N, C, H, W], each number `scales` times along each spatial axis, in the blocked layout where x is."""
    modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return op.Resize(x, None, np.array([1, 1, *scales], np.float32), **modes)


def _lengths(x: Tensor) -> list[int]:
    """Both spatial lengths of x [N, C, H, W] where they are known, else nothing."""
    lengths = [m for m in (x.dims or ())[2:] if isinstance(m, int)]
    return lengths if x.dims is not None and len(lengths) == len(x.dims) - 2 == len(_SPATIAL) else []


def _channels_in_blocks(x: Tensor) -> int:
    """The channels of x where it comes from a kernel of the blocked layout, else 0."""
    node, dims = x.value.producer(), x.dims
    if node is None or node.op_type not in _BLOCKED or dims is None or len(dims) != 4:
        return 0
    return dims[1] if isinstance(dims[1], int) and dims[1] % BLOCK == 0 else 0
