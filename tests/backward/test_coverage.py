"""Every operator of the standard, of any version, is in one class: rule, zero, expanded or refused."""

import onnx

from onnx_saliency.backward import classify, supported

STANDARD = [schema for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""]
OPERATORS = {schema.name for schema in STANDARD}
CONVERTED = {"Scatter", "Upsample"}  # deprecated; raising a model to opset 18 turns them into their successors


def test_every_operator_is_in_one_class():
    assert sorted(name for name in OPERATORS - CONVERTED if classify(name) is None) == []


def test_only_deprecated_operators_are_left_to_the_opset_converter():
    newest = {name: max(s.since_version for s in STANDARD if s.name == name) for name in OPERATORS}
    deprecated = {s.name for s in STANDARD if s.deprecated and s.since_version == newest[s.name]}
    assert deprecated == CONVERTED
    assert {classify(name) for name in CONVERTED} == {None}


def test_no_other_operator_is_declared():
    assert set(supported()) - OPERATORS == set()
