"""A branch or a body run again, and its backward behind it, as one new subgraph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from onnx_saliency.backward.registry import Call
from onnx_saliency.backward.tensor import NotDifferentiableError, Tape, Tensor, full_like, op
from onnx_saliency.backward.walk import backward
from onnx_saliency.graph.writer import copy_graph

_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)


class Copy:
    """A copy of a subgraph of `n`, with a tape for what is written behind it and one for what comes before.

    Raises:
        NotDifferentiableError: it contains random operators, so a second run would give other values.
    """

    def __init__(self, n: Call, graph: ir.Graph, name: str) -> None:
        random = next((node for node in graph.all_nodes() if node.op_type in _RANDOM), None)
        if random is not None:
            raise NotDifferentiableError(f"{random.op_type} inside it draws other numbers when it is run again")
        prefix = f"{n.tape.prefix}{n.tape.scope}{n.op_type}_{len(n.tape.nodes)}/{name}/"
        self.graph = copy_graph(graph, prefix)
        self.tape = n.tape.within(prefix)
        self.head = n.tape.within(f"{prefix}head/")  # for what is written before it
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
            full_like(self.tape.read(value), 0.0) if gradient is None else gradient
            for value, gradient in zip(wrt, gradients, strict=True)
        ]

    def argument(self, name: str, like: ir.Value) -> ir.Value:
        """A new input of the copy, for a gradient of `like`."""
        return ir.Value(name=f"{self.head.prefix}{name}", type=ir.TensorType(self.tape.dtype), shape=like.shape)

    def close(self, inputs: Sequence[ir.Value], outputs: Sequence[Tensor]) -> ir.Graph:
        """Return the graph with these inputs and outputs, and no node that the outputs do not need."""
        graph = self.graph
        results = [op.Identity(output).value for output in outputs]  # what is no node's output cannot be the graph's
        for result, output in zip(results, outputs, strict=True):
            result.type = output.value.type
        graph.extend(self.tape.nodes)
        graph.outputs[:] = results
        for node in reversed(graph):
            if not any(value.uses() or value.is_graph_output() for value in node.outputs):
                graph.remove(node, safe=True)
        graph.inputs[:] = inputs
        return graph


def write(
    tape: Tape, op_type: str, inputs: Sequence[Tensor | None], attributes: Mapping[str, object], outputs: int
) -> list[Tensor]:
    """Append a node that gives gradients."""
    results = tape.append(op_type, inputs, dict(attributes), outputs)
    for result in results:
        result.value.type = ir.TensorType(tape.dtype)
    return results
