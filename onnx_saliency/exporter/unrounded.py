"""The function that rounding hides, in the place of a quantised network.

    q = clip(round(x / s) + z)    becomes    q = clip(x / s + z)

A network on codes is a staircase, whose derivative is 0 wherever it has one. The straight-through estimate (Bengio,
Léonard & Courville 2013) takes rounding for the identity on the way back, but asks the rounded numbers which rectifier
is open and which ones are largest, and so is the gradient of no function. Here rounding is the identity both ways:
the score is differentiated through real numbers, held back where the range of the codes holds them back. A copy of
the nodes on codes stays, and makes the outputs, the predicted class and its score what they were, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx_ir as ir

from onnx_saliency.backward import is_expanded, is_straight_through, reads
from onnx_saliency.backward.codes import limits
from onnx_saliency.backward.relu import swallowed_relu
from onnx_saliency.graph import Classifier
from onnx_saliency.graph.control_flow import resolve_control_flow
from onnx_saliency.graph.folding import constant
from onnx_saliency.graph.functions import expand_functions
from onnx_saliency.graph.quantised import Code, form, is_on_codes, is_result
from onnx_saliency.graph.shapes import infer_shapes
from onnx_saliency.graph.writer import Writer, copy_nodes, subgraphs
from onnx_saliency.graph.writer import replace as put

Codes = dict[ir.Value, ir.DataType | None]  # values that hold codes, and their types in the model

_FLOAT = ir.DataType.FLOAT
_REALS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_SUMS = frozenset({"Cast", "Add", "Mul", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"})
"""Operators that follow a sum of products of codes, int32; elsewhere such numbers may be indices."""


def without_rounding(classifier: Classifier) -> Classifier:
    """Return `classifier` with a score of real numbers, and what it computes itself as `exact`.

    The graph is changed in place; its inputs and outputs are what they were. Where nothing rounds, or where codes are
    used in a way that has no plain meaning for real numbers (in the body of a loop, as indices, with scales that are
    computed), `classifier` is returned as it is, and the rules of its operators are straight-through.
    """
    graph = classifier.model.graph
    nodes, codes = _behind_rounding(graph, classifier.image)
    if not nodes or not all(_has_meaning(node, codes) for node in nodes):
        return classifier
    open_ended = {node for node in nodes if is_straight_through(node) and is_result(node.outputs[0])}
    copies: dict[ir.Value, ir.Value] = {}
    for node, copy in zip(nodes, copy_nodes(nodes, copies, "quantised/"), strict=True):
        graph.insert_before(node, copy)
    for index, declared in enumerate(list(graph.outputs)):
        if declared in copies:
            kept = copies[declared]
            kept.name, declared.name = declared.name, f"{declared.name}/real"
            graph.outputs[index] = kept
    reals = _Reals(codes, copies)
    for node in nodes:
        reals.write(node, held_back=node not in open_ended)
    for node in reversed(nodes):
        if node.outputs[0] in codes and node.graph is graph and not any(value.uses() for value in node.outputs):
            graph.remove(node, safe=True)
    score, output = classifier.score, classifier.output
    real = [reals.became.get(value, value) for value in (score, output)]
    infer_shapes(classifier.model)
    graph.outputs.extend(real)  # what no output needs is removed
    expand_functions(classifier.model, is_expanded)
    resolve_control_flow(classifier.model)
    real = [graph.outputs.pop() for _ in real][::-1]
    return replace(
        classifier,
        score=real[0],
        output=real[1],
        exact=replace(classifier, score=copies.get(score, score), output=copies.get(output, output)),
    )


def _behind_rounding(graph: ir.Graph, image: ir.Value) -> tuple[list[ir.Node], Codes]:
    """Nodes that round what depends on the image, and all that read what these make; and the codes among that."""
    reached, rounded, nodes, codes = {image}, set[ir.Value](), list[ir.Node](), Codes()
    for node in graph:
        read = reads(node)
        if reached.isdisjoint(read):
            continue
        reached.update(node.outputs)
        if not is_straight_through(node) and rounded.isdisjoint(read):
            continue
        rounded.update(node.outputs)
        nodes.append(node)
        types = {codes[value] for value in read if value in codes}
        for value in node.outputs:
            is_made = _is_quantised(node) and value is node.outputs[0]
            if value.dtype not in _REALS and (is_made or value.dtype in types):
                codes[value] = value.dtype
    return nodes, codes


def _has_meaning(node: ir.Node, codes: Codes) -> bool:
    """Whether it is known what `node` does to the real numbers that `codes` stand for."""
    read = [value for value in reads(node) if value in codes]
    if any(_is_quantised(inner) for body in subgraphs(node) for inner in body.all_nodes()):
        return False
    if node.op_type == "DynamicQuantizeLinear" or (not read and not is_straight_through(node)):
        return True
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        if node.attributes.get_int("block_size", 0):
            return False
        x = node.inputs[0]
        if node.op_type == "QuantizeLinear" and (x is None or x.dtype != _FLOAT):
            return False
        is_found = node.op_type == "DequantizeLinear" and _is_single(node, 1) and _is_single(node, 2)
        return is_found or _is_known_scale(node, 1, 2, per_channel=True)
    if node.op_type == "DynamicQuantizeLSTM":
        return all(constant(node.inputs[index]) is not None for index in (8, 9, 10, 11))
    if is_on_codes(node):
        return _has_float_form(node, codes)
    if node.domain != "" or any(subgraphs(node)):
        return False
    if any(codes[value] == ir.DataType.INT32 for value in read) and node.op_type not in _SUMS:
        return False
    return node.op_type != "Cast" or node.outputs[0].dtype in _REALS


def _is_quantised(node: ir.Node) -> bool:
    return is_straight_through(node) or is_on_codes(node)


def _given(node: ir.Node, index: int | None) -> ir.Value | None:
    return None if index is None or index >= len(node.inputs) else node.inputs[index]


def _has_float_form(node: ir.Node, codes: Codes) -> bool:
    if node.attributes.get_int("channels_last", 0) or node.attributes.get_int("opset", 13) < 13:
        return False
    meaning = form(node)
    if meaning.scale is not None and not _is_known_scale(node, meaning.scale, meaning.zero_point):
        return False
    for operand in meaning.operands:
        if isinstance(operand, Code):
            fits = _is_single if node.inputs[operand.index] in codes else _is_row
            if not (fits(node, operand.scale) and fits(node, operand.zero_point)):
                return False
    return True


def _is_known_scale(node: ir.Node, scale: int, zero_point: int | None, *, per_channel: bool = False) -> bool:
    s, z = constant(_given(node, scale)), _given(node, zero_point)
    if s is None or s.dtype != np.float32 or (z is not None and constant(z) is None):
        return False
    return s.size == 1 or (per_channel and s.ndim == 1 and node.outputs[0].shape is not None)


def _is_single(node: ir.Node, index: int | None) -> bool:
    """Whether an input is left out or one number; of what a DynamicQuantizeLinear finds that is known."""
    value = _given(node, index)
    known = constant(value)
    return value is None or (known.size == 1 if known is not None else value.shape is not None and not value.shape.dims)


def _is_row(node: ir.Node, index: int | None) -> bool:
    """Whether an input is left out, or known and one number or one per channel: what DequantizeLinear takes."""
    value = _given(node, index)
    known = constant(value)
    return value is None or (known is not None and known.ndim <= 1)


@dataclass(frozen=True)
class _Quantisation:
    """Scale and zero point, in shapes that stretch to the codes'; None for 1 and 0."""

    scale: ir.Value | None
    zero_point: ir.Value | None

    def is_like(self, other: _Quantisation) -> bool:
        """Whether both give the same meaning to a code."""
        return _is_same(self.scale, other.scale, 1.0) and _is_same(self.zero_point, other.zero_point, 0.0)


