"""Sequences of unknown length become tensors where all members have one shape.

A list that a Loop builds, one member per pass, is a stack that the Loop gives:

    l = Loop(n, c, [], ...) {... l' = SequenceInsert(l, t)}     ->   s = Loop(n, c, ...) {... t}

and a tensor taken apart one by one is that tensor. Of the two, member i is a Gather, the length a
dimension, and joining the members a transposition. Members that differ in shape cannot be stacked;
there the sequence stays, and the walk says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnx_saliency.graph.folding import constant
from onnx_saliency.graph.writer import Writer, replace


@dataclass(frozen=True)
class _Stack:
    """The members of a list: the slices of `tensor` along `axis`, of length 1 there or without it."""

    tensor: ir.Value
    axis: int
    keeps_axis: bool = False


def stack_lists(model: ir.Model) -> bool:
    """Replace, in place, the lists that can be tensors; return whether there was one.

    To be asked once `sequences` and `control_flow` have resolved what is known.
    """
    # One at a time, since it changes the nodes.
    return any(node.domain == "" and (_stack_state(node) or _stack_made(node)) for node in model.graph.all_nodes())


# --- what can be a stack -----------------------------------------------------------------------


def _stack_made(node: ir.Node) -> bool:
    """Let the readers of a sequence that `node` makes read a tensor."""
    readers = list(node.outputs[0].consumers()) if node.outputs else []
    if not readers or node.outputs[0].is_graph_output():
        return False
    stack = _taken_apart(node) if node.op_type == "SplitToSequence" else None
    if node.op_type == "SequenceConstruct" and _of_one_shape(node):
        w = Writer(node)
        axis = w.constant([0])
        parts = [w("Unsqueeze", member, axis) for member in node.inputs]
        stack = _Stack(w("Concat", *parts, axis=0), 0)
    return stack is not None and _serve(readers, stack)


def _taken_apart(node: ir.Node) -> _Stack | None:
    x, split = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    size = constant(split)
    if x is None or (split is not None and (size is None or size.ndim or size.item() != 1)):
        return None
    keeps = split is not None or bool(node.attributes.get_int("keepdims", 1))
    return _Stack(x, node.attributes.get_int("axis", 0), keeps)


def _of_one_shape(node: ir.Node) -> bool:
    shapes = [value.shape for value in node.inputs if value is not None]
    return all(shape is not None and shape == shapes[0] for shape in shapes)


def _stack_state(node: ir.Node) -> bool:
    """Turn one list that the Loop `node` builds into a stack that it gives."""
    if node.op_type != "Loop":
        return False
    body = node.attributes["body"].as_graph()
    for index, start in enumerate(node.inputs[2:]):
        taken, given, result = body.inputs[2 + index], body.outputs[1 + index], node.outputs[index]
        maker, readers = given.producer(), list(result.consumers())
        is_appended = (
            maker is not None
            and maker.op_type == "SequenceInsert"
            and len(maker.inputs) == 2
            and maker.inputs[0] is taken
            and len(taken.uses()) == 1
            and not given.uses()
        )
        begins = start.producer() if start is not None else None
        if not is_appended or begins is None or begins.op_type != "SequenceEmpty" or result.is_graph_output():
            continue
        assert maker is not None
        member = maker.inputs[1]
        assert member is not None
        stack = ir.Value(name=f"{result.name}/stack", type=member.type)
        stack.shape = None if member.shape is None else ir.Shape([None, *member.shape])
        if not all(_can_read(reader, _Stack(stack, 0)) for reader in readers) or not _is_even(member, readers):
            continue
        kept = ir.Value(name=f"{given.name}/member", type=member.type, shape=member.shape)
        body.append(ir.Node("", "Identity", [member], outputs=[kept], name=kept.name))
        inputs = [value for position, value in enumerate(node.inputs) if position != 2 + index]
        outputs = [output for position, output in enumerate(node.outputs) if position != index]
        body.outputs[:] = [*(v for v in body.outputs if v is not given), kept]
        body.inputs[:] = [v for v in body.inputs if v is not taken]
        body.remove(maker, safe=True)
        copies = [ir.Value(name=f"{output.name}/loop", type=output.type, shape=output.shape) for output in outputs]
        loop = ir.Node("", "Loop", inputs, [ir.AttrGraph("body", body)], outputs=[*copies, stack], name=node.name)
        assert node.graph is not None
        node.graph.insert_before(node, loop)
        _serve(readers, _Stack(stack, 0))
        copies.insert(index, stack)  # nobody reads the list now
        del node.attributes["body"]  # it is the new Loop's
        replace(node, copies)
        return True
    return False


def _is_even(member: ir.Value, readers: list[ir.Node]) -> bool:
    """Whether the members have one shape: a reader demands it, or each is of known lengths."""
    if any(reader.op_type == "ConcatFromSequence" and reader.attributes.get_int("new_axis", 0) for reader in readers):
        return True
    return member.shape is not None and all(isinstance(dim, int) for dim in member.shape)


# --- who reads it ------------------------------------------------------------------------------


def _serve(readers: list[ir.Node], stack: _Stack) -> bool:
    """Let all of `readers` read the stack, or none."""
    if not all(_can_read(reader, stack) for reader in readers):
        return False
    for reader in readers:
        replace(reader, [_read(reader, stack)])
    return True


def _can_read(reader: ir.Node, stack: _Stack) -> bool:
    if reader.op_type in ("SequenceAt", "SequenceLength"):
        return True
    if reader.op_type != "ConcatFromSequence":
        return False
    shape, axis = stack.tensor.shape, reader.attributes["axis"].as_int()
    if shape is None:
        return False
    if stack.keeps_axis:
        return not reader.attributes.get_int("new_axis", 0) and (axis - stack.axis) % len(shape) == 0
    # Members may differ where they are joined; their lengths there have to be known to be one.
    return bool(reader.attributes.get_int("new_axis", 0)) or isinstance(_member_dims(stack)[axis], int)


def _member_dims(stack: _Stack) -> list[int | ir.SymbolicDim]:
    assert stack.tensor.shape is not None
    dims = list(stack.tensor.shape)
    del dims[stack.axis]
    return dims


def _read(reader: ir.Node, stack: _Stack) -> ir.Value:
    """What `reader` gives, of the stack."""
    w, x = Writer(reader), stack.tensor
    if reader.op_type == "SequenceAt":
        member = w("Gather", x, reader.inputs[1], axis=stack.axis)
        return w("Unsqueeze", member, w.constant([stack.axis])) if stack.keeps_axis else member
    if reader.op_type == "SequenceLength":
        return w("Gather", w("Shape", x), w.constant(stack.axis), axis=0)
    if stack.keeps_axis:
        return x
    assert x.shape is not None
    rank, fuses = len(x.shape), not reader.attributes.get_int("new_axis", 0)
    axis = reader.attributes["axis"].as_int() % (rank - 1 if fuses else rank)
    order = [i for i in range(rank) if i != stack.axis % rank]
    order.insert(axis, stack.axis % rank)
    moved = x if order == list(range(rank)) else w("Transpose", x, perm=order)
    if not fuses:
        return moved
    # [.., T, d, ..] -> [.., T d, ..]
    before, after = w("Shape", moved, start=0, end=axis), w("Shape", moved, start=axis + 2)
    return w("Reshape", moved, w("Concat", before, w.constant([-1]), after, axis=0))
