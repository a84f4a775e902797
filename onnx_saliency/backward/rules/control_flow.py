"""Branches and loops: the backward of a choice is the same choice, that of a loop is a loop in reverse.

Both run the forward part again where its backward needs it, so nothing inside a subgraph has to be
handed out but what a loop carries (Griewank & Walther 2008, section 12: checkpoints at the passes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward.registry import Call, Gradients, expanded, refused, rule
from onnx_saliency.backward.tensor import NotDifferentiableError, Tape, Tensor, op
from onnx_saliency.backward.walk import backward, path_inside
from onnx_saliency.graph.control_flow import Axes, Body, bodies, captured, scan_axes
from onnx_saliency.graph.writer import copy_graph, subgraphs

expanded("LSTM", "GRU", "RNN")
refused(
    "a sequence's members or positions are not known before the model runs",
    *("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength"),
    *("SplitToSequence", "SequenceMap", "ConcatFromSequence"),
)
refused(
    "whether it holds a tensor is not known before the model runs",
    *("Optional", "OptionalGetElement", "OptionalHasElement"),
)


# --- a subgraph and its backward ---------------------------------------------------------------


class _Copy:
    """A copy of a subgraph of `n`, run again, with a tape for what is written behind it."""

    def __init__(self, n: Call, graph: ir.Graph, name: str) -> None:
        prefix = f"{n.tape.prefix}{n.tape.scope}{n.op_type}_{len(n.tape.nodes)}/{name}/"
        self.graph = copy_graph(graph, prefix)
        self.tape = _within(n.tape, prefix)
        self.head = _within(n.tape, f"{prefix}head/")  # for what is written before it
        self.policy = n.policy

    def backward(self, seeds: Iterable[tuple[ir.Value, ir.Value]], wrt: Sequence[ir.Value]) -> list[Tensor]:
        """Gradients of `wrt` from pairs (output of the copy, its gradient), zeros where there is none."""
        assert self.policy is not None
        total: dict[ir.Value, Tensor] = {}
        for value, seed in seeds:
            dy = Tensor(self.tape, seed)
            total[value] = total[value] + dy if value in total else dy
        gradients = backward(self.graph, self.tape, total, wrt, self.policy)
        return [
            _zeros(self.tape.read(value)) if gradient is None else gradient
            for value, gradient in zip(wrt, gradients, strict=True)
        ]

    def close(self, inputs: Sequence[ir.Value], outputs: Sequence[Tensor]) -> ir.Graph:
        """Return the graph with these inputs and outputs, and no node that the outputs do not need."""
        graph = self.graph
        results = [op.Identity(output).value for output in outputs]  # what is no node's output cannot be the graph's
        graph.extend(self.tape.nodes)
        graph.outputs[:] = results
        for node in reversed(graph):
            if not any(value.uses() or value.is_graph_output() for value in node.outputs):
                graph.remove(node, safe=True)
        graph.inputs[:] = inputs
        return graph


def _within(tape: Tape, prefix: str) -> Tape:
    """A tape for a subgraph; its constants are the outermost graph's."""
    inner = Tape(prefix, tape.dtype)
    inner.constants = tape.constants
    return inner


def _zeros(x: Tensor) -> Tensor:
    return op.Expand(0.0, x.shape)


def _write(
    tape: Tape, op_type: str, inputs: Sequence[Tensor | None], attributes: Mapping[str, object], outputs: int
) -> list[Tensor]:
    """Append a node that gives gradients."""
    results = tape.append(op_type, inputs, dict(attributes), outputs)
    for result in results:
        result.value.type = ir.TensorType(tape.dtype)
    return results


# --- If ----------------------------------------------------------------------------------------


@rule("If")
def if_(n: Call, dy: Tensor) -> Gradients:
    """dX = dX of the branch that was taken, 0 where that branch does not read X"""
    wanted = [value for value in captured(*subgraphs(n.node)) if value in n.reached]
    branches = {name: _branch(n, n.node.attributes[name].as_graph(), name, wanted) for name in n.node.attributes}
    return dict(zip(wanted, _write(n.tape, "If", [n.input(0)], branches, len(wanted)), strict=True))


