"""Control flow whose way is known before the model runs, written out.

    If      whose condition is known is its branch.
    Loop    of a known number of passes and no early exit is its body, pass after pass.
    Scan    over an axis of known length the same.

Resolving one can make another known (a length, a condition), so shapes and constants are found again
after each round. At most `MAX_NODES` nodes are written for all loops of a model: a loop written out
is faster (an LSTM of 128 steps with its gradient takes onnxruntime 15 ms instead of 22), and loads
slower (1.5 s instead of 0.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from onnx_saliency.graph.bodies import Axes, bodies, count_states, scan_axes
from onnx_saliency.graph.folding import constant, fold_constants
from onnx_saliency.graph.lists import stack_lists
from onnx_saliency.graph.sequences import resolve_sequences
from onnx_saliency.graph.shapes import infer_shapes
from onnx_saliency.graph.writer import Writer, inline, label, replace

MAX_NODES = 2048


def resolve_control_flow(model: ir.Model) -> None:
    """Write out, in place, all control flow and all sequences whose way is known; shapes are inferred before."""
    _lift_initializers(model)
    room = MAX_NODES
    while True:
        passes.RemoveUnusedNodesPass()(model)  # no reader is left of a sequence that was resolved
        _carry_shapes(model)
        resolved = resolve_sequences(model)
        for node in reversed(list(model.graph.all_nodes())):  # the innermost first: what it grows to is counted
            if node.domain == "" and node.op_type == "If":
                resolved |= _resolve_if(node)
            elif node.domain == "" and node.op_type in ("Loop", "Scan"):
                written = _unroll(node, room)
                room -= written or 0
                resolved |= written is not None
        if not resolved and not stack_lists(model):
            break
        infer_shapes(model)
        fold_constants(model)
        infer_shapes(model)
    for graph in model.graphs():  # a node is asked for its opset by way of its graph
        graph.opset_imports.update(model.opset_imports)


def _lift_initializers(model: ir.Model) -> None:
    """Constants of subgraphs become those of the main graph, so that copies of a body share them; names differ."""
    for graph in model.graphs():
        if graph is model.graph:
            continue
        for index, value in enumerate(list(graph.outputs)):
            if value.is_initializer():
                kept = ir.Value(name=f"{value.name}/kept", shape=value.shape, type=value.type)
                graph.append(ir.Node("", "Identity", [value], outputs=[kept], name=kept.name))
                graph.outputs[index] = kept
    passes.LiftSubgraphInitializersToMainGraphPass()(model)
    taken = {value.name for value in (*model.graph.inputs, *model.graph.initializers.values())}
    for graph in model.graphs():
        inputs = [] if graph is model.graph else graph.inputs
        for value in [*inputs, *(output for node in graph for output in node.outputs)]:
            name, count = value.name, 0
            while value.name and value.name in taken:
                count += 1
                value.name = f"{name}/{count}"
            taken.add(value.name)


def _resolve_if(node: ir.Node) -> bool:
    condition = constant(node.inputs[0])
    if condition is None:
        return False
    branch = node.attributes["then_branch" if condition.item() else "else_branch"].as_graph()
    replace(node, inline(branch, [], node, f"{label(node)}/branch/"))
    return True


def _unroll(node: ir.Node, room: int) -> int | None:
    """Write a loop out where its passes are known and fit into `room` nodes; return how many nodes that took."""
    passes_ = _known_passes(node)
    if passes_ is None:
        return None
    body = bodies(node)[0]
    size = passes_ * sum(1 for _ in body.graph.all_nodes())
    stacked = [output for output, _ in body.outputs[len(body.carried) :]]
    if size > room or (passes_ == 0 and not all(map(_has_static_slices, stacked))):
        return None
    w = Writer(node)
    inputs, outputs = scan_axes(node)
    state = [value for value in node.inputs[2 if node.op_type == "Loop" else 0 :][: len(body.carried)] if value]
    cuts = [
        _cut(w, value, along, passes_) for value, along in zip(node.inputs[len(state) :], inputs, strict=False) if value
    ]
    slices: list[list[ir.Value]] = [[] for _ in stacked]
    true = w.constant(np.array(True)) if node.op_type == "Loop" else None
    for number in range(passes_):
        head = [w.constant(number), true] if true is not None else []
        arguments = [*head, *state, *(cut[number] for cut in cuts)]
        results = inline(body.graph, arguments, node, f"{label(node)}/{number}/")[1 if true is not None else 0 :]
        state = results[: len(state)]
        for each, value in zip(slices, results[len(state) :], strict=True):
            each.append(value)
    stacks = [
        _stack(w, each, along) if passes_ else _empty(w, output)
        for each, along, output in zip(slices, outputs, stacked, strict=True)
    ]
    replace(node, [*state, *stacks])
    return size


def _known_passes(node: ir.Node) -> int | None:
    body = node.attributes["body"].as_graph()
    if node.op_type == "Scan":
        inputs, _ = scan_axes(node)
        for value, along in zip(node.inputs[count_states(node) :], inputs, strict=True):
            dim = value.shape[along.axis] if value is not None and value.shape is not None else None
            if isinstance(dim, int) and dim > 0:  # a Scan of no step cannot be run
                return dim
        return None
    trips, condition = constant(node.inputs[0]), constant(node.inputs[1])
    if (condition is not None and not condition.item()) or (trips is not None and trips.item() <= 0):
        return 0
    if trips is None or (condition is None and node.inputs[1] is not None) or not _goes_on(body):
        return None
    return int(trips.item())


def _goes_on(body: ir.Graph) -> bool:
    """Whether the condition that a Loop's body gives is the one it took, or plainly true."""
    given = body.outputs[0]
    while (node := given.producer()) is not None and node.op_type == "Identity" and node.inputs[0] is not None:
        given = node.inputs[0]
    known = constant(given)
    return given is body.inputs[1] or (known is not None and bool(known.item()))


