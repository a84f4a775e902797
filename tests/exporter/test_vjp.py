"""Gradients of any graph: energies and forces, several outputs by several inputs, and what is refused."""

import numpy as np
import onnx
import pytest
from nets import array, close, graph, images, run, small
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

import onnx_saliency as xs
from onnx_saliency.backward import registry
from onnx_saliency.errors import ExportError, ModelError, OutputError, UnsupportedOperatorError
from onnx_saliency.graph import normalise as normalise_room

LENNARD_JONES = """
    rows = Unsqueeze(positions, one)
    columns = Unsqueeze(positions, zero)
    d = Sub(rows, columns)
    square = Mul(d, d)
    distances = ReduceSum<keepdims = 0>(square, last)
    self = EyeLike(distances)
    r2 = Add(distances, self)
    r4 = Mul(r2, r2)
    r6 = Mul(r4, r2)
    attraction = Reciprocal(r6)
    repulsion = Mul(attraction, attraction)
    pair = Sub(repulsion, attraction)
    total = ReduceSum<keepdims = 0>(pair)
    energy = Mul(two, total)
"""


def lennard_jones(atoms="N"):
    return graph(
        LENNARD_JONES,
        inputs=f"double[{atoms},3] positions",
        outputs="double energy",
        zero=np.array([0]),
        one=np.array([1]),
        last=np.array([-1]),
        two=np.array(2.0),
    )


def energy(positions):
    """4 Σ_{i<j} r_ij⁻¹² − r_ij⁻⁶"""
    total = 0.0
    for i in range(len(positions)):
        for j in range(i):
            r = np.linalg.norm(positions[i] - positions[j])
            total += 4 * (r**-12 - r**-6)
    return total


def forces(positions, step=1e-5):
    found = np.zeros_like(positions)
    for index in np.ndindex(positions.shape):
        nudge = np.zeros_like(positions)
        nudge[index] = step
        found[index] = -(energy(positions + nudge) - energy(positions - nudge)) / (2 * step)
    return found


def atoms(count):
    """Near the corners of a grid, so that no two lie on each other."""
    corners = np.array(list(np.ndindex(3, 3, 3)), np.float64)[:count]
    return 1.1 * corners + 0.1 * array((count, 3), "atoms", np.float64)


SEVERAL = """
    y = MatMul(x, w)
    scaled = Mul(x, s)
    z = ReduceSum<keepdims = 0>(scaled, last)
    e = Exp(y)
    k = Cast<to = 7>(y)
    r = Round(z)
"""
SEVERAL_INPUTS = "float[N,3] x, float[3,2] w, int64[1] last, float[3] s"
SEVERAL_OUTPUTS = "float[N,2] y, float[N] z, float[N,2] e, int64[N,2] k, float[N] r"
SEVERAL_FEEDS = {"x": array((4, 3)), "w": array((3, 2), "w"), "last": np.array([1]), "s": array(3, "s")}


def several(**options):
    return graph(SEVERAL, **{"inputs": SEVERAL_INPUTS, "outputs": SEVERAL_OUTPUTS, **options})


def names(values):
    return [value.name for value in values]


def metadata(model):
    prefix = "onnx_saliency."
    return {p.key.removeprefix(prefix): p.value for p in model.metadata_props if p.key.startswith(prefix)}


def find(values, name):
    (found,) = [value for value in values if value.name == name]
    return found.type.tensor_type


def shape(tensor_type):
    return [dim.dim_param or dim.dim_value for dim in tensor_type.shape.dim]


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 9])
@pytest.mark.parametrize("stated", ["N", "number"])
def test_forces_are_the_negative_gradient_of_the_energy(stated, count):
    made = xs.vjp(lennard_jones("N" if stated == "N" else count), outputs=["energy"], inputs=["positions"])
    x = atoms(count)
    value, gradient = run(made, {"positions": x}, ["energy", "grad_positions"])
    assert gradient.dtype == np.float64
    close(value, energy(x), 1e-12)
    close(-gradient, forces(x), 1e-7)


