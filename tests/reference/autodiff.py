"""Reverse-mode differentiation of an ONNX graph in plain numpy: slow, obvious, and independent.

It shares no code with the package. It reads the nodes of the file as they stand (opsets 7 to 18, no rewriting), runs
them one by one, keeps every value, and walks back. Floating point happens in one ``dtype``: float64 makes it the
reference, float32 shows what ordinary float32 automatic differentiation loses.

    reference = Reference("net.onnx")
    result = reference.explain(image)     # result.gradient = ∂S_c/∂I, result.logits, result.target

An operator is a pair of functions, one line of ``OPERATORS``: ``forward(n) -> y`` and ``backward(n, y, dy) -> (dx_0,
...)``, where ``n.x`` are the inputs. Gradients are given for inputs that can depend on the image; weights get none.

Rectifiers and max pools have kinks, where rounding decides which side counts: in a net of millions of them a few always
lie that near, and each costs a float32 gradient some thousandths. To compare more sharply than that, give ``explain``
the values of the float32 run as ``branches``: the side is then taken from them, all arithmetic is float64 as before.

``policy`` is what happens at a rectifier y = f(x): "gradient" f'(x) dy; "deconvnet" max(dy, 0) (Zeiler & Fergus 2013,
section 2.1); "guided" f'(x) max(dy, 0) (Springenberg et al. 2014, section 3.4).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[Any]
Gradients = tuple[Array | None, ...]


@dataclass
class Node:
    """A node of the graph with the values of its inputs; an input left out is None."""

    op: str
    attributes: dict[str, Any]
    opset: int
    dtype: npt.DTypeLike
    x: list[Array | None]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def input(self, index: int) -> Array:
        """Return an input that must be there."""
        value = self.x[index]
        assert value is not None, f"{self.op}: input {index} is missing"
        return value

    def optional(self, index: int) -> Array | None:
        """Return an input that may be left out."""
        return self.x[index] if index < len(self.x) else None

    def ints(self, name: str, index: int, since: int) -> list[int] | None:
        """Return integers that were the attribute `name` and are the input `index` since opset `since`."""
        value = self.optional(index) if self.opset >= since else self.get(name)
        return None if value is None else [int(v) for v in value]


# --- Windows: convolution and pooling -------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial axes: y at position p sees padded x at  p s + o d,  0 <= o < k."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]  # padding before
    end: tuple[int, ...]  # padding after
    size: tuple[int, ...]  # of x
    out: tuple[int, ...]  # of y

    def pad(self, x: Array, value: float = 0.0) -> Array:
        """Add the padding, and behind it what ceil_mode reaches beyond."""
        widths = [(0, 0)] * (x.ndim - len(self.size))
        for i, size in enumerate(self.size):
            reach = (self.out[i] - 1) * self.strides[i] + (self.kernel[i] - 1) * self.dilations[i] + 1
            widths.append((self.begin[i], max(self.end[i], reach - size - self.begin[i])))
        return np.pad(x, widths, constant_values=value)

    def crop(self, padded: Array) -> Array:
        """Undo `pad`."""
        return padded[(..., *(slice(b, b + s) for b, s in zip(self.begin, self.size, strict=True)))]

    def offsets(self) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...]]]:
        """Each offset o in the window, with the index of the padded values it sees from all positions."""
        for offset in np.ndindex(*self.kernel):
            starts = [o * d for o, d in zip(offset, self.dilations, strict=True)]
            spans = [(o - 1) * s + 1 for o, s in zip(self.out, self.strides, strict=True)]
            yield offset, (..., *(slice(a, a + n, s) for a, n, s in zip(starts, spans, self.strides, strict=True)))


def window(n: Node, kernel: Sequence[int]) -> Window:
    """out = floor((H + pads - d (k - 1) - 1) / s) + 1; with ceil_mode ceil, but no window starts in the end padding"""
    assert n.get("auto_pad", b"NOTSET") == b"NOTSET", f"{n.op}: auto_pad is not implemented"
    rank = len(kernel)
    size = n.input(0).shape[2:]
    strides, dilations = n.get("strides", [1] * rank), n.get("dilations", [1] * rank)
    pads = n.get("pads", [0] * 2 * rank)
    begin, end = pads[:rank], pads[rank:]
    out = []
    for i in range(rank):
        span = size[i] + begin[i] + end[i] - dilations[i] * (kernel[i] - 1) - 1
        count = span // strides[i] + 1
        if n.get("ceil_mode", 0):
            count = min(-(-span // strides[i]), (size[i] + begin[i] - 1) // strides[i]) + 1
        out.append(count)
    return Window(tuple(kernel), tuple(strides), tuple(dilations), tuple(begin), tuple(end), tuple(size), tuple(out))


def mix_channels(weight: Array, x: Array) -> Array:
    """y[n, g, m, ...] = Σ_c weight[g, m, c] x[n, g, c, ...]; channels of x and y are those of all groups in a row."""
    groups, outputs, inputs = weight.shape
    columns = x.reshape(len(x), groups, inputs, -1)
    return np.matmul(np.ascontiguousarray(weight), columns).reshape(len(x), groups * outputs, *x.shape[2:])


def grouped(n: Node) -> Array:
    """The weight of a convolution as [group, outputs, inputs, *kernel]."""
    weight, groups = n.input(1), n.get("group", 1)
    return weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])


def conv(n: Node) -> Array:
    """y[p] = b + Σ_o W[o] x[p s + o d]"""
    weight = grouped(n)
    w = window(n, weight.shape[3:])
    padded = w.pad(n.input(0))
    y = sum(mix_channels(weight[(..., *offset)], padded[seen]) for offset, seen in w.offsets())
    bias = n.optional(2)
    return y if bias is None else y + bias.reshape(-1, *[1] * len(w.kernel))


def conv_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx[p s + o d] += W[o]ᵀ dy[p]"""
    weight = grouped(n)
    w = window(n, weight.shape[3:])
    dx = w.pad(np.zeros_like(n.input(0)))
    for offset, seen in w.offsets():
        dx[seen] += mix_channels(weight[(..., *offset)].swapaxes(1, 2), dy)
    return (w.crop(dx),)


