"""The classifier in a model, in the form that backward rules read."""

from __future__ import annotations

import onnx_ir as ir

from onnx_saliency.backward import is_expanded
from onnx_saliency.graph import Classifier, find_classifier, normalise


def read_classifier(
    model: ir.Model, *, input: str | None = None, output: str | None = None, double: bool = False
) -> Classifier:
    """Bring `model` into canonical form, what has no rule written out, and find image and score in it.

    Args:
        model: from `load`; it may be changed.
        input: name of the image input, where several could be it.
        output: name of the class output, where several could be it.
        double: compute float32 in float64.

    Raises:
        ModelError: the form cannot be reached, or this is no image classifier.
        AmbiguousModelError: several inputs or outputs could be meant.
    """
    return find_classifier(normalise(model, expand=is_expanded, double=double), input=input, output=output)
