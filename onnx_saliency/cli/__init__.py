"""The command line: one file a verb, each thin: parse, call, print."""

from onnx_saliency.cli.app import main

__all__ = ["main"]