def max_pool(n: Node) -> Array:
    """y[p] = max_o x[p s + o d]"""
    w = window(n, n.get("kernel_shape"))
    padded = w.pad(n.input(0), -np.inf)
    y = np.full((*n.input(0).shape[:2], *w.out), -np.inf, n.dtype)
    for _, seen in w.offsets():
        np.maximum(y, padded[seen], out=y)
    return y


def max_pool_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx[p s + o* d] += dy[p], o* the first offset of the window that holds the maximum"""
    w = window(n, n.get("kernel_shape"))
    padded = w.pad(n.input(0), -np.inf)
    dx = np.zeros_like(padded)
    found = np.zeros(y.shape, np.bool_)
    for _, seen in w.offsets():
        first = (padded[seen] == y) & ~found
        dx[seen] += dy * first
        found |= first
    return (w.crop(dx),)


def average_window(n: Node) -> tuple[Window, Array]:
    """The window, and how many values each position averages: those of x, and of the padding if that counts."""
    w = window(n, n.get("kernel_shape"))
    ones = np.ones((1, 1, *w.size), n.dtype)
    if n.get("count_include_pad", 0):
        ones = np.pad(ones, [(0, 0), (0, 0), *zip(w.begin, w.end, strict=True)], constant_values=1)
        zeros = (0,) * len(w.size)
        padded = replace(w, begin=zeros, end=zeros, size=ones.shape[2:]).pad(ones)
    else:
        padded = w.pad(ones)
    return w, sum(padded[seen] for _, seen in w.offsets())


def average_pool(n: Node) -> Array:
    """y[p] = Σ_o x[p s + o d] / count[p]"""
    w, count = average_window(n)
    padded = w.pad(n.input(0))
    return sum(padded[seen] for _, seen in w.offsets()) / count


def average_pool_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx[p s + o d] += dy[p] / count[p]"""
    w, count = average_window(n)
    dx = w.pad(np.zeros_like(n.input(0)))
    for _, seen in w.offsets():
        dx[seen] += dy / count
    return (w.crop(dx),)


def global_average_pool(n: Node) -> Array:
    """y = mean of x over the spatial axes"""
    x = n.input(0)
    return x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)


