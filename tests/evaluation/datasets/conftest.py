"""Pictures and files of composed data sets, and where the real ones are, if they are there."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "models"))


@pytest.fixture
def write(tmp_path):
    """Writes a file below tmp_path: text, or of an array (H, W) or a size (width, height) a picture."""

    def call(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif isinstance(content, tuple):
            Image.new("RGB", content).save(path)
        else:
            Image.fromarray(np.asarray(content, np.uint8)).save(path)
        return path

    return call
