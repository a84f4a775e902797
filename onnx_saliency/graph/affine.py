"""What is affine in each channel folded into the convolution, Gemm or normalisation before it.

BatchNormalization in inference is y = scale (x - mean) / sqrt(var + eps) + bias; Add makes a bias, Mul a scale: all are
y = a x + b per channel. With x = W * u + c this is y = (a W) * u + (a c + b), one node instead of two, forward and
backward, which then share one W. Computed in float64, rounded once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_saliency.graph.folding import constant

Vector = npt.NDArray[np.float64]

# Where the output channel lies in the weight of each operator; Gemm's depends on transB.
_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1}

_REPLACED, _MAKERS = "onnx_saliency.replaced", "onnx_saliency.makers"


def replaced(value: ir.Value) -> tuple[str, ...]:
    """Names of the values that are no longer computed since `value` is made in one step."""
    names: tuple[str, ...] = value.meta.get(_REPLACED, ())
    return names


def makers(value: ir.Value) -> tuple[str, ...]:
    """Names of the nodes that made `value` together with the one that makes it now."""
    names: tuple[str, ...] = value.meta.get(_MAKERS, ())
    return names


def fold_affine(model: ir.Model) -> None:
    """Fold, in place, whatever is affine per channel and whose input is made by such an operator for it alone."""
    for node in model.graph:
        x = _folds_into(node)
        found = None if x is None else _affine(node, x)
        if x is not None and found is not None and _absorb(model.graph, x, *found):
            _pass_on(model.graph, node, x)


def _folds_into(node: ir.Node) -> ir.Value | None:
    """The input of an affine node that nothing else reads."""
    varying = [value for value in node.inputs[:2] if value is not None and value.producer() is not None]
    if node.domain != "" or node.op_type not in ("BatchNormalization", "Mul", "Add") or not varying:
        return None
    x = varying[0]
    return x if len(x.uses()) == 1 and not x.is_graph_output() else None


def _affine(node: ir.Node, x: ir.Value) -> tuple[Vector, Vector] | None:
    """a and b of y = a x + b, one number per channel, or one for all."""
    if node.op_type == "BatchNormalization":
        return None if _trains(node) else _normalisation(node)
    (other,) = [value for value in node.inputs if value is not x] or [None]
    number = None if other is None else constant(other)
    if number is None or x.shape is None or len(x.shape) < 2 or number.ndim > len(x.shape):
        return None
    lengths = (1,) * (len(x.shape) - number.ndim) + number.shape
    if any(length != 1 for axis, length in enumerate(lengths) if axis != 1) or lengths[1] not in (1, x.shape[1]):
        return None
    vector = number.astype(np.float64).reshape(-1)
    return (vector, np.zeros(1)) if node.op_type == "Mul" else (np.ones(1), vector)


def _normalisation(node: ir.Node) -> tuple[Vector, Vector] | None:
    statistics = [constant(value) for value in node.inputs[1:5]]
    if any(each is None for each in statistics):
        return None
    scale, bias, mean, var = (np.asarray(each, dtype=np.float64) for each in statistics)
    a = scale / np.sqrt(var + node.attributes.get_float("epsilon", 1e-5))
    return a, bias - a * mean


def _absorb(graph: ir.Graph, x: ir.Value, a: Vector, b: Vector) -> bool:
    """Let the producer of `x` make a x + b instead, if it can."""
    producer = x.producer()
    assert producer is not None  # as `_folds_into` has checked
    if producer.domain != "":
        return False
    if producer.op_type == "BatchNormalization" and not _trains(producer):
        return _into_normalisation(graph, producer, a, b)
    if producer.op_type in (*_CHANNEL_AXIS, "Gemm"):
        return _into_linear(graph, producer, a, b)
    return False


def _into_normalisation(graph: ir.Graph, node: ir.Node, a: Vector, b: Vector) -> bool:
    scale, bias = (constant(value) for value in node.inputs[1:3])
    if scale is None or bias is None:
        return False
    _set(graph, node, 1, a * scale.astype(np.float64), scale.dtype)
    _set(graph, node, 2, a * bias.astype(np.float64) + b, bias.dtype)
    return True


def _into_linear(graph: ir.Graph, node: ir.Node, a: Vector, b: Vector) -> bool:
    weight = constant(node.inputs[1])
    offset = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.float64(0)
    if weight is None or offset is None or node.attributes.get_float("alpha", 1.0) != 1.0:
        return False
    if node.attributes.get_float("beta", 1.0) != 1.0 or (node.op_type == "ConvTranspose" and _groups(node) > 1):
        return False
    axis = _CHANNEL_AXIS.get(node.op_type, 0 if node.attributes.get_int("transB", 0) else 1)
    along = [1] * weight.ndim
    along[axis] = -1
    _set(graph, node, 1, weight.astype(np.float64) * a.reshape(along), weight.dtype)
    node.resize_inputs(3)
    shifted = np.asarray(offset, dtype=np.float64) * a + b
    channels = weight.shape[axis] if shifted.ndim < 2 else shifted.shape[-1]
    _set(graph, node, 2, np.broadcast_to(shifted, (*shifted.shape[:-1], channels)), weight.dtype)
    return True


def _trains(node: ir.Node) -> bool:
    return len(node.outputs) > 1 or bool(node.attributes.get_int("training_mode", 0))


def _groups(node: ir.Node) -> int:
    return node.attributes.get_int("group", 1)


def _pass_on(graph: ir.Graph, node: ir.Node, x: ir.Value) -> None:
    """Remove `node`: `x` now is what it gave, and is called so."""
    output = node.outputs[0]
    x.meta[_REPLACED] = (*replaced(x), x.name)
    x.meta[_MAKERS] = (*makers(x), node.name)
    if output.is_graph_output():
        graph.outputs[list(graph.outputs).index(output)] = x
    output.replace_all_uses_with(x)
    graph.remove(node, safe=True)
    x.name, x.shape, x.type = output.name, output.shape, output.type


def _set(graph: ir.Graph, node: ir.Node, index: int, values: Vector, dtype: npt.DTypeLike) -> None:
    """Make input `index` these numbers."""
    array = np.ascontiguousarray(values.astype(dtype))
    name = f"{node.name or node.outputs[0].name}/folded_{index}"
    while name in graph.initializers:
        name += "_"
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.from_numpy(array.dtype)))
    value.const_value = ir.tensor(array, name=name)
    graph.register_initializer(value)
    node.replace_input_with(index, value)