def global_average_pool_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx = dy / positions, everywhere"""
    x = n.input(0)
    return (np.broadcast_to(dy / math.prod(x.shape[2:]), x.shape),)


# --- Normalisation --------------------------------------------------------------------------------


def batch_scale(n: Node) -> tuple[Array, Array]:
    """Inference is affine per channel, y = a x + b:  a = scale / √(var + ε),  b = bias - a mean"""
    scale, bias, mean, var = (n.input(i) for i in range(1, 5))
    a = scale / np.sqrt(var + n.get("epsilon", 1e-5))
    shape = (-1, *[1] * (n.input(0).ndim - 2))
    return a.reshape(shape), (bias - a * mean).reshape(shape)


def batch_normalization(n: Node) -> Array:
    """y = a x + b"""
    a, b = batch_scale(n)
    return n.input(0) * a + b


def batch_normalization_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx = a dy"""
    return (dy * batch_scale(n)[0],)


def over_channels(x: Array, before: int, after: int) -> Array:
    """y[:, c] = Σ x[:, c - before ... c + after]"""
    channels = x.shape[1]
    padded = np.pad(x, [(0, 0), (before, after)] + [(0, 0)] * (x.ndim - 2))
    return sum(padded[:, i : i + channels] for i in range(before + after + 1))


