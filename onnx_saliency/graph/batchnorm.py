"""BatchNormalization folded into the convolution or Gemm before it.

In inference y = scale (x - mean) / sqrt(var + eps) + bias is affine per channel: y = a x + b. With
x = W * u + c this is y = (a W) * u + (a c + b), one node instead of two, forward and backward
(LOWERINGS: forward and backward then share one W). Computed in float64, rounded once.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnx_saliency.graph.folding import constant

# Where the output channel lies in the weight of each operator; Gemm's depends on transB.
_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1}


def fold_batch_normalization(model: ir.Model) -> None:
    """Fold, in place, every BatchNormalization whose input is made by a Conv, ConvTranspose or Gemm for it alone."""
    for node in model.graph:
        training = node.attributes.get_int("training_mode", 0)
        if node.op_type == "BatchNormalization" and len(node.outputs) == 1 and not training:
            _fold(model.graph, node)


def _fold(graph: ir.Graph, norm: ir.Node) -> None:
    x = norm.inputs[0]
    linear = x.producer() if x is not None else None
    statistics = [constant(value) for value in norm.inputs[1:5]]
    if x is None or linear is None or x.is_graph_output() or len(x.uses()) != 1 or any(s is None for s in statistics):
        return
    weight = constant(linear.inputs[1]) if linear.op_type in (*_CHANNEL_AXIS, "Gemm") else None
    offset = constant(linear.inputs[2]) if len(linear.inputs) > 2 and linear.inputs[2] is not None else np.float64(0)
    if weight is None or offset is None or linear.attributes.get_float("alpha", 1.0) != 1.0:
        return
    if linear.attributes.get_float("beta", 1.0) != 1.0 or (linear.op_type == "ConvTranspose" and _groups(linear) > 1):
        return
    scale, bias, mean, var = (np.asarray(s, dtype=np.float64) for s in statistics)
    a = scale / np.sqrt(var + norm.attributes.get_float("epsilon", 1e-5))
    b = bias - a * mean

    axis = _CHANNEL_AXIS.get(linear.op_type, 0 if linear.attributes.get_int("transB", 0) else 1)
    along = [1] * weight.ndim
    along[axis] = -1
    folded = (weight.astype(np.float64) * a.reshape(along)).astype(weight.dtype)
    shifted = (np.asarray(offset, dtype=np.float64) * a + b).astype(weight.dtype)

    linear.replace_input_with(1, _initializer(graph, f"{norm.name or x.name}/weight", folded))
    linear.resize_inputs(3)
    linear.replace_input_with(2, _initializer(graph, f"{norm.name or x.name}/bias", shifted))
    output = norm.outputs[0]
    if output.is_graph_output():  # the output keeps its name and its Value: the convolution writes it directly
        name, x.name = output.name, f"{x.name}/raw"
        graph.outputs[list(graph.outputs).index(output)] = x
        output.replace_all_uses_with(x)
        graph.remove(norm, safe=True)
        x.name, x.shape, x.type = name, output.shape, output.type
    else:
        output.replace_all_uses_with(x)
        graph.remove(norm, safe=True)


def _groups(node: ir.Node) -> int:
    return node.attributes.get_int("group", 1)


def _initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    while name in graph.initializers:
        name += "_"
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(ir.DataType.from_numpy(array.dtype)))
    value.const_value = ir.tensor(array, name=name)
    graph.register_initializer(value)
    return value
