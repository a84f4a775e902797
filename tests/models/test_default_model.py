"""The embedded classifier and its pictures: small, valid, described, and right."""

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image

MODELS = Path(__file__).parents[2] / "models"
MODEL = MODELS / "default.onnx"


@pytest.fixture(scope="module")
def session():
    return ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def labels():
    return (MODELS / "labels.txt").read_text(encoding="utf-8").splitlines()


def pictures():
    """Every shipped picture with the rows of its objects."""
    with (MODELS / "pictures.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        (image, [row for row in rows if row["image"] == image]) for image in dict.fromkeys(r["image"] for r in rows)
    ]


def read(path):
    with Image.open(path) as file:
        image = file.convert("RGB").resize((128, 128), Image.Resampling.BILINEAR)
    return (np.asarray(image, np.float32).transpose(2, 0, 1)[None] - 127.5) / 127.5


def test_file_is_small_and_valid():
    assert MODEL.stat().st_size < 2_000_000
    model = onnx.load(MODEL)
    onnx.checker.check_model(model, full_check=True)
    assert model.producer_name == "onnx_saliency"
    assert [entry.version for entry in model.opset_import] == [18]
    assert {node.op_type for node in model.graph.node} == {"Conv", "Relu", "MaxPool", "Flatten", "Gemm"}


def test_metadata_describes_the_input_and_the_classes(labels):
    metadata = {entry.key: entry.value for entry in onnx.load(MODEL).metadata_props}
    assert json.loads(metadata["onnx_saliency.preprocess"]) == {
        "size": [128, 128],
        "resize": None,
        "crop": "center",
        "mean": 127.5,
        "std": 127.5,
        "channels": "RGB",
    }
    assert json.loads(metadata["onnx_saliency.labels"]) == labels
    assert len(set(labels)) == 16
    accuracy = json.loads(metadata["onnx_saliency.accuracy"])
    assert min(accuracy["unseen_photographs"], accuracy["unseen_crops"]) >= 0.95


@pytest.mark.parametrize("batch", [1, 3])
def test_any_batch(session, batch):
    images = np.random.default_rng(0).uniform(-1, 1, (batch, 3, 128, 128)).astype(np.float32)
    (logits,) = session.run(["logits"], {"image": images})
    assert logits.shape == (batch, 16)
    (alone,) = session.run(["logits"], {"image": images[-1:]})
    np.testing.assert_allclose(logits[-1:], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("image", "rows"), pictures(), ids=lambda value: value if isinstance(value, str) else "")
def test_shipped_pictures_are_recognised(session, labels, image, rows):
    (logits,) = session.run(None, {"image": read(MODELS / image)})
    best = np.argsort(logits[0])[::-1][: len(rows)]
    assert {labels[index] for index in best} == {row["label"] for row in rows}


@pytest.mark.parametrize(("image", "rows"), pictures(), ids=lambda value: value if isinstance(value, str) else "")
def test_boxes_lie_inside_their_pictures(image, rows):
    with Image.open(MODELS / image) as file:
        width, height = file.size
    assert (MODELS / image).stat().st_size < 120_000
    for row in rows:
        assert (int(row["width"]), int(row["height"])) == (width, height)
        assert 0 <= int(row["xmin"]) < int(row["xmax"]) <= width
        assert 0 <= int(row["ymin"]) < int(row["ymax"]) <= height
