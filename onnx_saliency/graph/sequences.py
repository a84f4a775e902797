"""Sequences of tensors whose members are known, resolved to the tensors themselves.

Exports leave them where the source split a tensor or kept a list: SplitToSequence is a Split,
ConcatFromSequence a Concat, SequenceAt the member itself. An Optional that surely holds something,
or surely nothing, is resolved alike. A sequence that a loop builds is known once the loop is
written out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from onnx_saliency.graph.folding import constant
from onnx_saliency.graph.writer import Writer, inline, label, replace

_SEQUENCES = frozenset(
    {"SplitToSequence", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceMap"}
)
_MAX_MEMBERS = 1024  # of a tensor taken apart; beyond, the graph grows out of hand


def resolve_sequences(model: ir.Model) -> bool:
    """Replace, in place, what reads sequences of known members; return whether anything was."""
    members: dict[ir.Value, list[ir.Value]] = {}
    held: dict[ir.Value, ir.Value | None] = {}  # what an Optional holds
    resolved = False
    for node in list(model.graph.all_nodes()):
        if node.domain != "":
            continue
        if node.op_type.startswith("Optional"):
            resolved |= _resolve_optional(node, members, held)
        elif node.op_type in ("SplitToSequence", "SequenceMap"):
            made = _split(node) if node.op_type == "SplitToSequence" else _map(node, members)
            if made is not None:
                sequences = [_construct(node, parts) for parts in made]
                members.update(zip(sequences, made, strict=True))
                replace(node, sequences)
                resolved = True
        elif (known := _members(node, members)) is not None:
            members[node.outputs[0]] = known
        elif node.inputs and node.inputs[0] in members:
            resolved |= _resolve_reader(node, members[node.inputs[0]])
    return resolved


def state_types(model: ir.Model) -> None:
    """Write into values that are sequences or optionals that they are: shape inference tells of their elements only."""
    unsettled = True
    while unsettled:  # what is inside a loop tells what comes out of it
        unsettled = False
        for node in model.graph.all_nodes():
            for index, output in enumerate(node.outputs):
                kind = _kind(node, index)
                if kind is not None and isinstance(output.type, ir.TensorType):
                    output.type = kind(output.type)
                    unsettled = True


def _kind(node: ir.Node, index: int) -> Callable[[ir.TypeProtocol], ir.TypeProtocol] | None:
    if node.domain != "":
        return None
    if node.op_type in _SEQUENCES:
        return ir.SequenceType
    if node.op_type == "Optional":
        return ir.OptionalType
    source: ir.Value | None = node.inputs[0] if node.op_type == "Identity" else None
    if node.op_type in ("If", "Loop"):
        name, skipped = ("then_branch", 0) if node.op_type == "If" else ("body", 1)
        source = node.attributes[name].as_graph().outputs[index + skipped]
    return ir.SequenceType if source is not None and isinstance(source.type, ir.SequenceType) else None


def _members(node: ir.Node, members: dict[ir.Value, list[ir.Value]]) -> list[ir.Value] | None:
    """The members of the sequence that `node` makes, where they are known."""
    first = node.inputs[0] if node.inputs else None
    source = members.get(first) if first is not None else None
    match node.op_type:
        case "SequenceEmpty":
            return []
        case "SequenceConstruct":
            return [value for value in node.inputs if value is not None]
        case "Identity":
            return source
        case "SequenceInsert" if source is not None and node.inputs[1] is not None:
            at = _position(node, 2, len(source), default=len(source), last=len(source))
            return None if at is None else [*source[:at], node.inputs[1], *source[at:]]
        case "SequenceErase" if source is not None:
            at = _position(node, 1, len(source), default=len(source) - 1, last=len(source) - 1)
            return None if at is None else [*source[:at], *source[at + 1 :]]
    return None


def _resolve_reader(node: ir.Node, members: list[ir.Value]) -> bool:
    """Replace a node that makes no sequence of the one it reads."""
    w = Writer(node)
    if node.op_type == "SequenceLength":
        replace(node, [w.constant(len(members))])
        return True
    if node.op_type == "SequenceAt":
        at = _position(node, 1, len(members), default=None, last=len(members) - 1)
        if at is None:
            return False
        replace(node, [members[at]])
        return True
    if node.op_type == "ConcatFromSequence" and members:
        axis = node.attributes["axis"].as_int()
        if node.attributes.get_int("new_axis", 0):
            along = w.constant([axis])
            members = [w("Unsqueeze", member, along) for member in members]
        replace(node, [w("Concat", *members, axis=axis)])
        return True
    return False


def _position(node: ir.Node, index: int, count: int, *, default: int | None, last: int) -> int | None:
    """The position that input `index` states, from the end where negative; None unless it is known and there."""
    given = node.inputs[index] if index < len(node.inputs) else None
    if given is None:
        position = default
    else:
        array = constant(given)
        position = None if array is None else int(array.item())
        position = position + count if position is not None and position < 0 else position
    return position if position is not None and 0 <= position <= last else None


def _split(node: ir.Node) -> list[list[ir.Value]] | None:
    """The parts of a tensor taken apart, by Split."""
    x = node.inputs[0]
    axis = node.attributes.get_int("axis", 0)
    length = x.shape[axis] if x is not None and x.shape is not None else None
    sizes = _sizes(node, length)
    if not sizes or len(sizes) > _MAX_MEMBERS:
        return None
    w = Writer(node)
    parts = w.several("Split", x, w.constant(sizes), outputs=len(sizes), axis=axis)
    if (len(node.inputs) > 1 and node.inputs[1] is not None) or node.attributes.get_int("keepdims", 1) != 0:
        return [parts]
    along = w.constant([axis])
    return [[w("Squeeze", part, along) for part in parts]]


def _map(node: ir.Node, members: dict[ir.Value, list[ir.Value]]) -> list[list[ir.Value]] | None:
    """What the body of a SequenceMap makes of each member; further inputs are sequences too, or the same for all."""
    first = node.inputs[0]
    if first not in members or any(_is_sequence(value) and value not in members for value in node.inputs):
        return None
    body, made = node.attributes["body"].as_graph(), [list[ir.Value]() for _ in node.outputs]
    for index in range(len(members[first])):
        arguments = [members[value][index] if value in members else value for value in node.inputs if value is not None]
        results = inline(body, arguments, node, f"{label(node)}/{index}/")
        for parts, result in zip(made, results, strict=True):
            parts.append(result)
    return made if all(made) else None


def _is_sequence(value: ir.Value | None) -> bool:
    return value is not None and isinstance(value.type, ir.SequenceType)


def _construct(node: ir.Node, parts: Sequence[ir.Value]) -> ir.Value:
    """The same sequence, of its members: for whatever else reads it."""
    return Writer(node)("SequenceConstruct", *parts)


def _sizes(node: ir.Node, length: int | ir.SymbolicDim | None) -> list[int] | None:
    """Lengths of the parts: all 1, all the same but the last, or as listed."""
    given = node.inputs[1] if len(node.inputs) > 1 else None
    split = np.array(1) if given is None else constant(given)
    if split is None or not (split.ndim or isinstance(length, int)):
        return None
    if split.ndim:
        return [int(size) for size in split]
    assert isinstance(length, int)
    size = int(split)
    return [min(size, length - start) for start in range(0, length, size)]


def _resolve_optional(
    node: ir.Node, members: dict[ir.Value, list[ir.Value]], held: dict[ir.Value, ir.Value | None]
) -> bool:
    x = node.inputs[0] if node.inputs else None
    if node.op_type == "Optional":
        held[node.outputs[0]] = x
        return False
    if x is not None and x not in held and (x.type is None or isinstance(x.type, ir.OptionalType)):
        return False
    inside = held.get(x, x) if x is not None else None  # what is no Optional holds itself
    if node.op_type == "OptionalHasElement":
        replace(node, [Writer(node).constant(np.array(inside is not None))])
        return True
    if inside is None:
        return False
    if inside in members:
        members[node.outputs[0]] = members[inside]
    replace(node, [inside])
    return True
