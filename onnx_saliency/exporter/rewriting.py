"""The explained model ready to run, from the cache where it lies there, else rewritten; and the facts of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache as once
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnx_saliency.exporter.cache import Cache
from onnx_saliency.exporter.check import check_export
from onnx_saliency.exporter.explained import Explained, Options
from onnx_saliency.exporter.exporter import explain_loaded
from onnx_saliency.exporter.metadata import read_metadata
from onnx_saliency.exporter.methods import METHODS
from onnx_saliency.graph import ModelSource, check_model, describe, infinite_weights, load, read_hashed
from onnx_saliency.graph.classifier import Layout
from onnx_saliency.runtime import fits_in_one_file
from onnx_saliency.runtime.session import import_runtime


@dataclass(frozen=True)
class Facts:
    """What whoever runs an explained model must know of it, in plain values.

    Attributes:
        input: name of the image input.
        element: its element type, as ONNX calls it.
        shape: its four lengths, None where open.
        layout: where its channels lie.
        classes: number of classes, None where it is open.
        activation: what the model ends in behind its score: "Softmax", "LogSoftmax", "Sigmoid", or None.
        width: how many scores there are to choose a target from: classes, or channels; None where it is open.
        changed, smooth, layer, notes: as in `Explained`.
        infinite: names of the weights that hold infinite values.
        stored: what this package stored in the model's metadata.
    """

    input: str
    element: str
    shape: tuple[int | None, ...]
    layout: Layout
    classes: int | None
    activation: str | None
    width: int | None
    changed: tuple[str, ...]
    smooth: tuple[str, ...]
    layer: str | None
    notes: tuple[str, ...]
    infinite: tuple[str, ...]
    stored: Mapping[str, str]

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the image input."""
        return ir.DataType[self.element].numpy()

    @property
    def batch(self) -> int | None:
        """The batch the model is fixed to, None where dynamic."""
        return self.shape[0]

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width of the image input in pixels, None where dynamic."""
        height = self.layout.index("H")
        return self.shape[height], self.shape[height + 1]

    @classmethod
    def of(cls, explained: Explained) -> Facts:
        """The facts of a model that was just rewritten."""
        classifier = explained.classifier
        image = classifier.image
        assert image.name is not None
        assert image.dtype is not None
        assert image.shape is not None  # an image input has four axes
        return cls(
            image.name,
            image.dtype.name,
            tuple(length if isinstance(length, int) else None for length in image.shape),
            classifier.layout,
            classifier.classes,
            classifier.activation,
            explained.width,
            explained.changed,
            explained.smooth,
            explained.layer,
            explained.notes,
            infinite_weights(explained.original),
            read_metadata(explained.model.metadata_props),
        )

    def to_json(self) -> str:
        """All of them in one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Facts:
        """What `to_json` wrote."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()
        }
        return cls(**values)


@dataclass(frozen=True)
class Rewritten:
    """An explained model, serialised where it fits in one file, and the facts of it."""

    model: bytes | ir.Model
    facts: Facts


def rewrite(
    source: ModelSource, options: Options, *, input: str | None, output: str | None, cache: Cache | None
) -> Rewritten:
    """Explain a model to run it: checked, and taken from `cache` where the same was rewritten before.

    Models over 2 GB are not kept, nor those explained by a `Method` that is none of this package's.

    Args:
        source: path, bytes, onnx.ModelProto or onnx_ir.Model.
        options: what is explained.
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.
        cache: None rewrites, and keeps nothing.

    Raises:
        ModelError, UnsupportedOperatorError, MethodError, LayerError, TargetError, ExportError: as `export` does.
    """
    if cache is None:
        return _rewrite(load(source), options, input, output)
    model, content = read_hashed(source)
    key = None
    if content is not None and type(options.method) in METHODS.values():
        key = _key(content, options, input, output)
    found = None if key is None else cache.find(key)
    if found is not None:
        return Rewritten(found[1], Facts.from_json(found[0]))
    rewritten = _rewrite(check_model(model, describe(source)), options, input, output)
    if key is not None and isinstance(rewritten.model, bytes):
        cache.keep(key, rewritten.facts.to_json(), rewritten.model)
    return rewritten


def _rewrite(original: ir.Model, options: Options, input: str | None, output: str | None) -> Rewritten:
    explained = explain_loaded(original, options, input=input, output=output)
    check_export(explained)
    model = explained.model
    return Rewritten(ir.to_proto(model).SerializeToString() if fits_in_one_file(model) else model, Facts.of(explained))


def _key(content: str, options: Options, input: str | None, output: str | None) -> str:
    """The name of all that a rewritten model is made of; options are dataclasses of plain values, all in their repr."""
    return sha256(repr((content, options, input, output, *_makers())).encode()).hexdigest()


@once
def _makers() -> tuple[str, ...]:
    """What rewrites and checks a model: versions, and this package's own code and tables, of a working copy perhaps."""
    package = Path(__file__).parents[1]
    code = sha256()
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.json")]):
        code.update(path.read_bytes())
    versions = (f"{name} {version(name)}" for name in ("onnx-saliency", "onnx", "onnx-ir", "numpy"))
    return *versions, f"onnxruntime {import_runtime().__version__}", code.hexdigest()
