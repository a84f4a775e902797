"""Models computed in a longer precision; their inputs, outputs and stored weights stay as they are.

In float16 one activation in a thousand lies on the wrong side of its rectifier, which moves the gradient by several
percent, and small gradients vanish: half precision is always computed in float32. In float32 few do, and move it by a
thousandth. Weights stay in the file as they were, behind a Cast, which a runtime folds, unless the precision is double.
"""

from __future__ import annotations

import math

import onnx_ir as ir

_HALF = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_TYPE_ATTRIBUTES = ("to", "dtype")  # of Cast, EyeLike, RandomNormalLike, ...
_SMALL = 1024  # bytes


def widen_half(model: ir.Model) -> None:
    """Let every operator of `model` that works in half precision work in float32, in place."""
    _widen(model, _HALF, ir.DataType.FLOAT, anew=_SMALL)


def widen_single(model: ir.Model) -> None:
    """Let every operator of `model` that works in float32 work in float64, in place.

    Weights are stored anew, so that what is folded into them is not rounded again.
    """
    _widen(model, frozenset({ir.DataType.FLOAT}), ir.DataType.DOUBLE, anew=math.inf)


def _widen(model: ir.Model, short: frozenset[ir.DataType], long: ir.DataType, *, anew: float) -> None:
    """`anew`: constants of up to so many bytes are stored in the longer type, and others behind a Cast."""
    shorts = [(i, value, value.dtype) for i, value in enumerate(model.graph.outputs) if value.dtype in short]
    for graph in model.graphs():
        for value in [*graph.initializers.values(), *graph.inputs]:
            if value.dtype in short:
                _widen_source(graph, value, long, anew, fixed=graph is model.graph)
        for node in graph:
            _widen_node(node, short, long)
    for index, value, dtype in shorts:
        if value.producer() is not None:
            assert dtype is not None  # it is a short one
            model.graph.outputs[index] = _narrowed(model.graph, value, dtype)


def _widen_source(graph: ir.Graph, value: ir.Value, long: ir.DataType, anew: float, *, fixed: bool) -> None:
    """Widen an initializer or input: anew where it is small or nobody's contract, else behind a Cast."""
    tensor = value.const_value
    if tensor is not None and tensor.nbytes <= anew and not value.is_graph_input():
        value.const_value = ir.tensor(tensor.numpy().astype(long.numpy()), name=value.name)
        value.type = ir.TensorType(long)
    elif tensor is None and not fixed:  # what a loop hands its body
        value.type = ir.TensorType(long)
    elif value.uses():
        wide = ir.Value(name=_named(value, long), shape=value.shape, type=ir.TensorType(long))
        value.replace_all_uses_with(wide)
        first = next(iter(graph))
        graph.insert_before(first, _cast(value, wide))


def _widen_node(node: ir.Node, short: frozenset[ir.DataType], long: ir.DataType) -> None:
    for name, attribute in node.attributes.items():
        if name in _TYPE_ATTRIBUTES and attribute.as_int() in short and node.outputs[0].dtype in short:
            node.attributes.add(ir.AttrInt64(name, long))
        elif attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in short:
            node.attributes.add(ir.AttrTensor(name, ir.tensor(attribute.as_tensor().numpy().astype(long.numpy()))))
    for output in node.outputs:
        if output.dtype in short:
            output.type = ir.TensorType(long)  # a new one each time: copies of a model share the types of their values


def _narrowed(graph: ir.Graph, value: ir.Value, short: ir.DataType) -> ir.Value:
    """The output's own name and type behind a Cast; what made it goes on in the longer type."""
    assert value.dtype is not None  # it has been widened
    output = ir.Value(name=value.name, shape=value.shape, type=ir.TensorType(short))
    value.name = _named(value, value.dtype)
    graph.append(_cast(value, output))
    return output


def _named(value: ir.Value, dtype: ir.DataType) -> str:
    return f"{value.name}/{dtype.numpy()}"


def _cast(source: ir.Value, goal: ir.Value) -> ir.Node:
    assert goal.dtype is not None
    return ir.Node("", "Cast", [source], [ir.AttrInt64("to", goal.dtype)], outputs=[goal], name=f"{goal.name}/Cast")
