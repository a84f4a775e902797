"""A network that forgets, layer by layer: the weights of chosen layers drawn again, in the graph's initializers.

The layers are those of the canonical graph (`graph.normalise`): BatchNormalization is folded into the convolution
before it, recurrent operators are written out, functions are inlined. So the framework that made the file does not
matter. Quantised weights are codes and drawn as codes; a bias inside a quantised operator stays as it was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy import stats

from onnx_saliency.backward import Path, find_path, reads
from onnx_saliency.errors import MetricError, ModelError
from onnx_saliency.exporter.classifier import read_classifier
from onnx_saliency.graph import ModelSource, describe, load
from onnx_saliency.graph.folding import constant
from onnx_saliency.graph.quantised import Code, float_operator, form, is_on_codes
from onnx_saliency.graph.writer import subgraphs

Floats = npt.NDArray[np.float64]

STAGES = 12
_LIMIT = 2.0  # beyond which nothing is drawn
_DEVIATION = float(stats.truncnorm.std(-_LIMIT, _LIMIT))  # of what is left of a standard normal distribution

_MIXING = frozenset(
    {"Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul", "Einsum"}
    | {"BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization"}
)
"""Operators that make a layer where they read constants."""
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "PRelu"})
"""Operators whose constants, biases and scales, belong to the layer before them."""


@dataclass(frozen=True)
class Weight:
    """An initializer of a layer, and the number that its new values are drawn around.

    Attributes:
        name: its name in the graph.
        centre: 0 of a kernel, or the code that stands for 0; None, of biases and scales, is their own mean.
    """

    name: str
    centre: float | None


@dataclass(frozen=True)
class Stage:
    """Layers that are randomised together.

    Attributes:
        layers: names of their nodes, the nearest to the output first.
        weights: their initializers.
    """

    layers: tuple[str, ...]
    weights: tuple[Weight, ...]


def normal(weights: Floats, centre: float | None, draws: np.random.Generator) -> Floats:
    """Draw from a normal distribution truncated at two standard deviations, of the weights' own spread around `centre`.

    Kernels are drawn around 0, as networks are initialised: around their own mean, mostly below 0, rectifiers die.
    """
    middle = weights.mean() if centre is None else centre
    spread = np.sqrt(((weights - middle) ** 2).mean())
    return np.asarray(middle + spread / _DEVIATION * _truncated(draws, weights.shape))


def permutation(weights: Floats, centre: float | None, draws: np.random.Generator) -> Floats:
    """The weights themselves in another order."""
    return draws.permutation(weights.ravel()).reshape(weights.shape)


DRAWS: dict[str, Callable[[Floats, float | None, np.random.Generator], Floats]] = {
    "normal": normal,
    "permutation": permutation,
}
"""How weights are drawn again: either keeps their scale, so that the signal neither dies nor explodes."""


class Forgetful:
    """One classifier in many states, each with other layers randomised.

    A weight's new values depend on seed and weight alone: the same in every state that forgets its layer.

    Args:
        model: path, bytes, onnx.ModelProto or onnx_ir.Model.
        stages: into how many groups of about as many layers the layers are put; a stage a layer where there are fewer.
        draw: "normal" or "permutation" (`DRAWS`).
        seed: 0 or more.
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.

    Attributes:
        stages: the nearest to the output first.

    Raises:
        ModelError: the model cannot be read, is no image classifier, or has no weights between image and score.
        MetricError: an option out of range.

    Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3; all trainable variables are drawn again.
    """

    def __init__(
        self,
        model: ModelSource,
        *,
        stages: int = STAGES,
        draw: str = "normal",
        seed: int = 0,
        input: str | None = None,
        output: str | None = None,
    ) -> None:
        if stages < 1 or seed < 0 or draw not in DRAWS:
            raise MetricError(
                f"randomisation wants 1 or more stages, a seed of 0 or more and a draw of {', '.join(DRAWS)}; "
                f"found {stages}, {seed}, {draw!r}"
            )
        classifier = read_classifier(load(model), input=input, output=output)
        self._model, self._draw, self._seed = classifier.model, DRAWS[draw], seed
        layers = list(_find_layers(find_path(self._model.graph, [classifier.score], [classifier.image])))
        if not layers:
            raise ModelError(
                f"{describe(model)}: no weights between image and score, so there is nothing to randomise."
            )
        count = min(stages, len(layers))
        ends = [round(len(layers) * stage / count) for stage in range(count + 1)]
        self.stages = tuple(
            Stage(
                tuple(name for name, _ in layers[start:end]),
                tuple(weight for _, weights in layers[start:end] for weight in weights),
            )
            for start, end in pairwise(ends)
        )
        self._places = {weight.name: place for place, weight in enumerate(w for _, weights in layers for w in weights)}

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return sum(len(stage.layers) for stage in self.stages)

    def cascading(self, count: int) -> ir.Model:
        """The model with the first `count` stages randomised, from the output down."""
        return self._forget(self.stages[:count])

    def independent(self, index: int) -> ir.Model:
        """The model with one stage randomised and all others as they were trained."""
        return self._forget(self.stages[index : index + 1])

    def _forget(self, stages: Iterable[Stage]) -> ir.Model:
        model = self._model.clone()
        for weight in (weight for stage in stages for weight in stage.weights):
            value = model.graph.initializers[weight.name]
            assert value.const_value is not None  # as when it was found
            value.const_value = self._again(weight, value.const_value)
        return model

    def _again(self, weight: Weight, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        trained = tensor.numpy()
        draws = np.random.default_rng([self._seed, self._places[weight.name]])
        drawn = self._draw(trained.astype(np.float64), weight.centre, draws)
        if not tensor.dtype.is_floating_point():  # codes: whole numbers of the range that the trained ones span
            drawn = np.clip(np.rint(drawn), float(trained.min()), float(trained.max()))
        return ir.tensor(drawn.astype(trained.dtype), dtype=tensor.dtype, name=weight.name)


def _truncated(draws: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Standard normal numbers, those beyond the limit drawn again."""
    values = draws.standard_normal(shape)
    while (beyond := np.abs(values) > _LIMIT).any():
        values[beyond] = draws.standard_normal(np.count_nonzero(beyond))
    return values