def test_the_standards_own_evaluator_gives_the_same():
    made = xs.vjp(lennard_jones(), outputs=["energy"], inputs=["positions"])
    onnx.checker.check_model(made, full_check=True)
    feeds = {"positions": atoms(5), "cotangent_energy": np.array(3.0)}
    for expected, actual in zip(run(made, feeds), ReferenceEvaluator(made).run(None, feeds), strict=True):
        close(actual, expected, 1e-12)
    close(-run(made, feeds)[1], 3 * forces(atoms(5)), 1e-7)


def test_several_outputs_by_several_inputs():
    made = xs.vjp(several(), outputs=["y", "z"], inputs=["s", "x", "w"])
    onnx.checker.check_model(made, full_check=True)
    cy, cz = array((4, 2), "cy"), array(4, "cz")
    feeds = {**SEVERAL_FEEDS, "cotangent_y": cy, "cotangent_z": cz}
    ds, dx, dw = run(made, feeds, ["grad_s", "grad_x", "grad_w"])
    x, w, s = (SEVERAL_FEEDS[name] for name in "xws")
    close(ds, cz @ x)
    close(dx, cy @ w.T + np.outer(cz, s))
    close(dw, x.T @ cy)


def test_a_cotangent_left_out_is_all_ones():
    made = xs.vjp(several(), outputs=["y", "z"], inputs=["x"])
    w, s = SEVERAL_FEEDS["w"], SEVERAL_FEEDS["s"]
    cy, cz = array((4, 2), "cy"), array(4, "cz")
    expected = {
        (): np.ones((4, 2)) @ w.T + s,
        ("cotangent_y",): cy @ w.T + s,
        ("cotangent_z",): np.ones((4, 2)) @ w.T + np.outer(cz, s),
    }
    for given, dx in expected.items():
        cotangents = {name: {"cotangent_y": cy, "cotangent_z": cz}[name] for name in given}
        close(run(made, {**SEVERAL_FEEDS, **cotangents}, ["grad_x"])[0], dx)


def test_a_cotangent_of_another_shape_is_refused_by_the_runtime():
    made = xs.vjp(several(), outputs=["y"], inputs=["x"])
    one = {**SEVERAL_FEEDS, "x": array((1, 3))}
    for wrong in (np.ones((5, 2)), np.ones((1, 3)), np.ones(2)):
        with pytest.raises(Exception, match=r"(?i)shape|rank|dim"):
            run(made, {**one, "cotangent_y": wrong.astype(np.float32)}, ["grad_x"])


def test_an_output_that_another_one_is_made_of():
    """e = exp(y): the cotangent of y and what flows back from e are added."""
    made = xs.vjp(several(), outputs=["e", "y"], inputs=["w"])
    ce, cy = array((4, 2), "ce"), array((4, 2), "cy")
    (dw,) = run(made, {**SEVERAL_FEEDS, "cotangent_e": ce, "cotangent_y": cy}, ["grad_w"])
    x, w = SEVERAL_FEEDS["x"], SEVERAL_FEEDS["w"]
    close(dw, x.T @ (ce * np.exp(x @ w) + cy))


def test_the_gradient_may_be_the_cotangent_itself():
    """dy of a sum reaches both inputs, and an output that is an input's copy hands it on."""
    model = graph("y = Add(a, b) z = Identity(a)", inputs="float[N] a, float[N] b", outputs="float[N] y, float[N] z")
    feeds = {"a": array(3), "b": array(3), "cotangent_y": array(3, "cy")}
    made = xs.vjp(model, outputs=["y"], inputs=["a", "b"])
    onnx.checker.check_model(made, full_check=True)
    for found in run(made, feeds, ["grad_a", "grad_b"]):
        close(found, feeds["cotangent_y"])
    both = xs.vjp(model, outputs=["y", "z"], inputs=["a", "b"])
    da, db = run(both, {**feeds, "cotangent_z": array(3, "cz")}, ["grad_a", "grad_b"])
    close(da, feeds["cotangent_y"] + array(3, "cz"))
    close(db, feeds["cotangent_y"])