def _cut(w: Writer, value: ir.Value, along: Axes, count: int) -> list[ir.Value]:
    """The slices of `value` in the order that the passes take them."""
    if count == 0:
        return []
    parts = w.several("Split", value, w.constant([1] * count), outputs=count, axis=along.axis)
    axis = w.constant([along.axis])
    slices = [w("Squeeze", part, axis) for part in parts]
    return slices[::-1] if along.backwards else slices


def _stack(w: Writer, slices: Sequence[ir.Value], along: Axes) -> ir.Value:
    axis = w.constant([along.axis])
    parts = [w("Unsqueeze", each, axis) for each in (reversed(slices) if along.backwards else slices)]
    return w("Concat", *parts, axis=along.axis)


def _empty(w: Writer, output: ir.Value) -> ir.Value:
    assert output.shape is not None
    dims = [dim for dim in list(output.shape)[1:] if isinstance(dim, int)]
    return w.constant(np.zeros([0, *dims], (output.dtype or ir.DataType.FLOAT).numpy()))


def _has_static_slices(output: ir.Value) -> bool:
    return output.shape is not None and all(isinstance(dim, int) for dim in list(output.shape)[1:])


# --- shapes of what a Loop carries -------------------------------------------------------------


def _carry_shapes(model: ir.Model) -> None:
    """Write what is known of a Loop's states into its body, and from there behind the Loop.

    The standard's inference says nothing of them, as a state may change its shape from pass to pass.
    """
    states = [state for state in _states(model) if state.taken.shape is None and state.first.shape is not None]
    if states:
        _carry_into_bodies(model, states)
    unknown = [state for state in _states(model) if state.last.shape is None]
    for state in unknown:
        state.last.shape = state.kept_shape()
    if any(state.last.shape is not None for state in unknown):
        infer_shapes(model)


@dataclass(frozen=True)
class _State:
    """What a Loop carries: before the first pass, taken by a pass, given by a pass, and after the last."""

    first: ir.Value
    taken: ir.Value
    given: ir.Value
    last: ir.Value

    def kept_shape(self) -> ir.Shape | None:
        """The dimensions that no pass changes, the others open; None where not even their number is known."""
        first, given = self.first.shape, self.given.shape
        if first is None or given is None or len(first) != len(given):
            return None
        return ir.Shape(_agreed(list(first), given))


def _carry_into_bodies(model: ir.Model, states: Sequence[_State]) -> None:
    """What the first pass takes is tried, on a copy of the model: a dimension that comes out as it went in is so in
    every pass; one that does not is left open.
    """
    positions = [index for index, state in enumerate(_states(model)) if state in states]
    tried = [list(state.first.shape or ()) for state in states]
    for _ in range(1 + sum(len(dims) for dims in tried)):
        trial = model.clone()
        copies = [state for index, state in enumerate(_states(trial)) if index in positions]
        for copy, dims in zip(copies, tried, strict=True):
            copy.taken.shape, copy.given.shape = ir.Shape(dims), None
        infer_shapes(trial)
        agreed = [_agreed(dims, copy.given.shape) for dims, copy in zip(tried, copies, strict=True)]
        if agreed == tried:
            break
        tried = agreed
    for state, dims in zip(states, tried, strict=True):
        state.taken.shape = ir.Shape(dims)
    infer_shapes(model)


def _states(model: ir.Model) -> list[_State]:
    """All states of all Loops."""
    return [
        _State(first, taken, given, last)
        for node in model.graph.all_nodes()
        if node.op_type == "Loop"
        for body in bodies(node)
        for (first, _), (taken, given), (last, _) in zip(body.inputs, body.carried, body.outputs, strict=False)
        if isinstance(first.type, ir.TensorType)
    ]


def _agreed(dims: list[int | ir.SymbolicDim], given: ir.Shape | None) -> list[int | ir.SymbolicDim]:
    if given is None or len(given) != len(dims):
        return [ir.SymbolicDim(None)] * len(dims)
    return [a if a == b else ir.SymbolicDim(None) for a, b in zip(dims, given, strict=True)]