class _Reals:
    """Writes nodes on real numbers in the place of those on codes.

    A code has two forms as a real number: what it stands for, x, and itself not rounded, x / s + z, which is written
    where something reads codes as the numbers they are.

    Attributes:
        became: what stands for a float that a quantised operator made.
    """

    def __init__(self, codes: Codes, copies: Mapping[ir.Value, ir.Value]) -> None:
        self.became: dict[ir.Value, ir.Value] = {}
        self._codes = codes
        self._copies = copies
        self._real: dict[ir.Value, tuple[ir.Value, _Quantisation]] = {}
        self._number: dict[ir.Value, ir.Value] = {}

    def write(self, node: ir.Node, *, held_back: bool) -> None:
        """Write what stands for `node`, whose inputs have been written; `held_back`: by the range of its codes."""
        w = Writer(node)
        if node.op_type == "QuantizeLinear":
            self._store(w, node, node.inputs[0], 1, 2, held_back=held_back)
        elif node.op_type == "DynamicQuantizeLinear":
            self._store_in_its_range(node)
        elif node.op_type == "DequantizeLinear" and node.inputs[0] in self._codes:
            self._put(node, w("Identity", self._read(w, node, Code(0, 1, 2, node.attributes.get_int("axis", 1)))))
        elif node.op_type == "DynamicQuantizeLSTM":
            _write_lstm(w, node)
        elif is_on_codes(node) and node.op_type != "DequantizeLinear":
            self._write_form(w, node, held_back=held_back)
        elif any(value in self._codes for value in node.inputs):
            self._keep(w, node)

    def _write_form(self, w: Writer, node: ir.Node, *, held_back: bool) -> None:
        """F of the operands."""
        meaning, y = form(node), node.outputs[0]
        operands = [
            self._read(w, node, each) if isinstance(each, Code) else node.inputs[each] for each in meaning.operands
        ]
        bias = _given(node, meaning.bias)
        if bias is not None and bias.dtype not in _REALS:
            operands.append(_bias(w, node, bias))
        known = onnx.defs.get_schema(meaning.op).attributes
        x = w(meaning.op, *operands, **{name: a.value for name, a in node.attributes.items() if name in known})
        made = x.producer()
        assert made is not None
        made.name, node.name = node.name or made.name, f"{made.name}/codes"
        if bias is not None and bias.dtype in _REALS:
            x = w("Add", x, bias)
        if meaning.scale is not None and meaning.zero_point is not None:
            self._store(w, node, x, meaning.scale, meaning.zero_point, held_back=held_back)
        elif y in self._codes:
            _take_name(x, y)
            self._number[y] = x
        else:
            self._put(node, x)

    def _keep(self, w: Writer, node: ir.Node) -> None:
        """An operator that takes codes as numbers, such as MaxPool or Reshape; what joins them is cast."""
        types = {self._codes[value] for value in node.inputs if value in self._codes}
        for index, value in enumerate(node.inputs):
            if value in self._codes:
                node.replace_input_with(index, self._as_number(w, value))
            elif value is not None and value.dtype in types:
                node.replace_input_with(index, _as_float(w, value))
        for value in node.outputs:
            if value in self._codes:
                value.type = ir.TensorType(_FLOAT)
                self._number[value] = value

    def _read(self, w: Writer, node: ir.Node, code: Code) -> ir.Value:
        """The real number that an operand stands for."""
        value, s, z = node.inputs[code.index], _given(node, code.scale), _given(node, code.zero_point)
        assert value is not None
        if value not in self._codes:  # a weight, or an image of codes
            if s is None:
                s = w.constant(np.ones_like(_known(z, 0.0), np.float32))
            return w("DequantizeLinear", value, s, *([] if z is None else [z]), **_axis(code, value))
        wanted = _Quantisation(_stretched(w, s, code.axis, value), _stretched(w, z, code.axis, value))
        if value in self._real:
            x, made = self._real[value]
            if made.is_like(wanted):
                return x
            if s is None and _is_same(made.zero_point, wanted.zero_point, 0.0):
                return x if made.scale is None else w("Div", x, made.scale)
        number = self._as_number(w, value)
        if wanted.zero_point is not None:
            number = w("Sub", number, _as_float(w, wanted.zero_point))
        return number if wanted.scale is None else w("Mul", number, wanted.scale)

    def _as_number(self, w: Writer, code: ir.Value) -> ir.Value:
        if code not in self._number:
            x, made = self._real[code]
            number = x if made.scale is None else w("Div", x, made.scale)
            if made.zero_point is not None:
                number = w("Add", number, _as_float(w, made.zero_point))
            self._number[code] = number
        return self._number[code]

    def _store(
        self, w: Writer, node: ir.Node, x: ir.Value | None, scale: int, zero_point: int, *, held_back: bool
    ) -> None:
        """Let `x` be what the code that `node` makes stands for."""
        y, axis = node.outputs[0], node.attributes.get_int("axis", 1)
        s, z = (_stretched(w, _given(node, index), axis, y) for index in (scale, zero_point))
        assert x is not None
        held = _held_back(w, node, x, s, z) if held_back else w("Identity", x)
        _take_name(held, y)
        self._real[y] = held, _Quantisation(s, z)

    def _store_in_its_range(self, node: ir.Node) -> None:
        """Nothing is held back. Scale and zero point are those that the model finds; they count as fixed."""
        x, (s, z) = node.inputs[0], (self._copies[value] for value in node.outputs[1:])
        assert x is not None
        for value, copy in zip(node.outputs[1:], (s, z), strict=True):
            value.replace_all_uses_with(copy)
        self._real[node.outputs[0]] = x, _Quantisation(s, z)

    def _put(self, node: ir.Node, x: ir.Value) -> None:
        y = node.outputs[0]
        _take_name(x, y)
        self.became[y] = x
        put(node, [x])


