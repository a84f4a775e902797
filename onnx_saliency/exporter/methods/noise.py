"""Normal noise in standard operators that is the same on every runtime and in every run.

RandomNormal of the standard leaves the generator to the runtime, and its state moves on from run to run. Here each
number is a function of its index and the seed: three rounds of x ↦ (a x + b)⁵ in the integers modulo the prime
2³¹ − 1, a permutation since 5 does not divide 2³¹ − 2, exact in int64; then Box & Muller 1958.
"""

from __future__ import annotations

import math

import numpy as np

from onnx_saliency.backward import Tensor, op

_PRIME = 2**31 - 1


def uniform(index: Tensor, seed: int) -> Tensor:
    """Numbers in (0, 1), in the tape's floating type, one for each `index` (int64, >= 0)."""
    key = [int(word) for word in np.random.SeedSequence(seed).generate_state(4, np.uint64) % _PRIME]
    x = op.Mod(index, np.array(_PRIME))
    for factor, shift in ((48271, key[0]), (69621, key[1]), (16807, key[2])):
        x = op.Mod(x * factor + shift, np.array(_PRIME))
        square = op.Mod(x * x, np.array(_PRIME))
        x = op.Mod(op.Mod(square * square, np.array(_PRIME)) * x, np.array(_PRIME))
    return op.Cast(op.Add(x, np.array(1)), to=index.tape.dtype) * (1 / (_PRIME + 1.0))


def normal(first: Tensor, second: Tensor) -> Tensor:
    """Standard normal numbers from two uniform ones: sqrt(−2 ln u) cos(2π v)."""
    bounded = op.Min(op.Max(first, np.array(1e-7, first.dtype.numpy())), np.array(1 - 1e-7, first.dtype.numpy()))
    radius = op.Sqrt(op.Log(bounded) * -2.0)
    return radius * op.Cos(second * (2 * math.pi))
