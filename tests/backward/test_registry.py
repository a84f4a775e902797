"""Every operator that the registry claims has a row that could prove it wrong."""

from importlib import import_module

from onnx_saliency.backward import rules, supported

TESTS = {family: import_module(f".test_{family}", __package__) for family in rules.__all__}


def test_every_operator_has_a_row():
    tested = {row.op for family in TESTS.values() for row in family.ROWS} | set(TESTS["arithmetic"].STOPS)
    assert sorted(set(supported()) - tested) == []


def test_every_row_is_of_a_supported_operator():
    rows = [row.op for family in TESTS.values() for row in family.ROWS]
    assert sorted(set(rows) - set(supported())) == []
