"""One canonical form, so that everything after reads one kind of graph.

Functions inlined, opset 18 or more, constants folded, control flow of a known way written out, half precision computed
in float32, pads explicit, BatchNormalization and the like folded, Dropout and Identity gone, shapes inferred. Inputs,
outputs and their names stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import onnx_ir as ir
from onnx_ir.passes import common as passes

from onnx_saliency.graph.affine import fold_affine
from onnx_saliency.graph.control_flow import resolve_control_flow
from onnx_saliency.graph.folding import constant, fold_constants
from onnx_saliency.graph.functions import expand_functions
from onnx_saliency.graph.opset import raise_opset
from onnx_saliency.graph.padding import resolve_auto_pad, resolve_ceil_mode
from onnx_saliency.graph.precision import widen_half, widen_single
from onnx_saliency.graph.shapes import infer_shapes
from onnx_saliency.graph.unfusing import reassign_domain, unfuse

_FIRST_IR_WITH_CONSTANTS = 4  # before, every initializer had to be listed as an input


def normalise(
    model: ir.Model, expand: Callable[[ir.Node], bool] = lambda node: False, *, double: bool = False
) -> ir.Model:
    """Return `model` in canonical form; `model` itself may be changed.

    Args:
        model: from `load`.
        expand: operators to write out by the standard's own definition, where it has one.
        double: compute float32 in float64.

    Raises:
        ModelError: an opset that cannot be raised, or pads that cannot be resolved.
    """
    if model.ir_version < _FIRST_IR_WITH_CONSTANTS:
        passes.RemoveInitializersFromInputsPass()(model)
    _use_default_domain(model)
    if model.functions:
        passes.InlinePass()(model)
        passes.RemoveUnusedFunctionsPass()(model)
    reassign_domain(model)
    _free_the_runtimes_names(model)
    model = raise_opset(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    unfuse(model)
    _remove_dropout(model)
    _remove_identities(model)
    infer_shapes(model)
    while resolve_ceil_mode(model):
        infer_shapes(model)
    fold_constants(model)
    infer_shapes(model)  # a folded shape or axes input makes more shapes known
    expand_functions(model, expand)
    resolve_control_flow(model)  # after them, as some are defined by loops
    _remove_identities(model)  # that inlining left
    widen_half(model)
    if double:
        widen_single(model)
    resolve_auto_pad(model)
    fold_affine(model)
    prune(model)
    return model


def prune(model: ir.Model) -> None:
    """Remove nodes, initializers and opset imports that no output needs."""
    passes.RemoveUnusedNodesPass()(model)
    passes.RemoveUnusedOpsetsPass()(model)


def _use_default_domain(model: ir.Model) -> None:
    """Spell the standard domain one way: "ai.onnx" is an alias of ""."""
    if "ai.onnx" in model.opset_imports:
        model.opset_imports[""] = model.opset_imports.pop("ai.onnx")
    for node in model.graph.all_nodes():
        if node.domain == "ai.onnx":
            node.domain = ""


_OF_THE_RUNTIME = re.compile(r"gemm_(input|output)_shape(_token_\d+)?")


def _free_the_runtimes_names(model: ir.Model) -> None:
    """Rename constants whose names onnxruntime gave them when it made a Gemm of MatMul and Add.

    It gives them again to those it makes of what is added, without looking whether they are taken, and then refuses
    the graph.
    """
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in list(graph.initializers.values()):
            if _OF_THE_RUNTIME.fullmatch(value.name or "") and not value.is_graph_input():
                value.name = f"model/{value.name}"


def _remove_identities(model: ir.Model) -> None:
    """One that writes an output stays: its input may be another output, and both keep their names."""
    for node in model.graph.all_nodes():
        x = node.inputs[0] if node.op_type == "Identity" else None
        if x is None or node.graph is None or node.outputs[0].is_graph_output():
            continue
        node.outputs[0].replace_all_uses_with(x)
        node.graph.remove(node, safe=True)


def _remove_dropout(model: ir.Model) -> None:
    """Dropout is the identity in inference; one that a caller can switch to training stays."""
    for node in model.graph.all_nodes():
        if node.op_type != "Dropout" or (len(node.outputs) > 1 and node.outputs[1].uses()):
            continue
        training = node.inputs[2] if len(node.inputs) > 2 else None
        mode = constant(training)
        if training is None or (mode is not None and not mode):
            node.resize_inputs(1)
            node.resize_outputs(1)
            node.op_type = "Identity"
            node.attributes.clear()
