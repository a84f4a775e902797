"""One row, one operator: the graph the library differentiates, and what its gradient has to be.

A row is checked three ways, with one random cotangent v and one random direction u:

    the adjoint identity  <v, J u> = <u, J' v>
    every entry of J' v   against central differences of the row's own definition of the operator
    every output          against that definition, so that the definition is the operator's

J u of a row without a definition is (f(x + u) − f(x − u)) / 2, run on the plain
model, which is exact for what is linear in each of its inputs (and wrong for anything else, so a
non-linear row cannot do without a definition).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnx_saliency.backward import Profile, Tape, Tensor, backward, is_expanded, op
from onnx_saliency.graph import normalise

Arrays = Sequence[np.ndarray]

# No CPU kernel of onnxruntime computes these, or an operator that their rule writes, in double; of some none since
# opset 22. Group- and RMSNormalization compute in float by their attribute stash_type.
SINGLE = frozenset(
    {
        "AveragePool",
        "Celu",
        "Conv",
        "ConvTranspose",
        "Elu",
        "Erf",
        "Gelu",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GroupNormalization",
    }
    | {"HardSigmoid", "HardSwish", "Hardmax", "InstanceNormalization", "LRN", "LeakyRelu", "Mean"}
    | {
        "MeanVarianceNormalization",
        "Mish",
        "PRelu",
        "RMSNormalization",
        "Resize",
        "Selu",
        "Softplus",
        "Softsign",
        "ThresholdedRelu",
    }
)
STEP = 1e-5  # of central differences, in float64: errors of about 1e-10


@dataclass(eq=False)
class Row:
    """One call of one operator.

    Attributes:
        op: the operator.
        inputs: float64 is the model's floating type, any other type stays; None is an optional input left out.
        attrs: its attributes.
        wrt: the inputs to differentiate for. They are inputs of the model, the others initializers.
        fed: further inputs that the model leaves to the caller, so that no value of theirs is known.
        definition: the operator in plain numpy; may be left out where it is linear in each input.
        gradient: J' v by hand, from v, where differences mean nothing: at kinks and ties.
        outputs: how many the node has.
        seeds: the outputs that the score depends on.
        since: the first opset that has this form.
        reference: run in onnx's reference implementation, because onnxruntime refuses this form; the row says so.
        named: what sets it apart from its neighbours, for the test's name.
    """

    op: str
    inputs: Sequence[np.ndarray | None]
    attrs: dict[str, Any] = field(default_factory=dict)
    wrt: Sequence[int] = (0,)
    fed: Sequence[int] = ()
    definition: Callable[..., Any] | None = None
    gradient: Callable[..., Any] | None = None
    outputs: int = 1
    seeds: Sequence[int] = (0,)
    since: int = 18
    reference: bool = False
    named: str = ""

    def __str__(self) -> str:
        shapes = ",".join("x".join(map(str, i.shape)) or "1" for i in self.inputs if i is not None and _is_float(i))
        attrs = ",".join(f"{key}={value}".replace(" ", "") for key, value in self.attrs.items())
        return "-".join(part for part in (self.op, shapes, attrs, self.named) if part)

    @property
    def dtype(self) -> type:
        return np.float32 if self.op in SINGLE and not self.reference else np.float64

    @property
    def tolerance(self) -> float:
        return 1e-4 if self.dtype is np.float32 else 1e-7


@dataclass(frozen=True)
class Variant:
    """How a row's model is written.

    Attributes:
        opset: version of the standard operators.
        open: the axes of differentiable inputs that have a name for a length: "no", "batch" (the first), "all".
        profile: the runtime that the gradient is written for.
    """

    opset: int
    open: str
    profile: Profile = "portable"

    def __str__(self) -> str:
        return f"opset{self.opset}-open:{self.open}" + (f"-{self.profile}" if self.profile != "portable" else "")


def newest_opset() -> int:
    """The newest opset that both this onnx and this onnxruntime know, 26 at most."""
    for opset in range(min(26, onnx.defs.onnx_opset_version()), 18, -1):
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", [x], [y])
        try:
            session(_model(graph, opset))
        except Exception:
            continue
        return opset
    return 18


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _model(graph: onnx.GraphProto, opset: int) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=helper.find_min_ir_version_for(imports))


NEWEST = newest_opset()
EVERY = tuple(Variant(opset, shapes) for opset in (18, NEWEST) for shapes in ("no", "batch", "all"))
CPU = tuple(Variant(opset, shapes, "cpu") for opset in (18, NEWEST) for shapes in ("no", "batch", "all"))
OLDEST = EVERY[0]
FEW = (Variant(NEWEST, "no"), Variant(18, "all"))  # for long tables: each opset and each kind of shape once


def cases(rows: Iterable[Row], variants: Sequence[Variant] = EVERY) -> list[Any]:
    """Each row in each variant that has it, as pytest parameters."""
    return [
        pytest.param(row, variant, id=f"{row}-{variant}")
        for row in rows
        for variant in dict.fromkeys(v if v.opset >= row.since else replace(v, opset=NEWEST) for v in variants)
        if row.since <= variant.opset
    ]


def mixed(rows: Iterable[Row]) -> list[Any]:
    """Every variant for the first row of each operator with the same attributes and fed inputs, few for the others."""
    first: dict[Any, Row] = {}
    every = list(rows)
    for row in every:
        first.setdefault((row.op, type(row), *sorted(row.attrs), *row.fed), row)
    return [case for row in every for case in cases([row], EVERY if row in first.values() else FEW)]


def combined(*choices: Sequence[Any], fits: Callable[..., bool] = lambda *_: True) -> list[tuple[Any, ...]]:
    """Of the product of `choices`, those that fit, so few that any three values still meet wherever they can.

    Greedy: always the one of most triples not met yet, the first among equals.
    """
    left = [each for each in itertools.product(*choices) if fits(*each)]
    open_ = set().union(*map(triples, left))
    taken = []
    while open_:
        best = max(left, key=lambda each: len(triples(each) & open_))
        taken.append(best)
        open_ -= triples(best)
    return taken


def triples(combination: Sequence[Any]) -> set[Any]:
    """Any three of its values, with their positions."""
    return set(itertools.combinations(enumerate(combination), 3))


# --- models ------------------------------------------------------------------------------------


def forward_model(row: Row, variant: Variant) -> onnx.ModelProto:
    """The model with the row's one node."""
    inputs, initializers, names = [], [], []
    for index, array in enumerate(row.inputs):
        name = "" if array is None else f"x{index}"
        names.append(name)
        if array is None:
            continue
        differentiable, array = _is_float(array), _typed(array, row.dtype)
        if index not in (*row.wrt, *row.fed):
            initializers.append(numpy_helper.from_array(array, name))
            continue
        shape: list[int | str] = list(array.shape)
        if differentiable and variant.open != "no":
            last = 1 if variant.open == "batch" else len(shape)
            shape = [f"{name}_axis{axis}" if axis < last else dim for axis, dim in enumerate(shape)]
        inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape))
    outputs = [f"y{index}" for index in range(row.outputs)]
    node = helper.make_node(row.op, names, outputs, name="node", **row.attrs)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(row.dtype))
    results = [helper.make_tensor_value_info(outputs[index], element, None) for index in row.seeds]
    return _model(helper.make_graph([node], "row", inputs, results, initializers), variant.opset)


