"""Quantised classifiers without their rounding, against the same by its definition in float64.

The cases are those of the rules: with a quantiser that does not round, q = clip(x / s + z), each is a function, and the
gradient that of central differences.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from backward.harness import assert_close, differentiate
from backward.test_quantisation import ALL, RANGES, Quantisers
from nets import graph, run

from onnx_saliency.backward import is_expanded
from onnx_saliency.exporter.unrounded import without_rounding
from onnx_saliency.graph import Classifier, normalise


class Unrounded(Quantisers):
    """A quantiser that does not round: what would round into the range of codes is in it."""

    half = 0.0

    def again(self) -> Unrounded:
        return self

    def __call__(
        self, x: np.ndarray, s: Any, z: Any = 0, kind: str = "u8", *, open: bool = True, result: bool = False
    ) -> np.ndarray:
        low, high = RANGES[kind]
        beyond = 0.0 if kind == "f8" else 0.5
        was_relu = not open and np.all(np.equal(z, low))
        r = x / s + z
        return r if result else np.clip(r, low if was_relu else low - beyond, high + beyond)


def unrounded(model: onnx.ModelProto) -> Classifier:
    """`without_rounding` of a graph from float x to float y, image or not."""
    canonical = normalise(ir.from_proto(model), expand=is_expanded)
    x, y = canonical.graph.inputs[0], canonical.graph.outputs[0]
    return without_rounding(Classifier(canonical, x, "NCHW", y, y, None, None))


@pytest.mark.parametrize("case", [case for case in ALL if case.named != "blocks"], ids=str)
def test_gradient_is_that_of_the_function_that_rounding_hides(case):
    found = unrounded(case.model())
    assert found.exact is not None
    (y,) = run(case.model(), {"x": case.x})
    np.testing.assert_array_equal(run(ir.to_proto(found.model), {"x": case.x})[0], y)

    found.model.graph.outputs[:] = [found.score]
    wanted = case.evaluate(Unrounded())
    v = np.random.default_rng(1).standard_normal(wanted.shape)
    explained, _ = differentiate(ir.to_proto(found.model), ["x"], np.float32)
    real, gradient = run(explained, {"x": case.x, "v0": v.astype(np.float32)})
    assert_close(real, wanted, 1e-5, f"{case}: score")
    assert_close(gradient, case.gradient(v, Unrounded()), 1e-4, f"{case}: gradient")


IN_A_LOOP = """
    k = ReduceMax<keepdims = 0>(x) n = Cast<to = 7>(k)
    r = Loop(n, on, x) <body = body (int64 i, bool c, float[2,3] a) => (bool c_out, float[2,3] b) {
        c_out = Identity(c) q = QuantizeLinear(a, s, z) b = DequantizeLinear(q, s, z) }>
"""
QUANTISED = "q = QuantizeLinear(x, s, z)"
WITHOUT_A_PLAIN_MEANING = {
    "in a loop": IN_A_LOOP,
    "a scale that is computed": "k = ReduceMax<keepdims = 0>(x) q = QuantizeLinear(x, k, z) "
    "r = DequantizeLinear(q, k, z)",
    "as whole numbers": f"{QUANTISED} i = Cast<to = 6>(q) r = Cast<to = 1>(i)",
    "of whole numbers": "k = Cast<to = 6>(x) q = QuantizeLinear(k, s, z) r = DequantizeLinear(q, s, z)",
    "of double": "k = Cast<to = 11>(x) q = QuantizeLinear(k, s, z) r = DequantizeLinear(q, s, z)",
    "in blocks": "q = QuantizeLinear<axis = 1, block_size = 3>(x, t, u) "
    "r = DequantizeLinear<axis = 1, block_size = 3>(q, t, u)",
}


@pytest.mark.parametrize("body", WITHOUT_A_PLAIN_MEANING.values(), ids=WITHOUT_A_PLAIN_MEANING)
def test_other_graphs_stay_as_they_are(body):
    weights = {"s": np.float32(0.04), "z": np.uint8(110), "on": np.array(True)}
    weights |= {"t": np.full((2, 1), 0.04, np.float32), "u": np.full((2, 1), 110, np.uint8)}
    graph_of = {"inputs": "float[2,3] x", "outputs": "float[2,3] y", "opset": 21, "ir": 10}
    model = graph(f"{body} y = Mul(r, r)", **graph_of, **weights)
    before = ir.to_proto(normalise(ir.from_proto(model), expand=is_expanded))
    found = unrounded(model)
    assert found.exact is None
    assert ir.to_proto(found.model) == before


def test_a_float_graph_stays_as_it_is():
    found = unrounded(graph("y = Sigmoid(x)", inputs="float[2,3] x", outputs="float[2,3] y"))
    assert found.exact is None
    assert [node.op_type for node in found.model.graph] == ["Sigmoid"]
