"""Read a model: a file (with external data, over 2 GB), bytes, a ModelProto or an `onnx_ir.Model`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from onnx_saliency.errors import ModelError
from onnx_saliency.graph.contrib import DEFINITIONS
from onnx_saliency.graph.quantised import CONTRIB, MICROSOFT
from onnx_saliency.runtime import fits_in_one_file

ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model

STANDARD_DOMAINS = ("", "ai.onnx")
LAYOUT = "com.microsoft.nchwc"


def load(source: ModelSource) -> ir.Model:
    """Return `source` as a private, mutable IR model; the caller's object is never changed.

    External data of a model over 2 GB stay on disk, memory-mapped, so size is bounded by the disk.

    Raises:
        ModelError: not an ONNX file, truncated, an empty graph, external data that are missing or
            too short, a weight that is damaged or holds NaN, or operators of a domain that is not
            ONNX's. All such nodes, files or weights are named at once.
    """
    return check_model(_read(source)[0], describe(source))


def read_hashed(source: ModelSource) -> tuple[ir.Model, str | None]:
    """Return `source` as it is, for `check_model`, and SHA-256 of its content, in hexadecimal digits.

    The content is the model's bytes and those of its external data. There is no digest of a model over 2 GB, nor of one
    whose external data cannot be read.

    Raises:
        ModelError: not an ONNX file, or a truncated one.
    """
    model, data = _read(source)
    if not fits_in_one_file(model):
        return model, None
    content = sha256(ir.to_proto(model).SerializeToString(deterministic=True) if data is None else data)
    external = (tensor.path for _, tensor in _weights(model) if isinstance(tensor, ir.ExternalTensor))
    try:
        for path in dict.fromkeys(external):
            with Path(path).open("rb") as file:
                content.update(file_digest(file, "sha256").digest())
    except OSError:
        return model, None
    return model, content.hexdigest()


def check_model(model: ir.Model, name: str) -> ir.Model:
    """Return a model that was read, its weights in memory up to 2 GB, its nodes in an order that can be run.

    Raises:
        ModelError: what `load` raises for what a file holds; `name` is the model's in the message.
    """
    if not len(model.graph) or not model.graph.outputs:
        raise ModelError(f"{name}: the graph is empty (no nodes or no outputs), so there is nothing to explain.")
    _check_domains(model, name)
    _check_external_data(model, name)
    _take_in_external_data(model)
    _check_weights(model, name)
    _check_wiring(model, name)
    return model


def describe(source: ModelSource) -> str:
    """Name `source` in messages: its path, or what kind of object it is."""
    if isinstance(source, bytes):
        return f"model of {len(source)} bytes"
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    graph = source.graph.name
    return f"model {graph!r}" if graph else "model"


def _read(source: ModelSource) -> tuple[ir.Model, bytes | None]:
    """The model, and the bytes that it was given as, if it was."""
    if not isinstance(source, str | os.PathLike | bytes | onnx.ModelProto | ir.Model):
        raise ModelError(
            f"A model is a path, bytes, an onnx.ModelProto or an onnx_ir.Model, not {type(source).__name__}."
        )
    name = describe(source)
    if isinstance(source, ir.Model):
        return _apart(source.clone()), None
    if isinstance(source, onnx.ModelProto):
        return _apart(_deserialise(source, name)), None
    if isinstance(source, bytes):
        return _parse(source, name), source
    path = Path(source)
    try:
        if not path.exists():
            raise ModelError(f"{name}: no such file. Give the path of an ONNX model.")
        if not path.is_file():
            raise ModelError(f"{name}: is {'a folder' if path.is_dir() else 'a device'}, not an ONNX file.")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{name}: cannot be read: {error.strerror or error}.") from error
    model = _parse(data, name)
    ir.external_data.set_base_dir(model.graph, path.parent)
    return model, data


def _apart(model: ir.Model) -> ir.Model:
    """Give the model tensors of its own, over the same numbers: to rename one would rename the caller's too."""
    for graph in (*model.graphs(), *(function.graph for function in model.functions.values())):
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.const_value = _alike(value.const_value)
        for node in graph:
            for name, attribute in node.attributes.items():
                if attribute.type == ir.AttributeType.TENSOR:
                    node.attributes.add(ir.AttrTensor(name, _alike(attribute.as_tensor())))
    return model


