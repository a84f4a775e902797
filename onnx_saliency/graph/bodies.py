"""What a control flow node is made of: its subgraphs, what they take from outside, what a loop carries."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnx_saliency.graph.writer import subgraphs

Pairs = tuple[tuple[ir.Value, ir.Value], ...]


@dataclass(frozen=True)
class Body:
    """A subgraph of a node, and how its inputs and outputs belong to the node's.

    Attributes:
        graph: the subgraph.
        inputs: pairs (input of the node, input of the graph).
        outputs: pairs (output of the node, output of the graph).
        carried: pairs (input, output) of the graph: what a pass gives is what the next one takes.
    """

    graph: ir.Graph
    inputs: Pairs = ()
    outputs: Pairs = ()
    carried: Pairs = ()


def bodies(node: ir.Node) -> list[Body]:
    """Return the subgraphs of an If, a Loop or a Scan; none for any other node."""
    if node.domain != "" or node.op_type not in ("If", "Loop", "Scan"):
        return []
    if node.op_type == "If":
        branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
        return [Body(graph, outputs=tuple(zip(node.outputs, graph.outputs, strict=True))) for graph in branches]
    graph = node.attributes["body"].as_graph()
    # A Loop's body takes the number of the pass and the condition first, and gives the condition first.
    first, made = (2, 1) if node.op_type == "Loop" else (0, 0)
    taken, given = list(graph.inputs)[first:], list(graph.outputs)[made:]
    states = count_states(node)
    inputs = [(value, inside) for value, inside in zip(node.inputs[first:], taken, strict=True) if value is not None]
    return [
        Body(
            graph,
            tuple(inputs),
            tuple(zip(node.outputs, given, strict=True)),
            tuple(zip(taken[:states], given[:states], strict=True)),
        )
    ]


def count_states(node: ir.Node) -> int:
    """How many values a Loop or a Scan hands from one pass to the next."""
    if node.op_type == "Loop":
        return len(node.inputs) - 2
    return len(node.inputs) - node.attributes["num_scan_inputs"].as_int()


@dataclass(frozen=True)
class Axes:
    """Along which axis a Scan cuts its inputs or stacks its outputs, and whether backwards."""

    axis: int
    backwards: bool


def scan_axes(node: ir.Node) -> tuple[list[Axes], list[Axes]]:
    """Return those of the scan inputs and those of the scan outputs; a Loop stacks forwards along axis 0."""
    outputs = len(node.outputs) - count_states(node)
    if node.op_type == "Loop":
        return [], [Axes(0, backwards=False)] * outputs
    inputs = node.attributes["num_scan_inputs"].as_int()

    def listed(kind: str, count: int) -> list[Axes]:
        axes = node.attributes.get_ints(f"scan_{kind}_axes", [0] * count)
        directions = node.attributes.get_ints(f"scan_{kind}_directions", [0] * count)
        return [Axes(axis, bool(direction)) for axis, direction in zip(axes, directions, strict=True)]

    return listed("input", inputs), listed("output", outputs)


def captured(*graphs: ir.Graph) -> list[ir.Value]:
    """Values from outside that these subgraphs read, each once, in the order they are read."""
    found: dict[ir.Value, None] = {}
    for graph in graphs:
        made = {*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)}
        read = [value for node in graph for value in (*node.inputs, *captured(*subgraphs(node)))]
        found.update(
            dict.fromkeys(value for value in (*read, *graph.outputs) if value is not None and value not in made)
        )
    return list(found)