def _write_lstm(w: Writer, node: ir.Node) -> None:
    """LSTM with weights as they are stored, a column a gate: [directions, inputs, 4 H] and [directions, H, 4 H]."""
    weights = []
    for codes, scale, zero_point in ((1, 8, 9), (2, 10, 11)):
        s, z = (_known(node.inputs[index], 0.0).astype(np.float32) for index in (scale, zero_point))
        s, z = (each.reshape(len(each), 1, -1) for each in (s, z))  # one a direction, or one a column
        number = w("Sub", w("Cast", node.inputs[codes], to=_FLOAT.value), w.constant(z))
        weights.append(w("Transpose", w("Mul", number, w.constant(s)), perm=[0, 2, 1]))
    known = onnx.defs.get_schema("LSTM").attributes
    attributes = {name: a.value for name, a in node.attributes.items() if name in known}
    made = w.several("LSTM", node.inputs[0], *weights, *node.inputs[3:8], outputs=len(node.outputs), **attributes)
    for x, y in zip(made, node.outputs, strict=True):
        _take_name(x, y)
    put(node, made)


def _take_name(x: ir.Value, y: ir.Value) -> None:
    """Layers are asked for by name."""
    x.name, y.name = y.name, f"{y.name}/code"
    x.shape, x.type = y.shape, ir.TensorType(_FLOAT)


