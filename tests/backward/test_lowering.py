"""Profiles: other operators, the same numbers."""

import numpy as np
import onnx
import pytest

from onnx_saliency.backward import PROFILES, profile_for

from . import test_activation, test_normalisation
from .harness import CPU, cases, check, differentiate, parse, run

ROWS = [
    *test_activation.PIECEWISE,
    *test_activation.CLIPS,
    *test_activation.KINKS,
    *test_activation.SMOOTH,
    *test_activation.LARGE,
    *test_normalisation.BATCH,
    *test_normalisation.INSTANCE,
    *test_normalisation.LAYER,
]


@pytest.mark.parametrize(("row", "variant"), cases(ROWS, CPU))
def test_gradient_for_the_cpu(row, variant):
    check(row, variant)


PICTURES = "(float[2,3,8,8] x, float[3] s, float[3] b, float[3] m, float[3] v) => (float[2,3,8,8] y)"
LIMITS = "low = Constant<value = float {-1.0}>() high = Constant<value = float {1.0}>()"
WRITTEN = {  # and an operator that the CPU's way has, and the portable one does not
    "y = Relu(x)": "HardSigmoid",
    f"{LIMITS} y = Clip(x, low, high)": "HardSigmoid",
    "y = LeakyRelu<alpha = 0.1>(x)": "Clip",
    "y = BatchNormalization(x, s, b, m, v)": "Conv",
    "y = InstanceNormalization(x, s, b)": "Conv",
    "y = Sigmoid(x)": "HardSigmoid",
}


@pytest.mark.parametrize("body", WRITTEN)
def test_the_same_numbers_in_every_profile(body):
    rng = np.random.default_rng(0)
    feeds = {name: rng.uniform(0.5, 2, 3).astype(np.float32) for name in "sbmv"}
    feeds |= {name: rng.standard_normal((2, 3, 8, 8)).astype(np.float32) for name in ("x", "v0")}
    feeds["x"].flat[::7] = 0
    models = {profile: differentiate(parse(PICTURES, body), ["x"], np.float32, profile)[0] for profile in PROFILES}
    found = {profile: run(model, feeds)["d_x"] for profile, model in models.items()}
    for profile in PROFILES:
        np.testing.assert_allclose(found[profile], found["portable"], rtol=1e-5, atol=1e-6, err_msg=profile)
    written = {profile: [node.op_type for node in model.graph.node] for profile, model in models.items()}
    assert WRITTEN[body] in written["cpu"][1:]
    assert WRITTEN[body] not in written["portable"][1:]


STRIDED = [
    ("[3, 3]", "[0, 0, 1, 1]", "[2, 2]", (7, 8), (3, 4)),
    ("[5, 3]", "[1, 2, 3, 0]", "[3, 2]", (10, 9), (4, 5)),
    ("[2, 2]", "[0, 1, 1, 0]", "[2, 2]", (8, 8), (4, 4)),
]


@pytest.mark.parametrize(("kernel", "pads", "strides", "size", "made"), STRIDED)
def test_transposed_convolutions_for_cuda_cut_both_ends_alike(kernel, pads, strides, size, made):
    height, width = (int(length) for length in kernel.strip("[]").split(","))
    signature = (
        f"(float[2,3,{size[0]},{size[1]}] x, float[4,3,{height},{width}] w) => (float[2,4,{made[0]},{made[1]}] y)"
    )
    body = f"y = Conv<kernel_shape = {kernel}, pads = {pads}, strides = {strides}>(x, w)"
    rng = np.random.default_rng(0)
    shapes = {"x": (2, 3, *size), "w": (4, 3, height, width), "v0": (2, 4, *made)}
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    models = {
        profile: differentiate(parse(signature, body), ["x"], np.float32, profile)[0]
        for profile in ("portable", "cuda")
    }
    found = {profile: run(model, feeds)["d_x"] for profile, model in models.items()}
    assert found["portable"].shape == (2, 3, *size)
    np.testing.assert_allclose(found["cuda"], found["portable"], rtol=1e-5, atol=1e-5)
    for profile, alike in (("portable", False), ("cuda", True)):
        (node,) = (node for node in models[profile].graph.node if node.op_type == "ConvTranspose")
        (cut,) = (list(each.ints) for each in node.attribute if each.name == "pads")
        assert (cut[:2] == cut[2:]) is alike


