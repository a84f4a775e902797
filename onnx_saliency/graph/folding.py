"""Constant folding: a node whose inputs are all known is replaced by its value.

Used twice: on the model as it arrives, and on the backward part, whose rules are written once for
dynamic shapes (`Shape`, `Gather`, `Sub`, ...) and become constants here where the shapes are static.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

_KEPT = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}  # not deterministic
    | {"Bernoulli", "Dropout"}  # nor these
    | {"DequantizeLinear"}  # its input is the compact form of a weight
    | {"Resize", "AveragePool"}  # slow here; a runtime folds them at load
    | {"LpPool", "AffineGrid"}  # onnx's reference is wrong in ceil_mode, and in double
)


def constant(value: ir.Value | None) -> np.ndarray | None:
    """Return the value of an initializer that no caller can override, else None."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def fold_constants(model: ir.Model, max_bytes: int = 1 << 20) -> None:
    """Replace, in place, every deterministic node of known inputs by an initializer.

    Args:
        model: its shapes inferred.
        max_bytes: neither a folded value nor what it is made of may be larger; a runtime folds the
            rest at load, and the file does not store a weight twice.
    """
    graph = model.graph
    for node in graph:
        if node.op_type in _KEPT or node.domain not in ("", "ai.onnx") or _has_subgraph(node):
            continue
        if any(output.is_graph_output() for output in node.outputs):
            continue
        arrays = _static_shape(node) or _evaluate(node, graph.opset_imports[""], max_bytes)
        if arrays is None:
            continue
        for output, array in zip(node.outputs, arrays, strict=True):
            tensor = ir.tensor(array, name=output.name)
            known = ir.Value(name=output.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
            known.const_value = tensor
            output.replace_all_uses_with(known)
            output.name = f"{output.name}/folded"
            graph.register_initializer(known)
        graph.remove(node, safe=True)  # it lets go of its inputs, so that `prune` finds those nothing else reads


def _has_subgraph(node: ir.Node) -> bool:
    return any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())


def _static_shape(node: ir.Node) -> list[np.ndarray] | None:
    """Return the value of `Shape` or `Size` where shape inference already knows it."""
    if node.op_type not in ("Shape", "Size") or node.inputs[0] is None or node.inputs[0].shape is None:
        return None
    start, end = (node.attributes.get_int(key, default) for key, default in (("start", 0), ("end", None)))
    dims = list(node.inputs[0].shape)[start:end]
    if not all(isinstance(dim, int) for dim in dims):
        return None
    shape = np.array(dims, dtype=np.int64)
    return [shape if node.op_type == "Shape" else np.array(shape.prod(), dtype=np.int64)]


def _evaluate(node: ir.Node, opset: int, max_bytes: int) -> list[np.ndarray] | None:
    feeds: dict[str, np.ndarray] = {}
    for value in node.inputs:
        if value is None:
            continue
        array = constant(value)
        if array is None or array.nbytes > max_bytes:
            return None
        assert value.name is not None
        feeds[value.name] = array
    if _expected_bytes(node, feeds) > max_bytes:
        return None
    if node.op_type == "Slice" and _begins_before_all(*feeds.values()):
        return None
    try:
        arrays = ReferenceEvaluator(ir.to_proto(node), opsets={"": opset}).run(None, feeds)
    except Exception:  # no reference implementation, or inputs it cannot take: the node stays, a runtime will tell
        return None
    if len(arrays) != len(node.outputs) or any(array is None or isinstance(array, list | dict) for array in arrays):
        return None  # a sequence or an optional is no initializer
    arrays = [np.asarray(array) for array in arrays]
    return None if any(array.nbytes > max_bytes for array in arrays) else arrays


def _begins_before_all(
    data: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    axes: np.ndarray | None = None,
    steps: np.ndarray | None = None,
) -> bool:
    """Whether a Slice goes backwards from before the first entry: onnx's reference does not begin at the first then."""
    along = range(len(starts)) if axes is None else axes
    lengths = np.array([data.shape[axis] for axis in along])
    return steps is not None and bool(((steps < 0) & (starts < -lengths)).any())


def _expected_bytes(node: ir.Node, feeds: Mapping[str, np.ndarray]) -> float:
    """Size of the result as far as it can be told beforehand: a few small inputs can ask for terabytes."""
    given = [feeds[value.name] for value in node.inputs if value is not None and value.name is not None]
    if node.op_type == "ConstantOfShape" and given:
        return 4 * float(np.prod(given[0], dtype=float))
    if node.op_type == "Range" and len(given) == 3 and all(value.size == 1 for value in given):
        start, limit, delta = (float(value.item()) for value in given)
        return 8 * abs((limit - start) / (delta or 1))
    return max((_bytes(value) for value in node.outputs), default=0)


def _bytes(value: ir.Value) -> float:
    dims = [dim for dim in value.shape if isinstance(dim, int)] if value.shape is not None else []
    return float(np.prod(dims, dtype=float)) * (value.dtype.itemsize if value.dtype is not None else 1)
