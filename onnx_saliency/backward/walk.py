"""The reverse walk: vector-Jacobian products over a graph, written as more nodes of the same graph.

Reverse-mode differentiation (Griewank & Walther 2008, chapter 3): visit the nodes between `wrt` and
the outputs in reverse order; each hands the gradient of its outputs to its inputs by its rule; what
reaches one value on several ways is added.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnx_saliency.backward.broadcasting import unbroadcast
from onnx_saliency.backward.registry import Call, Policy, Rule, broadcasts, carries, find_rule, refusal
from onnx_saliency.backward.relu import GRADIENT, is_rectifier
from onnx_saliency.backward.tensor import NotDifferentiableError, Tape, Tensor, op, shortened
from onnx_saliency.errors import UnsupportedOperatorError
from onnx_saliency.graph.bodies import Body, bodies, captured
from onnx_saliency.graph.writer import subgraphs


@dataclass(frozen=True)
class Path:
    """The nodes between two sets of values, in the graph's order, and the values they make."""

    nodes: tuple[ir.Node, ...]
    reached: frozenset[ir.Value]


def find_path(
    graph: ir.Graph,
    outputs: Iterable[ir.Value],
    wrt: Iterable[ir.Value],
    carried: Sequence[tuple[ir.Value, ir.Value]] = (),
    follow: Callable[[ir.Node, Container[ir.Value]], Sequence[ir.Value]] = carries,
) -> Path:
    """Return the nodes that depend on `wrt` and that `outputs` depend on.

    Args:
        graph: a model's graph, or that of a branch or a loop.
        outputs: where paths end.
        wrt: where they begin.
        carried: for a loop, pairs (input, output): a path goes on from the output to the input of the next pass.
        follow: which outputs of a node go on from the values that are reached; those that carry a gradient.
    """
    reached, forward, more = set(wrt), list[ir.Node](), True
    while more:
        forward = []
        for node in graph:
            outputs_reached = follow(node, reached) if any(value in reached for value in reads(node)) else ()
            if outputs_reached:
                forward.append(node)
                reached.update(outputs_reached)
        more = not reached.issuperset(again := {taken for taken, given in carried if given in reached})
        reached |= again
    wanted, path, more = set(outputs), list[ir.Node](), True
    while more:
        path = []
        for node in reversed(forward):
            if any(value in wanted for value in node.outputs):
                path.append(node)
                wanted.update(reads(node))
        more = not wanted.issuperset(again := {given for taken, given in carried if taken in wanted})
        wanted |= again
    return Path(tuple(reversed(path)), frozenset(reached & wanted))


def reads(node: ir.Node) -> list[ir.Value]:
    """What `node` depends on: its inputs, and what its branches or its body take from outside."""
    return [value for value in node.inputs if value is not None] + captured(*subgraphs(node))


def path_inside(body: Body, reached: Container[ir.Value]) -> Path:
    """Return the part of a path that runs through a branch or the body of a loop; `reached` is the path's outside."""
    wrt = [value for value in captured(body.graph) if value in reached]
    wrt += [taken for value, taken in body.inputs if value in reached]
    return find_path(body.graph, [given for value, given in body.outputs if value in reached], wrt, body.carried)


def nodes_on(path: Path) -> Iterator[ir.Node]:
    """The nodes of `path`, each followed by those on the path inside its branches or its body."""
    for node in path.nodes:
        yield node
        for body in bodies(node):
            yield from nodes_on(path_inside(body, path.reached))


def check_rules(path: Path, policy: Policy = GRADIENT) -> None:
    """Raise for all nodes of `path` without a rule at once, those inside branches and loops too.

    Raises:
        UnsupportedOperatorError: with each node, operator and opset.
    """
    missing = [node for node in nodes_on(path) if _rule(node, policy) is None]
    if missing:
        raise UnsupportedOperatorError(
            f"{len(missing)} node(s) between input and output have no backward rule:\n"
            + "\n".join(f"  {describe(node)}{_reason(node)}" for node in missing)
            + "\nExport the model with other operators, or ask for the rule by its name."
        )


def _reason(node: ir.Node) -> str:
    reason = refusal(node)
    return f" ({reason})" if reason else ""