def test_the_smallest_numbers_are_above_zero():
    """A step is made of numbers by a factor; none of the normal ones may be too small for it."""
    model = parse("(float[N] x) => (float[N] y)", "y = LeakyRelu<alpha = 0.1>(x)")
    x = np.array([1e-29, -1e-29, 3e38, -3e38, 0, np.inf, -np.inf], np.float32)
    feeds = {"x": x, "v0": np.ones_like(x)}
    for profile in PROFILES:
        found = run(differentiate(model, ["x"], np.float32, profile)[0], feeds)["d_x"]
        np.testing.assert_allclose(found, [1, 0.1, 1, 0.1, 0.1, 1, 0.1], rtol=1e-6, err_msg=profile)


@pytest.mark.parametrize("limit", [6.0, 0.1, -1e-20, 3e38])
def test_next_to_a_limit_is_inside_or_outside(limit):
    """Limits far out, which cannot be made steep, are compared with."""
    limit = np.float32(limit)
    x = np.array([np.nextafter(limit, -np.inf), limit, np.nextafter(limit, np.inf), -np.inf, np.inf], np.float32)
    if abs(limit) < 1e-10:
        x[[0, 2]] = limit * np.array([1.5, 0.5], np.float32) - np.array([1e-29, -1e-29], np.float32)
    feeds = {"x": x, "v0": np.full_like(x, 3)}
    for clip, expected in (("x, limit", [0, 0, 3, 0, 3]), ("x, , limit", [3, 0, 0, 3, 0])):
        body = f"limit = Constant<value = float {{{limit!s}}}>() y = Clip({clip})"
        for profile in PROFILES:
            model, _ = differentiate(parse("(float[N] x) => (float[N] y)", body), ["x"], np.float32, profile)
            np.testing.assert_array_equal(run(model, feeds)["d_x"], expected, err_msg=f"{profile} {clip}")


@pytest.mark.parametrize("high", [6.0, 8.0, 0.1, 2e-9])
@pytest.mark.parametrize("low", [0.0, -1.0, 0.04])
def test_next_to_two_limits_behind_a_convolution(low, high):
    """Where a value stays in the blocked layout; 2e-9 is too near 0 to be made steep."""
    low, high = np.float32(low), np.float32(high)
    tiny = np.float32(1e-29) if low == 0 else np.spacing(np.abs(low))
    x = np.zeros((2, 16, 4, 4), np.float32)
    x[:, :, 0] = low - tiny, low, low + tiny, (low + high) / 2
    x[:, :, 1] = np.nextafter(high, low), high, np.nextafter(high, np.float32(np.inf)), 1e9
    inside = (low < x) & (x < high)
    limits = f"low = Constant<value = float {{{low!s}}}>() high = Constant<value = float {{{high!s}}}>()"
    model = parse(
        "(float[2,16,4,4] x, float[16,1,1,1] w) => (float[2,16,4,4] y)",
        f"{limits} z = Conv<group = 16>(x, w) y = Clip(z, low, high)",
    )
    feeds = {"x": x, "w": np.ones((16, 1, 1, 1), np.float32), "v0": np.full_like(x, 3)}
    for profile in PROFILES:
        made, _ = differentiate(model, ["x"], np.float32, profile)
        np.testing.assert_array_equal(run(made, feeds)["d_x"], 3 * inside, err_msg=profile)


@pytest.mark.parametrize(
    "body", ["y = Conv<pads = [1, 1, 1, 1]>(both, w)", "e = Relu(both) y = Conv<pads = [1, 1, 1, 1]>(e, w)"]
)
def test_the_gradient_of_a_concatenation_behind_a_convolution(body):
    """For the CPU a convolution a part, where nothing stands between."""
    model = parse(
        "(float[2,3,6,6] x, float[16,3,1,1] u, float[32,3,1,1] v, float[5,48,3,3] w) => (float[2,5,6,6] y)",
        f"one = Conv(x, u) other = Conv(x, v) both = Concat<axis = 1>(one, other) {body}",
    )
    rng = np.random.default_rng(0)
    sizes = {"x": (2, 3, 6, 6), "u": (16, 3, 1, 1), "v": (32, 3, 1, 1), "w": (5, 48, 3, 3), "v0": (2, 5, 6, 6)}
    feeds = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    made = {profile: differentiate(model, ["x"], np.float32, profile)[0] for profile in PROFILES}
    found = {profile: run(made[profile], feeds)["d_x"] for profile in PROFILES}
    for profile in PROFILES:
        np.testing.assert_allclose(found[profile], found["portable"], rtol=1e-5, atol=1e-4, err_msg=profile)
        splits = [node.op_type for node in made[profile].graph.node].count("Split")
        assert splits == (profile == "portable" or (profile == "cpu" and "Relu" in body)), profile


