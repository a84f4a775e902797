"""What tests of several verbs share."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def data(tmp_path):
    """A data set: three pictures with a class and a box each."""
    rng = np.random.default_rng(0)
    lines = ["image,accepted,xmin,ymin,xmax,ymax"]
    for folder in ("images/set", "boxes"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(tmp_path / f"data/images/set/{i}.png")
        lines.append(f"{i}.png,{i},4,4,20,18")
    (tmp_path / "data/boxes/set.csv").write_text("\n".join(lines))
    return tmp_path / "data"
