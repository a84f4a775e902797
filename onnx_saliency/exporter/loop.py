"""A loop over a tape: `for k in range(count)`, as one ONNX Loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward import Tape, Tensor, op

Body = Callable[[Tape, Tensor, list[Tensor]], tuple[Sequence[Tensor], Sequence[Tensor]]]


def repeat(tape: Tape, name: str, count: Tensor, first: Sequence[Tensor], body: Body) -> list[Tensor]:
    """Write a Loop and return its last states, then its slices, stacked along a new axis 0.

    Args:
        tape: receives the Loop.
        name: of its names.
        count: how many passes, int64.
        first: the states before the first pass.
        body: takes a tape of its own, the number k of the pass and the states; returns the next states, and slices.
            What it reads from outside it reads through that tape.
    """
    prefix = f"{tape.prefix}{name}/"
    inner = tape.within(prefix)
    k = ir.Value(name=f"{prefix}k", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
    on = ir.Value(name=f"{prefix}on", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    taken = [
        ir.Value(name=f"{prefix}state_{i}", type=state.value.type, shape=state.value.shape)
        for i, state in enumerate(first)
    ]
    states, slices = body(inner, Tensor(inner, k), [Tensor(inner, value) for value in taken])
    given = [op.Identity(tensor) for tensor in (Tensor(inner, on), *states, *slices)]
    graph = ir.Graph([k, on, *taken], [tensor.value for tensor in given], nodes=inner.nodes, name=prefix.rstrip("/"))
    inputs = [op.Reshape(count, []), tape.constant(np.array(True)), *first]
    results = tape.append("Loop", inputs, {"body": graph}, len(given) - 1)
    for result, tensor in zip(results, given[1:], strict=True):
        result.value.type = tensor.value.type
    return results
