"""Results to look at and to keep: overlays, contact sheets, one self-contained page, files written whole."""

from onnx_saliency.report.colour import heat, signed
from onnx_saliency.report.files import write_bytes, write_image, write_json, write_npz, write_text
from onnx_saliency.report.overlay import normalise, overlay
from onnx_saliency.report.page import Bar, Figure, Section, page
from onnx_saliency.report.sheet import Tile, contact_sheet

__all__ = [
    "Bar",
    "Figure",
    "Section",
    "Tile",
    "contact_sheet",
    "heat",
    "normalise",
    "overlay",
    "page",
    "signed",
    "write_bytes",
    "write_image",
    "write_json",
    "write_npz",
    "write_text",
]
