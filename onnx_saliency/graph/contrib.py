"""Definitions of onnxruntime's fused operators, which its optimiser writes, in standard operators.

A model saved after optimisation (`SessionOptions.optimized_model_filepath`, level basic or extended) or by
`onnxruntime.transformers` holds them in domain com.microsoft. Source: onnxruntime, docs/ContribOperators.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnx_saliency.graph.writer import Writer, label

Definition = Callable[["Fused"], Sequence[ir.Value]]


class RefusedError(Exception):
    """This form of the operator has no definition here; says which."""


class Fused:
    """A fused node: its inputs and attributes, and what writes the nodes in its place."""

    def __init__(self, node: ir.Node, attempt: int) -> None:
        self.node = node
        self.write = Writer(node, f"{label(node)}/{node.op_type}{attempt or ''}/")
        types = (value.dtype for value in node.inputs if value is not None and value.dtype is not None)
        dtype = next((dtype for dtype in types if dtype.is_floating_point()), None)
        if dtype is None:
            raise RefusedError("the type of its input is not known")
        self.dtype = dtype

    def __call__(self, op_type: str, *inputs: ir.Value | float | Sequence[int] | None, **attributes: Any) -> ir.Value:
        """Write a standard operator; floats are constants of the node's type, sequences are shapes and axes."""
        return self.write(op_type, *(self._value(x) for x in inputs), **attributes)

    def __getitem__(self, index: int) -> ir.Value:
        value = self.optional(index)
        assert value is not None, f"{self.node.op_type} has no input {index}"
        return value

    def optional(self, index: int) -> ir.Value | None:
        """Input `index`, None where it is left out."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def refuse(self, **inputs: int) -> None:
        """Refuse the node if any of these optional inputs is given."""
        given = [name for name, index in inputs.items() if self.optional(index) is not None]
        if given:
            raise RefusedError(f"its input {', '.join(given)} is not served")

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute, `default` where the node does not state it."""
        attribute = self.node.attributes.get(name)
        if attribute is None:
            return default
        return attribute.as_string() if attribute.type == ir.AttributeType.STRING else attribute.value

    def kept(self, *names: str) -> dict[str, Any]:
        """Those of the attributes `names` that the node states."""
        return {name: self.attribute(name, None) for name in names if name in self.node.attributes}

    def rank(self, value: ir.Value) -> int:
        """Number of axes."""
        if value.shape is None:
            raise RefusedError(f"the number of axes of {value.name!r} is not known")
        return len(value.shape)

    def width(self, value: ir.Value) -> int:
        """Length of the last axis."""
        last = value.shape[-1] if value.shape is not None and len(value.shape) else None
        if not isinstance(last, int):
            raise RefusedError(f"the last axis of {value.name!r} is open")
        return last

    def _value(self, x: ir.Value | float | Sequence[int] | None) -> ir.Value | None:
        if x is None or isinstance(x, ir.Value):
            return x
        return self.write.constant(np.array(x, self.dtype.numpy()) if isinstance(x, float | int) else list(x))


# --- activations -------------------------------------------------------------------------------

_PARAMETERS = {
    "Clip": ("min", "max"),
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
    "Relu": (),
    "Selu": ("alpha", "gamma"),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": ("alpha",),
}


def _activate(n: Fused, x: ir.Value, name: str, parameters: dict[str, float]) -> ir.Value:
    if not name:
        return x
    if name not in _PARAMETERS:
        raise RefusedError(f"its activation {name} is not served")
    if name == "Clip":
        return n("Clip", x, float(parameters["min"]), float(parameters["max"]))
    return n(name, x, **parameters)


def _gelu(n: Fused) -> list[ir.Value]:
    """y = x (1 + erf(x / √2)) / 2"""
    return [_erf_gelu(n, n[0])]


def _bias_gelu(n: Fused) -> list[ir.Value]:
    return [_erf_gelu(n, n("Add", n[0], n[1]))]


def _erf_gelu(n: Fused, x: ir.Value) -> ir.Value:
    cdf = n("Add", n("Erf", n("Mul", x, math.sqrt(0.5))), 1.0)
    return n("Mul", n("Mul", x, cdf), 0.5)


def _fast_gelu(n: Fused) -> list[ir.Value]:
    """y = x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2"""
    x = n[0] if n.optional(1) is None else n("Add", n[0], n[1])
    cubed = n("Mul", n("Mul", x, x), x)
    inner = n("Mul", n("Add", x, n("Mul", cubed, 0.044715)), math.sqrt(2 / math.pi))
    return [n("Mul", n("Mul", x, n("Add", n("Tanh", inner), 1.0)), 0.5)]


