"""Pictures in and out: reading them, preparing them for a network, laying maps back on them, class names."""

from onnx_saliency.images.labels import Labels, read_labels
from onnx_saliency.images.picture import (
    MAX_PIXELS,
    SUFFIXES,
    Header,
    Picture,
    find_pictures,
    looks_like_picture,
    read_header,
    read_picture,
)
from onnx_saliency.images.placement import Layout, Placement, prepare, to_pixels
from onnx_saliency.images.preprocess import PRESETS, Preprocess, preset

__all__ = [
    "MAX_PIXELS",
    "PRESETS",
    "SUFFIXES",
    "Header",
    "Labels",
    "Layout",
    "Picture",
    "Placement",
    "Preprocess",
    "find_pictures",
    "looks_like_picture",
    "prepare",
    "preset",
    "read_header",
    "read_labels",
    "read_picture",
    "to_pixels",
]
