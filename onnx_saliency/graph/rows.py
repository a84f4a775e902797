"""Which values of a graph hold one row for each image, and nothing of another image's: f(x[rows]) = f(x)[rows].

By induction from the inputs, in the order of the graph: an operator of `_KINDS` makes rows of rows, provided that the
inferred shape has the batch, by its name, first and nowhere else. Whatever is not known to do so does not: an operator
that works along axis 0, a shape tensor, a batch merged with another axis or moved behind one, a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import onnx_ir as ir

from onnx_saliency.graph.folding import constant
from onnx_saliency.graph.writer import subgraphs


@dataclass(frozen=True)
class Rows:
    """The values of a graph, as far as they are known to be one of the two.

    Attributes:
        batch: the name of the open batch.
        each: a row for each image, along axis 0.
        same: the same for all images: weights, and what follows from them alone.
    """

    batch: str
    each: frozenset[ir.Value]
    same: frozenset[ir.Value]


def find_rows(graph: ir.Graph, image: ir.Value) -> Rows | None:
    """Find the rows of a graph with inferred shapes; None where the batch of `image` is fixed or has no name."""
    batch = _dims(image)[0] if _dims(image) else None
    if not isinstance(batch, str):
        return None
    each, same = set[ir.Value](), set(graph.initializers.values())
    for value in graph.inputs:
        if _has_rows(value, batch):
            each.add(value)
        elif value.shape is not None and value.shape.is_static():
            same.add(value)
    for node in graph:
        if [*subgraphs(node)]:  # they may read what is no input
            continue
        if same.issuperset(value for value in node.inputs if value is not None):
            same.update(node.outputs)
        elif _makes_rows(node, each, same):
            outputs = node.outputs if node.op_type == "Split" else node.outputs[:1]  # indices count over the batch
            each.update(value for value in outputs if _has_rows(value, batch))
    return Rows(batch, frozenset(each), frozenset(same))


def is_elementwise(node: ir.Node) -> bool:
    """Whether each element of what `node` makes follows from the same element of its inputs, stretched alike."""
    return node.domain == "" and node.op_type in _ELEMENTWISE


_Known = Collection[ir.Value]


def _makes_rows(node: ir.Node, each: _Known, same: _Known) -> bool:
    kind = _KINDS.get(node.op_type) if node.domain == "" else None
    if kind is None or not kind(node, each, same):
        return False
    axis = node.attributes.get_int("axis", _DEFAULT_AXES.get(node.op_type))
    return axis is None or node.op_type == "Flatten" or axis % len(_dims(node.inputs[0])) != 0


def _elementwise(node: ir.Node, each: _Known, same: _Known) -> bool:
    rank = len(_dims(node.outputs[0]))
    return all(value is None or _meets(value, rank, each, same) for value in node.inputs)


def _stretched(node: ir.Node, each: _Known, same: _Known) -> bool:
    return _meets(node.inputs[0], len(_dims(node.outputs[0])), each, same)


def _meets(value: ir.Value | None, rank: int, each: _Known, same: _Known) -> bool:
    """Whether broadcasting to `rank` axes keeps the rows on axis 0, or gives all images the one row there is."""
    dims = _dims(value)
    return len(dims) == rank if value in each else value in same and (len(dims) < rank or dims[0] == 1)


def _joined(node: ir.Node, each: _Known, same: _Known) -> bool:
    return all(value in each for value in node.inputs)


def _by_first(node: ir.Node, each: _Known, same: _Known) -> bool:
    """The first input has the rows; weights, sizes and axes are the same for all."""
    return node.inputs[0] in each and all(value is None or value in same for value in node.inputs[1:])


def _product(node: ir.Node, each: _Known, same: _Known) -> bool:
    """Rows times a weight; rows times rows where axis 0 is one of many products, not of the sum."""
    ranks = {len(_dims(value)) for value in node.inputs}
    both = ranks.isdisjoint({0, 1, 2}) and len(ranks) == 1 and all(value in each for value in node.inputs)
    return both or _by_first(node, each, same)


def _to_shape(node: ir.Node, each: _Known, same: _Known) -> bool:
    """In the order of memory the rows stay what they are if there are as many; the shape itself is not read."""
    return node.inputs[0] in each


def _picked(node: ir.Node, each: _Known, same: _Known) -> bool:
    """Cut or padded, along axes that are known not to be the first."""
    if not _by_first(node, each, same):
        return False
    rank = len(_dims(node.inputs[0]))
    if len(node.inputs) > 3:
        axes = constant(node.inputs[3])
        return axes is not None and all(int(axis) % rank for axis in axes)
    pads = constant(node.inputs[1]) if node.op_type == "Pad" else None
    return pads is not None and not pads[0] and not pads[rank]


_ELEMENTWISE = frozenset(
    {"Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Elu"}
    | {"Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "Not"}
    | {"PRelu", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus"}
    | {"Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu"}
    | {"Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Where", "And", "Or", "Xor"}
    | {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
)
_KINDS: dict[str, Callable[[ir.Node, _Known, _Known], bool]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "QLinearConv", "QLinearMatMul"), _by_first),
    **dict.fromkeys(("AveragePool", "MaxPool", "LpPool", "GlobalAveragePool", "GlobalMaxPool"), _by_first),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization", "LayerNormalization", "LRN"), _by_first),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _by_first),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd"), _by_first),
    **dict.fromkeys(("Transpose", "Squeeze", "Unsqueeze", "Flatten", "DepthToSpace", "SpaceToDepth"), _by_first),
    **dict.fromkeys(("Split", "Gather", "QuantizeLinear", "DequantizeLinear"), _by_first),
    "Concat": _joined,
    "MatMul": _product,
    "Reshape": _to_shape,
    "Expand": _stretched,
    "Slice": _picked,
    "Pad": _picked,
}
"""How an operator has to be used to keep rows apart; its axis, if it has one, is not the first."""
_DEFAULT_AXES = {"Split": 0, "Gather": 0, "Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "LayerNormalization": -1}


def _has_rows(value: ir.Value, batch: str) -> bool:
    dims = _dims(value)
    return bool(dims) and dims[0] == batch and batch not in dims[1:]


def _dims(value: ir.Value | None) -> list[int | str | None]:
    """Lengths, names, None for what is not known at all; nothing without a rank."""
    if value is None or value.shape is None:
        return []
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]