def test_the_cotangent_of_a_scalar_itself():
    made = xs.vjp(graph("y = Identity(x)", inputs="float x", outputs="float y"), outputs=["y"], inputs=["x"])
    onnx.checker.check_model(made, full_check=True)
    assert run(made, {"x": array(())}, ["grad_x"]) == [1]
    assert run(made, {"x": array(()), "cotangent_y": np.array(2, np.float32)}, ["grad_x"]) == [2]


def test_twice_is_the_jacobian_times_a_vector():
    """ȳ ↦ ȳᵀJ is linear, so its own gradient by ȳ is J times the cotangent of grad_w."""
    made = xs.vjp(several(), outputs=["e"], inputs=["w"])
    twice = xs.vjp(made, outputs=["grad_w"], inputs=["cotangent_e"])
    onnx.checker.check_model(twice, full_check=True)
    v, ones = array((3, 2), "v"), np.ones((4, 2), np.float32)
    feeds = {**SEVERAL_FEEDS, "cotangent_e": ones, "cotangent_grad_w": v}
    (found,) = run(twice, feeds, ["grad_cotangent_e"])
    x, w = SEVERAL_FEEDS["x"], SEVERAL_FEEDS["w"]
    close(found, np.exp(x @ w) * (x @ v))


def test_a_classifier_is_a_graph_like_any():
    model, x = small(), images()
    (expected,) = run(xs.export(model), {"image": x, "target": np.array([3])}, ["input_gradient"])
    seed = np.tile(np.eye(5, dtype=np.float32)[3], (2, 1))
    made = xs.vjp(model, outputs=["logits"], inputs=["image"])
    close(run(made, {"image": x, "cotangent_logits": seed}, ["grad_image"])[0], expected)


def test_a_weight_that_is_an_input_too():
    model = several(w=SEVERAL_FEEDS["w"])
    made = xs.vjp(model, outputs=["y"], inputs=["w"])
    feeds = {name: value for name, value in SEVERAL_FEEDS.items() if name != "w"}
    close(run(made, feeds, ["grad_w"])[0], feeds["x"].T @ np.ones((4, 2)))


# --- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "dtype"), [("float16", np.float16), ("float", np.float32), ("double", np.float64)])
def test_gradients_and_cotangents_have_the_types_of_what_they_belong_to(kind, dtype):
    model = graph("y = Mul(x, x)", inputs=f"{kind}[N,3] x", outputs=f"{kind}[N,3] y")
    made = xs.vjp(model, outputs=["y"], inputs=["x"])
    onnx.checker.check_model(made, full_check=True)
    x, cy = array((2, 3), dtype=dtype), array((2, 3), "cy", dtype)
    (dx,) = run(made, {"x": x, "cotangent_y": cy}, ["grad_x"])
    assert dx.dtype == dtype
    close(dx, 2 * cy.astype(np.float64) * x, {np.float16: 1e-3, np.float32: 1e-6, np.float64: 1e-15}[dtype])


def test_half_precision_is_computed_in_single():
    """x² of 300 is beyond float16, its gradient by way of the root is not."""
    body = "q = Mul(x, x) h = Mul(q, c) y = Sqrt(h)"
    model = graph(body, inputs="float16[N] x", outputs="float16[N] y", c=np.array(0.25, np.float16))
    made = xs.vjp(model, outputs=["y"], inputs=["x"])
    close(run(made, {"x": np.array([300, 2], np.float16)}, ["grad_x"])[0], [0.5, 0.5], 1e-3)


def test_types_may_differ_between_output_and_input():
    body = f"d = Cast<to = {TensorProto.DOUBLE}>(x) q = Mul(d, v) y = Exp(q)"
    model = graph(body, inputs="float[N] x, double[N] v", outputs="double[N] y")
    made = xs.vjp(model, outputs=["y"], inputs=["x", "v"])
    onnx.checker.check_model(made, full_check=True)
    x, v = array(3), array(3, "v", np.float64)
    dx, dv = run(made, {"x": x, "v": v}, ["grad_x", "grad_v"])
    assert (dx.dtype, dv.dtype) == (np.float32, np.float64)
    close(dx, v * np.exp(x.astype(np.float64) * v), 1e-6)
    close(dv, x * np.exp(x.astype(np.float64) * v), 1e-13)


