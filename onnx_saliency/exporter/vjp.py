"""`vjp`: any graph in, the same graph with gradients out.

x̄ = Σ_k ȳ_k · ∂y_k/∂x, a vector-Jacobian product: one reverse walk gives it for all inputs x at once, whatever the
cotangents ȳ_k of the outputs are (Griewank & Walther 2008, chapter 3).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnx_saliency.backward import Tape, Tensor, backward, find_path, is_expanded, op
from onnx_saliency.errors import ModelError
from onnx_saliency.exporter.append import add_input, add_output, compute_type, move_into, reserve, tidy
from onnx_saliency.exporter.check import check_same
from onnx_saliency.exporter.files import check_writable, save
from onnx_saliency.exporter.metadata import write_metadata
from onnx_saliency.graph import ModelSource, load, normalise

_PREFIX = "vjp/"  # of all names inside that are added


def cotangent_name(output: str) -> str:
    """Name of the input that takes the cotangent of `output`."""
    return f"cotangent_{output}"


def gradient_name(input: str) -> str:
    """Name of the output that holds the gradient of `input`."""
    return f"grad_{input}"


def vjp(
    model: ModelSource,
    path: str | os.PathLike[str] | None = None,
    *,
    outputs: Sequence[str],
    inputs: Sequence[str],
    check: bool = True,
) -> onnx.ModelProto | None:
    """Append to any model the gradients of float outputs by float inputs, in standard ONNX operators only.

    The result has all inputs and outputs of `model`, first and under the same names. For each of `outputs` it takes one
    more input, `cotangent_<output>`, of the output's shape and type: what the gradient of that output is multiplied
    with. It may be left out, and is then all ones: the gradient of the sum of the output's elements. For each of
    `inputs` it gives one more output, `grad_<input>`, of the input's shape and type: Σ cotangent · ∂output/∂input over
    all elements of all `outputs`. Half precision is computed in float32. Deterministic: the same model gives the same
    bytes.

    Args:
        model: path, bytes, onnx.ModelProto or onnx_ir.Model; of images or not.
        path: where to write; None returns a ModelProto.
        outputs: names of graph outputs, float tensors of any shape; or one name.
        inputs: names of graph inputs, float tensors of any shape; a weight that is an input too is one. Or one name.
        check: run original and result on random inputs and refuse on a difference.

    Raises:
        ModelError: the model cannot be read; there are no such outputs or inputs, or they are no floats; or there is
            no gradient between them. All of them are named.
        UnsupportedOperatorError: operators without a backward rule, all of them.
        ExportError: an input or output has a name that is added, or the result does not compute what the original
            computes.
        OutputError: `path` cannot be written; nothing is left behind.

    Source: Griewank & Walther 2008, Evaluating Derivatives, chapter 3.
    """
    if path is not None:
        check_writable(Path(path), model)
    original = load(model)
    result = normalise(original.clone(), expand=is_expanded)
    of, wrt = _find(result.graph, outputs, inputs)
    _check_dependence(result.graph, of, wrt)
    _append(result.graph, of, wrt)
    tidy(result)
    names = {"of": ",".join(y.name or "" for y in of), "wrt": ",".join(x.name or "" for x in wrt)}
    write_metadata(result.metadata_props, {"method": "vjp", "version": version("onnx-saliency"), **names})
    if check:
        check_same(original, result)
    if path is None:
        return ir.to_proto(result)
    save(result, Path(path))
    return None


def _find(graph: ir.Graph, outputs: Sequence[str], inputs: Sequence[str]) -> tuple[list[ir.Value], list[ir.Value]]:
    """The values of these names; raises for all that are wrong at once."""
    of, wrong = _named(graph.outputs, outputs, "output")
    wrt, more = _named(graph.inputs, inputs, "input")
    if wrong or more:
        raise ModelError("These outputs and inputs cannot be differentiated:\n" + "\n".join([*wrong, *more]))
    return of, wrt


def _named(values: Sequence[ir.Value], names: Sequence[str], kind: str) -> tuple[list[ir.Value], list[str]]:
    """Those of `values` with these names, each once, and what is wrong with the names, a line each."""
    known = {value.name or "": value for value in values}
    asked = list(dict.fromkeys([names] if isinstance(names, str) else names))
    wrong = [f"  {why}" for name in asked if (why := _unfit(name, kind, known))]
    wrong += [] if asked else [f"  no {kind} is named"]
    if wrong:
        wrong.append(f"  the {kind}s of the model: {', '.join(map(repr, known))}")
    return [known[name] for name in asked if name in known], wrong


def _unfit(name: str, kind: str, known: dict[str, ir.Value]) -> str | None:
    """Why there is no gradient of, or by, what has this name."""
    if name not in known:
        close = get_close_matches(name, known)
        return f"no {kind} {name!r}" + (f"; closest: {', '.join(map(repr, close))}" if close else "")
    value = known[name]
    if not isinstance(value.type, ir.TensorType) or not value.type.dtype.is_floating_point():
        return f"{kind} {name!r} holds no floats: {value.type or 'no type is stated'}"
    if kind == "output" and value.shape is None:
        return f"{kind} {name!r} has an unknown number of axes; state its shape in the model"
    return None


def _check_dependence(graph: ir.Graph, of: Sequence[ir.Value], wrt: Sequence[ir.Value]) -> None:
    reached = {output: find_path(graph, [output], wrt).reached for output in of}
    wrong = [f"  output {y.name!r} depends on none of {_names(wrt)}" for y in of if not reached[y].intersection(wrt)]
    wrong += [
        f"  none of {_names(of)} depends on input {x.name!r}" for x in wrt if all(x not in reached[y] for y in of)
    ]
    if wrong:
        raise ModelError(
            "No gradient flows between these outputs and inputs; whole numbers carry none:\n" + "\n".join(wrong)
        )


def _append(graph: ir.Graph, of: Sequence[ir.Value], wrt: Sequence[ir.Value]) -> None:
    """Declare cotangents and gradients, and write what lies between."""
    cotangents = {y: cotangent_name(y.name or "") for y in of}
    names = {x: gradient_name(x.name or "") for x in wrt}
    reserve(graph, {*cotangents.values(), *names.values()}, _PREFIX)
    tape = Tape(_PREFIX, compute_type(*of, *wrt))
    seeds = {y: _seed(graph, tape, y, name) for y, name in cotangents.items()}
    gradients = dict(zip(wrt, backward(graph, tape, seeds, wrt), strict=True))
    constant = [x for x, gradient in gradients.items() if gradient is None]
    if constant:
        raise ModelError(
            f"The outputs are piecewise constant in {_names(constant)}: every way between them passes an operator of "
            "zero gradient, such as Round or Sign."
        )
    for x, gradient in gradients.items():
        assert gradient is not None  # as just checked
        assert x.dtype is not None  # as _find has checked
        typed = gradient if gradient.dtype == x.dtype else op.Cast(gradient, to=x.dtype)
        add_output(graph, names[x], typed, x.shape)
    move_into(graph, tape)


def _seed(graph: ir.Graph, tape: Tape, output: ir.Value, name: str) -> Tensor:
    """The cotangent in the output's shape; left out, it is a single one, stretched."""
    assert output.dtype is not None  # as _find has checked, and the shape
    assert output.shape is not None
    rank = len(output.shape)
    # Names of its own for all dimensions: the default is of another length than the output, so nothing may be planned
    # on their being equal.
    dims = [f"{name}_{axis}" for axis in range(rank)]
    given = add_input(graph, name, dims, output.dtype, np.ones((1,) * rank))
    cotangent = tape.read(given)
    if not rank:
        return cotangent
    shape = Tensor(tape, output).shape
    # Expand alone stretches both ways: it would take a cotangent that is longer than an output of length 1.
    seed = op.Reshape(op.Expand(cotangent, shape), shape)
    seed.value.shape = output.shape
    return seed


def _names(values: Sequence[ir.Value]) -> str:
    return ", ".join(repr(value.name) for value in values)
