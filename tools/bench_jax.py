"""Convolutional nets stated in JAX, operator by operator, for tools/bench.py.

What these nets need and no more: positive pads, no ceiling, pools over pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import onnx
from jax import lax
from jax import numpy as jnp
from onnx import helper, numpy_helper

Attributes = dict[str, Any]
Scores = Callable[[jax.Array, dict[str, jax.Array]], jax.Array]


def stated(model: onnx.ModelProto) -> tuple[Scores, dict[str, jax.Array]]:
    """Return scores(image, weights) of [batch, classes], and the weights.

    Raises:
        NotImplementedError: an operator that is not stated here.
    """
    nodes = [(node, {a.name: helper.get_attribute_value(a) for a in node.attribute}) for node in model.graph.node]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    stored |= {n.output[0]: numpy_helper.to_array(a["value"]) for n, a in nodes if n.op_type == "Constant"}
    nodes = [(node, attributes) for node, attributes in nodes if node.op_type != "Constant"]
    unknown = {node.op_type for node, _ in nodes} - OPERATORS.keys()
    if unknown:
        raise NotImplementedError(f"no {', '.join(sorted(unknown))}")
    weights = {name: jnp.asarray(array) for name, array in stored.items() if array.dtype == np.float32}
    shapes = {name: array for name, array in stored.items() if name not in weights}  # jit wants them at once
    image, result = model.graph.input[0].name, model.graph.output[0].name

    def scores(x: jax.Array, weights: dict[str, jax.Array]) -> jax.Array:
        values = {**shapes, **weights, image: x, "": None}
        for node, attributes in nodes:
            values[node.output[0]] = OPERATORS[node.op_type](attributes, *(values[name] for name in node.input))
        return values[result].reshape(len(x), -1)

    return scores, weights


def _pads(a: Attributes) -> list[tuple[int, int]]:
    """ONNX states all begins, then all ends."""
    pads = a.get("pads", [0, 0, 0, 0])
    return [(pads[0], pads[2]), (pads[1], pads[3])]


def _conv(a: Attributes, x: jax.Array, weight: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    y = lax.conv_general_dilated(
        x,
        weight,
        window_strides=a.get("strides", [1, 1]),
        padding=_pads(a),
        rhs_dilation=a.get("dilations", [1, 1]),
        feature_group_count=a.get("group", 1),
    )
    return y if bias is None else y + bias[:, None, None]


def _pool(a: Attributes, x: jax.Array, first: float, join: Callable[..., jax.Array]) -> jax.Array:
    window, strides = (1, 1, *a["kernel_shape"]), (1, 1, *a.get("strides", [1, 1]))
    return lax.reduce_window(x, first, join, window, strides, [(0, 0), (0, 0), *_pads(a)])


def _average_pool(a: Attributes, x: jax.Array) -> jax.Array:
    if any(a.get("pads", ())):
        raise NotImplementedError("AveragePool with pads")
    return _pool(a, x, 0.0, lax.add) / math.prod(a["kernel_shape"])


def _gemm(a: Attributes, x: jax.Array, weight: jax.Array, bias: jax.Array) -> jax.Array:
    return (x.T if a.get("transA") else x) @ (weight.T if a.get("transB") else weight) + bias


def _batch_norm(a: Attributes, x: jax.Array, *parameters: jax.Array) -> jax.Array:
    scale, shift, mean, variance = (each[:, None, None] for each in parameters)
    return (x - mean) * (scale * lax.rsqrt(variance + a.get("epsilon", 1e-5))) + shift


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": lambda a, x, y: x + y,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": lambda a, x, low, high: jnp.clip(x, low, high),
    "Concat": lambda a, *xs: jnp.concatenate(xs, a["axis"]),
    "Conv": _conv,
    "Flatten": lambda a, x: x.reshape(len(x), -1),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdims=True),
    "MaxPool": lambda a, x: _pool(a, x, -jnp.inf, lax.max),
    "Mul": lambda a, x, y: x * y,
    "ReduceMean": lambda a, x: x.mean(tuple(a["axes"]), keepdims=bool(a.get("keepdims", 1))),
    "Relu": lambda a, x: jax.nn.relu(x),
    "Reshape": lambda a, x, shape: x.reshape(shape),
    "Sigmoid": lambda a, x: jax.nn.sigmoid(x),
    "Sum": lambda a, *xs: sum(xs),
    "Unsqueeze": lambda a, x: jnp.expand_dims(x, tuple(a["axes"])),
}