def _quick_gelu(n: Fused) -> list[ir.Value]:
    """y = x σ(α x)"""
    return [n("Mul", n[0], n("Sigmoid", n("Mul", n[0], float(n.attribute("alpha", 1.702)))))]


# --- convolutions and matrix products ----------------------------------------------------------


def _fused_conv(n: Fused) -> list[ir.Value]:
    """y = f(x ∗ w + b + z)"""
    window = n.kept("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    y = n("Conv", n[0], n[1], n.optional(2), **window)
    z = n.optional(3)
    name = n.attribute("activation", "")
    parameters = dict(zip(_PARAMETERS.get(name, ()), n.attribute("activation_params", ()), strict=False))
    return [_activate(n, y if z is None else n("Add", y, z), name, parameters)]


def _fused_gemm(n: Fused) -> list[ir.Value]:
    """y = f(α A B + β C)"""
    y = n("Gemm", n[0], n[1], n.optional(2), **n.kept("alpha", "beta", "transA", "transB"))
    name = n.attribute("activation", "")
    stated = {key: n.attribute(f"activation_{key}", None) for key in _PARAMETERS.get(name, ())}
    return [_activate(n, y, name, {key: value for key, value in stated.items() if value is not None})]


def _fused_matmul(n: Fused) -> list[ir.Value]:
    """y = α A B, each factor transposed in its last two axes, or its first axis moved behind the batch, or both"""
    a, b = (
        _transposed(n, n[i], n.attribute(f"trans{x}", 0), n.attribute(f"transBatch{x}", 0)) for i, x in enumerate("AB")
    )
    y, alpha = n("MatMul", a, b), float(n.attribute("alpha", 1.0))
    return [y if alpha == 1 else n("Mul", y, alpha)]


def _transposed(n: Fused, x: ir.Value, trans: int, batch: int) -> ir.Value:
    if not (trans or batch) or n.rank(x) < 2:
        return x
    perm = list(range(n.rank(x)))
    if batch:
        perm = [*perm[1:-1], perm[0], perm[-1]]
    if trans:
        perm = [*perm[:-2], perm[-1], perm[-2]]
    return n("Transpose", x, perm=perm)


# --- normalisations ----------------------------------------------------------------------------


def _layer_normalization(n: Fused) -> list[ir.Value]:
    kept = n.kept("axis", "epsilon", "stash_type")
    count = len(n.node.outputs)
    return n.write.several("LayerNormalization", n[0], n[1], n.optional(2), outputs=count, **kept)


def _simplified_layer_normalization(n: Fused) -> list[ir.Value]:
    axis = n.attribute("axis", -1)
    axes = [-1] if axis == -1 else list(range(axis % n.rank(n[0]), n.rank(n[0])))
    return _root_mean_square(n, n[0], n[1], axes)[: len(n.node.outputs)]


def _root_mean_square(n: Fused, x: ir.Value, scale: ir.Value, axes: list[int]) -> list[ir.Value]:
    """y = s x / √(mean x² + ε), and 1 / √..."""
    mean = n("ReduceMean", n("Mul", x, x), axes, keepdims=1)
    inverse = n("Reciprocal", n("Sqrt", n("Add", mean, float(n.attribute("epsilon", 1e-5)))))
    return [n("Mul", n("Mul", x, inverse), scale), inverse]


def _skip_layer_normalization(n: Fused) -> list[ir.Value]:
    """t = x + skip + bias; y = LayerNormalization(t); t is the fourth output"""
    t = _skip(n, bias=4)
    beta = n.optional(3) or n("Mul", n[2], 0.0)
    y, mean, inverse = n.write.several(
        "LayerNormalization", t, n[2], beta, outputs=3, axis=-1, epsilon=float(n.attribute("epsilon", 1e-12))
    )
    return [y, mean, inverse, t][: len(n.node.outputs)]


def _skip_simplified_layer_normalization(n: Fused) -> list[ir.Value]:
    """The same with the root mean square, which has no mean."""
    t = _skip(n, bias=3)
    y, inverse = _root_mean_square(n, t, n[2], [-1])
    if len(n.node.outputs) > 1 and n.node.outputs[1].uses():
        raise RefusedError("its output mean is not defined")
    return [y, inverse, inverse, t][: len(n.node.outputs)]


def _skip(n: Fused, bias: int) -> ir.Value:
    t = n("Add", n[0], n[1])
    return t if n.optional(bias) is None else n("Add", t, n[bias])


# --- attention ---------------------------------------------------------------------------------


def _attention(n: Fused) -> list[ir.Value]:
    """q, k, v = the parts of x W + b"""
    n.refuse(mask_index=3, past=4, past_sequence_length=6)
    _refuse_modes(n)
    sizes = list(n.attribute("qkv_hidden_sizes", None) or [n.width(n[1]) // 3] * 3)
    projected = n("MatMul", n[0], n[1])
    if n.optional(2) is not None:
        projected = n("Add", projected, n[2])
    return [_attend_to_itself(n, projected, sizes, bias=n.optional(5))]


def _quantised_attention(n: Fused) -> list[ir.Value]:
    """The same of codes: x W = (x_q − z_x) (W_q − z_W) s_x s_W"""
    n.refuse(mask_index=5, past=8)
    _refuse_modes(n)
    whole = n("MatMulInteger", n[0], n[1], n.optional(6), n.optional(7))
    product = n("Mul", n("Cast", whole, to=n.dtype.value), n("Mul", n[3], n[4]))
    return [_attend_to_itself(n, n("Add", product, n[2]), [n.width(n[1]) // 3] * 3, bias=None)]


def _attend_to_itself(n: Fused, projected: ir.Value, sizes: list[int], bias: ir.Value | None) -> ir.Value:
    heads = int(n.attribute("num_heads", 1))
    parts = n.write.several("Split", projected, n.write.constant(sizes), outputs=3, axis=-1)
    return _attend(n, *(_by_head(n, x, heads) for x in parts), head=sizes[0] // heads, bias=bias)


def _multi_head_attention(n: Fused) -> list[ir.Value]:
    """q, k, v are given, [batch, length, width]"""
    n.refuse(key_padding_mask=4, past_key=6, past_value=7, past_sequence_length=8, cache_indirection=9)
    _refuse_modes(n)
    heads = int(n.attribute("num_heads", 1))
    given = [x for x in (n.optional(0), n.optional(1), n.optional(2)) if x is not None]
    if len(given) < 3 or any(n.rank(x) != 3 for x in given):
        raise RefusedError("only query, key and value of three axes are served")
    q, k, v = given
    width = n.width(q)
    if n.optional(3) is not None:
        sizes = n.write.constant([width, width, n.width(n[3]) - 2 * width])
        biases = n.write.several("Split", n[3], sizes, outputs=3, axis=0)
        q, k, v = (n("Add", x, bias) for x, bias in zip((q, k, v), biases, strict=True))
    return [_attend(n, *(_by_head(n, x, heads) for x in (q, k, v)), head=width // heads, bias=n.optional(5))]


def _refuse_modes(n: Fused) -> None:
    for mode in ("unidirectional", "do_rotary"):
        if n.attribute(mode, 0):
            raise RefusedError(f"its mode {mode} is not served")
    if any(output.uses() or output.is_graph_output() for output in n.node.outputs[1:]):
        raise RefusedError("only its first output is served")


def _by_head(n: Fused, x: ir.Value, heads: int) -> ir.Value:
    """[batch, length, width] -> [batch, head, length, width of a head]"""
    return n("Transpose", n("Reshape", x, [0, 0, heads, -1]), perm=[0, 2, 1, 3])


def _attend(n: Fused, q: ir.Value, k: ir.Value, v: ir.Value, *, head: int, bias: ir.Value | None) -> ir.Value:
    """softmax(q kᵀ / √d + bias) v, the heads side by side again"""
    scale = float(n.attribute("scale", 0.0)) or 1 / math.sqrt(head)
    scores = n("Mul", n("MatMul", q, n("Transpose", k, perm=[0, 1, 3, 2])), scale)
    weights = n("Softmax", scores if bias is None else n("Add", scores, bias), axis=-1)
    return n("Reshape", n("Transpose", n("MatMul", weights, v), perm=[0, 2, 1, 3]), [0, 0, -1])


DEFINITIONS: Mapping[str, Definition] = {
    "Attention": _attention,
    "BiasGelu": _bias_gelu,
    "FastGelu": _fast_gelu,
    "FusedConv": _fused_conv,
    "FusedGemm": _fused_gemm,
    "FusedMatMul": _fused_matmul,
    "Gelu": _gelu,
    "LayerNormalization": _layer_normalization,
    "MultiHeadAttention": _multi_head_attention,
    "QAttention": _quantised_attention,
    "QuickGelu": _quick_gelu,
    "SimplifiedLayerNormalization": _simplified_layer_normalization,
    "SkipLayerNormalization": _skip_layer_normalization,
    "SkipSimplifiedLayerNormalization": _skip_simplified_layer_normalization,
    "TransposeMatMul": _fused_matmul,
}
