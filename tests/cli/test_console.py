"""Tables on terminals of any width."""

import pytest

from onnx_saliency.cli import console
from onnx_saliency.report.faithfulness import COLUMNS

NAMES = ["integrated_gradients", "layercam_fused", "a_method_of_a_name_that_is_longer_than_any_other"]
CELL = "0.123**"


def printed(capsys, monkeypatch, names, width):
    monkeypatch.setattr(console.out, "_width", width)
    rows = [[name, *[CELL] * len(COLUMNS)] for name in names]
    console.print_table(["", *COLUMNS.values()], rows, numbers=list(COLUMNS.values()))
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_table_loses_no_letter(capsys, monkeypatch, width):
    text = printed(capsys, monkeypatch, NAMES, width)
    assert max(map(len, text.splitlines())) <= width
    expected = "".join([*NAMES, *COLUMNS.values(), CELL * len(NAMES) * len(COLUMNS)]).replace(" ", "")
    assert sorted(text.replace(" ", "").replace("\n", "")) == sorted(expected)
    assert (NAMES[-1] in text) == (width == 200)


def test_words_stay_whole_while_there_is_room(capsys, monkeypatch):
    text = printed(capsys, monkeypatch, NAMES[:2], 81)
    words = text.split()
    assert {*NAMES[:2], *(word for column in COLUMNS.values() for word in column.split())} <= set(words)
    assert words.count(CELL) == 2 * len(COLUMNS)