# --- the model that comes out -------------------------------------------------------------------


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_the_models_own_come_first_and_stay(opset):
    made = xs.vjp(several(opset=opset), outputs=["z", "y"], inputs=["s", "x"])
    onnx.checker.check_model(made, full_check=True)
    assert names(made.graph.input) == ["x", "w", "last", "s", "cotangent_z", "cotangent_y"]
    assert names(made.graph.output) == ["y", "z", "e", "k", "r", "grad_s", "grad_x"]
    assert shape(find(made.graph.output, "grad_x")) == ["N", 3]
    assert shape(find(made.graph.output, "grad_s")) == [3]
    assert all(isinstance(dim, str) for dim in shape(find(made.graph.input, "cotangent_y")))
    assert not {node.domain for node in made.graph.node} - {""}
    expected = run(several(opset=opset), SEVERAL_FEEDS)
    for before, after in zip(expected, run(made, SEVERAL_FEEDS, ["y", "z", "e", "k", "r"]), strict=True):
        close(after, before)


def test_it_says_what_it_is():
    found = metadata(xs.vjp(several(), outputs=["z", "y"], inputs=["s", "x"]))
    assert found.pop("version")
    assert found == {"method": "vjp", "of": "z,y", "wrt": "s,x"}


def test_a_name_twice_or_alone():
    made = xs.vjp(several(), outputs=["y", "y"], inputs=["x"])
    assert made == xs.vjp(several(), outputs="y", inputs="x")


