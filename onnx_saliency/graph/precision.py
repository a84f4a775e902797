"""Half-precision models computed in float32; their inputs, outputs and stored weights stay as they are.

In float16 one activation in a thousand lies on the wrong side of its rectifier, which moves the gradient by several
percent, and small gradients vanish. Weights stay in the file in half precision behind a Cast, which a runtime folds.
"""

from __future__ import annotations

import onnx_ir as ir

_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_TYPE_ATTRIBUTES = ("to", "dtype")  # of Cast, EyeLike, RandomNormalLike, ...
_SMALL = 1024  # bytes; a constant this small is stored anew


def widen_half(model: ir.Model) -> None:
    """Let every operator of `model` that works in half precision work in float32, in place."""
    halves = [(i, value, value.dtype) for i, value in enumerate(model.graph.outputs) if value.dtype in _HALF]
    for graph in model.graphs():
        for value in [*graph.initializers.values(), *graph.inputs]:
            if value.dtype in _HALF:
                _widen_source(graph, value, fixed=graph is model.graph)
        for node in graph:
            _widen_node(node)
    for index, value, half in halves:
        if value.producer() is not None:
            model.graph.outputs[index] = _narrowed(model.graph, value, half)


def _widen_source(graph: ir.Graph, value: ir.Value, *, fixed: bool) -> None:
    """Widen an initializer or input: anew where it is small or nobody's contract, else behind a Cast."""
    tensor = value.const_value
    if tensor is not None and tensor.nbytes <= _SMALL and not value.is_graph_input():
        value.const_value = ir.tensor(tensor.numpy().astype("float32"), name=value.name)
        value.type = _single()
    elif tensor is None and not fixed:  # what a loop hands its body
        value.type = _single()
    elif value.uses():
        wide = ir.Value(name=f"{value.name}/float32", shape=value.shape, type=_single())
        value.replace_all_uses_with(wide)
        first = next(iter(graph))
        graph.insert_before(first, _cast(value, wide))


def _widen_node(node: ir.Node) -> None:
    for name, attribute in node.attributes.items():
        if name in _TYPE_ATTRIBUTES and attribute.as_int() in _HALF and node.outputs[0].dtype in _HALF:
            node.attributes.add(ir.AttrInt64(name, ir.DataType.FLOAT))
        elif attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in _HALF:
            node.attributes.add(ir.AttrTensor(name, ir.tensor(attribute.as_tensor().numpy().astype("float32"))))
    for output in node.outputs:
        if output.dtype in _HALF:
            output.type = _single()


def _narrowed(graph: ir.Graph, value: ir.Value, half: ir.DataType) -> ir.Value:
    """The output's own name and type behind a Cast; what made it goes on in float32."""
    output = ir.Value(name=value.name, shape=value.shape, type=ir.TensorType(half))
    value.name = f"{value.name}/float32"
    graph.append(_cast(value, output))
    return output


def _single() -> ir.TensorType:
    """A new one each time: copies of a model share the types of their values."""
    return ir.TensorType(ir.DataType.FLOAT)


def _cast(source: ir.Value, goal: ir.Value) -> ir.Node:
    assert goal.dtype is not None
    return ir.Node("", "Cast", [source], [ir.AttrInt64("to", goal.dtype)], outputs=[goal], name=f"{goal.name}/Cast")