def describe(node: ir.Node) -> str:
    """Name a node for a message: its name, operator and opset."""
    opset = node.graph.opset_imports.get(node.domain, "?") if node.graph is not None else "?"
    domain = f"{node.domain}::" if node.domain else ""
    return f"node {node.name or node.outputs[0].name!r}: {domain}{node.op_type}, opset {opset}"


def backward(
    graph: ir.Graph, tape: Tape, seeds: Mapping[ir.Value, Tensor], wrt: Sequence[ir.Value], policy: Policy = GRADIENT
) -> list[Tensor | None]:
    """Write sum_k seeds[k] · d(output k)/d(wrt) for each of `wrt` onto the tape.

    Args:
        graph: the forward graph, in canonical form.
        tape: receives the nodes; the caller appends them to the graph.
        seeds: the gradient of each output, in its shape.
        wrt: the values to differentiate for; each must be a float.
        policy: what happens at rectifiers (`relu`) and sums (`residual`).

    Returns:
        One gradient for each of `wrt`, in its shape; None where no seeded output depends on it.

    Raises:
        UnsupportedOperatorError: nodes without a rule, or whose rule cannot serve them; all at once.
    """
    path = find_path(graph, seeds, wrt)
    check_rules(path, policy)
    grads: dict[ir.Value, list[Tensor]] = {value: [shortened(seed, tape.dtype)] for value, seed in seeds.items()}
    refused: list[str] = []
    for node in reversed(path.nodes):
        dys = [_settle(grads, value) for value in node.outputs]
        if all(dy is None for dy in dys):
            continue
        tape.scope = f"{node.name}/" if node.name else ""
        try:
            gradients = _apply(node, tape, dys, path, policy, wrt)
        except NotDifferentiableError as error:
            refused.append(f"  {describe(node)}: {error}")
            continue
        for value, gradient in gradients:
            grads.setdefault(value, []).append(gradient)
    tape.scope = ""
    if refused:
        raise UnsupportedOperatorError(
            f"{len(refused)} node(s) between input and output cannot be differentiated:\n" + "\n".join(refused)
        )
    return [_settle(grads, value) for value in wrt]


def _apply(
    node: ir.Node,
    tape: Tape,
    dys: Sequence[Tensor | None],
    path: Path,
    policy: Policy,
    wrt: Sequence[ir.Value],
) -> list[tuple[ir.Value, Tensor]]:
    """Run the rule of one node; return the gradients that the path needs, in the shapes of its inputs."""
    needed = [value in path.reached for value in node.inputs]
    function = _rule(node, policy)
    assert function is not None  # check_rules has seen every node
    call = Call(node, tape, dys, needed, path.reached, policy, wrt)
    dy = next(dy for dy in dys if dy is not None)
    result = function(call, dy)
    if isinstance(result, Mapping):
        return [(value, _in_shape_of(value, gradient)) for value, gradient in result.items()]
    gradients = [result] if isinstance(result, Tensor) or result is None else list(result)
    found = []
    for value, gradient, wanted in zip(node.inputs, gradients, needed, strict=False):
        if value is None or gradient is None or not wanted:
            continue
        if broadcasts(node):
            gradient = unbroadcast(gradient, Tensor(tape, value), Tensor(tape, node.outputs[0]).dims)
        found.append((value, _in_shape_of(value, gradient)))
    return found


def _in_shape_of(value: ir.Value, gradient: Tensor) -> Tensor:
    gradient = shortened(gradient, gradient.tape.dtype)
    gradient.value.shape = value.shape
    return gradient


def _rule(node: ir.Node, policy: Policy) -> Rule | None:
    found = find_rule(node)
    if found is None:
        return None
    if policy.at_rectifier is not None and is_rectifier(node):
        return policy.at_rectifier(found)
    if policy.at_sum is not None and node.domain == "" and node.op_type in ("Add", "Sum"):
        return policy.at_sum(found)
    return found


def _settle(grads: dict[ir.Value, list[Tensor]], value: ir.Value) -> Tensor | None:
    """Add what reached `value` on several ways, once."""
    gradients = grads.get(value, [])
    if len(gradients) > 1:
        total = op.Sum(*gradients)
        total.value.shape = value.shape
        gradients = grads[value] = [total]
    return gradients[0] if gradients else None
