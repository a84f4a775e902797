"""The command line: one file per verb, each thin: parse, call, print."""

import sys


def main() -> None:
    """Run `onnx-saliency`; as `cli.app.main`, whose import takes long enough to be interrupted."""
    try:
        from onnx_saliency.cli.app import main as run

        run()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)


__all__ = ["main"]
