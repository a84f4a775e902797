"""Each method against a second definition: slow NumPy straight from its paper, around the plain gradient.

The plain gradient itself is tested elsewhere, against differences and float64 autograd.
"""

import functools
import math
import warnings

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, array, close, graph, images, run, session, small
from onnx.reference import ReferenceEvaluator

import onnx_saliency as xs
from onnx_saliency.backward import Tape, Tensor
from onnx_saliency.exporter.methods import METHODS, find_method
from onnx_saliency.exporter.methods.noise import normal, uniform

X = images()
BASIC = {**CONV_WEIGHTS, **HEAD_WEIGHTS}
RECTIFIED = CONV.replace("Sigmoid", "Relu")
FEW = {  # few passes: the tests compare numbers, not maps
    "smoothgrad": {"samples": 4},
    "vargrad": {"samples": 4},
    "integrated_gradients": {"steps": 5},
}
EVERY = pytest.mark.parametrize("name", METHODS)


def few(name, **options):
    return find_method(name, **FEW.get(name, {}), **options)


def result(name):
    return METHODS[name].result


def rectified(**options):
    return graph(RECTIFIED + HEAD, **BASIC, **options)


@functools.cache
def plain(data):
    return session(xs.export(onnx.ModelProto.FromString(data)))


def gradients(model, x, target):
    """The plain gradient of one class at each of these images, one image at a time."""
    made = plain(model.SerializeToString())
    feeds = {"target": np.array([target])}
    found = [made.run(["input_gradient"], {"image": each[None], **feeds})[0] for each in x]
    return np.concatenate(found).astype(np.float64)


def explain(model, method, x=X, target=1, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xs.MethodWarning)
        return xs.Explainer(model, method=method, providers=["cpu"], **options).explain(x, target)


def scores(model, x):
    return run(model, {"image": x}, ["logits"])[0].astype(np.float64)


# --- image times gradient -----------------------------------------------------------------------


def test_input_x_gradient():
    found = explain(rectified(), "input_x_gradient")
    close(found.gradient, X * gradients(rectified(), X, 1), 1e-6)
    close(found.saliency, np.abs(X * gradients(rectified(), X, 1)).max(axis=1), 1e-6)


# --- integrated gradients -----------------------------------------------------------------------


def integrated(model, x, target, steps, baseline=0.0, against=None):
    """Midpoints in t, α = t², so dα = 2 t dt; the slope along the way is the control variate. Values, and the gap"""

    def of(values, points):
        found = values(model, points.astype(np.float32), target)
        return found if against is None else found - values(model, points.astype(np.float32), against)

    def score(model, points, target):
        return scores(model, points)[:, target]

    def mean(each):
        return np.tensordot(weights, each, 1)

    way, t = x - np.float32(baseline), (np.arange(steps) + 0.5) / steps
    weights, g = 2 * t / steps, np.array([of(gradients, baseline + a * way) for a in t * t])
    slope = (g * way).sum(axis=(2, 3, 4), keepdims=True)
    change = of(score, x) - of(score, np.full_like(x, baseline))
    missing = change[:, None, None, None] - mean(slope)
    variance = np.maximum(mean(slope**2) - mean(slope) ** 2, 1e-6 * mean(slope**2))
    covariance = mean(g * slope) - mean(g) * mean(slope)
    values = way * (mean(g) + missing * covariance / (variance + missing**2))
    return values, -missing[:, 0, 0, 0] / np.abs(change)


@pytest.mark.parametrize(("steps", "at_once"), [(1, 1), (5, 1), (5, 3), (6, 7), (7, 2)])
@pytest.mark.parametrize("baseline", [0.0, -0.7])
def test_integrated_gradients(steps, at_once, baseline):
    model = rectified()
    found = explain(model, xs.IntegratedGradients(steps, baseline, at_once))
    expected, gap = integrated(model, X, 1, steps, baseline)
    close(found.gradient, expected, 1e-5)
    close(found.saliency, np.abs(expected).max(axis=1), 1e-5)
    np.testing.assert_allclose(found.gap, gap, rtol=1e-3, atol=1e-5)


