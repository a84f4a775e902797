"""A graph that grows: names kept free, inputs and outputs declared, what a tape holds moved in, and the rest tidied."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from onnx_saliency.backward import Tape, Tensor, op
from onnx_saliency.errors import ExportError
from onnx_saliency.graph.folding import fold_constants
from onnx_saliency.graph.normalise import prune
from onnx_saliency.graph.shapes import infer_shapes

_SHAPE_BYTES = 1024  # constants of the backward part worth folding: shapes, axes, sizes


def compute_type(*values: ir.Value) -> ir.DataType:
    """float32, whose range the gradient needs and whose kernels every runtime has; float64 for double models."""
    double = any(value.dtype == ir.DataType.DOUBLE for value in values)
    return ir.DataType.DOUBLE if double else ir.DataType.FLOAT


def reserve(graph: ir.Graph, names: Collection[str], prefix: str) -> None:
    """Keep `names`, and all that begin with `prefix`, free for what is added; values inside the graph are renamed.

    Raises:
        ExportError: an input or output has such a name; lists them all.
    """

    def is_taken(value: ir.Value) -> bool:
        return value.name in names or (value.name or "").startswith(prefix)

    taken = sorted({value.name or "" for value in (*graph.inputs, *graph.outputs) if is_taken(value)})
    if taken:
        raise ExportError(
            f"The model has inputs or outputs named {', '.join(map(repr, taken))}, names of those that are added. "
            "Rename them in the model."
        )
    values = [*graph.initializers.values(), *(value for node in graph.all_nodes() for value in node.outputs)]
    known = {value.name for value in values}
    for value in values:  # names inside are nobody's contract
        if is_taken(value):
            name = f"model/{value.name}"
            while name in known:
                name += "_"
            known.add(name)
            value.name = name


def add_input(
    graph: ir.Graph, name: str, shape: Sequence[int | str | None], dtype: ir.DataType, default: np.ndarray | None = None
) -> ir.Value:
    """Declare an input; with a default, it may be left out: an initializer of its name."""
    value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))
    graph.inputs.append(value)
    if default is not None:
        value.const_value = ir.tensor(default.astype(dtype.numpy()), name=name)
        graph.register_initializer(value)
    return value


def add_output(graph: ir.Graph, name: str, tensor: Tensor, shape: Sequence[Any] | ir.Shape | None) -> None:
    """Declare an output; a value that the model has already, or that is another output too, keeps its name."""
    taken = tensor.value.is_graph_output() or tensor.value.graph is graph
    value = op.Identity(tensor).value if taken else tensor.value
    value.name, value.shape = name, None if shape is None else ir.Shape(shape)
    graph.outputs.append(value)


def move_into(graph: ir.Graph, tape: Tape, *, first: bool = False) -> None:
    """Move what the tape holds to the graph's end, or before its first node."""
    for value in tape.constants.values():
        graph.register_initializer(value)
    if first:
        graph.insert_before(graph[0], tape.nodes)
    else:
        graph.extend(tape.nodes)
    tape.nodes = []


def tidy(model: ir.Model) -> None:
    """Shapes written by the rules become constants where they are static; what nothing reads goes."""
    prune(model)
    infer_shapes(model)
    fold_constants(model, _SHAPE_BYTES)
    passes.CommonSubexpressionEliminationPass()(model)
    prune(model)
