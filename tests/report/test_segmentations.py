"""What is kept in memory and written of many pictures: names, sections, refusals."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_detections import found

from onnx_saliency.errors import OutputError
from onnx_saliency.exporter import find_method
from onnx_saliency.images import Preprocess
from onnx_saliency.report import segmentations
from onnx_saliency.report.segmentations import Segmentations, result_names
from onnx_saliency.vision import SEGMENT_RECIPES


def segmenter(top=1):
    explainer = SimpleNamespace(
        layer=None,
        notes=(),
        labels=None,
        preprocess=Preprocess(size=8),
        preprocess_source="assumed",
        provider="cpu",
        method=find_method("gradient"),
    )
    return SimpleNamespace(recipe=SEGMENT_RECIPES["paper"], top=top, explainer=explainer)


def test_the_page_ends_somewhere_and_the_files_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(segmentations, "_ON_PAGE", 2)
    results = Segmentations(tmp_path, segmenter(), "m/net.onnx")
    for _ in range(4):
        results.add([found()])
    results.finish()
    page = (tmp_path / "index.html").read_text("utf-8")
    assert page.count("<section>") == 2
    assert "The first 2 of 4 pictures" in page
    masks = ["cat.mask.png", "cat-2.mask.png", "cat-3.mask.png", "cat-4.mask.png"]
    assert [row["detections"][0]["mask"] for row in results.rows] == masks
    assert all((tmp_path / mask).is_file() for mask in masks)


def test_no_pixels_are_kept(tmp_path):
    """But for what is on the page, and that compressed."""
    results = Segmentations(tmp_path, segmenter(), "net.onnx")
    results.add([found((100, 100, 1500, 1200), (2000, 1500))])
    arrays = [value for value in vars(results).values() if isinstance(value, np.ndarray)]
    assert arrays == []
    assert len(json.dumps(results.rows)) < 1000
    assert sum(map(len, results._sections)) < 300_000


def test_a_mask_of_nothing_has_no_box(tmp_path):
    results = Segmentations(tmp_path, segmenter(2), "net.onnx")
    results.add([found((0, 0, 0, 0), label="nothing"), found(target=4)])
    results.finish()
    (annotation,) = json.loads((tmp_path / "coco.json").read_text("utf-8"))["annotations"]
    assert annotation["category_id"] == 4
    (row,) = json.loads((tmp_path / "results.json").read_text("utf-8"))["pictures"]
    assert (row["detections"][0]["box"], row["detections"][0]["area"]) == ([0, 0, 0, 0], 0)


def test_words_are_escaped(tmp_path):
    results = Segmentations(tmp_path, segmenter(2), "<net>.onnx")
    results.add([found(label="<b>"), found(label="c, d\ne")])
    results.finish()
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "<b>" not in page
    assert "What &lt;net&gt;.onnx finds" in page


def test_a_mask_is_black_and_white(tmp_path):
    results = Segmentations(tmp_path, segmenter(), "net.onnx")
    each = found()
    results.add([each])
    with Image.open(tmp_path / "cat.mask.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), np.where(each.mask, 255, 0))


@pytest.mark.parametrize("top", [1, 2])
def test_names_are_known_before(tmp_path, top):
    results = Segmentations(tmp_path, segmenter(top), "net.onnx")
    for _ in range(2):
        results.add([found() for _ in range(top)])
    written = {path.name for path in tmp_path.iterdir()}
    assert written == set(result_names([Path("a/cat.jpg"), Path("b/cat.png")], top))


def test_a_name_in_the_way(tmp_path):
    (tmp_path / "cat.mask.png").mkdir()
    with pytest.raises(OutputError, match="a folder of that name is in the way"):
        Segmentations(tmp_path, segmenter(), "net.onnx").add([found()])
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="is a file"):
        Segmentations(tmp_path / "file", segmenter(), "net.onnx")
