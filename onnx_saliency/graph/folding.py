"""Constant folding: a node whose inputs are all known is replaced by its value.

Used twice: on the model as it arrives, and on the backward part, whose rules are written once for
dynamic shapes (`Shape`, `Gather`, `Sub`, ...) and become constants here where the shapes are static.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

_KEPT = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}  # not deterministic
    | {"DequantizeLinear"}  # its input is the compact form of a weight
    | {"Resize", "AveragePool"}  # slow here; a runtime folds them at load
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
        for output, array in zip(node.outputs, arrays, strict=False):
            tensor = ir.tensor(array, name=output.name)
            known = ir.Value(name=output.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
            known.const_value = tensor
            output.replace_all_uses_with(known)
            output.name = f"{output.name}/folded"
            graph.register_initializer(known)
        graph.remove(node, safe=False)


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
    if node.op_type == "ConstantOfShape" and 4 * np.prod(next(iter(feeds.values())), dtype=float) > max_bytes:
        return None
    try:
        arrays = ReferenceEvaluator(ir.to_proto(node), opsets={"": opset}).run(None, feeds)
    except (NotImplementedError, RuntimeError):  # no reference implementation of this operator: the node stays
        return None
    arrays = [np.asarray(array) for array in arrays]
    return None if any(array.nbytes > max_bytes for array in arrays) else arrays