def _branch(n: Call, graph: ir.Graph, name: str, wanted: Sequence[ir.Value]) -> ir.Graph:
    copy = _Copy(n, graph, name)
    seeds = [(value, dy.value) for value, dy in zip(copy.graph.outputs, n.dys, strict=True) if dy is not None]
    return copy.close([], copy.backward(seeds, wanted))


# --- Loop and Scan -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Slice:
    """What the passes take or make one by one, stacked along an axis.

    Attributes:
        stack: all of it, outside the loop.
        inside: that of one pass.
        along: how the forward loop stacked it.
    """

    stack: Tensor
    inside: ir.Value
    along: Axes


@rule("Loop", "Scan")
def repeat(n: Call, dy: Tensor) -> Gradients:
    """With (s', z) = f(s, x, X) in pass t: (ds, dx, ΔX) = (ds', dz) ∂f/∂(s, x, X), and dX = Σ_t ΔX, in reverse order.

    s is what the loop carries, x and z slices of what a Scan cuts and stacks, X what the body captures.
    The s of each pass are handed out by the forward loop, as further stacks; f is run again.
    """
    (body,) = bodies(n.node)
    path, count = path_inside(body, n.reached), len(body.carried)
    _check_carried(body)
    copy = _Copy(n, body.graph, "body")
    numbered = 2 if n.op_type == "Loop" else 0  # the number of the pass and the condition come first
    taken, given = list(copy.graph.inputs)[numbered:], list(copy.graph.outputs)[numbered // 2 :]
    stacked = scan_axes(n.node)

    # What is differentiated for: states, captured values, slices.
    live = [k for k, pair in enumerate(body.carried) if any(value in path.reached for value in pair)]
    shared = [value for value in captured(body.graph) if value in path.reached]
    cut = [k for k in range(count, len(taken)) if list(body.graph.inputs)[numbered:][k] in path.reached]

    d_states = [_argument(copy, f"d_state_{k}", taken[k]) for k in live]
    totals = [_argument(copy, f"total_{k}", value) for k, value in enumerate(shared)]
    d_made = [
        _Slice(gradient, _argument(copy, f"d_output_{k}", given[k]), along)
        for (k, gradient), along in zip(list(enumerate(n.dys))[count:], stacked[1], strict=True)
        if gradient is not None
    ]
    seeds = [(given[k], seed) for k, seed in zip(live, d_states, strict=True)]
    seeds += [(given[k], each.inside) for k, each in zip(_given(n, count), d_made, strict=True)]
    wrt = [*(taken[k] for k in live), *shared, *(taken[k] for k in cut)]
    gradients = copy.backward(seeds, wrt)
    sums = [Tensor(copy.tape, t) + dx for t, dx in zip(totals, gradients[len(live) :][: len(totals)], strict=True)]
    results = [*gradients[: len(live)], *sums, *gradients[len(live) + len(totals) :]]

    first = [_zeros(n.tape.read(n.node.outputs[k])) if (start := n.dys[k]) is None else start for k in live] + [
        _zeros(n.tape.read(value)) for value in shared
    ]
    carried = [*d_states, *totals]
    if n.op_type == "Loop":
        found = _loop(n, copy, body, carried, results, first, d_made)
    else:
        found = _scan(n, copy, body, carried, results, first, d_made, [stacked[0][k - count] for k in cut])
    sources = [*(n.node.inputs[numbered + k] for k in live), *shared, *(n.node.inputs[k] for k in cut)]
    return _by_value(n, sources, found)


def _given(n: Call, count: int) -> list[int]:
    return [k for k, gradient in enumerate(n.dys) if k >= count and gradient is not None]


def _by_value(n: Call, sources: Sequence[ir.Value | None], found: Sequence[Tensor]) -> dict[ir.Value, Tensor]:
    """Add up what a value gets that is taken in several ways; drop what nobody asks for."""
    total: dict[ir.Value, Tensor] = {}
    for value, gradient in zip(sources, found, strict=True):
        if value is not None and value in n.reached:
            gradient.value.shape = value.shape
            total[value] = total[value] + gradient if value in total else gradient
            total[value].value.shape = value.shape
    return total


def _loop(
    n: Call,
    copy: _Copy,
    body: Body,
    carried: Sequence[ir.Value],
    results: Sequence[Tensor],
    first: Sequence[Tensor],
    d_made: Sequence[_Slice],
) -> list[Tensor]:
    """A Loop over the passes that were run, the last one first; each picks its slices by number."""
    number, condition, *states = copy.graph.inputs
    pass_ = ir.Value(name=f"{copy.head.prefix}pass", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
    on = ir.Value(name=f"{copy.head.prefix}on", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    condition.replace_all_uses_with(n.tape.constant(np.array(True)).value)  # in a pass that was run, it held
    graph = copy.close([pass_, on, *carried], [Tensor(copy.tape, on), *results])

    kept = [value for value in (number, *states) if value.uses()]
    inside = list(body.graph.inputs)
    if not kept and not d_made:
        kept = [number]  # that there were passes at all is only seen in a stack
    original = [inside[0], *inside[2:]]
    saved = _hand_out(n, body, [original[[number, *states].index(value)] for value in kept])
    slices = [_Slice(stack, value, Axes(0, backwards=False)) for stack, value in zip(saved, kept, strict=True)]
    slices += d_made
    count = op.Gather(op.Shape(slices[0].stack), np.array(0))
    position = Tensor(copy.head, count.value) - 1 - Tensor(copy.head, pass_)
    for each in slices:
        picked = op.Gather(Tensor(copy.head, each.stack.value), position, axis=0)
        picked.value.shape, picked.value.type = each.inside.shape, each.inside.type
        each.inside.replace_all_uses_with(picked.value)
    graph.insert_before(graph[0], copy.head.nodes)
    return _write(n.tape, "Loop", [count, None, *first], {"body": graph}, len(first))


def _scan(
    n: Call,
    copy: _Copy,
    body: Body,
    carried: Sequence[ir.Value],
    results: Sequence[Tensor],
    first: Sequence[Tensor],
    d_made: Sequence[_Slice],
    cut: Sequence[Axes],
) -> list[Tensor]:
    """A Scan the other way: what the forward one stacked is cut, and what it cut is stacked, from the other end."""
    taken, count = list(copy.graph.inputs), len(body.carried)
    xs = [
        _Slice(Tensor(n.tape, value), inside, along)
        for value, inside, along in zip(n.node.inputs[count:], taken[count:], scan_axes(n.node)[0], strict=True)
        if value is not None
    ]
    graph = copy.close(carried, results)
    kept = [value for value in taken[:count] if value.uses()]
    saved = _hand_out(n, body, [body.graph.inputs[taken.index(value)] for value in kept])
    slices = [_Slice(stack, value, Axes(0, backwards=False)) for stack, value in zip(saved, kept, strict=True)]
    slices += [each for each in xs if each.inside.uses()]
    slices += d_made
    slices = slices or xs[:1]  # they also say how many passes there are
    graph.inputs.extend(each.inside for each in slices)
    attributes = {
        "body": graph,
        "num_scan_inputs": len(slices),
        "scan_input_axes": [each.along.axis for each in slices],
        "scan_input_directions": [int(not each.along.backwards) for each in slices],
    }
    if cut:
        attributes["scan_output_axes"] = [along.axis for along in cut]
        attributes["scan_output_directions"] = [int(not along.backwards) for along in cut]
    return _write(n.tape, "Scan", [*first, *(each.stack for each in slices)], attributes, len(first) + len(cut))


def _argument(copy: _Copy, name: str, like: ir.Value) -> ir.Value:
    """A new input of the copy that holds a gradient of `like`."""
    return ir.Value(name=f"{copy.head.prefix}{name}", type=ir.TensorType(copy.tape.dtype), shape=like.shape)


def _hand_out(n: Call, body: Body, values: Sequence[ir.Value]) -> list[Tensor]:
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


def _check_carried(body: Body) -> None:
    """A stack holds tensors of one shape."""
    for taken, given in body.carried:
        if taken.type is not None and not isinstance(taken.type, ir.TensorType):
            raise NotDifferentiableError(f"it carries {taken.name!r}, which is no tensor, from pass to pass")
        if taken.shape is not None and given.shape is not None and len(taken.shape) != len(given.shape):
            raise NotDifferentiableError(f"{taken.name!r} changes its number of axes from pass to pass")