@functools.cache
def integral():
    """Of `rectified()`, as good as exact."""
    return integrated(rectified(), X, 1, 2000)[0]


@pytest.mark.parametrize("steps", [8, 32])
def test_integrated_gradients_add_up_where_the_rule_does_not(steps):
    """And are no farther from the integral for it"""
    model = rectified()
    found = explain(model, xs.IntegratedGradients(steps))
    change = (scores(model, X) - scores(model, np.zeros_like(X)))[:, 1]
    off = np.abs(found.gradient.sum(axis=(1, 2, 3)) - change) / np.abs(change)
    assert (off < 0.1 * np.abs(found.gap)).all()
    truth = integral()
    t = (np.arange(steps) + 0.5) / steps
    rule = X * sum(gradients(model, a * a * X, 1) * 2 * a / steps for a in t.astype(np.float32))
    assert np.linalg.norm(found.gradient - truth) < 1.1 * np.linalg.norm(rule - truth)


def test_more_steps_close_the_gap():
    gaps = [np.abs(explain(small(), xs.IntegratedGradients(steps)).gap).max() for steps in (2, 8, 32, 128)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-4


def test_a_linear_net_needs_one_step():
    """There the image times its gradient is the answer."""
    model = graph("f = Flatten(image) logits = MatMul(f, m)", m=(192, 5))
    found = explain(model, xs.IntegratedGradients(1))
    close(found.gradient, X * gradients(model, X, 1), 1e-5)
    assert np.abs(found.gap).max() < 1e-4


def test_of_a_difference_the_gap_is_the_differences():
    model = rectified()
    explainer = xs.Explainer(model, method=xs.IntegratedGradients(4), providers=["cpu"])
    found = explainer.explain(X, 1, against=3)
    expected, gap = integrated(model, X, 1, 4, against=3)
    close(found.gradient, expected, 1e-5)
    np.testing.assert_allclose(found.gap, gap, rtol=1e-3)


# --- noise --------------------------------------------------------------------------------------

PRIME = 2**31 - 1


def slow_uniform(index, seed):
    key = [int(word) % PRIME for word in np.random.SeedSequence(seed).generate_state(4, np.uint64)]
    numbers = []
    for i in np.ravel(index):
        x = int(i)
        for factor, shift in [(48271, key[0]), (69621, key[1]), (16807, key[2])]:
            x = pow(x * factor + shift, 5, PRIME)
        numbers.append((x + 1) / 2**31)
    return np.reshape(numbers, np.shape(index))


def slow_normal(index, seed):
    """Box & Muller 1958"""
    u = np.clip(slow_uniform(index, 2 * seed), 1e-7, 1 - 1e-7)
    return np.sqrt(-2 * np.log(u)) * np.cos(2 * math.pi * slow_uniform(index, 2 * seed + 1))


def written(count, seed, first=0):
    """What methods/noise.py writes: uniform and normal numbers of the indices from `first` on."""
    tape = Tape("noise/")
    index = ir.Value(name="index", shape=ir.Shape(["n"]), type=ir.TensorType(ir.DataType.INT64))
    u, v = (uniform(Tensor(tape, index), 2 * seed + i) for i in (0, 1))
    outputs = [u.value, normal(u, v).value]
    inner = ir.Graph([index], outputs, nodes=tape.nodes, name="noise", opset_imports={"": 18})
    for value in tape.constants.values():
        inner.register_initializer(value)
    return run(ir.to_proto(ir.Model(inner, ir_version=8)), {"index": np.arange(first, first + count)})


@pytest.mark.parametrize(("seed", "first"), [(0, 0), (1, 0), (7, 2**40), (12345678901, 5)])
def test_noise_is_what_it_says(seed, first):
    u, z = written(2000, seed, first)
    index = np.arange(first, first + 2000)
    close(u, slow_uniform(index % PRIME, 2 * seed), 1e-6)
    np.testing.assert_allclose(z, slow_normal(index % PRIME, seed), atol=2e-4)


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_normal(seed):
    count = 200_000
    u, z = (values.astype(np.float64) for values in written(count, seed))
    assert abs(u.mean() - 0.5) < 4 * math.sqrt(1 / 12 / count)
    assert np.abs(np.histogram(u, 100, (0, 1))[0] / count * 100 - 1).max() < 0.11  # 5 standard deviations
    assert abs(z.mean()) < 4 / math.sqrt(count)
    assert abs(z.std() - 1) < 4 / math.sqrt(2 * count)
    assert abs((z**3).mean()) < 4 * math.sqrt(15 / count)
    assert abs((z**4).mean() - 3) < 4 * math.sqrt(96 / count)
    assert 4 < np.abs(z).max() < 6
    for lag in (1, 2, 3, 8, 64, 192, 224, 150_528):  # neighbours, rows, the next copy
        assert abs((z[:-lag] * z[lag:]).mean()) < 4.5 / math.sqrt(count - lag), lag


def test_noise_of_other_seeds_is_other_noise():
    count = 20_000
    z = np.array([written(count, seed)[1] for seed in range(8)], np.float64)
    assert np.abs(z @ z.T / count - np.eye(8)).max() < 5 * math.sqrt(2 / count)
    assert all(len(np.unique(row)) > 0.999 * count for row in z)
    rows = {tuple(row[start : start + 4]) for row in z for start in range(0, count, 4)}
    assert len(rows) == 8 * count // 4  # no stretch of it comes twice


# --- SmoothGrad and VarGrad ---------------------------------------------------------------------


def noisy_gradients(model, x, target, samples, noise, seed):
    """[samples, N, C, H, W]"""
    spread = x.max(axis=(1, 2, 3), keepdims=True) - x.min(axis=(1, 2, 3), keepdims=True)
    size = x[0].size
    found = []
    for k in range(samples):
        n = slow_normal(np.arange(k * size, (k + 1) * size), seed).reshape(1, *x.shape[1:])
        found.append(gradients(model, (x + n * noise * spread).astype(np.float32), target))
    return np.array(found)


@pytest.mark.parametrize("at_once", [1, 3, 5])
@pytest.mark.parametrize("seed", [0, 3])
def test_smoothgrad_and_vargrad(at_once, seed):
    g = noisy_gradients(small(), X, 1, 5, 0.15, seed)
    options = {"samples": 5, "seed": seed, "at_once": at_once}
    smooth, var = (explain(small(), find_method(name, **options)) for name in ("smoothgrad", "vargrad"))
    close(smooth.gradient, g.mean(axis=0), 1e-5)
    close(smooth.saliency, np.abs(g.mean(axis=0)).max(axis=1), 1e-5)
    close(var.gradient, g.var(axis=0), 1e-4)
    close(var.saliency, g.var(axis=0).max(axis=1), 1e-4)


def test_smoothgrad_across_rectifiers():
    """Some rectifier of a copy may lie so near its kink that rounding of the noise decides; not of these."""
    g = noisy_gradients(rectified(), X, 2, 6, 0.3, 1)
    close(explain(rectified(), xs.SmoothGrad(6, 0.3, 1), target=2).gradient, g.mean(axis=0), 1e-4)


def test_the_variance_of_little_noise_is_more_than_rounding():
    g = noisy_gradients(small(), X, 1, 4, 1e-3, 0)
    close(explain(small(), xs.VarGrad(4, 1e-3)).gradient, g.var(axis=0), 1e-2)


def test_without_noise_smoothgrad_is_the_gradient():
    close(explain(small(), xs.SmoothGrad(3, 0.0)).gradient, gradients(small(), X, 1), 1e-6)
    assert np.abs(explain(small(), xs.VarGrad(3, 0.0)).gradient).max() < 1e-12


@pytest.mark.parametrize("name", ["smoothgrad", "vargrad"])
def test_the_seed_decides(name):
    one, again, other = (explain(small(), few(name, seed=seed)).gradient for seed in (5, 5, 6))
    assert one.tobytes() == again.tobytes()
    assert np.linalg.norm(one - other) > 1e-3 * np.linalg.norm(one)


@pytest.mark.parametrize("name", ["smoothgrad", "vargrad"])
def test_an_image_is_given_the_same_noise_alone_and_in_a_batch(name):
    x = images(3, 3, 8, 8)
    whole = explain(small(), few(name), x)
    for i in range(3):
        close(whole.gradient[i : i + 1], explain(small(), few(name), x[i : i + 1]).gradient, 1e-5)


def test_the_default_samples_do_not_run_out():
    assert xs.SmoothGrad().samples == xs.VarGrad().samples == 25
    close(explain(small(), "smoothgrad").gradient, noisy_gradients(small(), X, 1, 25, 0.15, 0).mean(axis=0), 1e-5)


# --- ten crops ----------------------------------------------------------------------------------


def stretch(x, size, axis):
    """Linear, centres of pixels on centres (half_pixel), borders repeated."""
    old = x.shape[axis]
    at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, old - 1)
    share = (at - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share


def stretched(x, height, width):
    return stretch(stretch(x, height, 2), width, 3)


def ten_crops(model, x, target, enlarge=256 / 224, nhwc=False):
    height, width = x.shape[2:]
    tall, wide = math.ceil(round(height * enlarge, 6)), math.ceil(round(width * enlarge, 6))
    big = stretched(x.astype(np.float64), tall, wide)
    gradient, saliency, seen = np.zeros_like(big), np.zeros_like(big[:, :1]), np.zeros_like(big[:, :1])
    dy, dx = tall - height, wide - width
    for top, left in [(0, 0), (0, dx), (dy, 0), (dy, dx), (dy // 2, dx // 2)]:
        place = np.s_[:, :, top : top + height, left : left + width]
        for reflected in (False, True):
            crop = big[place].astype(np.float32)
            crop = crop[..., ::-1] if reflected else crop
            g = gradients(model, np.ascontiguousarray(crop.transpose(0, 2, 3, 1) if nhwc else crop), target)
            g = g.transpose(0, 3, 1, 2) if nhwc else g
            g = g[..., ::-1] if reflected else g
            gradient[place] += g
            saliency[place] += np.abs(g).max(axis=1, keepdims=True)
            seen[place] += 1
    return stretched(gradient / seen, height, width), stretched(saliency / seen, height, width)[:, 0]


TEN = {  # image input, sizes of the batch, enlargement
    "fixed": ("float[N,3,8,8] image", (2, 3, 8, 8), 256 / 224),
    "not square": ("float[N,3,7,12] image", (2, 3, 7, 12), 256 / 224),
    "open": ("float[N,3,H,W] image", (1, 3, 14, 9), 256 / 224),
    "whole": ("float[1,3,21,7] image", (1, 3, 21, 7), 256 / 224),
    "far": ("float[N,3,8,8] image", (2, 3, 8, 8), 1.9),
}


@pytest.mark.parametrize("name", TEN)
def test_ten_crop(name):
    inputs, shape, enlarge = TEN[name]
    model, x = small(inputs=inputs), images(*shape)
    found = explain(model, xs.TenCrop(enlarge), x)
    gradient, saliency = ten_crops(model, x, 1, enlarge)
    close(found.gradient, gradient, 1e-5)
    close(found.saliency, saliency, 1e-5)


def test_ten_crop_with_channels_last():
    body = "t = Transpose<perm = [0, 3, 1, 2]>(image)" + CONV.replace("(image", "(t") + HEAD
    model, x = graph(body, inputs="float[N,8,9,3] image", **BASIC), images(2, 8, 9, 3)
    found = explain(model, "ten_crop", x)
    gradient, saliency = ten_crops(model, x.transpose(0, 3, 1, 2), 1, nhwc=True)
    close(found.gradient, gradient.transpose(0, 2, 3, 1), 1e-5)
    close(found.saliency, saliency, 1e-5)


def test_the_class_of_ten_crops_is_that_of_the_image():
    found = explain(small(), "ten_crop", target=None)
    for i, target in enumerate(scores(small(), X).argmax(axis=1)):
        assert found.target[i] == target
        close(found.gradient[i : i + 1], ten_crops(small(), X[i : i + 1], target)[0], 1e-5)


# --- the exported model, promise by promise ------------------------------------------------------


def export(model, name, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xs.MethodWarning)
        return xs.export(model, method=few(name), **options)


TWO = """
    c = Conv<pads = [1, 1, 1, 1]>(image, w, b)
    r = Relu(c)
    p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
    e = Conv<pads = [1, 1, 1, 1]>(p, w2)
    q = Relu(e)
    m = GlobalAveragePool(q)
    f = Flatten(m)
    l = Gemm<transB = 1>(f, v, a)
    y = Softmax(l)
"""


def two(**options):
    return graph(TWO, outputs="float[N,5] y, float[N,4,P,Q] q", **BASIC, w2=(4, 4, 3, 3), **options)


@EVERY
def test_the_file_alone_gives_what_the_explainer_gives(name):
    made = export(two(), name, output="y")
    found = explain(two(), few(name), target=[3, 0], output="y")
    wanted = ["saliency"] if found.gradient is None else ["saliency", result(name)]
    assert [value.name for value in made.graph.output] == ["y", "q", *wanted]
    actual = run(made, {"image": X, "target": np.array([3, 0])}, wanted)
    for value, expected in zip(actual, [found.saliency, found.gradient], strict=False):
        assert value.dtype == np.float32
        close(value, expected, 1e-5)
    assert actual[0].shape == (2, 8, 8)
    assert actual[0].min() >= 0
    assert actual[0].max() > 0


@EVERY
def test_the_file_is_standard_and_checked_and_the_same_twice(name):
    made = export(two(), name, output="y")
    onnx.checker.check_model(made, full_check=True)
    assert [entry.domain for entry in made.opset_import] == [""]

    def domains(inner):
        for node in inner.node:
            yield node.domain
            for attribute in node.attribute:
                yield from domains(attribute.g)

    assert set(domains(made.graph)) == {""}
    assert made.SerializeToString() == export(two(), name, output="y").SerializeToString()
    assert {p.key: p.value for p in made.metadata_props}["onnx_saliency.method"] == name


@EVERY
def test_original_outputs_are_unchanged(name):
    made, x = export(two(), name, output="y"), images(3, 3, 8, 8)
    for before, after in zip(run(two(), {"image": x}), run(made, {"image": x}, ["y", "q"]), strict=True):
        np.testing.assert_array_equal(after, before)


@EVERY
def test_the_reference_evaluator_gives_the_same(name):
    made = export(two(), name, output="y")
    feeds = {"image": X, "target": np.array([2, 4])}
    wanted = [value.name for value in made.graph.output]
    for expected, found in zip(ReferenceEvaluator(made).run(wanted, feeds), run(made, feeds, wanted), strict=True):
        close(found, expected, 1e-4)


@EVERY
def test_an_image_alone_and_in_a_batch(name):
    x = images(3, 3, 8, 8)
    made = export(two(), name, output="y")
    (whole,) = run(made, {"image": x}, ["saliency"])
    for i in range(3):
        close(run(made, {"image": x[i : i + 1]}, ["saliency"])[0], whole[i : i + 1], 1e-5)


@EVERY
def test_a_fixed_batch(name):
    open_, x = explain(two(), few(name), output="y", target=None), X
    fixed = explain(two(inputs="float[1,3,8,8] image"), few(name), x, output="y", target=None)
    close(fixed.saliency, open_.saliency, 1e-5)


@EVERY
def test_open_sizes(name):
    model, x = two(inputs="float[N,3,H,W] image"), images(2, 3, 10, 12)
    found = explain(model, few(name), x, output="y")
    expected = explain(two(inputs="float[N,3,10,12] image"), few(name), x, output="y")
    assert found.saliency.shape == (2, 10, 12)
    close(found.saliency, expected.saliency, 1e-5)


@EVERY
def test_a_probability(name):
    found = explain(two(), few(name), output="y", score="probability", target=None)
    assert found.saliency.max() > 0
    np.testing.assert_allclose(found.score, run(two(), {"image": X}, ["y"])[0].max(axis=1), rtol=1e-4)


HALVES = {"float16": 1e-2, "uint8": 1e-4, "int32": 1e-4}


@EVERY
@pytest.mark.parametrize("dtype", HALVES)
def test_images_of_other_types(name, dtype):
    body = "x = Cast<to = 1>(image) z = Mul(x, k)" + RECTIFIED.replace("(image", "(z") + HEAD
    weights = {**BASIC, "k": np.float32(0.05)}
    model = graph(body, inputs=f"{dtype}[N,3,8,8] image", **weights)
    x = (np.abs(X) * 50).astype(dtype)
    found = explain(model, few(name), x)
    assert found.saliency.dtype == np.float32
    if name in ("gradient", "deconvnet", "guided", "input_x_gradient", "gradcam", "layercam"):
        wide = graph(body, inputs="float[N,3,8,8] image", **weights)
        close(found.saliency, explain(wide, few(name), x.astype(np.float32)).saliency, HALVES[dtype])
    assert found.saliency.max() > 0
    if name == "smoothgrad" and dtype == "uint8":  # noisy copies are rounded and kept in range
        x64 = x.astype(np.float64)
        spread = x64.max(axis=(1, 2, 3), keepdims=True) - x64.min(axis=(1, 2, 3), keepdims=True)
        noise = slow_normal(np.arange(4 * 192), 0).reshape(4, 1, 3, 8, 8)
        copies = np.clip(x64 + noise * 0.15 * spread, 0, 255).round().astype(np.uint8)
        close(found.gradient, np.mean([gradients(model, each, 1) for each in copies], axis=0), 1e-4)


@EVERY
def test_a_half_precision_model(name):
    weights = {key: array(shape, key, np.float16) / 4 for key, shape in BASIC.items()}
    half = graph(RECTIFIED + HEAD, inputs="float16[N,3,8,8] image", outputs="float16[N,5] logits", **weights)
    wide = graph(RECTIFIED + HEAD, **{key: value.astype(np.float32) for key, value in weights.items()})
    x = X.astype(np.float16)
    found, expected = explain(half, few(name), x), explain(wide, few(name), x.astype(np.float32))
    assert found.saliency.dtype == np.float32
    close(found.saliency, expected.saliency, 3e-2)


@EVERY
def test_a_double_model(name):
    """onnxruntime convolves and resizes no doubles, so this net only pools."""
    body = """
        p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(image)
        f = Flatten(p)
        h = MatMul(f, k)
        r = Relu(h)
        logits = MatMul(r, m)
    """
    weights = {"k": array((48, 7), "k", np.float64), "m": array((7, 5), "m", np.float64)}
    double = graph(body, inputs="double[N,3,8,8] image", outputs="double[N,5] logits", **weights)
    single = graph(body, **{key: value.astype(np.float32) for key, value in weights.items()})
    made = export(double, name)
    onnx.checker.check_model(made, full_check=True)
    found = explain(double, few(name), X.astype(np.float64), target=2)
    close(found.saliency, explain(single, few(name), target=2).saliency, 1e-4)
    if found.gradient is not None:
        (value,) = run(made, {"image": X.astype(np.float64)}, [result(name)])
        assert value.dtype == np.float64


@EVERY
@pytest.mark.parametrize("yes", [True, False])
def test_a_net_with_a_branch(name, yes):
    """Methods that run the net again copy its branches."""
    branch = """
        y = If(yes) <
            then_branch = t () => (float[N,3,8,8] o) { k = Mul(image, two) o = Relu(k) },
            else_branch = e () => (float[N,3,8,8] u) { u = Relu(image) }
        >
    """
    body, two = RECTIFIED.replace("(image", "(y") + HEAD, {"two": np.float32(2)}
    model = graph(branch + body, inputs="float[N,3,8,8] image, bool yes", **two, **BASIC)
    straight = "k = Mul(image, two) y = Relu(k)" if yes else "y = Relu(image)"
    expected = graph(straight + body, **BASIC, **(two if yes else {}))
    found = explain(model, few(name), feeds={"yes": np.array(yes)})
    close(found.saliency, explain(expected, few(name)).saliency, 1e-5)


@EVERY
def test_other_inputs_are_read_by_every_pass(name):
    body = "i = Mul(image, by)" + RECTIFIED.replace("(image", "(i") + HEAD
    model = graph(body, inputs="float[N,3,8,8] image, float[1,3,1,1] by", **BASIC)
    by = array((1, 3, 1, 1), "by")
    expected = graph(body, by=by, **BASIC)
    found = xs.Explainer(model, method=few(name), input="image", providers=["cpu"], feeds={"by": by}).explain(X, 1)
    close(found.saliency, explain(expected, few(name)).saliency, 1e-5)


# --- options ------------------------------------------------------------------------------------

WRONG = {
    "steps=0": (lambda: xs.IntegratedGradients(steps=0), "steps takes 1 or more, not 0"),
    "baseline": (lambda: xs.IntegratedGradients(baseline=math.inf), "baseline is a number"),
    "baseline nan": (lambda: xs.IntegratedGradients(baseline=math.nan), "baseline is a number"),
    "samples=0": (lambda: xs.SmoothGrad(samples=0), "samples takes 1 or more, not 0"),
    "samples=-3": (lambda: xs.VarGrad(samples=-3), "samples takes 1 or more, not -3"),
    "noise<0": (lambda: xs.SmoothGrad(noise=-0.1), r"noise is a standard deviation.*not -0.1"),
    "noise nan": (lambda: xs.SmoothGrad(noise=math.nan), "noise is a standard deviation"),
    "noise inf": (lambda: xs.VarGrad(noise=math.inf), "noise is a standard deviation"),
    "baseline of text": (lambda: xs.IntegratedGradients(baseline="a"), "baseline is a number.*not 'a'"),
    "noise of text": (lambda: xs.SmoothGrad(noise="a"), "noise is a standard deviation.*not 'a'"),
    "seed<0": (lambda: xs.SmoothGrad(seed=-1), "seed is an integer, 0 or more"),
    "at_once=0": (lambda: xs.SmoothGrad(at_once=0), "at_once takes 1 or more"),
    "at_once=0 of steps": (lambda: xs.IntegratedGradients(at_once=0), "at_once takes 1 or more"),
    "enlarge=1": (lambda: xs.TenCrop(1), "enlarge is above 1"),
    "enlarge=5": (lambda: xs.TenCrop(5), "no more than 4, not 5"),
    "enlarge nan": (lambda: xs.TenCrop(math.nan), "enlarge is above 1"),
    "unknown": (lambda: find_method("gradcam++"), r"No method 'gradcam\+\+'; the methods are gradient, deconvnet"),
    "option of none": (lambda: find_method("guided", samples=3), "guided does not take samples; it has no options"),
    "option of another": (lambda: find_method("gradcam", steps=3), "does not take steps; its options are layer"),
    "seed=0.5": (lambda: xs.SmoothGrad(seed=0.5), "seed is an integer"),
    "samples=2.5": (lambda: xs.SmoothGrad(samples=2.5), "samples"),
    "steps as text": (lambda: xs.IntegratedGradients(steps="4"), "steps"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_option_that_makes_no_sense(name):
    make, message = WRONG[name]
    with pytest.raises(xs.MethodError, match=message):
        make()


@pytest.mark.parametrize(
    "method", [xs.SmoothGrad(4, at_once=2), xs.VarGrad(at_once=2), xs.IntegratedGradients(at_once=9)]
)
def test_several_at_once_need_an_open_batch(method):
    with pytest.raises(xs.MethodError, match=r"fixed to a batch of 1.*leave at_once at 1"):
        xs.export(small(inputs="float[1,3,8,8] image"), method=method)


def test_options_are_told_in_the_metadata():
    made = xs.export(small(), method=xs.SmoothGrad(7, 0.2, 3))
    told = {p.key.removeprefix("onnx_saliency."): p.value for p in made.metadata_props}
    assert told["method"] == "smoothgrad"
    assert (told["method.samples"], told["method.noise"], told["method.seed"]) == ("7", "0.2", "3")


def test_every_method_says_where_it_comes_from():
    for name, method in METHODS.items():
        assert method.name == name
        assert any(year in method.source for year in ("2013", "2014", "2016", "2017", "2018", "2021"))
        assert find_method(name) == method()
