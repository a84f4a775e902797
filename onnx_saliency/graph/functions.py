"""Operators that the standard defines by other operators, written out by that definition.

Most have no need of a rule of their own: the gradient of Attention is that of its 74 ordinary nodes.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes

from onnx_saliency.graph.folding import fold_constants
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
            model.functions[node.op_identifier()] = ir.from_proto(body)
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


def _function_body(node: ir.Node, opset: int) -> onnx.FunctionProto | None:
    try:
        schema = onnx.defs.get_schema(node.op_type, opset)
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
    if not data:
        return None
    body = onnx.FunctionProto.FromString(data)
    body.domain, body.name = "", node.op_type
    del body.output[len(node.outputs) :]  # an optional output that is not asked for need not be made
    return body if _fits(body, opset) else None


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
