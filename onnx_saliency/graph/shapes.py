"""Shapes of all values: onnx's shape inference, and the names of open dimensions carried on where it loses them.

A pad of 0 or a sum of equals keeps a dimension, but onnx's inference invents a new name for it there.
Two open dimensions of one name are known to be equal, so broadcasting between them need not be undone
when the model runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import onnx_ir as ir
from onnx_ir.passes import common as passes

from onnx_saliency.graph.folding import constant
from onnx_saliency.graph.quantised import float_twin
from onnx_saliency.graph.sequences import state_types

_INVENTED = "unk__"  # onnx's names for dimensions that it cannot follow
_BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean", "Pow", "PRelu", "Where"})

Dim = int | str | None


def infer_shapes(model: ir.Model) -> None:
    """Write what is known of every shape and type into the values of `model`; weights do not travel."""
    twin = float_twin(model)  # of quantised operators that onnx does not know
    passes.ShapeInferencePass(check_type=False, strict_mode=False)(twin or model)
    if twin is not None:
        _copy_shapes(twin, model)
    state_types(model)
    names: dict[str, str] = {}
    for node in model.graph:
        for invented, known in _kept_dimensions(node, names):
            if isinstance(invented, str) and invented.startswith(_INVENTED) and isinstance(known, str):
                names[invented] = known
    for value in [output for node in model.graph for output in node.outputs]:
        if any(dim in names for dim in _dims(value, {})):
            value.shape = ir.Shape(_dims(value, names))


def _copy_shapes(source: ir.Model, model: ir.Model) -> None:
    known = {value.name: value for node in source.graph for value in node.outputs}
    for value in [output for node in model.graph for output in node.outputs]:
        if value.name in known:
            value.shape, value.type = known[value.name].shape, known[value.name].type


def _kept_dimensions(node: ir.Node, names: dict[str, str]) -> Iterator[tuple[Dim, Dim]]:
    """Pairs (dimension of the output, dimension of an input that it equals)."""
    output = _dims(node.outputs[0], {})
    if node.op_type == "Pad":
        pads, axes = constant(node.inputs[1]), constant(node.inputs[3]) if len(node.inputs) > 3 else None
        source = _dims(node.inputs[0], names)
        if pads is None or len(source) != len(output) or (len(node.inputs) > 3 and axes is None):
            return
        padded = range(len(source)) if axes is None else [int(axis) % len(source) for axis in axes]
        amounts = dict(zip(padded, zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True), strict=True))
        for axis, dim in enumerate(source):
            if not any(amounts.get(axis, (0, 0))):
                yield output[axis], dim
    elif node.op_type == "Reshape" and node.inputs[0] is not None:
        source = _dims(node.inputs[0], names)
        # As many rows of as many elements: [N, 64, 1, 1] to [-1, 64].
        if source and output and _count(source[1:]) == _count(output[1:]) is not None:
            yield output[0], source[0]
    elif node.op_type in _BROADCASTING and all(v is not None and v.shape is not None for v in node.inputs):
        sources = [_dims(value, names) for value in node.inputs]
        for back in range(1, len(output) + 1):
            # A dimension of 1 is stretched; what is left must agree, or the name is new indeed.
            dims = {source[-back] for source in sources if len(source) >= back} - {1}
            if len(dims) == 1:
                yield output[-back], dims.pop()


def _count(dims: Sequence[Dim]) -> int | None:
    """How many elements, None where a length is open."""
    return math.prod(known) if len(known := [dim for dim in dims if isinstance(dim, int)]) == len(dims) else None


def _dims(value: ir.Value | None, names: dict[str, str]) -> list[Dim]:
    if value is None or value.shape is None:
        return []
    dims = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
    return [names.get(dim, dim) if isinstance(dim, str) else dim for dim in dims]