def parse(signature: str, body: str, opset: int = NEWEST) -> onnx.ModelProto:
    """A graph in ONNX's own notation; nodes without a name are called make_OUTPUT."""
    graph = onnx.parser.parse_graph(f"graph {signature} {{ {body} }}")
    for node in graph.node:
        node.name = node.name or f"make_{node.output[0]}"
    return _model(graph, opset)


def differentiate(
    model: onnx.ModelProto, wrt: Sequence[str], dtype: type, profile: Profile = "portable"
) -> tuple[onnx.ModelProto, list[bool]]:
    """Normalise `model` and append inputs v0, v1, ... for its outputs and outputs d_NAME for each of `wrt`.

    Returns the model and, for each of `wrt`, whether a gradient reaches it.
    """
    canonical = normalise(ir.from_proto(model), is_expanded)
    graph = canonical.graph
    values = {value.name: value for value in (*graph.inputs, *(o for node in graph for o in node.outputs))}
    element = ir.DataType.from_numpy(np.dtype(dtype))
    tape = Tape("backward/", element, profile)
    seeds = {}
    for index, output in enumerate(list(graph.outputs)):
        cotangent = ir.Value(name=f"v{index}", shape=output.shape, type=ir.TensorType(element))
        graph.inputs.append(cotangent)
        seeds[output] = Tensor(tape, cotangent)
    gradients = backward(graph, tape, seeds, [values[name] for name in wrt])
    for name, gradient in zip(wrt, gradients, strict=True):
        if gradient is not None:
            value = op.Identity(gradient).value
            value.name = f"d_{name}"
            graph.outputs.append(value)
    for constant in tape.constants.values():
        graph.register_initializer(constant)
    graph.extend(tape.nodes)
    return ir.to_proto(canonical), [gradient is not None for gradient in gradients]


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray], *, reference: bool = False) -> dict[str, np.ndarray]:
    """Run `model` in onnxruntime, or in onnx's reference implementation; outputs by name."""
    loaded = ReferenceEvaluator(model) if reference else session(model)
    names = [output.name for output in model.graph.output]
    return dict(zip(names, loaded.run(names, feeds), strict=True))


