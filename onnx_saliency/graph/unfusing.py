"""Fused operators of onnxruntime's own replaced by the standard operators that they are made of."""

from __future__ import annotations

import onnx_ir as ir

from onnx_saliency.errors import ModelError
from onnx_saliency.graph.contrib import DEFINITIONS, Fused, RefusedError
from onnx_saliency.graph.quantised import MICROSOFT
from onnx_saliency.graph.shapes import infer_shapes
from onnx_saliency.graph.writer import label, replace

_FIRST_LAYER_NORMALIZATION = 17  # the opset; onnxruntime writes it into the standard domain of older models too


def reassign_domain(model: ir.Model) -> None:
    """Give operators that onnxruntime put into the standard domain before the standard had them its own, in place."""
    old = model.opset_imports.get("", 0) < _FIRST_LAYER_NORMALIZATION
    for node in model.graph.all_nodes():
        if node.domain == "" and (
            node.op_type == "SimplifiedLayerNormalization" or (node.op_type == "LayerNormalization" and old)
        ):
            node.domain = MICROSOFT
            model.opset_imports.setdefault(MICROSOFT, 1)


def unfuse(model: ir.Model) -> None:
    """Replace, in place, every operator of `DEFINITIONS` by its definition.

    Raises:
        ModelError: a form without one; all such nodes are named.
    """
    left, attempt = _fused_nodes(model), 0
    while left:
        infer_shapes(model)  # a definition may ask for the number of axes, which is known up to the next such node
        refused = [
            f"  node {label(node)!r}: {node.op_type}: {reason}" for node in left if (reason := _unfuse(node, attempt))
        ]
        before, left, attempt = len(left), _fused_nodes(model), attempt + 1
        if len(left) == before:
            raise ModelError(
                f"{len(refused)} node(s) of onnxruntime's own cannot be written in standard operators:\n"
                + "\n".join(refused)
                + "\nExport the model before onnxruntime's optimiser has rewritten it."
            )


def _fused_nodes(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph.all_nodes() if node.domain == MICROSOFT and node.op_type in DEFINITIONS]


def _unfuse(node: ir.Node, attempt: int) -> str | None:
    """Write the definition in the place of `node`; return why not, None where it was done."""
    try:
        fused = Fused(node, attempt)
        values = DEFINITIONS[node.op_type](fused)
    except RefusedError as refusal:
        return str(refusal)
    for value in values:
        value.type = ir.TensorType(fused.dtype)
    node.resize_outputs(len(values))  # those beyond are not read: a definition refuses otherwise
    replace(node, values)
    return None
