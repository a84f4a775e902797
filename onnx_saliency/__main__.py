"""`python -m onnx_saliency`: the command line, where the script is not on the path."""

from onnx_saliency.cli import main

if __name__ == "__main__":
    main()
