"""The nine classifiers inside the onnx package, with weights.

`onnx/backend/test/data/light` holds the graphs of well-known networks whose weights are one constant each, made by
ConstantOfShape nodes. `light_model` gives them random weights as initializers and leaves all else as it is.

Weights are scaled by their fan in (He et al. 2015). Then one random image runs through the net, node by node: a
BatchNormalization gets the statistics of its input, a convolution with a bias is scaled and shifted as if it had one,
so signals neither die nor explode.

Every channel is set OFFSET standard deviations above or below zero. A random net of a hundred layers and millions of
rectifiers is chaotic: some lie so near their kink that rounding decides, and each that does costs any float32 gradient
a thousandth. Away from the kink most do not depend on rounding, and a comparison with float64 means something.
"""

from __future__ import annotations

import math
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt
import onnx
from autodiff import Reference
from onnx import helper, numpy_helper

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = (
    "bvlc_alexnet",
    "densenet121",
    "inception_v1",
    "inception_v2",
    "resnet50",
    "shufflenet",
    "squeezenet",
    "vgg19",
    "zfnet512",
)

OFFSET = 2.5

Weight = npt.NDArray[np.float32]


def light_model(name: str) -> onnx.ModelProto:
    """Return the graph `name` with random weights, always the same."""
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    read = {input for node in nodes for input in node.input}
    # The small float weights are initializers in the file already.
    shapes = {key: value.shape for key, value in stored.items() if value.dtype == np.float32} | {
        node.output[0]: tuple(stored[node.input[0]]) for node in graph.node if node.op_type == "ConstantOfShape"
    }
    tensors = [tensor for tensor in graph.initializer if tensor.name in read and tensor.name not in shapes]
    inputs = [value for value in graph.input if value.name in read and value.name not in shapes]
    del graph.node[:], graph.initializer[:], graph.input[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)
    graph.input.extend(inputs)

    weights = _draw(nodes, shapes, seed=crc32(name.encode()))
    _calibrate(model, weights)
    for key, weight in weights.items():
        graph.initializer.append(numpy_helper.from_array(weight, key))
        # IR version 3 wants every initializer listed as an input.
        graph.input.append(helper.make_tensor_value_info(key, onnx.TensorProto.FLOAT, weight.shape))
    return model


def random_images(model: onnx.ModelProto, count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Standard normal values, `count` inputs of batch 1 in a row."""
    stored = {tensor.name for tensor in model.graph.initializer}
    (image,) = [value for value in model.graph.input if value.name not in stored]
    shape = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    return np.random.default_rng(seed).standard_normal((count, *shape[1:]), np.float32)


def _draw(nodes: list[onnx.NodeProto], shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Weight]:
    """Draw every constant by the part it plays in the node that reads it, perhaps in another shape."""
    rng = np.random.default_rng(seed)
    views = {node.output[0]: node.input[0] for node in nodes if node.op_type in ("Reshape", "Unsqueeze")}
    scaled = {name for node in nodes if node.op_type == "Mul" for name in node.input}
    weights: dict[str, Weight] = {}
    for node in nodes:
        for index, name in enumerate(node.input):
            source = views.get(name, name)
            if source in shapes and source not in weights and node.output[0] not in views:
                part = "shift before scale" if index == 2 and node.output[0] in scaled else _PARTS[node.op_type, index]
                weights[source] = _draw_one(rng, part, shapes[source], node)
    return weights


_PARTS = {
    ("Conv", 1): "weight",
    ("Conv", 2): "shift",
    ("Gemm", 1): "weight",
    ("Gemm", 2): "shift",
    ("BatchNormalization", 1): "scale",
    ("BatchNormalization", 2): "shift",
    ("BatchNormalization", 3): "mean",
    ("BatchNormalization", 4): "variance",
    ("Mul", 1): "scale",
    ("Add", 1): "shift",
}


def _draw_one(rng: np.random.Generator, part: str, shape: tuple[int, ...], node: onnx.NodeProto) -> Weight:
    normal = rng.standard_normal(shape, np.float32)
    match part:
        case "weight":
            transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            fan_in = math.prod(shape[1:]) if node.op_type == "Conv" else shape[-1 if transposed else -2]
            gain = math.sqrt(2) if node.op_type == "Conv" else 1 / OFFSET  # a Gemm is not calibrated
            return normal * np.float32(gain / math.sqrt(fan_in))
        case "scale":
            return 1 + np.float32(0.2) * normal
        case "shift":
            return rng.choice(np.float32([-OFFSET, OFFSET]), shape, p=[0.3, 0.7]) + np.float32(0.2) * normal
        case "shift before scale":
            return np.float32(0.1) * normal
    return np.full(shape, part == "variance", np.float32)  # until calibrated


def _calibrate(model: onnx.ModelProto, weights: dict[str, Weight]) -> None:
    """Run one image through the graph; make what leaves each layer of unit variance per channel, on the way."""
    reference = Reference(model, np.float32)
    values = {**reference.constants, **weights, reference.image: random_images(model, 1, seed=1)}
    for node in reference.nodes:
        new: dict[str, Weight] = {}
        if node.op_type == "BatchNormalization":
            x = values[node.input[0]]
            axes = (0, *range(2, x.ndim))
            var = x.var(axis=axes)  # a channel all but dead in this image may not be so in another
            new = {node.input[3]: x.mean(axis=axes), node.input[4]: np.maximum(var, var.mean() / 10)}
        elif node.op_type == "Conv" and len(node.input) == 3:
            (_, weight, bias), y = (values[name] for name in node.input), reference.step(node, values)
            mean, std = y.mean(axis=(0, 2, 3)), y.std(axis=(0, 2, 3))
            if std.all():  # of one position there is none
                new = {node.input[1]: weight / std.reshape(-1, 1, 1, 1), node.input[2]: bias - (mean - bias) / std}
        values |= new
        weights |= new
        values[node.output[0]] = reference.step(node, values)
