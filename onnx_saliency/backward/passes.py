"""What each pass of a loop took, handed out of the forward loop for the backward one (checkpoints)."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnx_saliency.backward.registry import Call
from onnx_saliency.backward.subgraph import Copy
from onnx_saliency.backward.tensor import Tensor, op
from onnx_saliency.graph.bodies import Axes, Body, scan_axes


def keeps_shape(body: Body, value: ir.Value) -> bool:
    """Whether `value` certainly has the same shape in every pass; the number of the pass always has."""
    outside = {inside: given for given, inside in body.inputs}
    for taken, given in body.carried:
        if taken is value:
            shapes = [outside[taken].shape, taken.shape, given.shape]
            return all(shape is not None and shape == shapes[0] and None not in _names(shape) for shape in shapes)
    return True


def _names(shape: ir.Shape) -> list[int | str | None]:
    return [dim if isinstance(dim, int) else dim.value for dim in shape]


def hand_out(n: Call, body: Body, values: Sequence[ir.Value]) -> list[Tensor]:
    """Let the forward loop give `values`, inputs of its body, of all passes, as further stacks along axis 0."""
    node, graph, made = n.node, body.graph, len(n.node.outputs)
    _, stacked = scan_axes(node)
    node.resize_outputs(made + len(values))
    stacks = []
    for output, value in zip(node.outputs[made:], values, strict=True):
        kept = ir.Value(name=f"{value.name}/kept_{len(graph.outputs)}", type=value.type, shape=value.shape)
        graph.append(ir.Node("", "Identity", [value], outputs=[kept], name=kept.name))
        graph.outputs.append(kept)
        output.name, output.type = f"{kept.name}/passes", value.type
        output.shape = None if value.shape is None else ir.Shape([None, *value.shape])
        stacks.append(Tensor(n.tape, output))
    if node.op_type == "Scan" and values:
        stacked = [*stacked, *[Axes(0, backwards=False)] * len(values)]
        node.attributes.add(ir.AttrInt64s("scan_output_axes", [along.axis for along in stacked]))
        node.attributes.add(ir.AttrInt64s("scan_output_directions", [int(along.backwards) for along in stacked]))
    return stacks


def hand_out_lists(n: Call, body: Body, values: Sequence[ir.Value]) -> list[Tensor]:
    """The same in sequences, whose members may differ in shape, by a second Loop that runs the first one again."""
    node, copy, count = n.node, Copy(n, body.graph, "again"), len(body.carried)
    positions = [list(body.graph.inputs).index(value) for value in values]
    types = [ir.SequenceType(ir.TensorType(value.dtype or ir.DataType.FLOAT)) for value in values]
    lists = [
        ir.Value(name=f"{copy.head.prefix}list_{position}", type=kind)
        for position, kind in zip(positions, types, strict=True)
    ]
    longer = [
        op.SequenceInsert(Tensor(copy.tape, each), Tensor(copy.tape, copy.graph.inputs[position]))
        for each, position in zip(lists, positions, strict=True)
    ]
    for each, kind in zip(longer, types, strict=True):
        each.value.type = kind
    empty = [_empty(n, f"{each.name}/empty", kind) for each, kind in zip(lists, types, strict=True)]
    states = [Tensor(copy.tape, value) for value in list(copy.graph.outputs)[: 1 + count]]
    graph = copy.close([*copy.graph.inputs, *lists], [*states, *longer])
    inputs = [None if value is None else Tensor(n.tape, value) for value in node.inputs]
    results = n.tape.append("Loop", [*inputs, *empty], {"body": graph}, count + len(lists))
    for result, type_ in zip(results, [*(output.type for output in node.outputs[:count]), *types], strict=True):
        result.value.type = type_
    return results[count:]


def _empty(n: Call, name: str, kind: ir.SequenceType) -> Tensor:
    value = ir.Value(name=name, type=kind)
    dtype = ir.AttrInt64("dtype", kind.dtype)
    n.tape.nodes.append(ir.Node("", "SequenceEmpty", [], [dtype], outputs=[value], name=name))
    return Tensor(n.tape, value)
