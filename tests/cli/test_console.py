"""Tables on terminals of any width."""

import pytest

from onnx_saliency.cli import console
from onnx_saliency.report.faithfulness import COLUMNS

NAMES = ["integrated_gradients", "layercam_fused", "a_method_of_a_name_that_is_longer_than_any_other"]
CELL = "0.123**"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_table_loses_no_letter(capsys, monkeypatch, width):
    monkeypatch.setattr(console.out, "_width", width)
    rows = [[name, *[CELL] * len(COLUMNS)] for name in NAMES]
    console.print_table(["", *COLUMNS.values()], rows, numbers=list(COLUMNS.values()), whole=[*COLUMNS.values(), ""])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    expected = sorted("".join([*NAMES, *COLUMNS.values(), CELL * len(NAMES) * len(COLUMNS)]))
    assert sorted(text.replace(" ", "").replace("\n", "")) == expected
    if width >= 80:
        assert all(column in text.splitlines()[0] for column in COLUMNS.values())
        assert text.count(CELL) == len(NAMES) * len(COLUMNS)
    assert (NAMES[-1] in text) == (width == 200)