def test_file_to_file_and_the_same_bytes_each_time(tmp_path):
    onnx.save(lennard_jones(), tmp_path / "energy.onnx")
    for name in ("a.onnx", "b.onnx"):
        made = xs.vjp(tmp_path / "energy.onnx", tmp_path / name, outputs=["energy"], inputs=["positions"])
        assert made is None
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert onnx.load(tmp_path / "a.onnx") == xs.vjp(lennard_jones(), outputs=["energy"], inputs=["positions"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx", "energy.onnx"]


def test_names_of_any_kind():
    model = graph("y = Exp(x)", inputs="float[N] x", outputs="float[N] y")
    model.graph.input[0].name = model.graph.node[0].input[0] = "in/x:0"
    model.graph.output[0].name = model.graph.node[0].output[0] = "out/y:0"
    made = xs.vjp(model, outputs=["out/y:0"], inputs=["in/x:0"])
    x = array(3)
    close(run(made, {"in/x:0": x, "cotangent_out/y:0": x}, ["grad_in/x:0"])[0], x * np.exp(x))


def test_values_inside_may_have_any_name():
    model = graph("grad_x = Exp(x) y = Mul(grad_x, x)", inputs="float[N] x", outputs="float[N] y")
    made = xs.vjp(model, outputs=["y"], inputs=["x"])
    x = array(3)
    close(run(made, {"x": x}, ["grad_x"])[0], np.exp(x) * (1 + x))


# --- what is refused ----------------------------------------------------------------------------


def test_names_that_are_not_there_are_named_all_at_once():
    with pytest.raises(ModelError) as caught:
        xs.vjp(lennard_jones(), outputs=["enrgy", "q"], inputs=["position"])
    message = str(caught.value)
    for part in ("no output 'enrgy'; closest: 'energy'", "no output 'q'", "no input 'position'; closest: 'positions'"):
        assert part in message
    assert "outputs of the model: 'energy'" in message
    assert "inputs of the model: 'positions'" in message


def test_only_what_the_graph_gives_and_takes():
    with pytest.raises(ModelError, match=r"no output 'r6'(?s:.*)no input 'two'"):
        xs.vjp(lennard_jones(), outputs=["r6"], inputs=["two"])


def test_no_floats():
    with pytest.raises(ModelError, match=r"output 'k' holds no floats: (?s:.*)input 'last' holds no floats"):
        xs.vjp(several(), outputs=["y", "k"], inputs=["last"])


def test_nothing_named():
    with pytest.raises(ModelError, match=r"no output is named(?s:.*)no input is named"):
        xs.vjp(several(), outputs=[], inputs=[])


def test_outputs_and_inputs_that_do_not_depend_on_each_other():
    with pytest.raises(ModelError) as caught:
        xs.vjp(several(), outputs=["y", "z", "e"], inputs=["s"])
    assert "output 'y' depends on none of 's'" in str(caught.value)
    assert "output 'e' depends on none of 's'" in str(caught.value)
    assert "'z' depends" not in str(caught.value)
    with pytest.raises(ModelError, match=r"none of 'y', 'e' depends on input 's'"):
        xs.vjp(several(), outputs=["y", "e"], inputs=["x", "s"])


def test_a_way_through_whole_numbers_is_none():
    body = f"k = Cast<to = {TensorProto.INT64}>(x) y = Cast<to = {TensorProto.FLOAT}>(k)"
    with pytest.raises(ModelError, match="output 'y' depends on none of 'x'"):
        xs.vjp(graph(body, inputs="float[N] x", outputs="float[N] y"), outputs=["y"], inputs=["x"])


def test_piecewise_constant_outputs():
    with pytest.raises(ModelError, match="piecewise constant in 'x', 's'"):
        xs.vjp(several(), outputs=["r"], inputs=["x", "s"])


@pytest.mark.parametrize("name", ["cotangent_y", "grad_x", "vjp/x"])
def test_names_that_are_added_must_be_free(name):
    model = graph("y = Mul(x, a) b = Neg(y)", inputs="float[N] x, float[N] a", outputs="float[N] y, float[N] b")
    model.graph.output[1].name = model.graph.node[1].output[0] = name
    with pytest.raises(ExportError, match=rf"inputs or outputs named '{name}'.*Rename them"):
        xs.vjp(model, outputs=["y"], inputs=["x"])


def test_operators_without_a_rule(monkeypatch):
    monkeypatch.delitem(registry._RULES, "Exp")
    with pytest.raises(UnsupportedOperatorError, match="Exp, opset 18"):
        xs.vjp(several(), outputs=["e"], inputs=["x"])


def test_a_place_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="no folder"):
        xs.vjp(several(), tmp_path / "no" / "out.onnx", outputs=["y"], inputs=["x"])


# --- the check ----------------------------------------------------------------------------------


def test_a_result_that_computes_something_else_is_refused(monkeypatch):
    raise_opset = normalise_room.__globals__["raise_opset"]

    def broken(model):
        model = raise_opset(model)
        next(node for node in model.graph if node.op_type == "Exp").op_type = "Tanh"
        return model

    monkeypatch.setitem(normalise_room.__globals__, "raise_opset", broken)
    with pytest.raises(ExportError, match=r"e: relative difference \d"):
        xs.vjp(several(), outputs=["y"], inputs=["x"])
    assert xs.vjp(several(), outputs=["y"], inputs=["x"], check=False)


def test_a_size_that_is_not_found():
    model = graph("f = Reshape(x, shape) y = Exp(f)", inputs="float[N] x", outputs="float[17] y", shape=np.array([17]))
    with pytest.raises(ExportError, match="runs on none of the sizes tried"):
        xs.vjp(model, outputs=["y"], inputs=["x"])
    made = xs.vjp(model, outputs=["y"], inputs=["x"], check=False)
    x = array(17)
    close(run(made, {"x": x}, ["grad_x"])[0], np.exp(x))


def test_all_open_dimensions_by_one_name():
    body = "f = Reshape(x, shape) y = Exp(f)"
    model = graph(body, inputs="float[q,q] x", outputs="float[4,16] y", shape=np.array([4, 16]))
    assert xs.vjp(model, outputs=["y"], inputs=["x"])


def test_sizes_that_would_fill_the_memory_are_not_tried():
    assert xs.vjp(
        graph("y = Sin(x)", inputs="float[a,b,c,d,e] x", outputs="float[a,b,c,d,e] y"), outputs=["y"], inputs="x"
    )


def test_an_operand_of_length_1_is_not_stretched_by_gemm():
    """Its gradient has its own shape, which strict inference agrees with."""
    model = graph("y = Gemm(x, w)", inputs="float[4,1] x", outputs="float[4,3] y", w=(1, 3))
    onnx.checker.check_model(xs.vjp(model, outputs="y", inputs="x"), full_check=True)


def test_what_a_loop_of_open_length_gives_has_the_shape_of_what_it_takes():
    body = """yes = Constant<value = bool {1}>()
        a = Loop(t, yes, x) <body = b (int64 i, bool c, float[3] s) => (bool d, float[3] u)
                             { d = Identity(c) u = Sin(s) }>
        y = ReduceSumSquare<keepdims = 0>(a)"""
    made = xs.vjp(graph(body, inputs="float[3] x, int64 t", outputs="float y"), outputs="y", inputs="x")
    x = array(3)
    (dx,) = run(made, {"x": x, "t": np.array(2)}, ["grad_x"])
    close(dx, 2 * np.sin(np.sin(x)) * np.cos(np.sin(x)) * np.cos(x))


def test_sizes_of_one_name_and_small_indices():
    body = "g = Gather(x, edges) p = MatMul(adjacency, x) s = ReduceSum<keepdims = 0>(g) y = Mul(p, s)"
    inputs = "float[N,4] x, float[N,N] adjacency, int64[E] edges"
    model = graph(body, inputs=inputs, outputs="float[N,4] y")
    made = xs.vjp(model, outputs=["y"], inputs=["x"])
    x, a, edges = array((5, 4)), array((5, 5), "a"), np.array([4, 0, 4])
    (dx,) = run(made, {"x": x, "adjacency": a, "edges": edges}, ["grad_x"])
    expected = np.outer(a.sum(0), np.ones(4)) * x[edges].sum()
    for edge in edges:
        expected[edge] += (a @ x).sum()
    close(dx, expected)


# --- the command line ---------------------------------------------------------------------------


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "several.onnx"
    onnx.save(several(), path)
    return path


def test_export_of_and_wrt(model_file, command):
    ran = command("export", model_file, "--of", "y", "--of", "z", "--wrt", "x", "--wrt", "s")
    assert ran.code == 0
    for name in ("cotangent_y, cotangent_z", "grad_x, grad_s", "several.vjp.onnx"):
        assert name in ran.out
    written = onnx.load(model_file.with_name("several.vjp.onnx"))
    assert written == xs.vjp(several(), outputs=["y", "z"], inputs=["x", "s"])


def test_export_of_and_wrt_as_json(model_file, command, tmp_path):
    out = tmp_path / "out.onnx"
    ran = command("export", model_file, "-o", out, "--of", "y", "--wrt", "x", "--no-check", "--json")
    assert ran.json == {
        "model": str(model_file),
        "vjp": str(out),
        "bytes": out.stat().st_size,
        "inputs": ["cotangent_y"],
        "outputs": ["grad_x"],
    }


@pytest.mark.parametrize("arguments", [["--of", "y"], ["--wrt", "x"]])
def test_of_and_wrt_go_together(model_file, command, arguments):
    ran = command("export", model_file, *arguments)
    assert ran.code == 2
    assert "--of OUTPUT and --wrt INPUT together" in ran.error


@pytest.mark.parametrize(
    "arguments", [["--method", "gradient"], ["--target", "1"], ["--require-target"], ["--preprocess", "unit"]]
)
def test_options_of_images_are_refused_with_them(model_file, command, arguments):
    ran = command("export", model_file, "--of", "y", "--wrt", "x", *arguments)
    assert ran.code == 2
    assert arguments[0] in ran.error
    assert not model_file.with_name("several.vjp.onnx").exists()


def test_errors_on_the_command_line(model_file, command):
    ran = command("export", model_file, "--of", "yy", "--wrt", "x")
    assert ran.code == 2
    assert "no output 'yy'" in ran.error
