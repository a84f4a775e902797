"""The nets of tools/bench.py as ONNX files: random weights, made once and kept in a folder, the same for every engine.

Four graphs come with the onnx package; the others are exported from timm, with TorchScript and opset 17, since
onnx2torch knows nothing newer. The batch is fixed, so that every engine knows all shapes, which torch.compile needs.

A net ends at its logits, whatever softmax it has: `onnx_saliency` explains logits, PyTorch and JAX what the graph
gives. Dropout does nothing at inference and is taken out, since onnx2torch refuses its older versions.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_saliency.report import write_bytes

sys.path += [str(Path(__file__).parents[1] / "tests" / room) for room in ("models", "reference")]
from light import light_model

LIGHT = ("squeezenet", "resnet50", "vgg19", "densenet121")
TIMM = {
    "mobilenetv2": "mobilenetv2_100",
    "efficientnet_b0": "efficientnet_b0",
    "vit_tiny": "vit_tiny_patch16_224",
    "convnext_tiny": "convnext_tiny",
}
NETS = ("squeezenet", "mobilenetv2", "resnet50", "vgg19", "densenet121", "efficientnet_b0", "vit_tiny", "convnext_tiny")
SIDE = 224  # of a picture whose size the model leaves open


def net_file(net: str, batch: int, folder: Path) -> Path:
    """Return the file of a net, by name or of another ONNX file, as the engines get it; a named one is made once.

    Raises:
        ImportError: the net comes from a package that is not installed.
    """
    if net not in NETS:
        path, model = folder / f"{Path(net).stem}.logits.onnx", onnx.load(net)  # the file itself may lie there
    elif (path := folder / f"{net}.{batch}.onnx").exists():
        return path
    else:
        model = with_batch(light_model(net), batch) if net in LIGHT else export_timm(TIMM[net], batch)
    write_bytes(path, at_logits(model).SerializeToString())
    return path


def export_timm(name: str, batch: int) -> onnx.ModelProto:
    """Export a net of timm, seeded, with BatchNorm statistics of a forward pass."""
    import torch
    from zoo import build, load_torch

    load_torch()  # timm imports torchvision
    module, shape = build(f"timm/{name}")
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript's exporter is on its way out, and traces shapes it knows
        path = Path(scratch) / "net.onnx"
        torch.onnx.export(module, (torch.zeros(batch, *shape),), str(path), dynamo=False, opset_version=17)
        return onnx.load(path)


def with_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Give a graph that is fixed to one image another batch, in its inputs, outputs and reshapes."""
    graph = model.graph
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in graph.initializer:
        if tensor.name in shapes:
            _, *sides = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.array([batch, *sides], np.int64), tensor.name))
    stored = {tensor.name for tensor in graph.initializer}
    for value in [value for value in (*graph.input, *graph.output) if value.name not in stored]:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del graph.value_info[:]
    return model


def at_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take out dropouts and a final softmax; initializers are no inputs, so a runtime may fold them."""
    graph = model.graph
    renamed = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Dropout"}
    result = graph.output[0].name
    for node in graph.node:
        if node.op_type == "Softmax" and node.output[0] == result:
            renamed[result] = node.input[0]
    kept = [node for node in graph.node if node.output[0] not in renamed]
    for node in kept:
        node.input[:] = [_source(renamed, name) for name in node.input]
    del graph.node[:]
    graph.node.extend(kept)
    graph.output[0].name = _source(renamed, result)
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)  # before, every initializer had to be an input
    return model


def _source(renamed: dict[str, str], name: str) -> str:
    while name in renamed:
        name = renamed[name]
    return name


def image_input(model: onnx.ModelProto, batch: int) -> tuple[str, tuple[int, ...]]:
    """Name and shape of the image input for a batch; what the model leaves open is SIDE.

    Raises:
        ValueError: the model is fixed to another batch.
    """
    value = model.graph.input[0]
    first, *sides = value.type.tensor_type.shape.dim
    if first.dim_value not in (0, batch):
        raise ValueError(f"fixed to batch {first.dim_value}")
    return value.name, (batch, *(side.dim_value or SIDE for side in sides))
