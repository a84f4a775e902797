"""Branches and loops: the backward of a choice is the same choice, that of a loop is a loop in reverse.

Both run the forward part again where its backward needs it, so nothing inside a subgraph has to be
handed out but what a loop carries (Griewank & Walther 2008, section 12: checkpoints at the passes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward.passes import hand_out, hand_out_lists, keeps_shape
from onnx_saliency.backward.registry import Call, Gradients, expanded, refused, rule
from onnx_saliency.backward.subgraph import Copy, write
from onnx_saliency.backward.tensor import NotDifferentiableError, Tensor, full_like, op
from onnx_saliency.backward.walk import path_inside
from onnx_saliency.graph.bodies import Axes, Body, bodies, captured, scan_axes
from onnx_saliency.graph.writer import subgraphs

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


# --- If ----------------------------------------------------------------------------------------


@rule("If")
def if_(n: Call, dy: Tensor) -> Gradients:
    """dX = dX of the branch that was taken, 0 where that branch does not read X"""
    wanted = [value for value in captured(*subgraphs(n.node)) if value in n.reached]
    branches = {name: _branch(n, n.node.attributes[name].as_graph(), name, wanted) for name in n.node.attributes}
    return dict(zip(wanted, write(n.tape, "If", [n.input(0)], branches, len(wanted)), strict=True))


def _branch(n: Call, graph: ir.Graph, name: str, wanted: Sequence[ir.Value]) -> ir.Graph:
    copy = Copy(n, graph, name)
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
    copy = Copy(n, body.graph, "body")
    numbered = 2 if n.op_type == "Loop" else 0  # the number of the pass and the condition come first
    taken, given = list(copy.graph.inputs)[numbered:], list(copy.graph.outputs)[numbered // 2 :]
    inputs, outputs = scan_axes(n.node)

    # What is differentiated for: states, captured values, slices.
    live = [k for k, pair in enumerate(body.carried) if any(value in path.reached for value in pair)]
    shared = [value for value in captured(body.graph) if value in path.reached]
    cut = [k for k in range(count, len(taken)) if body.graph.inputs[numbered + k] in path.reached]
    made = {k: gradient for k, gradient in enumerate(n.dys) if k >= count and gradient is not None}

    d_states = [copy.argument(f"d_state_{k}", taken[k]) for k in live]
    totals = [copy.argument(f"total_{k}", value) for k, value in enumerate(shared)]
    d_made = [
        _Slice(gradient, copy.argument(f"d_output_{k}", given[k]), outputs[k - count]) for k, gradient in made.items()
    ]
    seeds = [(given[k], seed) for k, seed in zip(live, d_states, strict=True)]
    seeds += [(given[k], each.inside) for k, each in zip(made, d_made, strict=True)]
    gradients = copy.backward(seeds, [*(taken[k] for k in live), *shared, *(taken[k] for k in cut)])
    for k, total in enumerate(totals, start=len(live)):
        gradients[k] = Tensor(copy.tape, total) + gradients[k]

    last = [n.dys[k] or full_like(n.tape.read(n.node.outputs[k]), 0.0) for k in live]
    reverse = _Reverse(
        n,
        body,
        copy,
        [*d_states, *totals],
        gradients,
        [*last, *(full_like(n.tape.read(value), 0.0) for value in shared)],
        d_made,
    )
    found = reverse.loop() if n.op_type == "Loop" else reverse.scan([inputs[k - count] for k in cut])
    sources = [*(n.node.inputs[numbered + k] for k in live), *shared, *(n.node.inputs[k] for k in cut)]
    return _by_value(n, sources, found)


def _by_value(n: Call, sources: Sequence[ir.Value | None], found: Sequence[Tensor]) -> dict[ir.Value, Tensor]:
    """Add up what a value gets that is taken in several ways; drop what nobody asks for."""
    total: dict[ir.Value, Tensor] = {}
    for value, gradient in zip(sources, found, strict=True):
        if value is not None and value in n.reached:
            gradient.value.shape = value.shape
            total[value] = total[value] + gradient if value in total else gradient
            total[value].value.shape = value.shape
    return total


@dataclass(frozen=True)
class _Reverse:
    """The loop that runs backwards.

    Attributes:
        n: the forward loop.
        body: its body.
        copy: a copy of that, with its backward.
        carried: what a pass takes of the one before: gradients of states, and sums for captured values.
        results: what it gives: those for the next pass, then slices.
        first: what the first pass takes.
        made: gradients of what the forward loop stacked.
    """

    n: Call
    body: Body
    copy: Copy
    carried: Sequence[ir.Value]
    results: Sequence[Tensor]
    first: Sequence[Tensor]
    made: Sequence[_Slice]

    def loop(self) -> list[Tensor]:
        """A Loop over the passes that were run, the last one first; each picks its slices by number."""
        n, body, copy = self.n, self.body, self.copy
        number, condition, *states = copy.graph.inputs
        current = ir.Value(name=f"{copy.head.prefix}pass", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
        on = ir.Value(name=f"{copy.head.prefix}on", type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
        condition.replace_all_uses_with(n.tape.constant(np.array(True)).value)  # in a pass that was run, it held
        graph = copy.close([current, on, *self.carried], [Tensor(copy.tape, on), *self.results])

        original = dict(zip((number, *states), (body.graph.inputs[0], *body.graph.inputs[2:]), strict=True))
        kept = [value for value in original if value.uses()]
        changing = [value for value in kept if not keeps_shape(body, original[value])]
        stacked = [value for value in kept if value not in changing]
        if not stacked and not self.made:
            stacked = [number]  # how many passes there were is only seen in a stack
        lists = hand_out_lists(n, body, [original[value] for value in changing]) if changing else []
        stacks = hand_out(n, body, [original[value] for value in stacked]) + [each.stack for each in self.made]
        stacked += [each.inside for each in self.made]

        count = op.Gather(op.Shape(stacks[0]), np.array(0))
        position = count.on(copy.head) - 1 - Tensor(copy.head, current)
        picked = [op.Gather(stack.on(copy.head), position, axis=0) for stack in stacks]
        picked += [op.SequenceAt(each.on(copy.head), position) for each in lists]
        for value, pick in zip([*stacked, *changing], picked, strict=True):
            pick.value.shape, pick.value.type = value.shape, value.type
            value.replace_all_uses_with(pick.value)
        graph.insert_before(graph[0], copy.head.nodes)
        return write(n.tape, "Loop", [count, None, *self.first], {"body": graph}, len(self.first))

    def scan(self, cut: Sequence[Axes]) -> list[Tensor]:
        """A Scan the other way: what the forward one stacked is cut, what it `cut` is stacked, from the other end."""
        n, body, copy = self.n, self.body, self.copy
        taken, count = list(copy.graph.inputs), len(body.carried)
        xs = [
            _Slice(Tensor(n.tape, value), inside, along)
            for value, inside, along in zip(n.node.inputs[count:], taken[count:], scan_axes(n.node)[0], strict=True)
            if value is not None
        ]
        graph = copy.close(self.carried, self.results)
        kept = [k for k in range(count) if taken[k].uses()]
        saved = hand_out(n, body, [body.graph.inputs[k] for k in kept])
        slices = [_Slice(stack, taken[k], Axes(0, backwards=False)) for stack, k in zip(saved, kept, strict=True)]
        slices += [each for each in xs if each.inside.uses()]
        slices += self.made
        slices = slices or xs[:1]  # they also say how many passes there are
        graph.inputs.extend(each.inside for each in slices)
        attributes: dict[str, object] = {
            "body": graph,
            "num_scan_inputs": len(slices),
            "scan_input_axes": [each.along.axis for each in slices],
            "scan_input_directions": [int(not each.along.backwards) for each in slices],
        }
        if cut:
            attributes["scan_output_axes"] = [along.axis for along in cut]
            attributes["scan_output_directions"] = [int(not along.backwards) for along in cut]
        inputs = [*self.first, *(each.stack for each in slices)]
        return write(n.tape, "Scan", inputs, attributes, len(self.first) + len(cut))


def _check_carried(body: Body) -> None:
    """What is handed out and run again are tensors."""
    for taken, _ in body.carried:
        if taken.type is not None and not isinstance(taken.type, ir.TensorType):
            raise NotDifferentiableError(f"it carries {taken.name!r}, which is no tensor, from pass to pass")
