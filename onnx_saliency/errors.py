"""Every error a user can meet, in one place: each says what was found, where, and what to do.

All derive from `SaliencyError`, so `except SaliencyError` is enough for a caller who only wants
the sentence. A fault of the input never surfaces as a bare KeyError, protobuf or runtime traceback.
"""

from __future__ import annotations


class SaliencyError(Exception):
    """Base of all errors raised on purpose by this package."""


class ModelError(SaliencyError):
    """The model cannot be read, is damaged, or is not a graph this package can explain."""


class OutOfMemoryError(ModelError):
    """Memory, or the limit set to it, does not suffice for a run; says what is needed where that is known."""


class AmbiguousModelError(ModelError):
    """The image input or the score cannot be told apart; lists the candidates and the option to set."""


class UnsupportedOperatorError(ModelError):
    """Operators on the path from image to score have no backward rule; lists all of them."""


class ExportError(SaliencyError):
    """The explained model does not compute what the original computes, so it was not written."""


class TargetError(SaliencyError, ValueError):
    """A class the model does not have, or a number of targets other than the number of images."""


class MethodError(SaliencyError, ValueError):
    """A method of attribution that does not exist, or an option of it that makes no sense."""


class RecipeError(SaliencyError, ValueError):
    """A recipe, for class models or segmentation, that does not exist, or has values that make no sense."""


class LayerError(ModelError):
    """A layer that the model does not have, that has no such position, or that the score does not depend on."""


class ImageError(SaliencyError):
    """A picture, or an array in its place, cannot be used; names the file and the reason."""


class LabelError(SaliencyError):
    """A label file that cannot be read or does not fit the model."""


class DatasetError(SaliencyError):
    """A data set that is not recognised, is incomplete, or has invalid boxes; lists all that is wrong."""


class MetricError(SaliencyError, ValueError):
    """Arrays that a measure cannot be taken of: shapes that do not belong together, values out of range."""


class OutputError(SaliencyError):
    """A result cannot be written where it was asked for; nothing is left half-written."""


class CacheError(SaliencyError, ValueError):
    """The environment variable for the cache of rewritten models has an invalid value."""


class RuntimeMissingError(SaliencyError, ImportError):
    """ONNX Runtime, or a library that one verb needs, is not installed; says which package to install."""


class ProviderError(SaliencyError):
    """An execution provider that does not exist here, or a session that could not be built."""


class MethodWarning(UserWarning):
    """The method gives the plain gradient on this model, for example guided backpropagation without a rectifier."""


class ProviderWarning(UserWarning):
    """A device was asked for and is not used; says what runs instead."""
