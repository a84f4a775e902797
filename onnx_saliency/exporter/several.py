"""Several classes of each image from one forward pass: a row for each image and class, backwards at once or in turn."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping

import numpy as np
import onnx_ir as ir

from onnx_saliency.backward import Tape, Tensor, op
from onnx_saliency.exporter.loop import repeat
from onnx_saliency.graph.folding import constant
from onnx_saliency.graph.rows import Rows, is_elementwise
from onnx_saliency.graph.writer import subgraphs

Attribute = Callable[[Tape, Tensor], dict[str, Tensor]]  # writes on a tape what is found for the classes int64 [rows]

_AT_ONCE = 10  # classes per image: a backward pass needs the memory of so many images


def explain_at_once(tape: Tape, chosen: Tensor, several: int, attribute: Attribute, rows: Rows) -> dict[str, Tensor]:
    """Explain all of `chosen` [N, several] by one backward pass over a batch of N·several rows.

    What it reads of the forward pass is repeated, each image's row for all its classes. Since the forward pass keeps
    rows apart, this is what it would have made of a batch in which each image comes `several` times.

    Returns:
        Rows [N·several], all classes of the first image first; nothing where the backward pass is too large for memory
        or reads a value that is not known to be `rows`, and then nothing is written.
    """
    if several > _AT_ONCE:
        return {}
    inner = tape.within(f"{tape.prefix}targets/")
    flat = op.Reshape(chosen.on(inner), [-1])
    outputs = attribute(inner, flat)
    nodes, inner.nodes = inner.nodes, []
    known = {chosen.value, *rows.each, *rows.same, *tape.constants.values()}
    if any([*subgraphs(node)] for node in nodes) or not known.issuperset(_read(nodes)):
        for node in nodes:  # what only they read can go then
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)
        return {}
    image_of = op.Div(op.Range(0, op.Size(chosen.on(inner)), 1), np.array(several))
    each, repeated = set(rows.each), dict[ir.Value, ir.Value]()

    def repeat_rows(value: ir.Value) -> ir.Value:
        if value not in repeated:
            repeated[value] = op.Gather(Tensor(inner, value), image_of, axis=0).value
        return repeated[value]

    for node in nodes:
        shape = _common_shape(node, each)
        if shape is not None:  # a rectifier's mask, say: computed once an image, and smaller to repeat
            node.outputs[0].shape = shape
            each.add(node.outputs[0])
        else:
            for index, value in enumerate(node.inputs):
                if value in each:
                    node.replace_input_with(index, repeat_rows(value))
        inner.nodes.append(node)
    outputs = {key: Tensor(tape, repeat_rows(t.value) if t.value in each else t.value) for key, t in outputs.items()}
    name = f"{rows.batch}*{several}"
    for value in [output for node in inner.nodes for output in node.outputs]:
        if value not in each and value.shape is not None:  # two lengths of one name would mislead a runtime
            value.shape = ir.Shape([name if dim == rows.batch else dim for dim in value.shape])
    tape.nodes += inner.nodes
    return outputs


def explain_in_turn(
    tape: Tape, chosen: Tensor, several: int, attribute: Attribute, ranks: Mapping[str, int]
) -> dict[str, Tensor]:
    """Explain the columns of `chosen` [N, several] in a loop; rows [N·several].

    This serves every model, and memory does not grow with `several`: what the backward pass reads of the forward one
    is not repeated. `ranks` are those of the outputs that are no images.
    """
    names: list[str] = []

    def body(inner: Tape, k: Tensor, states: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        outputs = attribute(inner, op.Gather(chosen.on(inner), k, axis=1))
        names.extend(outputs)
        return [], list(outputs.values())

    stacks = repeat(tape, "targets", tape.constant(np.array(several)), [], body)
    rows = {}
    for name, stack in zip(names, stacks, strict=True):  # [several, N, ...] to [N·several, ...]
        by_image = op.Transpose(stack, perm=[1, 0, *range(2, 1 + ranks.get(name, 4))])
        rows[name] = op.Reshape(by_image, op.Concat([-1], op.Shape(by_image, start=2), axis=0))
    return rows


def _read(nodes: Iterable[ir.Node]) -> set[ir.Value]:
    """What `nodes` read that they do not make."""
    inputs = {value for node in nodes for value in node.inputs if value is not None}
    return inputs.difference(value for node in nodes for value in node.outputs)


def _common_shape(node: ir.Node, each: Container[ir.Value]) -> ir.Shape | None:
    """The shape of what `node` makes where that is the same for all classes: of `each` and of numbers, by element."""
    shapes = [value.shape for value in node.inputs if value is not None and value in each]
    shape = shapes[0] if shapes else None
    if shape is None or not is_elementwise(node) or any(other != shape for other in shapes):
        return None
    numbers = [constant(value) for value in node.inputs if value is not None and value not in each]
    alike = all(number is not None and number.size == 1 and number.ndim <= len(shape) for number in numbers)
    return shape if alike else None