def lrn_base(n: Node) -> Array:
    """s_c = bias + α / size Σ x_i²,  c - floor((size - 1) / 2) <= i <= c + ceil((size - 1) / 2)"""
    size = n.get("size")
    squares = over_channels(n.input(0) ** 2, (size - 1) // 2, size // 2)
    return n.get("bias", 1.0) + n.get("alpha", 1e-4) / size * squares


def lrn(n: Node) -> Array:
    """y = x s^-β"""
    return n.input(0) * lrn_base(n) ** -n.get("beta", 0.75)


def lrn_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx_i = dy_i s_i^-β - 2 α β / size x_i Σ_c dy_c x_c s_c^(-β-1), over the c whose window holds i"""
    x, s, size, beta = n.input(0), lrn_base(n), n.get("size"), n.get("beta", 0.75)
    seen = over_channels(dy * x * s ** (-beta - 1), size // 2, (size - 1) // 2)
    return (dy * s**-beta - 2 * n.get("alpha", 1e-4) * beta / size * x * seen,)


def softmax_view(n: Node, x: Array) -> Array:
    """Values that sum to one in the last axis; before opset 13 all axes from `axis` on were one."""
    if n.opset < 13:
        return x.reshape(math.prod(x.shape[: n.get("axis", 1)]), -1)
    return np.moveaxis(x, n.get("axis", -1), -1)


def softmax_unview(n: Node, view: Array) -> Array:
    """Undo `softmax_view`."""
    return view.reshape(n.input(0).shape) if n.opset < 13 else np.moveaxis(view, -1, n.get("axis", -1))


def softmax(n: Node) -> Array:
    """y = e^x / Σ e^x"""
    x = softmax_view(n, n.input(0))
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return softmax_unview(n, e / e.sum(axis=-1, keepdims=True))


def softmax_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx = y (dy - Σ y dy)"""
    v, dv = softmax_view(n, y), softmax_view(n, dy)
    return (softmax_unview(n, v * (dv - (v * dv).sum(axis=-1, keepdims=True))),)


# --- Element by element, and linear ---------------------------------------------------------------


def clip_limits(n: Node) -> tuple[Any, Any]:
    """Attributes before opset 11, inputs since."""
    low, high = (n.optional(1), n.optional(2)) if n.opset >= 11 else (n.get("min"), n.get("max"))
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def clip_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx = dy where min < y < max"""
    low, high = clip_limits(n)
    return (np.where((y > low) & (y < high), dy, 0),)


def leaky_relu_slope(n: Node, z: Array) -> Array:
    """1 where z > 0, else α; z may be x or y, of one sign for α >= 0"""
    return np.where(z > 0, 1, n.get("alpha", 0.01)).astype(n.dtype)


def unbroadcast(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sum over the axes along which a value of `shape` was repeated."""
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    repeated = tuple(i for i, size in enumerate(shape) if size == 1)
    return gradient.sum(axis=repeated, keepdims=True)


def sum_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx_i = dy"""
    return tuple(unbroadcast(dy, n.input(i).shape) for i in range(len(n.x)))


def mul_back(n: Node, y: Array, dy: Array) -> Gradients:
    """da = dy b,  db = dy a"""
    a, b = n.input(0), n.input(1)
    return unbroadcast(dy * b, a.shape), unbroadcast(dy * a, b.shape)


def gemm_operands(n: Node) -> tuple[Array, Array]:
    """A and B, transposed as stated."""
    a, b = n.input(0), n.input(1)
    return (a.T if n.get("transA", 0) else a), (b.T if n.get("transB", 0) else b)


def gemm(n: Node) -> Array:
    """y = α A B + β C"""
    a, b = gemm_operands(n)
    y, c = n.get("alpha", 1.0) * (a @ b), n.optional(2)
    return y if c is None else y + n.get("beta", 1.0) * c


def gemm_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dA = α dy Bᵀ"""
    da = n.get("alpha", 1.0) * (dy @ gemm_operands(n)[1].T)
    return (da.T if n.get("transA", 0) else da,)


# --- Shapes ---------------------------------------------------------------------------------------


def reshape(n: Node) -> Array:
    """0 keeps the size, -1 takes what is left"""
    x = n.input(0)
    return x.reshape([x.shape[i] if size == 0 else int(size) for i, size in enumerate(n.input(1))])


def reshape_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx = dy in the shape of x: for every operator that only renames axes"""
    return (dy.reshape(n.input(0).shape),)


def flatten(n: Node) -> Array:
    """[axes before `axis`, the others]"""
    x, axis = n.input(0), n.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def unsqueeze(n: Node) -> Array:
    """New axes of size 1"""
    axes = n.ints("axes", 1, since=13)
    assert axes is not None
    return np.expand_dims(n.input(0), tuple(axes))


def transpose_back(n: Node, y: Array, dy: Array) -> Gradients:
    """The inverse permutation"""
    perm = n.get("perm")
    return (dy.transpose(None if perm is None else np.argsort(perm)),)


def concat_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx_i is its piece of dy"""
    axis = n.get("axis")
    ends = np.cumsum([n.input(i).shape[axis] for i in range(len(n.x))])
    return tuple(np.split(dy, ends[:-1], axis))


def slice_index(n: Node) -> tuple[slice, ...]:
    """Attributes before opset 10, inputs since."""
    starts, ends = n.ints("starts", 1, since=10), n.ints("ends", 2, since=10)
    assert starts is not None
    assert ends is not None
    axes = n.ints("axes", 3, since=10) or list(range(len(starts)))
    steps = n.ints("steps", 4, since=10) or [1] * len(starts)
    index = [slice(None)] * n.input(0).ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return tuple(index)


def slice_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx = dy at the places read, 0 elsewhere"""
    dx = np.zeros_like(n.input(0))
    dx[slice_index(n)] = dy
    return (dx,)


def pad_widths(n: Node) -> list[tuple[int, int]]:
    """(before, after) of every axis; attributes before opset 11, inputs since, `axes` since 18."""
    assert n.get("mode", b"constant") == b"constant", "Pad: only mode constant is implemented"
    pads, rank = n.ints("pads", 1, since=11), n.input(0).ndim
    assert pads is not None
    axes = n.ints("axes", 3, since=18) or list(range(rank))
    widths = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        widths[axis] = (pads[i], pads[i + len(axes)])
    return widths


def pad(n: Node) -> Array:
    """x with constant borders"""
    value = n.optional(2) if n.opset >= 11 else n.get("value")
    return np.pad(n.input(0), pad_widths(n), constant_values=0 if value is None else float(np.squeeze(value)))


def pad_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx = dy without its borders"""
    inner = (slice(before, size - after) for (before, after), size in zip(pad_widths(n), dy.shape, strict=True))
    return (dy[tuple(inner)],)


def mean_axes(n: Node) -> tuple[int, ...] | None:
    """Attribute before opset 18, input since; None means all."""
    axes = n.ints("axes", 1, since=18)
    return None if axes is None else tuple(axes)


def reduce_mean(n: Node) -> Array:
    """y = mean of x over the axes"""
    return np.asarray(n.input(0).mean(axis=mean_axes(n), keepdims=bool(n.get("keepdims", 1))))


def reduce_mean_back(n: Node, y: Array, dy: Array) -> Gradients:
    """dx = dy / values averaged, everywhere"""
    x = n.input(0)
    kept = x.mean(axis=mean_axes(n), keepdims=True).shape
    return (np.broadcast_to(dy.reshape(kept) / (x.size // math.prod(kept)), x.shape),)


# --- Constants ------------------------------------------------------------------------------------


def constant(n: Node) -> Array:
    """The value given by one of its attributes"""
    ((name, value),) = n.attributes.items()
    return numpy_helper.to_array(value) if name == "value" else np.asarray(value)


def constant_of_shape(n: Node) -> Array:
    """One value everywhere, float32 0 by default"""
    value = n.get("value")
    fill = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
    return np.full([int(size) for size in n.input(0)], fill[0])


def cast(n: Node) -> Array:
    """Integers are cast; every float has the dtype of the run"""
    to = helper.tensor_dtype_to_np_dtype(n.get("to"))
    return n.input(0).astype(n.dtype if np.issubdtype(to, np.floating) else to)


def shape(n: Node) -> Array:
    """The sizes of x"""
    return np.array(n.input(0).shape[n.get("start", 0) : n.get("end")], np.int64)


def no_gradient(n: Node, y: Array, dy: Array) -> Gradients:
    """The value does not depend on the image"""
    return ()


Forward = Callable[[Node], Array]
Backward = Callable[[Node, Array, Array], Gradients]

OPERATORS: dict[str, tuple[Forward, Backward]] = {
    "Conv": (conv, conv_back),
    "MaxPool": (max_pool, max_pool_back),
    "AveragePool": (average_pool, average_pool_back),
    "GlobalAveragePool": (global_average_pool, global_average_pool_back),
    "BatchNormalization": (batch_normalization, batch_normalization_back),
    "LRN": (lrn, lrn_back),
    "Softmax": (softmax, softmax_back),
    "Relu": (lambda n: np.maximum(n.input(0), 0), lambda n, y, dy: (dy * (y > 0),)),
    "LeakyRelu": (
        lambda n: n.input(0) * leaky_relu_slope(n, n.input(0)),
        lambda n, y, dy: (dy * leaky_relu_slope(n, y),),
    ),
    "Clip": (lambda n: np.clip(n.input(0), *clip_limits(n)).astype(n.dtype), clip_back),
    "Sum": (lambda n: sum(n.input(i) for i in range(len(n.x))), sum_back),
    "Add": (lambda n: n.input(0) + n.input(1), sum_back),
    "Mul": (lambda n: n.input(0) * n.input(1), mul_back),
    "Gemm": (gemm, gemm_back),
    "Identity": (lambda n: n.input(0), lambda n, y, dy: (dy,)),
    "Dropout": (lambda n: n.input(0), lambda n, y, dy: (dy,)),
    "Reshape": (reshape, reshape_back),
    "Flatten": (flatten, reshape_back),
    "Unsqueeze": (unsqueeze, reshape_back),
    "Transpose": (lambda n: n.input(0).transpose(n.get("perm")), transpose_back),
    "Concat": (lambda n: np.concatenate([n.input(i) for i in range(len(n.x))], n.get("axis")), concat_back),
    "Slice": (lambda n: n.input(0)[slice_index(n)], slice_back),
    "Pad": (pad, pad_back),
    "ReduceMean": (reduce_mean, reduce_mean_back),
    "Cast": (cast, lambda n, y, dy: (dy,)),
    "Constant": (constant, no_gradient),
    "ConstantOfShape": (constant_of_shape, no_gradient),
    "Shape": (shape, no_gradient),
}


# --- Rectifiers -----------------------------------------------------------------------------------


def is_rectifier(n: Node) -> bool:
    """Zero or bent below a threshold of 0, straight above"""
    return n.op in ("Relu", "LeakyRelu") or (n.op == "Clip" and clip_limits(n)[0] == 0)


POLICIES: dict[str, Callable[[Backward, Node, Array, Array], Gradients]] = {
    "gradient": lambda rule, n, y, dy: rule(n, y, dy),
    "deconvnet": lambda rule, n, y, dy: (np.maximum(dy, 0),),
    "guided": lambda rule, n, y, dy: rule(n, y, np.maximum(dy, 0)),
}


# --- The graph ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """The gradient of one class score with respect to the image, and what it was computed from."""

    gradient: Array  # the image's shape
    logits: Array  # (N, classes), before a final Softmax
    target: Array  # (N,), the class of each image
    values: dict[str, Array]  # of the whole graph, by name


class Reference:
    """An ONNX model of one image input and one output, to be run and differentiated in `dtype`."""

    def __init__(
        self, model: str | os.PathLike[str] | onnx.ModelProto, dtype: type[np.floating[Any]] = np.float64
    ) -> None:
        proto = model if isinstance(model, onnx.ModelProto) else onnx.load(model)
        self.dtype = dtype
        self.opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        self.nodes = list(proto.graph.node)
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        (self.image,) = [value.name for value in proto.graph.input if value.name not in self.constants]
        self.outputs = [value.name for value in proto.graph.output]

    @property
    def score(self) -> str:
        """The value that is differentiated: the first output, or what a final Softmax reads."""
        makers = {node.output[0]: node for node in self.nodes}
        name = self.outputs[0]
        while name in makers and makers[name].op_type in ("Softmax", "Identity"):
            name = makers[name].input[0]
        return name

    def explain(
        self,
        image: Array,
        target: int | Sequence[int] = -1,
        branches: Mapping[str, Array] | None = None,
        policy: str = "gradient",
    ) -> Result:
        """Differentiate the score of `target` (-1: the predicted class; one for all images, or one per image).

        `branches` are values of another run, by name: those from which the side of a kink is taken (`kinks`).
        """
        values = self.forward(image)
        score = values[self.score]
        logits = score.reshape(len(score), -1)
        wanted = np.broadcast_to(np.asarray(target), len(score))
        classes = np.where(wanted < 0, logits.argmax(axis=1), wanted)
        seed = np.zeros_like(logits)
        seed[np.arange(len(score)), classes] = 1
        gradient = self.backward(values | dict(branches or {}), {self.score: seed.reshape(score.shape)}, policy)
        return Result(gradient, logits, classes, values)

    @property
    def kinks(self) -> list[str]:
        """The values that tell on which side of its kink each rectifier and pool is."""
        nodes = [node for node in self.nodes if node.op_type in ("Relu", "LeakyRelu", "Clip", "MaxPool")]
        read = [node.input[0] for node in nodes if node.op_type == "MaxPool" and node.input[0] != self.image]
        return sorted({*read, *(node.output[0] for node in nodes)})

    def forward(self, image: Array) -> dict[str, Array]:
        """Run the graph; return every value by name."""
        values = dict(self.constants) | {self.image: image}
        for node in self.nodes:
            values[node.output[0]] = self.step(node, values)
        return values

    def step(self, node: onnx.NodeProto, values: Mapping[str, Array]) -> Array:
        """Run one node."""
        return OPERATORS[node.op_type][0](self._read(node, values))

    def backward(self, values: Mapping[str, Array], seeds: Mapping[str, Array], policy: str = "gradient") -> Array:
        """Return Σ ∂value/∂image · seed over `seeds`: the chain rule, node by node from last to first."""
        moving = {self.image}  # the values that depend on the image; shapes, being integers, carry no gradient
        for node in self.nodes:
            name = node.output[0]
            if moving.intersection(node.input) and np.issubdtype(values[name].dtype, np.floating):
                moving.add(name)
        gradients = {name: np.asarray(seed, self.dtype) for name, seed in seeds.items()}
        for node in reversed(self.nodes):
            dy = gradients.get(node.output[0])
            if dy is None or node.output[0] not in moving:
                continue
            rule = OPERATORS[node.op_type][1]
            n = self._read(node, values)
            at = POLICIES[policy if is_rectifier(n) else "gradient"]
            found = at(rule, n, self._float(values[node.output[0]]), dy)
            for index, name in enumerate(node.input):
                if name in moving:
                    dx = found[index] if index < len(found) else None
                    if dx is None:
                        raise NotImplementedError(f"{node.op_type}: no gradient for input {index} ({name!r})")
                    gradients[name] = gradients[name] + dx if name in gradients else dx
        return gradients[self.image]

    def _read(self, node: onnx.NodeProto, values: Mapping[str, Array]) -> Node:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        inputs = [self._float(values[name]) if name else None for name in node.input]
        return Node(node.op_type, attributes, self.opset, self.dtype, inputs)

    def _float(self, value: Array) -> Array:
        return value.astype(self.dtype, copy=False) if np.issubdtype(value.dtype, np.floating) else value