def _is_float(array: np.ndarray) -> bool:
    return array.dtype == np.float64


def _typed(array: np.ndarray, dtype: type) -> np.ndarray:
    return array.astype(dtype) if _is_float(array) else array


# --- what has to come out ----------------------------------------------------------------------


@dataclass
class Expected:
    """What a row must give: outputs y for cotangents v, <v, J u> for directions u, J' v where it is known."""

    y: list[np.ndarray]
    u: list[np.ndarray]
    v: list[np.ndarray]
    slope: float
    gradients: list[np.ndarray] | None


@cache
def expected(row: Row) -> Expected:
    rng = np.random.default_rng(20131220)
    u = [np.asarray(rng.standard_normal(np.shape(row.inputs[index]))) for index in row.wrt]
    if row.definition is None:
        function, step = _by_running(row), 1.0
    else:
        function, step = _by_definition(row), STEP
    x = [np.asarray(row.inputs[index], np.float64) for index in row.wrt]
    y = function(x)
    v = [np.asarray(rng.standard_normal(np.shape(each))) for each in y]

    def slope(directions: Arrays) -> float:
        ahead = function([a + step * d for a, d in zip(x, directions, strict=True)])
        behind = function([a - step * d for a, d in zip(x, directions, strict=True)])
        return sum(float(np.sum(c * (a - b))) for c, a, b in zip(v, ahead, behind, strict=True)) / (2 * step)

    if row.gradient is not None:
        given = row.gradient(*v)
        gradients = [np.asarray(g) for g in (given if isinstance(given, list) else [given])]
        return Expected(y, u, v, sum(float(np.sum(a * g)) for a, g in zip(u, gradients, strict=True)), gradients)
    if row.definition is None:
        return Expected(y, u, v, slope(u), None)
    gradients = []
    for position, each in enumerate(x):
        gradient = np.zeros(each.shape)
        for entry in np.ndindex(each.shape):
            unit = [np.zeros(other.shape) for other in x]
            unit[position][entry] = 1
            gradient[entry] = slope(unit)
        gradients.append(gradient)
    return Expected(y, u, v, slope(u), gradients)


def _by_running(row: Row) -> Callable[[Arrays], list[np.ndarray]]:
    """The plain model, as no code of this project has touched it."""
    model = forward_model(row, Variant(NEWEST, "no"))
    loaded = ReferenceEvaluator(model) if row.reference else session(model)
    fed = {f"x{index}": _typed(row.inputs[index], row.dtype) for index in row.fed}

    def function(x: Arrays) -> list[np.ndarray]:
        feeds = {
            f"x{index}": np.asarray(a, _typed(row.inputs[index], row.dtype).dtype)
            for index, a in zip(row.wrt, x, strict=True)
        }
        return [np.asarray(y, np.float64) for y in loaded.run(None, feeds | fed)]

    return function


def _by_definition(row: Row) -> Callable[[Arrays], list[np.ndarray]]:
    def function(x: Arrays) -> list[np.ndarray]:
        inputs = list(row.inputs)
        for index, array in zip(row.wrt, x, strict=True):
            inputs[index] = array
        y = row.definition(*inputs)
        return [np.asarray(each) for each in y] if isinstance(y, list) else [np.asarray(y)]

    return function


# --- the check ---------------------------------------------------------------------------------