def _held_back(w: Writer, node: ir.Node, x: ir.Value, s: ir.Value | None, z: ir.Value | None) -> ir.Value:
    """x in the range of what is rounded into the range of codes; a quantiser that swallowed a Relu is one again."""
    dtype = node.outputs[0].dtype or ir.DataType.UINT8
    half = 0.0 if dtype.is_floating_point() else 0.5
    low, high = limits(dtype)
    scale, zero_point = _known(s, 1.0).astype(np.float64), _known(z, 0.0)
    lowest, highest = (low - half - zero_point) * scale, (high + half - zero_point) * scale
    ends = [w.constant(np.asarray(end, np.float32)) for end in (0.0 if swallowed_relu(node) else lowest, highest)]
    if np.ndim(highest) == 0:
        return w("Clip", x, *ends)
    return w("Min", w("Max", x, ends[0]), ends[1])


def _bias(w: Writer, node: ir.Node, bias: ir.Value) -> ir.Value:
    """What a bias of whole numbers stands for: it is added to the sum of products of codes."""
    (a, b), factor = form(node).operands, w.constant(np.array(node.attributes.get_float("alpha", 1.0), np.float32))
    assert isinstance(a, Code)
    assert isinstance(b, Code)
    scale = w("Mul", w("Mul", _given(node, a.scale), _given(node, b.scale)), factor)
    return w("Mul", _as_float(w, bias), scale)


def _as_float(w: Writer, value: ir.Value) -> ir.Value:
    return w("Cast", value, to=_FLOAT.value) if value.dtype not in _REALS else value


def _axis(code: Code, value: ir.Value) -> dict[str, int]:
    """Where a scale per channel applies; of a matrix it is that of the columns."""
    return {"axis": -1 if code.axis is None else code.axis} if value.shape else {}


def _stretched(w: Writer, value: ir.Value | None, axis: int | None, codes: ir.Value) -> ir.Value | None:
    """A known scale or zero point as floats that stretch to the shape of `codes`."""
    known = constant(value)
    if known is None:
        return value
    if known.size == 1:
        return w.constant(known.astype(np.float32).reshape(()))
    assert codes.shape is not None  # `_is_known_scale` has seen it
    after = len(codes.shape) - (axis or 0) % len(codes.shape) - 1
    return w.constant(known.astype(np.float32).reshape([-1] + [1] * after))


def _is_same(a: ir.Value | None, b: ir.Value | None, absent: float) -> bool:
    if a is b:
        return True
    is_open = any(value is not None and constant(value) is None for value in (a, b))
    return not is_open and np.array_equal(_known(a, absent), _known(b, absent))


def _known(value: ir.Value | None, absent: float) -> np.ndarray:
    """A scale or zero point whose value is known, `absent` for one left out."""
    known = np.array(absent, np.float32) if value is None else constant(value)
    assert known is not None  # `_has_meaning` has seen it
    return known
