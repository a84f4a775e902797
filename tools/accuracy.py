"""How exact the gradient is, beside PyTorch's own float32 autograd, both against float64 autograd.

    pip install torch                                     # only this tool and the like need it
    python tools/accuracy.py                              # the nets that the onnx package ships, random weights
    python tools/accuracy.py --data DIR --markdown docs/accuracy.md   # and trained ones on photographs, in the page

PyTorch runs the original ONNX graph, node by node, with its own functions. The error of a gradient g is
‖g − g64‖ / ‖g64‖. A rectifier or pool so near its kink that rounding decides costs a float32 gradient a thousandth or
more at one blow, here as there: figures near 1e-6 had no such kink, the others show how many and how grave they were.
In mixed and double precision there is none. Every profile is run on the CPU, that of CUDA too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
import typer
from onnx import helper, numpy_helper
from page import renew
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.nn import functional

from onnx_saliency.backward import PROFILES
from onnx_saliency.exporter import Precision, export

sys.path += [str(Path(__file__).parents[1] / "tests" / room) for room in ("models", "reference")]
import light
import pictures

Array = npt.NDArray[Any]
Tensor = torch.Tensor

LONGER: tuple[Precision, ...] = ("mixed", "double")
COLUMNS = (
    "net",
    "ours, median",
    "max",
    *(f"profile {profile}, median" for profile in PROFILES[1:]),
    "float32 autograd, median",
    "max",
    *(heading for precision in LONGER for heading in (f"ours, {precision} precision, median", "max", "cost of it")),
    "outputs, max",
)


# --- The original graph in PyTorch --------------------------------------------------------------------


class Network:
    """An ONNX classifier as a PyTorch function in one dtype."""

    def __init__(self, model: onnx.ModelProto, dtype: torch.dtype) -> None:
        self.nodes, self.dtype = model.graph.node, dtype
        self.opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        self.constants = {t.name: self._tensor(numpy_helper.to_array(t)) for t in model.graph.initializer}
        (self.image,) = [value.name for value in model.graph.input if value.name not in self.constants]
        self.score = model.graph.output[0].name
        makers = {node.output[0]: node for node in self.nodes}
        while self.score in makers and makers[self.score].op_type in ("Softmax", "Identity"):
            self.score = makers[self.score].input[0]

    def gradient(self, image: Array) -> Array:
        """∂S_c/∂I of the predicted class c, S_c before a final Softmax."""
        x = self._tensor(image).requires_grad_()
        values: dict[str, Any] = self.constants | {self.image: x, "": None}
        for node in self.nodes:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                values[node.output[0]] = self._tensor(numpy_helper.to_array(attributes["value"]))
            else:
                run = FUNCTIONS[node.op_type]
                values[node.output[0]] = run(_Attributes(attributes, self), *(values[name] for name in node.input))
            if node.output[0] == self.score:
                break
        logits = values[self.score].flatten(1)
        logits.gather(1, logits.argmax(1, keepdim=True)).sum().backward()
        assert x.grad is not None
        return x.grad.numpy()

    def _tensor(self, array: Array) -> Tensor:
        tensor = torch.from_numpy(np.array(array))
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor


@dataclass(frozen=True)
class _Attributes:
    values: dict[str, Any]
    network: Network

    def __call__(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def ints(self, name: str, value: Tensor | None) -> list[int] | None:
        """Integers that were an attribute once and are an input now."""
        return list(self(name, ())) or None if value is None else value.tolist()


def _padded(a: _Attributes, x: Tensor, value: float) -> Tensor:
    """ONNX states pads as all begins, all ends; PyTorch pairs them, from the last axis on."""
    pads = a("pads", [0, 0, 0, 0])
    return functional.pad(x, (pads[1], pads[3], pads[0], pads[2]), value=value) if any(pads) else x


def _conv(a: _Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    options = {"stride": a("strides", [1, 1]), "dilation": a("dilations", [1, 1]), "groups": a("group", 1)}
    return functional.conv2d(_padded(a, x, 0), weight, bias, **options)


def _max_pool(a: _Attributes, x: Tensor) -> Tensor:
    x = _padded(a, x, -torch.inf)
    return functional.max_pool2d(x, a("kernel_shape"), a("strides", 1), ceil_mode=bool(a("ceil_mode", 0)))


def _average_pool(a: _Attributes, x: Tensor) -> Tensor:
    size, strides = a("kernel_shape"), a("strides", 1)
    total = functional.avg_pool2d(_padded(a, x, 0), size, strides)
    return total / functional.avg_pool2d(_padded(a, torch.ones_like(x), 0), size, strides)  # padding does not count


def _lrn(a: _Attributes, x: Tensor) -> Tensor:
    return functional.local_response_norm(x, a("size"), a("alpha", 1e-4), a("beta", 0.75), a("bias", 1.0))


def _batch_norm(a: _Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return functional.batch_norm(x, mean, var, scale, bias, eps=a("epsilon", 1e-5))


def _clip(a: _Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x.clamp(a("min") if low is None else low, a("max") if high is None else high)


def _gemm(a: _Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x, weight = (x.T if a("transA") else x), (weight.T if a("transB") else weight)
    y = a("alpha", 1.0) * (x @ weight)
    return y if bias is None else y + a("beta", 1.0) * bias


def _reshape(a: _Attributes, x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape.tolist())])


def _unsqueeze(a: _Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    for axis in a.ints("axes", axes) or []:
        x = x.unsqueeze(axis)
    return x


def _slice(a: _Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor, steps: Tensor) -> Tensor:
    """Steps are positive in all nets here."""
    for start, end, axis, step in zip(*(t.tolist() for t in (starts, ends, axes, steps)), strict=True):
        size = x.shape[axis]
        x = x.index_select(axis, torch.arange(*slice(start, end, step).indices(size)))
    return x


def _pad(a: _Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None) -> Tensor:
    before, after = pads.reshape(2, -1).tolist()
    widths = [width for pair in zip(reversed(before), reversed(after), strict=True) for width in pair]
    return functional.pad(x, widths, value=0.0 if value is None else float(value))


def _constant_of_shape(a: _Attributes, shape: Tensor) -> Tensor:
    fill = numpy_helper.to_array(a("value"))
    return torch.full(shape.tolist(), fill[0].item(), dtype=torch.from_numpy(fill.copy()).dtype)


def _cast(a: _Attributes, x: Tensor) -> Tensor:
    to = torch.from_numpy(np.zeros(1, helper.tensor_dtype_to_np_dtype(a("to")))).dtype
    return x.to(a.network.dtype if to.is_floating_point else to)


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "Conv": _conv,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "LRN": _lrn,
    "BatchNormalization": _batch_norm,
    "Relu": lambda a, x: x.relu(),
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a("alpha", 0.01)),
    "Clip": _clip,
    "Gemm": _gemm,
    "Add": lambda a, x, y: x + y,
    "Sum": lambda a, *xs: sum(xs),
    "Mul": lambda a, x, y: x * y,
    "Identity": lambda a, x: x,
    "Dropout": lambda a, x, *_: x,
    "Reshape": _reshape,
    "Flatten": lambda a, x: x.flatten(1),
    "Unsqueeze": _unsqueeze,
    "Transpose": lambda a, x: x.permute(a("perm")),
    "Concat": lambda a, *xs: torch.cat(xs, a("axis")),
    "Slice": _slice,
    "Pad": _pad,
    "ReduceMean": lambda a, x, axes=None: x.mean(a.ints("axes", axes), keepdim=bool(a("keepdims", 1))),
    "Softmax": lambda a, x: x.softmax(a("axis", -1)),
    "Cast": _cast,
    "ConstantOfShape": _constant_of_shape,
}


# --- The measurement ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figures:
    """What is in a row of the table.

    errors: one row per image; of each profile, of float32 autograd, and of each longer precision.
    costs: of each image, each longer precision's time by that of single precision, both for the CPU.
    outputs: the largest relative difference of the model's own outputs, in float32.
    """

    errors: Array
    costs: Array
    outputs: float

    @property
    def row(self) -> tuple[str, ...]:
        """As in the table."""
        median, largest = ([f"{e:.1e}" for e in each] for each in (np.median(self.errors, 0), self.errors.max(0)))
        costs = [f"{cost:.1f}" for cost in np.median(self.costs, 0)]
        count = len(PROFILES)
        longer = zip(median[count + 1 :], largest[count + 1 :], costs, strict=True)
        return (
            *(median[0], largest[0], *median[1 : count + 1], largest[count]),
            *(figure for figures in longer for figure in figures),
            f"{self.outputs:.1e}",
        )


def measure(model: onnx.ModelProto, images: Array) -> Figures:
    """The errors of every profile, of float32 autograd and of longer precisions; costs are ratios, image by image."""
    exact, ordinary = Network(model, torch.float64), Network(model, torch.float32)
    original = _session(model)
    single = [_session(export(model, profile=each, check=False)) for each in PROFILES]
    longer = [_session(export(model, profile="cpu", precision=each, check=False)) for each in LONGER]
    names = [value.name for value in original.get_outputs()]
    errors, costs, outputs = [], [], []
    for image in images:
        feeds = {exact.image: image[None]}
        before = original.run(names, feeds)
        gradients, seconds = [], []
        for session in (*single, *longer):
            start = time.perf_counter()
            gradient, *after = session.run(["input_gradient", *names], feeds)
            seconds.append(time.perf_counter() - start)
            gradients.append(gradient)
            outputs += [] if session in longer else [_error(a, b) for a, b in zip(after, before, strict=True)]
        gradients.insert(len(single), ordinary.gradient(image[None]))
        expected = exact.gradient(image[None])
        errors.append([_error(gradient, expected) for gradient in gradients])
        costs.append(np.array(seconds[len(single) :]) / seconds[PROFILES.index("cpu")])
    return Figures(np.array(errors), np.array(costs), max(outputs))


def _error(actual: Array, expected: Array) -> float:
    expected = expected.astype(np.float64)
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1  # those of other sessions spin, and would be timed too
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _cases(data: Path | None, count: int) -> Iterator[tuple[str, onnx.ModelProto, Array]]:
    for name in () if data is None else pictures.NAMES:
        model = onnx.load(pictures.model_path(data, name))
        yield name, model, pictures.read_pictures(data, name, count)
    for name in light.NAMES:
        model = light.light_model(name)
        yield f"light {name}", model, light.random_images(model, count)


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of trained models and photographs.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures per net.")] = 8,
    markdown: Annotated[Path | None, typer.Option(help="Renew the table in this page.")] = None,
) -> None:
    """Compare the gradient with float64 autograd, beside float32 autograd."""
    console = Console()
    total = len(light.NAMES) + (len(pictures.NAMES) if data is not None else 0)
    rows = []
    for name, model, images in track(_cases(data, count), "Measuring", total=total, console=console):
        rows.append((name, *measure(model, images).row))
    table = Table(title=f"Relative L2 error against float64 autograd; pictures per net: {count}")
    for index, column in enumerate(COLUMNS):
        table.add_column(column, no_wrap=index == 0, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if markdown is not None:
        lines = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *rows]
        renew(markdown, "accuracy", "".join(f"| {' | '.join(line)} |\n" for line in lines))


if __name__ == "__main__":
    typer.run(main)
