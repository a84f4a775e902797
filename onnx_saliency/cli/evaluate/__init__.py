"""`evaluate ...`: how good maps are, measured; one file a measurement."""

from __future__ import annotations

import typer

from onnx_saliency.cli.evaluate.faithfulness import faithfulness
from onnx_saliency.cli.evaluate.localisation import localisation
from onnx_saliency.cli.evaluate.sanity import sanity

evaluate = typer.Typer(no_args_is_help=True, help="Measure maps on pictures of your own.")
evaluate.command()(faithfulness)
evaluate.command()(localisation)
evaluate.command()(sanity)
