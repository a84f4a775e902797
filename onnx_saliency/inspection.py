"""What can be said of a model before anything runs: `inspect_model`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import onnx_ir as ir

from onnx_saliency.backward import (
    find_path,
    find_rule,
    is_rectifier,
    is_smooth,
    is_straight_through,
    nodes_on,
    profile_for,
)
from onnx_saliency.errors import ExportError, ModelError
from onnx_saliency.exporter import Options, build_explained, read_metadata
from onnx_saliency.exporter.classifier import read_classifier
from onnx_saliency.exporter.exporter import explain_loaded
from onnx_saliency.exporter.layers import layers_between
from onnx_saliency.exporter.unrounded import without_rounding
from onnx_saliency.graph import Classifier, load
from onnx_saliency.graph.cost import multiply_accumulates, parameters
from onnx_saliency.graph.shapes import infer_shapes
from onnx_saliency.runtime.kernels import Placement, place


@dataclass(frozen=True)
class Operator:
    """One kind of operator in the canonical graph: how many nodes, how many between image and score, a rule or not."""

    name: str
    nodes: int
    on_path: int
    has_rule: bool
    without_rule: tuple[str, ...]


@dataclass(frozen=True)
class LayerRow:
    """A layer between image and score, as --layer names it: what makes it, and its shape."""

    name: str
    operator: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Inspection:
    """What was found in a model.

    Attributes:
        input, layout, shape: the image input; an open dimension by its name.
        score, activation: the score explained, and the activation stepped over.
        opset: (as it came, as it is written).
        preprocess: what the model states, None if nothing.
        multiply_accumulates: of one forward pass over one image.
        layers: those between image and score, in the graph's order.
        rectifiers, smooth: how many activations deconvnet and guided change, and how many keep their derivative.
        straight_through: how many nodes between image and score round, and are differentiated as if they did not.
        refusal: why the model cannot be explained, None if it can.
        placements: which nodes of the explained model each provider has kernels for, of providers that were asked for.
    """

    model: str
    input: str
    layout: str
    dtype: str
    shape: tuple[int | str, ...]
    score: str
    activation: str | None
    classes: int | None
    opset: tuple[int, int]
    preprocess: str | None
    parameters: int
    multiply_accumulates: int
    operators: tuple[Operator, ...]
    layers: tuple[LayerRow, ...]
    rectifiers: int
    smooth: int
    straight_through: int = 0
    refusal: str | None = None
    placements: tuple[Placement, ...] = ()

    @property
    def explainable(self) -> bool:
        """Whether the score can be carried back to the image."""
        return self.refusal is None

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "explainable": self.explainable}

    def facts(self) -> Iterator[tuple[str, str]]:
        """Name and value of everything but the operators, in words."""
        yield "model", self.model
        yield "image input", f"{self.input}  {self.dtype} [{', '.join(map(str, self.shape))}]  {self.layout}"
        before = f", before {self.activation}" if self.activation else ""
        yield "score", f"{self.score}{before}"
        yield "classes", "unknown" if self.classes is None else str(self.classes)
        yield "opset", str(self.opset[0]) + (f", raised to {self.opset[1]}" if len(set(self.opset)) > 1 else "")
        yield "preprocessing", self.preprocess or "not stated in the model; give it with --preprocess"
        yield "parameters", f"{self.parameters / 1e6:.2f} million"
        yield "forward pass", f"{self.multiply_accumulates / 1e9:.2f} G multiply-accumulates an image"
        yield "rectifiers", f"{self.rectifiers}" + (f", and {self.smooth} smooth activations" if self.smooth else "")
        if self.straight_through:
            yield "quantised", f"{self.straight_through} nodes round; the gradient is straight-through"

    def layer_rows(self) -> Iterator[tuple[str, str, str]]:
        """One row per layer."""
        for layer in self.layers:
            yield layer.name, layer.operator, " x ".join(map(str, layer.shape))

    def operator_rows(self) -> Iterator[tuple[str, str, str, str]]:
        """One row an operator; nodes without a rule are named."""
        for operator in self.operators:
            missing = f"none: {', '.join(operator.without_rule)}"
            rule = missing if operator.without_rule else "yes" if operator.has_rule else "not needed"
            yield operator.name, str(operator.nodes), str(operator.on_path), rule


def inspect_model(
    model: str | os.PathLike[str],
    *,
    input: str | None = None,
    output: str | None = None,
    providers: Sequence[str] = (),
) -> Inspection:
    """Find input, score and operators of a classifier; nothing is run.

    Args:
        model: path of an ONNX file.
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.
        providers: "cuda" or "cpu", for which the explained model is written, and looked through for nodes that the
            provider has no kernel for.

    Raises:
        ModelError: the file cannot be read, or is no image classifier.
        ProviderError: a provider whose kernels are not known.
    """
    original = load(model)
    opset = original.opset_imports.get("", 0)
    classifier = read_classifier(original, input=input, output=output)
    graph, image = classifier.model.graph, classifier.image
    assert image.shape is not None  # an image input has four axes
    found = Inspection(
        model=os.fspath(model),
        input=image.name or "",
        layout=classifier.layout,
        dtype=image.dtype.name.lower() if image.dtype is not None else "unknown",
        shape=tuple(dim if isinstance(dim, int) else str(dim.value or "?") for dim in image.shape),
        score=classifier.score.name or "",
        activation=classifier.activation,
        classes=classifier.classes,
        opset=(opset, graph.opset_imports[""]),
        preprocess=_preprocess(classifier),
        parameters=parameters(graph),
        multiply_accumulates=multiply_accumulates(graph) // (classifier.batch or 1),
        operators=tuple(_operators(classifier)),
        layers=tuple(_layers(classifier)),
        rectifiers=sum(is_rectifier(node) for node in _path(classifier)),
        smooth=sum(is_smooth(node) for node in _path(classifier)),
        straight_through=sum(is_straight_through(node) for node in _path(classifier)),
        refusal=_refusal(without_rounding(classifier), original),  # last: it writes into the graph
    )
    if found.refusal is not None:
        return found
    return replace(found, placements=tuple(_placement(model, provider, input, output) for provider in providers))


def _placement(model: str | os.PathLike[str], provider: str, input: str | None, output: str | None) -> Placement:
    """Write the explained model as `Explainer` does for this provider."""
    explained = explain_loaded(load(model), Options(profile=profile_for(provider)), input=input, output=output).model
    infer_shapes(explained)
    return place(explained, provider)


def _preprocess(classifier: Classifier) -> str | None:
    from onnx_saliency.images import Preprocess

    stored = read_metadata(classifier.model.metadata_props).get("preprocess")
    return None if stored is None else str(Preprocess.from_json(stored))


def _path(classifier: Classifier) -> Sequence[ir.Node]:
    return tuple(nodes_on(find_path(classifier.model.graph, [classifier.score], [classifier.image])))


def _layers(classifier: Classifier) -> Iterator[LayerRow]:
    path = find_path(classifier.model.graph, [classifier.score], [classifier.image])
    for layer in layers_between(path):
        node = layer.value.producer()
        assert node is not None  # one of the path made it
        assert layer.value.shape is not None
        shape = tuple(dim if isinstance(dim, int) else str(dim.value or "?") for dim in layer.value.shape)
        yield LayerRow(layer.name, node.op_type, shape)


def _refusal(classifier: Classifier, original: ir.Model) -> str | None:
    """Explain it: a rule can be there and not serve a node, or the score not depend on the image."""
    try:
        build_explained(classifier, original)
    except (ModelError, ExportError) as error:
        return str(error)
    return None


def _operators(classifier: Classifier) -> Iterator[Operator]:
    graph = classifier.model.graph
    path = _path(classifier)
    total = Counter(node.op_type for node in graph.all_nodes())
    on_path = Counter(node.op_type for node in path)
    for name in sorted(total):
        nodes = [node for node in path if node.op_type == name]
        missing = tuple(node.name or node.outputs[0].name or "?" for node in nodes if find_rule(node) is None)
        has_rule = any(find_rule(node) is not None for node in graph.all_nodes() if node.op_type == name)
        yield Operator(name, total[name], on_path[name], has_rule, missing)
