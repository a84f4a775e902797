"""What `evaluate sanity` leaves, of results made up by hand."""

import csv
import io
import json
import math

import numpy as np
import pytest

from onnx_saliency.evaluation.sanity import MEASURES, Checked, Sanity, Stage
from onnx_saliency.report.sanity import COLUMNS, SanityPages, as_json, cells, map_sheet, per_picture

STAGES = (Stage(("head",), ()), Stage(("c", "b"), ()), Stage(("a",), ()))


PICTURES = ("a/cat.png", "b/dog.png", "c/elk.png", "d/fox.png", "e/gnu.png", "f/hen.png")


def checked(name, level, *, signed=True, independent=True):
    """Six pictures; every measure of stage s is level / s, every second picture's 0.1 less."""
    values = level / np.arange(1, 4)[:, None, None] - np.array([0, 0.1] * 3)[:, None] + np.zeros(len(MEASURES))
    if not signed:
        values[..., 3:] = np.nan
    maps = np.random.default_rng(0).random((4, 12, 12)).astype(np.float32)
    return Checked(name, values, values[: 3 * independent] / 2, values[0].copy(), values[1].copy(), maps)


@pytest.fixture
def result():
    methods = (checked("gradient", 0.6), checked("guided", 0.9, signed=False, independent=False))
    return Sanity(methods, STAGES, np.array([3, 1] * 3), PICTURES, 0.5, "normal", 0)


def test_json_has_means_stages_and_the_difference_to_the_first_method(result):
    found = as_json(result)
    assert [stage["randomised"] for stage in found["stages"]] == [1, 3, 4]
    assert found["stages"][1]["layers"] == ["c", "b"]
    first, second = found["methods"]
    assert first["cascading"]["ssim"] == pytest.approx([0.55, 0.25, 0.15])
    assert first["independent"]["hog"] == pytest.approx([0.275, 0.125, 0.075])
    assert first["input"]["spearman"] == pytest.approx(0.55)
    assert first["target"]["spearman"] == pytest.approx(0.25)
    assert "minus_first" not in first
    assert second["minus_first"]["mean"] == pytest.approx(0.3)
    assert second["cascading"]["hog_signed"] == [None] * 3
    assert second["independent"]["spearman"] == []
    assert first["all_layers"]["mean"] == pytest.approx(0.15)
    assert first["upper_layers"]["mean"] == pytest.approx(0.55)
    assert (first["verdict"], second["reason"]) == ("fails", "fails: the upper third, the pixels")
    json.dumps(found, allow_nan=False)


def test_cells_follow_the_columns(result):
    first, second = map(cells, as_json(result)["methods"])
    assert len(first) == len(second) == len(COLUMNS)
    assert first == [
        "0.15 [0.12, 0.18]",
        "0.55 [0.52, 0.58]",
        "",
        "0.07 to 0.28",
        "0.55 [0.52, 0.58]",
        "0.25",
        first[-1],
    ]
    assert second[2:4] == ["+0.30 [+0.30, +0.30]", ""]


def test_constant_maps_are_counted_and_left_out_of_means(result):
    result.methods[0].cascading[2, ::2] = np.nan
    result.methods[0].target[:] = np.nan
    row = as_json(result)["methods"][0]
    assert row["constant_maps"] == 3
    assert row["cascading"]["spearman"][2] == pytest.approx(0.1)
    assert row["target"]["spearman"] is None
    result.methods[0].cascading[2] = np.nan
    row = as_json(result)["methods"][0]
    assert row["all_layers"] is None
    assert cells(row)[0] == cells(row)[5] == ""


def test_csv_has_a_row_a_picture_method_test_and_stage(result):
    rows = list(csv.DictReader(io.StringIO(per_picture(result))))
    assert len(rows) == 6 * (3 + 3 + 2) + 6 * (3 + 0 + 2)
    (row,) = (
        each
        for each in rows
        if (each["image"], each["method"], each["test"], each["stage"]) == ("b/dog.png", "gradient", "cascading", "2")
    )
    assert (row["class"], row["layers"], row["ssim"]) == ("1", "3", "0.2000")
    assert {each["hog_signed"] for each in rows if each["method"] == "guided"} == {""}
    assert all(math.isfinite(float(each["spearman"])) for each in rows)


def test_sheet_of_maps(result):
    whole = map_sheet(result)
    assert map_sheet(result, np.zeros((8, 8, 3), np.uint8)).width > whole.width > map_sheet(result, columns=2).width


def test_the_folder(result, tmp_path):
    pages = SanityPages(tmp_path / "out", result, {"model": "net<1>.onnx"}, np.zeros((8, 8, 3), np.uint8))
    pages.write()
    assert json.loads((tmp_path / "out/results.json").read_text()) == pages.as_dict()
    assert (tmp_path / "out/pictures.csv").read_text() == per_picture(result)
    text = (tmp_path / "out/index.html").read_text()
    assert text.count("<section>") == 3
    assert "net&lt;1&gt;.onnx" in text
    assert "lies below 0.5" in text
