"""The backward rules, one file a family. Importing a file registers its rules."""

from onnx_saliency.backward.rules import (
    activation,
    arithmetic,
    linear,
    movement,
    normalisation,
    pooling,
    reduction,
    resize,
)

__all__ = ["activation", "arithmetic", "linear", "movement", "normalisation", "pooling", "reduction", "resize"]
