"""The curve of an ascent, and what is written of class models that have something odd about them."""

import json

import numpy as np
import pytest

from onnx_saliency.errors import OutputError
from onnx_saliency.exporter.ascent import PAPER
from onnx_saliency.images import Labels
from onnx_saliency.report.class_models import ClassModels
from onnx_saliency.report.curve import curve
from onnx_saliency.report.sheet import PAPER as PAGE
from onnx_saliency.vision import ClassModel


def drawn(series, **options):
    """Where there is ink of a curve, and neither text nor rules."""
    pixels = curve(series, **options).astype(int)
    assert (pixels[0, 0] == PAGE).all()
    return np.argwhere(np.ptp(pixels, axis=2) > 60)


def test_a_curve_rises_from_left_to_right():
    ink = drawn([np.linspace(-3, 12, 50)])
    left, right = ink[ink[:, 1].argmin()], ink[ink[:, 1].argmax()]
    assert left[0] > right[0] + 150
    assert right[1] > left[1] + 350


def test_nan_ends_a_curve():
    values = np.linspace(0, 1, 50)
    half = np.where(np.arange(50) < 25, values, np.nan)
    whole, cut = drawn([values]), drawn([half])
    assert cut[:, 1].max() < whole[:, 1].max() - 150


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0], [np.nan, np.nan]], ids=str)
def test_curves_of_next_to_nothing(values):
    assert curve([np.array(values)], "score").shape == (260, 480, 3)
    assert curve([], size=(300, 200)).shape == (200, 300, 3)


def test_one_step_is_a_point():
    assert len(drawn([np.array([1.0])]))


def test_places_and_names_make_room_for_a_legend():
    line = np.linspace(0, 1, 11)
    plain, named = drawn([line], at=line), drawn([line], at=line, names=["integrated gradients"])
    assert plain[:, 1].max() > 440
    stroke = named[named[:, 0] > 80]  # below the legend
    assert stroke[:, 1].max() < plain[:, 1].max() - 80


def test_curves_stand_where_they_are_said_to_be():
    early = drawn([np.array([0.0, 1.0, 1.0])], at=np.array([0.0, 0.1, 1.0]))
    late = drawn([np.array([0.0, 1.0, 1.0])], at=np.array([0.0, 0.9, 1.0]))
    highest = [ink[ink[:, 0] <= ink[:, 0].min() + 1, 1].min() for ink in (early, late)]
    assert highest[0] < highest[1] - 250


def found(count, **options):
    rng = np.random.default_rng(0)
    return ClassModel(
        **{
            "inputs": rng.standard_normal((count, 3, 8, 8)).astype(np.float32),
            "images": rng.integers(0, 256, (count, 8, 8, 3), np.uint8),
            "logits": rng.standard_normal((count, 5)).astype(np.float32),
            "history": rng.standard_normal((count, 4)).astype(np.float32),
            "target": np.arange(count) % 5,
            "recipe": PAPER,
            "seed": 0,
            "steps": 4,
            "frames": np.zeros((0, count, 8, 8, 3), np.uint8),
            **options,
        }
    )


def test_names_that_are_no_file_names(tmp_path):
    labels = Labels(("a/b: <c>", "../x", "é " * 60, "", "cock, Gallus"))
    rows = ClassModels(tmp_path).write(found(5, labels=labels), model="net.onnx")
    assert [row["file"] for row in rows[:2]] == ["001-a_b_c.png", "002-x.png"]
    assert rows[4]["file"] == "005-cock.png"
    assert all((tmp_path / row["file"]).is_file() and len(row["file"]) < 80 for row in rows)
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "a/b: &lt;c&gt;" in page


def test_frames_are_laid_out_in_rows(tmp_path):
    from PIL import Image

    frames = np.zeros((3, 7, 8, 8, 3), np.uint8)
    frames[:, 6] = 255
    ClassModels(tmp_path).write(found(7, frames=frames), model="net.onnx")
    with Image.open(tmp_path / "ascent.gif") as gif:
        assert gif.size == (5 * 8, 2 * 8)
        shown = np.asarray(gif.convert("L"))
    assert shown[8:, 8:16].min() == 255
    assert shown.sum() == 64 * 255


def test_notes_and_an_interruption_are_said(tmp_path):
    history = np.array([[1.0, 2.0, np.nan, np.nan]], np.float32)
    note = "Dead start: at 0 the gradient is zero."
    ClassModels(tmp_path).write(found(1, history=history, steps=2, partial=True, notes=(note,)), model="m/net.onnx")
    summary = json.loads((tmp_path / "class_models.json").read_text())
    assert (summary["partial"], summary["notes"], summary["class_models"][0]["end"]) == (True, [note], 2.0)
    page = (tmp_path / "index.html").read_text()
    assert note in page
    assert f"2 of {PAPER.steps} steps" in page


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(OutputError, match="is a file"):
        ClassModels(tmp_path / "out")