def _alike(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if isinstance(tensor, ir.ExternalTensor) or tensor.dtype == ir.DataType.STRING:
        return tensor
    return ir.LazyTensor(lambda: tensor, tensor.dtype, ir.Shape(tensor.shape.numpy()), name=tensor.name)


def _parse(data: bytes, name: str) -> ir.Model:
    if not data:
        raise ModelError(f"{name}: 0 bytes. The file is empty; export or copy the model again.")
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{name}: not an ONNX file, or a truncated one ({len(data):,} bytes do not parse as an ONNX "
            "ModelProto). Export or copy the model again."
        ) from error
    return _deserialise(proto, name)


def _deserialise(proto: onnx.ModelProto, name: str) -> ir.Model:
    # Arbitrary bytes can parse as a protobuf of unknown fields: demand what every model has.
    if not proto.HasField("graph") or not proto.opset_import:
        raise ModelError(f"{name}: not an ONNX model (no graph or no opset). Export or copy the model again.")
    try:
        return ir.from_proto(proto)
    except Exception as error:  # the bytes parse, so what is wrong in them can be anything
        raise ModelError(f"{name}: damaged ONNX model: {_first_line(error)}. Export or copy it again.") from error


def _first_line(error: BaseException) -> str:
    """Return the innermost cause of `error` as one line: serde wraps the reason in several layers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


def _check_domains(model: ir.Model, name: str) -> None:
    functions = {identifier[:2] for identifier in model.functions}
    nodes = [*model.graph.all_nodes(), *(node for body in model.functions.values() for node in body.all_nodes())]
    foreign = [
        f"  node {node.name or '(unnamed)'!r}: operator {node.op_type}, domain {node.domain!r}"
        for node in nodes
        if node.domain not in STANDARD_DOMAINS
        and (node.domain, node.op_type) not in functions
        and not (node.domain == MICROSOFT and node.op_type in DEFINITIONS.keys() | CONTRIB)
    ]
    laid_out = any(node.domain == LAYOUT for node in nodes)
    if foreign:
        raise ModelError(
            f"{name}: {len(foreign)} node(s) use operators outside the standard ONNX domain, which have no backward "
            "rule:\n"
            + "\n".join(foreign)
            + (
                f"\nDomain {LAYOUT!r} is a layout for one processor: optimise to ORT_ENABLE_EXTENDED at most."
                * laid_out
            )
            + "\nExport the model with standard operators, or before a runtime's own optimiser has rewritten it."
        )


def _weights(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    """Initializers and the tensors of Constant nodes, by name."""
    for graph in (*model.graphs(), *(function.graph for function in model.functions.values())):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.name or "", value.const_value
        for node in graph:
            attribute = node.attributes.get("value") if node.op_type == "Constant" else None
            if attribute is not None and attribute.type == ir.AttributeType.TENSOR:
                yield node.outputs[0].name or "", attribute.as_tensor()


def _check_external_data(model: ir.Model, name: str) -> None:
    missing: dict[str, str] = {}
    for weight, tensor in _weights(model):
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        path = Path(tensor.path)
        length = tensor.nbytes if tensor.length is None else tensor.length
        if not path.is_file():
            missing[str(path)] = "no such file"
        elif path.stat().st_size < (tensor.offset or 0) + length:
            missing[str(path)] = f"{path.stat().st_size:,} bytes, but tensor {weight!r} ends beyond that"
    if missing:
        listed = "\n".join(f"  {path}: {why}" for path, why in missing.items())
        raise ModelError(
            f"{name}: its weights are in external data that cannot be read:\n{listed}\n"
            "Keep the data file beside the model; a model given as bytes must hold its weights itself."
        )


def _take_in_external_data(model: ir.Model) -> None:
    """Hold the weights in memory where the model fits in one file: it no longer depends on where it lay."""
    if fits_in_one_file(model):
        ir.external_data.load_to_model(model)


def _check_weights(model: ir.Model, name: str) -> None:
    """Refuse NaN, which would turn every map into NaN; infinities are left, masks are made of them."""
    damaged, undefined = [], []
    for weight, tensor in _weights(model):
        try:
            count = _count_nan(tensor)
        except Exception as error:  # bytes that do not make up the shape
            damaged.append(f"  {weight!r}: {_first_line(error)}")
            continue
        if count:
            undefined.append(f"  {weight}: {count} of {tensor.size} values")
    if damaged:
        raise ModelError(f"{name}: damaged weights:\n" + "\n".join(damaged) + "\nExport or copy the model again.")
    if undefined:
        raise ModelError(f"{name}: NaN in the weights, so no output means anything:\n" + "\n".join(undefined))


def infinite_weights(model: ir.Model) -> tuple[str, ...]:
    """Names of the weights that hold infinite values, as masks do, and weights that overflowed in training."""
    return tuple(
        name
        for name, tensor in _weights(model)
        if tensor.dtype.is_floating_point()
        and not _is_finite(array := tensor.numpy())
        and np.isinf(array.astype(np.float64)).any()
    )


def _count_nan(tensor: ir.TensorProtocol) -> int:
    array = tensor.numpy()
    if not tensor.dtype.is_floating_point() or _is_finite(array):
        return 0
    return int(np.isnan(array.astype(np.float64)).sum())


def _is_finite(array: npt.NDArray[Any]) -> bool:
    """Whether all of it is, in one cheap pass: a sum is NaN or infinite wherever a value is, else hardly ever."""
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isfinite(array.sum(dtype=np.float64)))


def _check_wiring(model: ir.Model, name: str) -> None:
    """Every value read must be made somewhere, in an order that can be run."""
    loose = [
        f"  node {node.name or node.op_type!r} reads {value.name!r}"
        for node in model.graph.all_nodes()
        for value in node.inputs
        if value is not None and _is_loose(value)
    ]
    loose += [f"  output {value.name!r}" for value in model.graph.outputs if _is_loose(value)]
    if loose:
        raise ModelError(
            f"{name}: values that no node, input or weight gives (sparse weights are not read):\n"
            + "\n".join(loose)
            + "\nExport the model again."
        )
    try:
        model.graph.sort()  # the format demands it, runtimes do not
    except ValueError as error:
        raise ModelError(f"{name}: the nodes form a cycle, so the model cannot be run. Export it again.") from error


def _is_loose(value: ir.Value) -> bool:
    return value.producer() is None and not value.is_graph_input() and not value.is_initializer()
