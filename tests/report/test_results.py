"""What `explain` keeps of its pictures while it writes them."""

import json

import numpy as np
import pytest
from nets import small

import onnx_saliency as xs
from onnx_saliency.errors import OutputError
from onnx_saliency.images import Picture
from onnx_saliency.report import results
from onnx_saliency.report.results import Results


@pytest.fixture(scope="module")
def explainer():
    return xs.Explainer(small(), providers=["cpu"], preprocess=xs.Preprocess(resize=None, mean=127.5, std=127.5))


def pictures(count, height=30, width=40):
    rng = np.random.default_rng(0)
    return [Picture(rng.integers(0, 255, (height, width, 3), np.uint8), f"{i}.jpg") for i in range(count)]


def test_no_pixels_of_pictures_are_kept(explainer, tmp_path):
    """Whole photographs, three figures each, filled the memory before the page was written."""
    kept = Results(tmp_path)
    found = explainer.explain(pictures(1, 1200, 900))
    kept.add(explainer, found)
    (section,) = kept.sections
    assert isinstance(section, str)
    assert len(section) < found.pictures[0].pixels.nbytes / 2


def test_pictures_that_are_written_at_once_stay_in_order(explainer, tmp_path):
    kept = Results(tmp_path)
    found = explainer.explain(pictures(9))
    kept.add(explainer, found)
    kept.finish(model="net.onnx", explainer=explainer, failed=[])
    rows = json.loads((tmp_path / "explain.json").read_text("utf-8"))["explained"]
    assert [row["image"] for row in rows] == [f"{i}.jpg" for i in range(9)]
    for i, row in enumerate(rows):
        with np.load(row["arrays"]) as arrays:
            np.testing.assert_array_equal(arrays["saliency"], found.maps[i])
            np.testing.assert_array_equal(arrays["input_gradient"], found.gradient[i])


def test_a_picture_that_cannot_be_written_is_an_error(explainer, tmp_path, monkeypatch):
    def refuse(path, _):
        raise OutputError(f"{path}: the disk is full")

    monkeypatch.setattr(results, "write_npz", refuse)
    with pytest.raises(OutputError, match="the disk is full"):
        Results(tmp_path).add(explainer, explainer.explain(pictures(3)))
