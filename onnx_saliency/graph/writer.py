"""Nodes written in the place of another, and subgraphs copied there, as the rewritings of this room need them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir


class Writer:
    """Writes nodes and constants before `node`; their names begin with `prefix`, by default a name of the node's.

    w = Writer(node)
    w("Concat", a, b, axis=0)
    """

    def __init__(self, node: ir.Node, prefix: str = "") -> None:
        assert node.graph is not None
        self.node = node
        self.graph = node.graph
        self.prefix = prefix or f"{label(node)}/"
        self._count = 0

    def __call__(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """Write a node with one output."""
        return self.several(op_type, *inputs, outputs=1, **attributes)[0]

    def several(self, op_type: str, *inputs: ir.Value | None, outputs: int, **attributes: Any) -> list[ir.Value]:
        """Write a node with several outputs."""
        name = self._name(op_type)
        values = [ir.Value(name=name if outputs == 1 else f"{name}:{i}") for i in range(outputs)]
        node = ir.Node("", op_type, inputs, ir.convenience.convert_attributes(attributes), outputs=values, name=name)
        self.graph.insert_before(self.node, node)
        return values

    def constant(self, array: np.ndarray | Sequence[int] | int) -> ir.Value:
        """Register an initializer; whole numbers are int64."""
        array = np.asarray(array, dtype=None if isinstance(array, np.ndarray) else np.int64)
        tensor = ir.tensor(array, name=self._name("constant"))
        value = ir.Value(name=tensor.name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
        value.const_value = tensor
        self.graph.register_initializer(value)
        return value

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{self.prefix}{kind}_{self._count}"


def label(node: ir.Node) -> str:
    """A name that no other node has: that of its first output."""
    return next(value.name for value in node.outputs if value.name)


def replace(node: ir.Node, values: Sequence[ir.Value]) -> None:
    """Let `values` stand for the outputs of `node`, and remove it. Outputs of a graph keep their names."""
    graph = node.graph
    assert graph is not None
    for output, value in zip(node.outputs, values, strict=True):
        if output.is_graph_output():
            kept = ir.Value(name=output.name, shape=output.shape, type=output.type)
            graph.insert_before(node, ir.Node("", "Identity", [value], outputs=[kept], name=f"{output.name}/kept"))
            for index, declared in enumerate(list(graph.outputs)):
                if declared is output:
                    graph.outputs[index] = kept
        output.replace_all_uses_with(value)
    graph.remove(node, safe=True)
    for inside in subgraphs(node):
        _dissolve(inside)


def _dissolve(graph: ir.Graph) -> None:
    """Let go of what a subgraph reads: its nodes would count among the readers for good."""
    graph.outputs.clear()
    for node in reversed(graph):
        graph.remove(node, safe=True)
        for inside in subgraphs(node):
            _dissolve(inside)


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs among the attributes of `node`."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def copy_graph(graph: ir.Graph, prefix: str) -> ir.Graph:
    """Copy a subgraph; what it captures is shared, what it makes has names that begin with `prefix`."""
    copy = graph.clone(allow_outer_scope_values=True)
    _rename(copy, prefix)
    return copy


def _rename(graph: ir.Graph, prefix: str) -> None:
    for value in graph.inputs:
        value.name = f"{prefix}{value.name}"
    for node in graph:
        node.name = f"{prefix}{node.name}" if node.name else node.name
        for value in node.outputs:
            value.name = f"{prefix}{value.name}" if value.name else value.name
        for inside in subgraphs(node):
            _rename(inside, prefix)


def copy_nodes(nodes: Iterable[ir.Node], given: dict[ir.Value, ir.Value], prefix: str) -> list[ir.Node]:
    """Copy nodes; what they read of `given` is replaced, all else shared. `given` learns what they make."""
    copies = []
    for node in nodes:
        outputs = [
            ir.Value(name=f"{prefix}{value.name}" if value.name else value.name, shape=value.shape, type=value.type)
            for value in node.outputs
        ]
        attributes = [_copy_attribute(attribute, given, prefix) for attribute in node.attributes.values()]
        inputs = [value if value is None else given.get(value, value) for value in node.inputs]
        name = f"{prefix}{node.name}" if node.name else node.name
        copies.append(ir.Node(node.domain, node.op_type, inputs, attributes, outputs=outputs, name=name))
        given.update(zip(node.outputs, outputs, strict=True))
    return copies


def _copy_attribute(attribute: ir.Attr, given: dict[ir.Value, ir.Value], prefix: str) -> ir.Attr:
    if attribute.type != ir.AttributeType.GRAPH:
        return attribute
    copy = copy_graph(attribute.as_graph(), prefix)
    _replace_captured(copy, given)
    return ir.AttrGraph(attribute.name, copy)


def _replace_captured(graph: ir.Graph, given: dict[ir.Value, ir.Value]) -> None:
    for node in graph.all_nodes():
        for index, value in enumerate(node.inputs):
            if value in given:
                node.replace_input_with(index, given[value])
    for inside in (graph, *(inside for node in graph.all_nodes() for inside in subgraphs(node))):
        inside.outputs[:] = [given.get(value, value) for value in inside.outputs]


def inline(graph: ir.Graph, arguments: Sequence[ir.Value], before: ir.Node, prefix: str) -> list[ir.Value]:
    """Copy the nodes of a subgraph to where `before` stands; return what its outputs are there."""
    copy = copy_graph(graph, prefix)
    outputs = list(copy.outputs)
    copy.outputs.clear()
    given = dict(zip(copy.inputs, arguments, strict=True))
    for formal, actual in given.items():
        formal.replace_all_uses_with(actual)
    nodes = list(copy)
    copy.remove(nodes)
    assert before.graph is not None
    before.graph.insert_before(before, nodes)
    return [given.get(value, value) for value in outputs]