def _find_layers(path: Path) -> Iterator[tuple[str, tuple[Weight, ...]]]:
    """Name and weights of every layer, from the score to the image; a weight that several read, at its first reader.

    Constants that are added or multiplied belong to the layer before them. Those before the first layer are
    preprocessing, single numbers are formulas, and of two values are masks: none of them is a weight.
    """
    seen: set[str] = set()
    behind: list[Weight] = []
    for node in reversed(path.nodes):
        kind = float_operator(node)[0]
        mixes = kind in _MIXING or any(True for _ in subgraphs(node))
        if not mixes and kind not in _ELEMENTWISE:
            continue
        fresh = []
        for value, centre in _weights(node, path):
            assert value.name is not None
            assert value.const_value is not None  # `_made_of` has seen it
            if value.name not in seen and (mixes or not _is_mask(value.const_value.numpy())):
                is_kernel = mixes and len(value.const_value.shape) > 1
                fresh.append(Weight(value.name, centre if is_kernel else None))
            seen.add(value.name)
        if mixes and fresh:
            yield node.name or node.outputs[0].name or "", (*fresh, *behind)
            behind = []
        else:
            behind += fresh


def _weights(node: ir.Node, path: Path) -> Iterator[tuple[ir.Value, float]]:
    """The initializers that the inputs of a node are made of that do not depend on the image; what stands for 0."""
    for value, zero in _operands(node):
        if value not in path.reached:
            yield from _made_of(value, zero)


def _made_of(value: ir.Value, zero: float | None) -> Iterator[tuple[ir.Value, float]]:
    """Initializers of more than one number: floats, or codes, of which `zero` is the one that stands for 0."""
    node, tensor = value.producer(), value.const_value
    if node is not None:
        for operand, of_operand in _operands(node):
            yield from _made_of(operand, zero if of_operand is None else of_operand)
        return
    if tensor is not None and tensor.size > 1 and (tensor.dtype.is_floating_point() or zero is not None):
        yield value, 0.0 if zero is None else zero


def _operands(node: ir.Node) -> Iterator[tuple[ir.Value, float | None]]:
    """What the node, or its body, computes with; of codes their zero point, and not their scales."""
    if not is_on_codes(node):
        yield from ((value, None) for value in reads(node))
        return
    for operand in form(node).operands:
        index = operand.index if isinstance(operand, Code) else operand
        value = node.inputs[index]
        if value is not None:
            yield value, _zero_point(node, operand) if isinstance(operand, Code) else None


def _zero_point(node: ir.Node, code: Code) -> float:
    given = code.zero_point is not None and code.zero_point < len(node.inputs)
    zero = constant(node.inputs[code.zero_point]) if given and code.zero_point is not None else None
    return 0.0 if zero is None else float(zero.astype(np.float64).mean())


def _is_mask(numbers: npt.NDArray[Any]) -> bool:
    distinct = np.unique(numbers)
    return not np.isfinite(distinct.astype(np.float64)).all() or distinct.size <= 2 < numbers.size
