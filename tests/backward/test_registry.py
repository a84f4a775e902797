"""Every operator that the registry claims has a row that could prove it wrong."""

from importlib import import_module
from pathlib import Path

import onnx
import pytest

from onnx_saliency.backward import classify, supported

from .harness import EVERY, NEWEST, forward_model

TESTS = [
    import_module(f".{path.stem}", __package__)
    for path in sorted(Path(__file__).parent.glob("test_*.py"))
    if path.stem != Path(__file__).stem
]
ROWS = [row for module in TESTS for row in getattr(module, "ROWS", [])]
TESTED = {row.op for row in ROWS}.union(*(getattr(module, "TESTED", []) for module in TESTS))  # tested without a row


def reachable(op_type):
    """Whether a version of the operator is in an opset that onnxruntime loads."""
    schemas = onnx.defs.get_all_schemas_with_history()
    return any(s.name == op_type and s.domain == "" and s.since_version <= NEWEST for s in schemas)


def differentiable():
    operators = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    return {name for name in operators if classify(name) in ("rule", "zero", "expanded") and reachable(name)}


def test_every_operator_has_a_row():
    assert set(supported()) - differentiable() == set()
    assert sorted(differentiable() - TESTED) == []


def test_every_row_is_of_a_supported_operator():
    assert sorted({row.op for row in ROWS} - differentiable()) == []


@pytest.mark.parametrize("op_type", ["Relu", "Conv"])  # one run in double, one in float
@pytest.mark.parametrize("variant", EVERY, ids=str)
def test_a_variant_is_what_its_name_says(op_type, variant):
    """A dimension that was not open would test the static rule twice."""
    row = next(row for row in ROWS if row.op == op_type)
    model = forward_model(row, variant)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    named = [dim.HasField("dim_param") for dim in dims]
    opened = {"no": 0, "batch": 1, "all": len(dims)}[variant.open]
    assert named == [True] * opened + [False] * (len(dims) - opened)
    assert model.opset_import[0].version == variant.opset
