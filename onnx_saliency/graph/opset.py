"""Raise models below opset 18 to 18; leave the others where they are.

An execution provider's kernel registered for one version does not take a newer schema, so a
needless upgrade sends nodes to the CPU (onnxruntime#26393). The standard's own converter does the
work; the export compares outputs before and after, because it is not always right.
"""

from __future__ import annotations

import onnx
import onnx.version_converter
import onnx_ir as ir

from onnx_saliency.errors import ModelError

MIN_OPSET = 18
_OLDEST_OPSET = 7
_MIN_IR_VERSION = 8  # the IR version of opset 18
_SMALL = 1024  # bytes; larger tensors are weights, which no conversion reads


def raise_opset(model: ir.Model) -> ir.Model:
    """Return `model` at opset 18 or more, weights untouched.

    Raises:
        ModelError: an opset below 7, one newer than the installed onnx package knows, or a node
            that the converter cannot bring up.
    """
    opset = model.opset_imports.get("")
    if opset is None:
        raise ModelError("The model imports no version of the standard operators (opset).")
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ModelError(f"The model uses opset {opset}; the installed onnx package knows up to {newest}: upgrade it.")
    model.ir_version = max(model.ir_version, _MIN_IR_VERSION)
    if opset >= MIN_OPSET:
        return model
    if opset < _OLDEST_OPSET:
        raise ModelError(f"The model uses opset {opset}; opsets {_OLDEST_OPSET} to {newest} are read. Export it again.")
    inputs = {value.name for value in model.graph.inputs}
    try:
        weights = _detach_weights(model)
        proto = onnx.version_converter.convert_version(ir.to_proto(model), MIN_OPSET)
    except Exception as error:  # the converter's own, and whatever its shape inference raises
        raise ModelError(
            f"Opset {opset} cannot be raised to {MIN_OPSET}: {(str(error).strip() or repr(error)).splitlines()[-1]} "
            f"Export the model at opset {MIN_OPSET} or above."
        ) from error
    raised = ir.from_proto(proto)
    _restore_weights(raised, weights, inputs)
    raised.metadata_props.update(model.metadata_props)
    if opset < 11:
        _state_old_resize(raised)
    return raised


def _detach_weights(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """Turn large weights into plain inputs, so that they need not travel through the C++ converter; return them."""
    graph = model.graph
    large = [v for v in graph.initializers.values() if v.const_value is not None and v.const_value.nbytes > _SMALL]
    weights: dict[str, ir.TensorProtocol] = {}
    for value in large:
        assert value.name is not None
        assert value.const_value is not None
        weights[value.name] = value.const_value
        value.shape = ir.Shape(value.const_value.shape.numpy())
        value.type = ir.TensorType(value.const_value.dtype)
        del graph.initializers[value.name]
        value.const_value = None
        if value not in graph.inputs:
            graph.inputs.append(value)
    return weights


def _restore_weights(model: ir.Model, weights: dict[str, ir.TensorProtocol], inputs: set[str | None]) -> None:
    """Make them initializers again; those among `inputs` were inputs too, which a caller may override."""
    graph = model.graph
    for value in [value for value in graph.inputs if value.name in weights]:
        assert value.name is not None
        value.const_value = weights[value.name]
        if value.name not in inputs:
            graph.inputs.remove(value)
        graph.register_initializer(value)


def _state_old_resize(model: ir.Model) -> None:
    """Before opset 11 Resize and Upsample sampled at `y / scale`; the converter leaves the new default.

    Where that falls between two pixels, onnxruntime took the lower one to enlarge, the upper one to reduce.
    """
    for node in model.graph.all_nodes():
        if node.op_type == "Resize":
            given = node.inputs[2] if len(node.inputs) > 2 else None
            scales = ir.convenience.get_const_tensor(given) if given is not None else None
            reduces = scales is not None and (scales.numpy() <= 1).all()
            node.attributes.add(ir.AttrString("coordinate_transformation_mode", "asymmetric"))
            node.attributes.add(ir.AttrString("nearest_mode", "ceil" if reduces else "floor"))