@pytest.mark.parametrize(
    ("shapes", "axis", "splits"),
    [
        (["2,3,4", "2,5,4"], 1, 0),
        (["2,3,4", "1,3,4", "4,3,4"], 0, 0),
        (["2,3,4", "2,3,1"], -1, 0),
        (["2,3,4", "2,3,4"], 1, 1),  # equal parts
        (["3", "4"], 0, 1),  # no other axis
        (["N,3,4", "M,3,4"], 0, 1),  # open lengths
    ],
)
def test_unequal_parts_are_sliced_for_cuda(shapes, axis, splits):
    """The sizes of unequal parts, and where they lie, would be copied to the device for Split."""
    names = [f"x{i}" for i in range(len(shapes))]
    inputs = ", ".join(f"float[{shape}] {name}" for shape, name in zip(shapes, names, strict=True))
    shape = ",".join("abc"[: shapes[0].count(",") + 1])
    model = parse(f"({inputs}) => (float[{shape}] y)", f"y = Concat<axis = {axis}>({', '.join(names)})")
    sizes = [[int(dim) if dim.isdigit() else 2 + i for dim in shape.split(",")] for i, shape in enumerate(shapes)]
    feeds = {name: np.zeros(size, np.float32) for name, size in zip(names, sizes, strict=True)}
    joined = np.concatenate(list(feeds.values()), axis=axis)
    feeds["v0"] = np.arange(joined.size, dtype=np.float32).reshape(joined.shape)
    made, _ = differentiate(model, names, np.float32, "cuda")
    found = run(made, feeds)
    ends = np.cumsum([size[axis] for size in sizes])[:-1]
    for name, expected in zip(names, np.split(feeds["v0"], ends, axis=axis), strict=True):
        np.testing.assert_array_equal(found[f"d_{name}"], expected)
    assert [node.op_type for node in made.graph.node].count("Split") == splits


def test_the_profile_of_a_provider():
    assert [profile_for(name) for name in ("cpu", "cuda", "TensorrtExecutionProvider")] == ["cpu", "cuda", "portable"]


def made_alike(model, feeds):
    """The model with its gradient in every profile, once they have given the same numbers."""
    made = {profile: differentiate(model, ["x"], np.float32, profile)[0] for profile in PROFILES}
    shape = [dim.dim_value for dim in made["cpu"].graph.input[-1].type.tensor_type.shape.dim]
    feeds = {**feeds, "v0": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    found = {profile: run(made[profile], feeds)["d_x"] for profile in PROFILES}
    for profile in PROFILES:
        np.testing.assert_allclose(found[profile], found["portable"], rtol=1e-4, atol=1e-5, err_msg=profile)
    return made


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (5, 8)])
@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ((3, 3), "strides = [2, 2], pads = [1, 1, 1, 1]"),
        ((3, 3), "strides = [2, 2], pads = [0, 0, 1, 1]"),
        ((5, 5), "strides = [2, 2], pads = [2, 2, 2, 2]"),
        ((3, 3), "strides = [3, 2], pads = [1, 0, 1, 1]"),
        ((3, 2), "strides = [2, 1], dilations = [1, 2]"),
        ((1, 1), "strides = [2, 2]"),
    ],
)
def test_a_depthwise_convolution_that_steps(kernel, attributes, size):
    """With stride 2 the CPU's way is a convolution, too, wherever the gradient reaches the last row and column."""
    height, width = size
    signature = f"(float[2,4,{height},{width}] x, float[4,1,{kernel[0]},{kernel[1]}] w) => (float[2,4,oh,ow] y)"
    model = parse(signature, f"y = Conv<group = 4, {attributes}>(x, w)")
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((2, 4, *size)).astype(np.float32)}
    feeds["w"] = rng.standard_normal((4, 1, *kernel)).astype(np.float32)
    made = made_alike(model, feeds)
    written = {profile: [node.op_type for node in made[profile].graph.node] for profile in PROFILES}
    assert "ConvTranspose" in written["portable"]
    if kernel == (3, 3) and "[1, 1, 1, 1]" in attributes:
        assert "Resize" in written["cpu"]
        assert "ConvTranspose" not in written["cpu"]


