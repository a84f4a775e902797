"""Which nodes a provider has kernels for, told from the runtime's own list and without the device.

The list is of one version of ONNX Runtime, kept beside this file and made by tools/kernels.py. A node fits a kernel as
the runtime sees it: by operator, by the operator set in which the operator was last changed, and by the types of its
values. What else decides there is not looked at: attributes of recurrent operators, and arithmetic on shapes, which the
runtime leaves on the CPU, where shapes are. Nodes are looked up as the model has them, before the runtime fuses any.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import onnx
import onnx_ir as ir

from onnx_saliency.errors import ProviderError
from onnx_saliency.runtime.session import full_name, short_name


@dataclass(frozen=True)
class Kernel:
    """Versions of an operator, until None for all that are the newest, and the types of its type parameters."""

    since: int
    until: int | None
    types: Mapping[str, frozenset[str]]

    def serves(self, version: int) -> bool:
        """Whether it serves an operator last changed in this operator set."""
        return self.since == version if self.until is None else self.since <= version <= self.until


@dataclass(frozen=True)
class Placement:
    """Where the nodes of a model go.

    Attributes:
        provider: "cuda" or "cpu".
        runtime: whose kernels were looked up.
        operators: nodes of each operator, by its name.
        elsewhere: of each node that the provider does not take, its operator, its name and why.
    """

    provider: str
    runtime: str
    operators: Mapping[str, int]
    elsewhere: tuple[tuple[str, str, str], ...]

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """One row an operator: name, nodes, those that go elsewhere, and why."""
        away = Counter(operator for operator, _, _ in self.elsewhere)
        for operator, nodes in self.operators.items():
            reasons = dict.fromkeys(why for name, _, why in self.elsewhere if name == operator)
            yield operator, str(nodes), str(away[operator] or ""), "; ".join(reasons)


def place(model: ir.Model, provider: str) -> Placement:
    """Find for each node whether `provider` takes it; types of values must be known.

    Raises:
        ProviderError: a provider of which no list of kernels is kept.
    """
    kernels, name = _kernels(provider), short_name(full_name(provider))
    nodes = [node for node in model.graph.all_nodes() if node.op_type != "Constant"]
    opset = model.graph.opset_imports[""]
    refused = [(node, _reason(node, opset, kernels) or _refused_by_cuda(node, name)) for node in nodes]
    return Placement(
        name,
        _table()["runtime"],
        dict(sorted(Counter(node.op_type for node in nodes).items())),
        tuple((node.op_type, node.name or node.outputs[0].name or "?", why) for node, why in refused if why),
    )


def has_kernel(node: ir.Node, opset: int, provider: str) -> bool:
    """Whether `provider` has a kernel for `node`; types of values must be known.

    Raises:
        ProviderError: a provider of which no list of kernels is kept.
    """
    return _reason(node, opset, _kernels(provider)) is None


def _kernels(provider: str) -> Mapping[str, list[Kernel]]:
    kernels: Mapping[str, list[Kernel]] | None = _table()["kernels"].get(full_name(provider))
    if kernels is None:
        known = ", ".join(map(short_name, _table()["kernels"]))
        raise ProviderError(f"No list of the kernels of {provider!r} is kept; there are lists for {known}.")
    return kernels


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files(__package__).joinpath("kernels.json").read_text("utf-8"))
    for kernels in table["kernels"].values():
        for operator, listed in kernels.items():
            kernels[operator] = [
                Kernel(since, until, {name: frozenset(texts.split(" ")) for name, texts in types.items()})
                for since, until, types in listed
            ]
    return table


def _reason(node: ir.Node, opset: int, kernels: Mapping[str, list[Kernel]]) -> str | None:
    """Why no kernel fits the node; None where one does."""
    if node.domain not in ("", "ai.onnx"):
        return "not of the standard domain"
    if node.op_type not in kernels:
        return "no kernel"
    schema = onnx.defs.get_schema(node.op_type, max_inclusive_version=opset)
    serving = [kernel for kernel in kernels[node.op_type] if kernel.serves(schema.since_version)]
    if not serving:
        return f"no kernel of opset {schema.since_version}"
    types = _types(node, schema)
    if any(_fits(kernel, types) for kernel in serving):
        return None
    named = dict.fromkeys(f"{parameter} {type_}" for (parameter, _), type_ in types.items())
    return f"no kernel of {', '.join(named)}"


def _types(node: ir.Node, schema: Any) -> dict[tuple[str, str], str]:
    """The type of each input and output by the names of its type parameter and of itself, as the schema has them."""
    found = {}
    for values, formals in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        for index, value in enumerate(values):
            formal = formals[min(index, len(formals) - 1)]  # the last may be there any number of times
            if value is not None and value.type is not None:
                found[formal.type_str, formal.name] = _written(value.type)
    return found


def _fits(kernel: Kernel, types: Mapping[tuple[str, str], str]) -> bool:
    """A kernel names what it restricts by the type parameter, or by the input or output itself."""
    return all(type_ in kernel.types[key] for names, type_ in types.items() for key in names if key in kernel.types)


def _written(type_: ir.TypeProtocol) -> str:
    """A type as the list has it: float, or seq(tensor(float))."""
    name = type_.dtype.name.lower()
    if isinstance(type_, ir.SequenceType):
        return f"seq(tensor({name}))"
    return f"optional(tensor({name}))" if isinstance(type_, ir.OptionalType) else name


def _refused_by_cuda(node: ir.Node, provider: str) -> str | None:
    """What CUDA leaves to the CPU though it has the kernel, as the runtime's own sessions place it."""
    if provider != "cuda" or node.op_type != "ConvTranspose":
        return None
    pads = node.attributes.get_ints("pads", [])
    begins, ends = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    automatic = node.attributes.get_string("auto_pad", "NOTSET")
    if begins == ends and automatic in ("NOTSET", "VALID"):
        return None
    return f"pads {list(pads)}, not the same at both ends" if begins != ends else f"auto_pad {automatic}"
