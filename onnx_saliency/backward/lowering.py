"""One function, several ways to write it in standard operators: a profile chooses, by what was measured.

| profile    | for                                                                        |
|------------|----------------------------------------------------------------------------|
| "portable" | any runtime: the plainest way, safe for infinite gradients                 |
| "cpu"      | onnxruntime's CPU kernels                                                  |
| "cuda"     | its CUDA kernels; as "portable" until something else is measured to be faster |

Nanoseconds are of one element, onnxruntime 1.31, one thread of an x86-64 CPU.
"""

from __future__ import annotations

import onnx_ir as ir

from onnx_saliency.backward.tensor import PROFILES, Profile, Tensor, op

_STEEP = 2.0**100  # makes 1 or more of what is above 1e-30, exactly; a step between zero and that is nobody's


def profile_for(provider: str) -> Profile:
    """The profile of a provider's name, such as "cpu"; that of any runtime for others."""
    return next((profile for profile in PROFILES if profile == provider), "portable")


def masked(dy: Tensor, mask: Tensor) -> Tensor:
    """dy where the mask holds, else 0

    cpu: dy · float(mask), 2.0 ns, where Where takes 2.7. Where alone gives 0 of an infinite dy.
    """
    if dy.tape.profile == "cpu":
        return dy * mask.cast(like=dy)
    return op.Where(mask, dy, 0.0)


def bent(dy: Tensor, x: Tensor, slope: float) -> Tensor:
    """dy where x > 0, else slope · dy

    cpu: dy · clip(steep x, slope, 1), 1.7 ns, where Where of two numbers and Mul take 3.2.
    """
    if dy.tape.profile == "cpu" and 0 <= slope <= 1:
        return dy * op.Clip(x * _STEEP, slope, 1.0)
    return dy * op.Where(x > 0, 1.0, slope)


def scaled_by_channel(dy: Tensor, scale: Tensor) -> Tensor:
    """dy [N, C, ...] · scale [C]

    cpu: a depthwise convolution of one pixel where there are two spatial axes: it stays in the blocked layout of the
    convolutions around it, which Mul by a vector leaves. Its convolutions are of float32 only.
    """
    channels = dy.dims[1] if dy.dims is not None else None
    if dy.tape.profile == "cpu" and dy.rank == 4 and isinstance(channels, int) and dy.dtype == ir.DataType.FLOAT:
        return op.Conv(dy, op.Reshape(scale, [channels, 1, 1, 1]), group=channels)
    return dy * (op.Reshape(scale, [-1] + [1] * (dy.rank - 2)) if dy.rank > 2 else scale)
