"""The trained float16 network beside its float32 twin, on photographs."""

from pathlib import Path

import numpy as np
import pytest
from pictures import data_folder, model_path, read_pictures

import onnx_saliency as xs

DATA: Path = data_folder()


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no trained networks at {DATA}")
def test_the_maps_are_those_of_the_float32_twin():
    images = read_pictures(DATA, "squeezenet1.1_fp16", 4)
    single = xs.Explainer(model_path(DATA, "squeezenet1.1_fp32")).explain(images)
    half = xs.Explainer(model_path(DATA, "squeezenet1.1_fp16")).explain(images, target=single.target)
    errors = np.linalg.norm((half.gradient - single.gradient).reshape(4, -1), axis=1)
    assert np.all(half.saliency.max(axis=(1, 2)) > 0)
    assert np.median(errors / np.linalg.norm(single.gradient.reshape(4, -1), axis=1)) < 2e-2