STRIDED = "y = Conv<strides = [2, 2]>({0}, w)"
BLOCKED = {  # whether the gradient goes through a convolution of one pixel
    f"r = Relu(x) {STRIDED.format('r')}": True,
    "r = Relu(x) y = GlobalAveragePool(r)": True,
    "r = Relu(x) y = AveragePool<kernel_shape = [2, 2]>(r)": True,
    f"r = Transpose<perm = [0, 1, 3, 2]>(x) {STRIDED.format('r')}": False,  # comes from no blocked kernel
    STRIDED.format("x"): False,
}


@pytest.mark.parametrize("body", BLOCKED)
def test_a_gradient_goes_back_into_blocks(body):
    model = parse("(float[2,16,6,6] x, float[32,16,2,2] w) => (float[2,m,h,l] y)", body)
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((2, 16, 6, 6)).astype(np.float32)}
    feeds["w"] = rng.standard_normal((32, 16, 2, 2)).astype(np.float32)
    made = made_alike(model, feeds)
    written = [node.op_type for node in made["cpu"].graph.node if node.name.startswith("backward/")]
    assert ("Conv" in written) == BLOCKED[body]


AXES = "axes = Constant<value_ints = [2, 3]>()"
GATES = {  # what of the gradient stays in the blocked layout
    f"r = Relu(x) {AXES} m = ReduceMean(r, axes) g = Sigmoid(m) p = Mul(r, g) y = Relu(p)": "gate, mean",
    f"r = Relu(x) {AXES} m = ReduceMean<keepdims = 0>(r, axes) u = Unsqueeze(m, axes) y = Mul(u, r)": "mean",
    "r = Relu(x) m = GlobalAveragePool(r) g = Sigmoid(m) p = Mul(g, r) y = Relu(p)": "gate, mean",
    f"r = Transpose<perm = [0, 1, 3, 2]>(x) {AXES} m = ReduceMean(r, axes) y = Mul(r, m)": "",  # no blocked kernel's
}


@pytest.mark.parametrize("size", [(16, 6, 7), (16, 1, 5), (24, 6, 7), (1, 6, 7)])
@pytest.mark.parametrize("body", GATES)
def test_gates_stay_in_blocks(body, size):
    """What is one number per channel meets pictures in their shape, where they come from the blocked layout."""
    model = parse(f"(float[2,{','.join(map(str, size))}] x) => (float[2,c,h,w] y)", body)
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((2, *size)).astype(np.float32)}
    made = made_alike(model, feeds)
    written = [node.op_type for node in made["cpu"].graph.node if node.name.startswith("backward/")]
    stays = GATES[body] if size[0] == 16 else ""
    assert written.count("Resize") == len(stays.split(", ")) * bool(stays)
    assert ("Expand" in written) == ("mean" not in stays)
    assert "gate" not in stays or size[1] == 1 or "GlobalAveragePool" in written


@pytest.mark.parametrize(
    "body",
    [
        "y = AveragePool<kernel_shape = [2, 3], strides = [2, 1], pads = [0, 1, 1, 0]>(x)",
        "y = LpPool<kernel_shape = [2, 3], strides = [2, 1]>(x)",
        's = Constant<value_floats = [1.0, 1.0, 2.0, 1.5]>() y = Resize<mode = "linear">(x, , s)',
    ],
)
def test_matrices_stand_to_the_right_for_cuda(body):
    """To the left of a batch they would have its addresses copied to the device."""
    model = parse("(float[2,3,6,8] x) => (float[2,3,h,w] y)", body)
    made = made_alike(model, {"x": np.random.default_rng(0).uniform(0.5, 2, (2, 3, 6, 8)).astype(np.float32)})
    inferred = onnx.shape_inference.infer_shapes(made["cuda"], strict_mode=True).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*inferred.value_info, *inferred.input)}
    products = [node for node in inferred.node if node.op_type == "MatMul"]
    assert products
    assert all(ranks[node.input[0]] == 4 for node in products)