def check(row: Row, variant: Variant) -> None:
    """Differentiate the row's model and compare all there is to compare."""
    wanted = expected(row)
    wrt = [f"x{index}" for index in row.wrt]
    model, reached = differentiate(forward_model(row, variant), wrt, row.dtype, variant.profile)
    assert all(reached), f"no gradient reaches {[name for name, flows in zip(wrt, reached, strict=True) if not flows]}"
    feeds = {f"x{index}": _typed(row.inputs[index], row.dtype) for index in (*row.wrt, *row.fed)}
    feeds |= {f"v{index}": np.asarray(v, row.dtype) for index, v in enumerate(wanted.v)}
    found = run(model, feeds, reference=row.reference)

    for index, y in zip(row.seeds, wanted.y, strict=True):
        assert_close(found[f"y{index}"], y, row.tolerance, f"{row}: output {index}")
    gradients = [found[f"d_{name}"] for name in wrt]
    for index, gradient in zip(row.wrt, gradients, strict=True):
        assert gradient.shape == row.inputs[index].shape, f"{row}: gradient of input {index} has shape {gradient.shape}"
        assert np.isfinite(gradient).all(), f"{row}: gradient of input {index} is not finite: {gradient}"
    products = [u * g for u, g in zip(wanted.u, gradients, strict=True)]
    back = sum(float(np.sum(p)) for p in products)
    scale = max(1.0, sum(float(np.sum(np.abs(p))) for p in products))
    assert abs(back - wanted.slope) <= row.tolerance * scale, (
        f"{row}: the rule is not the adjoint: <v, J u> = {wanted.slope:.9g} but <u, J' v> = {back:.9g}"
    )
    if variant == OLDEST and row.dtype is np.float64 and not row.reference:
        _check_shortened(row, feeds, gradients)
    if wanted.gradients is not None:
        for index, gradient, entries in zip(row.wrt, gradients, wanted.gradients, strict=True):
            assert_close(gradient, entries, row.tolerance, f"{row}: gradient of input {index}")


def _check_shortened(row: Row, feeds: dict[str, np.ndarray], gradients: Sequence[np.ndarray]) -> None:
    """Values of float64 differentiated in float32 give the same but for rounding; what they decide is not rounded."""
    names = [f"x{index}" for index in row.wrt]
    model, _ = differentiate(forward_model(row, OLDEST), names, np.float32)
    cotangents = {name: array.astype(np.float32) for name, array in feeds.items() if name.startswith("v")}
    found = run(model, feeds | cotangents)
    for name, gradient in zip(names, gradients, strict=True):
        assert found[f"d_{name}"].dtype == np.float32
        assert_close(found[f"d_{name}"], gradient, 1e-4, f"{row}: gradient of {name} in float32")


def assert_close(found: np.ndarray, wanted: np.ndarray, tolerance: float, what: str) -> None:
    assert found.shape == wanted.shape, f"{what} has shape {found.shape}, not {wanted.shape}"
    if not found.size:
        return
    error = np.where(found == wanted, 0.0, np.abs(found.astype(np.float64) - np.nan_to_num(wanted)))  # inf is inf
    worst = np.unravel_index(np.argmax(error), error.shape)
    assert error[worst] <= tolerance * max(1.0, float(np.abs(np.nan_to_num(wanted, posinf=0, neginf=0)).max())), (
        f"{what}: at {tuple(int(i) for i in worst)} it is {found[worst]:.9g}, by the definition {wanted[worst]:.9g}"
    )


# --- inputs ------------------------------------------------------------------------------------

_RNGS: dict[str, np.random.Generator] = {}


def _rng() -> np.random.Generator:
    """The test module's own generator: its rows hold the same numbers whichever other files run."""
    module = sys._getframe(2).f_globals["__name__"]
    return _RNGS.setdefault(module, np.random.default_rng(2013))


def normal(*shape: int) -> np.ndarray:
    """Any numbers."""
    return np.asarray(_rng().standard_normal(shape))


def positive(*shape: int) -> np.ndarray:
    """Numbers in [1/2, 2], for roots, logarithms and divisors."""
    return np.asarray(_rng().uniform(0.5, 2.0, shape))


def distinct(*shape: int) -> np.ndarray:
    """Numbers around 0 that lie 0.1 apart, none nearer to 0 than 0.05: away from the kinks of choices and signs."""
    count = int(np.prod(shape))
    return (_rng().permutation(count).reshape(shape) - count // 2 + 0.5) / 10


def whole(*values: int) -> np.ndarray:
    """An int64 vector: axes, shapes, positions."""
    return np.array(values, dtype=np.int64)


def scalar(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float64)
