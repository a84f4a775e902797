"""Operators that the standard defines by other operators, written out by that definition.

The recurrent ones, which it defines by formulas, are written out by ours (`recurrent`).
Most have no need of a rule of their own: the gradient of Attention is that of its 74 ordinary nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from onnx_saliency.graph.folding import fold_constants
from onnx_saliency.graph.recurrent import recurrent_body
from onnx_saliency.graph.shapes import infer_shapes


def expand_functions(model: ir.Model, wanted: Callable[[ir.Node], bool]) -> None:
    """Replace, in place, every wanted node that has a function body by that body, again until none is left."""
    opset = model.opset_imports[""]
    while True:
        found = [
            (node, body)
            for node in model.graph.all_nodes()
            if node.domain == "" and wanted(node) and (body := _function_body(node, opset)) is not None
        ]
        if not found:
            return
        for number, (node, body) in enumerate(found):
            # A body can depend on the node's attributes and types: each node has an overload of its own.
            node.overload = body.overload = str(number)
            _state_defaults(node, opset)
            _forget_empty_shapes(node)
            function = ir.from_proto(body)
            _guard_softmax(function)
            model.functions[node.op_identifier()] = function
        passes.InlinePass()(model)
        passes.RemoveUnusedFunctionsPass()(model)
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        infer_shapes(model)
        fold_constants(model)
        infer_shapes(model)


def _state_defaults(node: ir.Node, opset: int) -> None:
    """Write the schema's default attributes into the node: a body refers to them by name."""
    for name, attribute in onnx.defs.get_schema(node.op_type, opset).attributes.items():
        if name not in node.attributes and attribute.default_value.type != onnx.AttributeProto.UNDEFINED:
            node.attributes.add(ir.from_proto(attribute.default_value))


def _forget_empty_shapes(node: ir.Node) -> None:
    """onnx infers 0 where it multiplies lengths that it does not know; the body's own shapes tell more."""
    for value in node.outputs:
        if value.shape is not None and any(dim == 0 for dim in value.shape):
            value.shape = None


def _guard_softmax(function: ir.Function) -> None:
    """Where a body replaces rows of its Softmax, replace them before the Softmax as well.

    A row that is −∞ throughout becomes NaN. Attention puts zeros there, but the gradient that comes
    back through the Softmax would be 0 · NaN.
    """
    for node in [node for node in function if node.op_type == "Where"]:
        value = node.inputs[2]
        while value is not None and (maker := value.producer()) is not None and maker.op_type == "Cast":
            value = maker.inputs[0]
        if maker is None or maker.op_type != "Softmax":
            continue
        zero = ir.node("Constant", [], {"value_float": 0.0})
        like = ir.node("CastLike", [zero.outputs[0], maker.inputs[0]])
        where = ir.node("Where", [node.inputs[0], like.outputs[0], maker.inputs[0]])
        function.extend([zero, like, where])
        maker.replace_input_with(0, where.outputs[0])
        function.sort()


def _function_body(node: ir.Node, opset: int) -> onnx.FunctionProto | None:
    _name_outputs(node)
    body = recurrent_body(node, opset) or _standard_body(node, opset)
    if body is None:
        return None
    body.domain, body.name = "", node.op_type
    del body.output[len(node.outputs) :]  # an optional output that is not asked for need not be made
    return body if _fits(body, opset) else None


def _name_outputs(node: ir.Node) -> None:
    """Name the outputs that are left out before the last: a body makes those with a name, and inlining wants all."""
    for number, value in enumerate(node.outputs):
        if not value.name:
            value.name = f"{node.outputs[-1].name}/{number}"


def _standard_body(node: ir.Node, opset: int) -> onnx.FunctionProto | None:
    """Return what the schema of `node` says of it in other operators."""
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opset)  # its stub lacks the function bodies
    except onnx.defs.SchemaError:
        return None
    if schema.has_function:
        versions = [version for version in schema.function_opset_versions if version <= opset]
        data = schema.get_function_with_opset_version(max(versions)) if versions else None
    elif schema.has_context_dependent_function:
        versions = [version for version in schema.context_dependent_function_opset_versions if version <= opset]
        types = [_type(value) for value in node.inputs]
        proto = ir.to_proto(node).SerializeToString()
        data = schema.get_context_dependent_function_with_opset_version(max(versions), proto, types)
    else:
        return None
    return onnx.FunctionProto.FromString(data) if data else None


def _fits(body: onnx.FunctionProto, opset: int) -> bool:
    """Whether a body written for an older opset says the same in this one; if so, state it so.

    Since opset 18 operators that changed their meaning also changed their attributes or inputs.
    """
    for node in body.node:
        schema = onnx.defs.get_schema(node.op_type, opset)
        if any(attribute.name not in schema.attributes for attribute in node.attribute):
            return False
        if not schema.min_input <= len(node.input) <= schema.max_input:
            return False
    for entry in body.opset_import:
        if entry.domain == "":
            entry.version = opset
    return True


def _type(value: ir.Value | None) -> bytes:
    proto = onnx.TypeProto()
    if value is not None:
        proto.tensor_type.elem_type = (value.dtype or ir.DataType.FLOAT).value
        if value.shape is not None:
            for dim in value.shape:
                entry = proto.tensor_type.shape.dim.add()
                if isinstance(dim, int):
                    entry.dim_value = dim
                elif dim.value is not None:
                    entry.dim_param = dim.value
    return proto.SerializeToString()
