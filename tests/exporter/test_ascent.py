"""The step of the ascent against a second definition: NumPy from the papers, and the gradient by differences."""

from dataclasses import fields, replace

import numpy as np
import onnx_ir as ir
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, array, close, graph, run
from scipy.ndimage import gaussian_filter1d
from test_methods import slow_uniform

import onnx_saliency as xs
from onnx_saliency.backward import PROFILES, is_expanded
from onnx_saliency.errors import ExportError, LayerError, ModelError, RecipeError
from onnx_saliency.exporter.ascent import MODERN, PAPER, RECIPES, Range, Recipe, build_step, find_recipe
from onnx_saliency.exporter.ascent.image import amplitudes, fourier_basis
from onnx_saliency.graph import find_classifier, load, normalise

SIZE = (6, 5)
SEED = 3
RGB = Range(np.array([120.0, 110.0, 100.0]), np.array([60.0, 50.0, 40.0]))
BGR = Range(RGB.mean[::-1].copy(), RGB.std[::-1].copy(), reverse=True)
STILL = Recipe("still", steps=4, rate=0.1, optimiser="normalised")
WAVES = replace(STILL, fourier=True, decorrelate=True)
MOVING = replace(STILL, jitter=0.2, scale=1.3, rotate=20.0, mirror=True, colour=0.3)
ALL = replace(
    MOVING,
    optimiser="adam",
    fourier=True,
    decorrelate=True,
    decay=1.3,
    l2=0.01,
    weight_decay=0.4,
    tv=0.02,
    blur=0.8,
    blur_end=0.3,
    grain=0.1,
    cool=0.9,
)


BODY = """
    t = Transpose<perm = [0, 2, 3, 1]>(image)
    h = MatMul(t, w)
    c = Add(h, b)
    q = Transpose<perm = [0, 3, 1, 2]>(c)
    s = Sigmoid(q)
    r = Flatten(s)
    f = MatMul(r, m)
"""
"""A smooth net in which each pixel counts otherwise, of operators that ONNX Runtime has for doubles too."""


def net(dtype="double", body="", outputs="[N,5] logits", channels=3, **options):
    """BODY and the usual head, with one output or more; double, so that differences mean something."""
    numpy_type = {"double": np.float64, "float": np.float32, "float16": np.float16}[dtype]
    shapes = {"w": (channels, 4), "b": (4,), "m": (4 * SIZE[0] * SIZE[1], 4), **HEAD_WEIGHTS}
    weights = {name: array(shape, name, numpy_type) for name, shape in shapes.items()}
    inputs = options.pop("inputs", f"{dtype}[N,{channels},H,W] image")
    outputs = ", ".join(dtype + each for each in outputs.split(" & "))
    options = {"opset": 20, "ir": 10} | options if dtype == "double" else options  # GridSample of doubles
    return graph(options.pop("before", "") + BODY + HEAD + body, inputs=inputs, outputs=outputs, **weights, **options)


def build(model, recipe, range_=RGB, size=SIZE, **options):
    classifier = find_classifier(normalise(load(model), expand=is_expanded))
    return build_step(classifier, recipe, range_, size, **{"seed": SEED, **options})


def start(step, count=2, dtype=np.float64, at=0, **given):
    """Inputs of a step: random parameters, other states 0."""
    feeds = {}
    for name, shape in step.states.items():
        full = [count if isinstance(dim, str) else dim for dim in shape]
        feeds[name] = np.zeros(full, np.int64 if name == "step" else dtype)
    feeds["parameters"] = array(feeds["parameters"].shape, "parameters", dtype)
    feeds["step"] = np.array([at])
    feeds |= {"target": np.arange(1, count + 1), "key": np.arange(40, 40 + count), **given}
    return {value.name: feeds[value.name] for value in step.model.graph.inputs}


def outputs(step, feeds):
    names = [value.name for value in step.model.graph.outputs]
    return dict(zip(names, run(ir.to_proto(step.model), feeds), strict=True))


# --- the second definition ----------------------------------------------------------------------


def slow_basis(length):
    """Rows: 1, then cos and sin of each frequency, of length 1."""
    rows = []
    for row in range(length):
        k = (row + 1) // 2
        wave = np.sin if row and row % 2 == 0 else np.cos
        values = np.array([wave(2 * np.pi * k * t / length) for t in range(length)])
        rows.append(values / np.sqrt((values**2).sum()))
    return np.array(rows)


def slow_image(p, recipe, range_):
    """J of parameters (..., C, H, W)."""
    if not recipe.fourier:
        return p
    channels, height, width = p.shape[-3:]
    waves = np.zeros(p.shape)
    longest = max(height, width)
    for i, row in enumerate(slow_basis(height)):
        for j, column in enumerate(slow_basis(width)):
            frequency = max(np.hypot((i + 1) // 2 / height, (j + 1) // 2 / width), 1 / longest)
            amplitude = longest * (1 / longest / frequency) ** recipe.decay / 4
            waves += p[..., i, j][..., None, None] * amplitude * np.outer(row, column)
    if recipe.decorrelate and channels == 3:
        # tensorflow/lucid, optvis/param/color.py
        roots = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
        roots = roots / np.linalg.norm(roots, axis=0).max()
        roots = roots[::-1] if range_.reverse else roots
        waves = sum(roots[:, c, None, None] * waves[..., c : c + 1, :, :] for c in range(3))
    return 2 / (1 + np.exp(-waves)) - 1


def slow_draws(channels, step, key):
    """The random numbers of a view: angle, size, two moves, which side, gains, shifts."""
    count = 5 + 2 * channels
    return 2 * slow_uniform(key * count + np.arange(count) + step * count * 65536, SEED) - 1


def slow_sampling(size, recipe, draws):
    """The matrix of the random view of one image, from pixels to pixels."""
    height, width = size
    side = -1 if recipe.mirror and draws[4] < 0 else 1
    angle, zoom = np.radians(draws[0] * recipe.rotate), recipe.scale ** draws[1]
    matrix = np.zeros((height * width, height * width))
    for y in range(height):
        for x in range(width):
            dx, dy = side * (x - (width - 1) / 2), y - (height - 1) / 2
            u = (np.cos(angle) * dx + np.sin(angle) * dy) / zoom + (width - 1) / 2 + draws[2] * recipe.jitter * width
            v = (np.cos(angle) * dy - np.sin(angle) * dx) / zoom + (height - 1) / 2 + draws[3] * recipe.jitter * height
            for row in (np.floor(v), np.floor(v) + 1):
                for column in (np.floor(u), np.floor(u) + 1):
                    if 0 <= row < height and 0 <= column < width:
                        share = (1 - abs(v - row)) * (1 - abs(u - column))
                        matrix[y * width + x, int(row) * width + int(column)] += share
    return matrix


def slow_blur(j, sigma):
    """A Gaussian that ends at the edges; SciPy's pads with 0, so what fell outside is divided out."""
    for axis in (-2, -1):
        options = {"sigma": sigma, "axis": axis, "mode": "constant", "truncate": 40}
        j = gaussian_filter1d(j, **options) / gaussian_filter1d(np.ones_like(j), **options)
    return j


def slow_view(j, recipe, step, keys):
    """What the network sees of J (B, K, C, H, W)."""
    size = j.shape[-2:]
    if recipe.blur or recipe.blur_end:
        share = step / max(recipe.steps - 1, 1)
        sigma = recipe.blur * (1 - share) + recipe.blur_end * share
        j = slow_blur(j, sigma) if sigma else j
    channels = j.shape[2]
    draws = [slow_draws(channels, step, key) for key in keys]
    if recipe.is_moved:
        matrices = np.array([slow_sampling(size, recipe, each) for each in draws])
        j = np.einsum("kop,bkcp->bkco", matrices, j.reshape(*j.shape[:3], -1)).reshape(j.shape)
    if recipe.colour:
        gains, shifts = (np.array(draws)[:, first : first + channels, None, None] for first in (5, 5 + channels))
        j = j * np.exp(recipe.colour * gains) + recipe.colour * shifts
    if recipe.grain:
        table = np.random.default_rng(SEED).standard_normal((j.shape[2], size[0] + 48, size[1] + 48))
        y, x = (slow_uniform(step * 2 + np.arange(2), SEED) * 48).astype(int)
        j = j + recipe.grain * table[:, y : y + size[0], x : x + size[1]]
    return j


def slow_input(j, recipe, range_):
    column = (slice(None), None, None)
    scaled = j * 127.5 / range_.std[column]
    return scaled + (127.5 - range_.mean[column]) / range_.std[column] if recipe.fourier else scaled


def slow_penalty(j, recipe):
    """λ ‖J‖² + tv Σ |∇J| of J (B, K, C, H, W), (B, K)"""
    axes = (2, 3, 4)
    variation = np.abs(np.diff(j, axis=3)).sum(axes) + np.abs(np.diff(j, axis=4)).sum(axes)
    return recipe.l2 * (j**2).sum(axes) + recipe.tv * variation


class Slow:
    """The objective of all images together, with the network itself run by ONNX Runtime."""

    def __init__(self, recipe, score, range_=RGB, at=0, keys=(40, 41)):
        self.recipe, self.score, self.range, self.at, self.keys = recipe, score, range_, at, keys

    def scores(self, p):
        """S of what is seen of parameters (B, K, C, H, W), (B, K)."""
        seen = slow_view(slow_image(p, self.recipe, self.range), self.recipe, self.at, self.keys)
        return self.score(slow_input(seen, self.recipe, self.range))

    def objective(self, p):
        return (self.scores(p) - slow_penalty(slow_image(p, self.recipe, self.range), self.recipe)).sum(axis=1)

    def gradient(self, p, nudge=1e-5):
        """By central differences."""
        nudges = nudge * np.eye(p.size).reshape(-1, *p.shape)
        return ((self.objective(p + nudges) - self.objective(p - nudges)) / (2 * nudge)).reshape(p.shape)


def of_classes(model, targets=(1, 2), against=None, output="logits"):
    """Scores (B, K) of network inputs (B, K, C, H, W)."""

    def score(x):
        (values,) = run(model, {"image": x.reshape(-1, *x.shape[2:])}, [output])
        values = values.reshape(*x.shape[:2], -1)
        found = np.stack([values[:, k, c] for k, c in enumerate(targets)], axis=1)
        return found if against is None else found - values[:, :, against]

    return score


def rms(values):
    return np.sqrt((values**2).mean(axis=(1, 2, 3), keepdims=True))


def check(found, feeds, slow, recipe, tolerance=1e-6):
    """The step against the slow one."""
    p, at = feeds["parameters"].astype(np.float64), slow.at
    g = slow.gradient(p[None][0])
    rate = recipe.rate * (min(1, (1 - at / recipe.steps) / recipe.cool) if recipe.cool else 1)
    if recipe.optimiser == "normalised":
        update = rate * g / rms(g)
    else:
        mean = 0.9 * feeds["mean"] + 0.1 * g
        square = 0.999 * feeds["square"] + 0.001 * g**2
        update = rate * mean / (1 - 0.9 ** (at + 1)) / (np.sqrt(square / (1 - 0.999 ** (at + 1))) + 1e-8)
        close(found["next/mean"], mean, tolerance)
        close(found["next/square"], square, tolerance)
    close(found["next/parameters"] - p, update - rate * recipe.weight_decay * p, tolerance)
    close(found["next/scores"][:, at], slow.scores(p[None])[0], tolerance)
    others = np.delete(np.arange(recipe.steps), at)
    np.testing.assert_array_equal(found["next/scores"][:, others], feeds["scores"][:, others])
    np.testing.assert_array_equal(found["next/step"], [at + 1])
    close(found["image"], slow_input(slow_image(p, recipe, slow.range), recipe, slow.range), tolerance)
    of_score = replace(recipe, l2=0.0, tv=0.0)
    steepest = np.abs(Slow(of_score, slow.score, slow.range, at, slow.keys).gradient(p)).max(axis=(1, 2, 3))
    close(found["slope"], steepest, tolerance)


def label(recipe):
    """What differs from STILL, for the name of a test."""
    changed = [field.name for field in fields(recipe) if getattr(recipe, field.name) != getattr(STILL, field.name)]
    return "+".join(changed) or "still"


@pytest.mark.parametrize(
    "recipe",
    [
        STILL,
        replace(STILL, l2=0.3),
        replace(STILL, tv=0.2),
        replace(STILL, l2=0.3, tv=0.2),
        replace(STILL, optimiser="adam", l2=0.1),
        replace(STILL, weight_decay=0.7, cool=1.0),
        replace(STILL, fourier=True),
        replace(STILL, fourier=True, decay=0.0),
        replace(STILL, fourier=True, decay=2.0, tv=0.1),
        WAVES,
        MOVING,
        replace(STILL, jitter=0.4),
        replace(STILL, scale=2.0),
        replace(STILL, rotate=90.0),
        replace(MOVING, rotate=0.0),
        replace(STILL, mirror=True),
        replace(STILL, colour=0.5),
        replace(STILL, cool=1.0),
        replace(STILL, cool=0.3, optimiser="adam"),
        replace(STILL, blur=1.5),
        replace(STILL, blur_end=0.7),
        replace(MOVING, blur=1.0),
        replace(STILL, grain=0.5),
        ALL,
    ],
    ids=label,
)
@pytest.mark.parametrize("at", [0, 2])
def test_step(recipe, at):
    model = net()
    step = build(model, recipe)
    feeds = start(step, at=at)
    feeds["scores"][:] = 7.0
    for name in {"mean", "square"} & set(feeds):
        feeds[name] += np.abs(array(feeds[name].shape, name, np.float64)) * 1e-3
    check(outputs(step, feeds), feeds, Slow(recipe, of_classes(model), at=at), recipe)


@pytest.mark.parametrize("recipe", [STILL, ALL], ids=["still", "all"])
def test_step_of_blue_green_red(recipe):
    model = net()
    step = build(model, recipe, BGR)
    feeds = start(step)
    check(outputs(step, feeds), feeds, Slow(recipe, of_classes(model), BGR), recipe)


@pytest.mark.parametrize("recipe", [STILL, ALL], ids=["still", "all"])
def test_step_of_a_grey_net(recipe):
    grey = Range(np.array([110.0]), np.array([50.0]))
    model = net(channels=1)
    step = build(model, recipe, grey)
    feeds = start(step)
    check(outputs(step, feeds), feeds, Slow(recipe, of_classes(model), grey), recipe)


def test_step_in_single_precision():
    """As most networks are: the same step, but for rounding."""
    step = build(net("float"), ALL)
    feeds = start(step, dtype=np.float32)
    check(outputs(step, feeds), feeds, Slow(ALL, of_classes(net())), ALL, tolerance=2e-4)


def test_blue_green_red_is_the_same_picture():
    """Of the same parameters."""
    p = array((2, 3, *SIZE), "p", np.float64)
    seen = [slow_image(p, WAVES, range_) for range_ in (RGB, BGR)]
    close(seen[0], seen[1][:, ::-1], 1e-12)
    made = [outputs(step, start(step, parameters=p))["image"] for step in (build(net(), WAVES, r) for r in (RGB, BGR))]
    pixels = [i * r.std[:, None, None] + r.mean[:, None, None] for i, r in zip(made, (RGB, BGR), strict=True)]
    close(pixels[0], pixels[1][:, ::-1], 1e-6)


def test_waves_stay_between_black_and_white():
    step = build(net(), WAVES)
    shape = (2, 3, *SIZE)
    for scale in (0.0, 1.0, 1e4):
        image = outputs(step, start(step, parameters=scale * array(shape, "p", np.float64)))["image"]
        pixels = image * RGB.std[:, None, None] + RGB.mean[:, None, None]
        assert pixels.min() > -1e-3
        assert pixels.max() < 255 + 1e-3
        if not scale:
            np.testing.assert_allclose(pixels, 127.5, atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9, 224])
def test_fourier_basis(length):
    basis = fourier_basis(length)
    np.testing.assert_allclose(basis @ basis.T, np.eye(length), atol=1e-12)
    np.testing.assert_allclose(basis, slow_basis(length), atol=1e-12)


def test_amplitudes_fall_with_frequency():
    for decay in (0.0, 1.0, 1.7):
        found = amplitudes(6, 8, decay)
        assert found.shape == (6, 8)
        assert found[0, 0] == found[0, 1] == found[0, 2] == 8
        np.testing.assert_allclose(found[0, 3], 8 * 2.0**-decay)  # twice the slowest frequency
        np.testing.assert_allclose(found[0, 7], 8 * 4.0**-decay)


def test_a_blur_leaves_an_even_picture_alone():
    recipe = replace(STILL, blur=2.0)
    model = net(
        body=" e = ReduceMean<keepdims = 0>(image, axes) k = Mul(e, one)",
        outputs="[N,3] k",
        **{
            "axes": np.array([2, 3]),
            "one": np.ones(1),
        },
    )
    step = build(model, recipe)
    found = outputs(step, start(step, parameters=np.ones((2, 3, *SIZE)), target=np.array([0, 1])))
    np.testing.assert_allclose(found["next/scores"][:, 0], 127.5 / RGB.std[:2], rtol=1e-6)


# --- scores -------------------------------------------------------------------------------------

SCORES = {
    "neuron": (xs.Neuron("s"), lambda s: s.max(axis=(-2, -1))),
    "neuron at": (xs.Neuron("s", (4, 1)), lambda s: s[..., 4, 1]),
    "channel": (xs.Channel("s"), lambda s: s.mean(axis=(-2, -1))),
    "vector": (xs.Channel("f"), None),
    "whole": (xs.Whole("s"), lambda s: (s**2).mean(axis=(-3, -2, -1))[..., None]),
}


def of_layer(pick, targets, layer="s", diversity=0.0):
    model = net(outputs="[N,5] logits & [N,4,H,W] s & [N,4] f")

    def score(x):
        (values,) = run(model, {"image": x.reshape(-1, *x.shape[2:])}, [layer])
        values = values.reshape(*x.shape[:2], *values.shape[1:])
        scores = values if pick is None else pick(values)
        found = np.stack([scores[:, k, c] for k, c in enumerate(targets)], axis=1)
        return found - diversity * slow_likeness(values) if diversity else found

    return score


def slow_likeness(values):
    """Mean cosine of an image's Gram matrix with those of the others, values (B, K, C, ...), (B, K)."""
    batch, count = values.shape[:2]
    grams = [[a.reshape(len(a), -1) @ a.reshape(len(a), -1).T for a in images] for images in values]
    result = np.zeros((batch, count))
    for b in range(batch):
        for k in range(count):
            for other in set(range(count)) - {k}:
                g, h = grams[b][k], grams[b][other]
                result[b, k] += (g * h).sum() / np.linalg.norm(g) / np.linalg.norm(h) / (count - 1)
    return result


@pytest.mark.parametrize("name", SCORES)
def test_scores_of_a_layer(name):
    score, pick = SCORES[name]
    targets = (0, 0) if name == "whole" else (1, 2)
    step = build(net(), ALL, score=score)
    assert step.width == (1 if name == "whole" else 4)
    feeds = start(step, target=np.array(targets))
    check(outputs(step, feeds), feeds, Slow(ALL, of_layer(pick, targets, score.layer)), ALL)


@pytest.mark.parametrize("name", ["channel", "whole", "vector"])
def test_diversity(name):
    score, pick = SCORES[name]
    recipe = replace(STILL, diversity=0.7)
    step = build(net(), recipe, score=score)
    feeds = start(step, count=3, target=np.zeros(3, np.int64))
    found = outputs(step, feeds)
    slow = Slow(recipe, of_layer(pick, (0, 0, 0), score.layer, diversity=0.7), keys=(40, 41, 42))
    g = slow.gradient(feeds["parameters"])
    close(found["next/parameters"] - feeds["parameters"], recipe.rate * g / rms(g), 1e-5)


def test_diversity_of_one_image_is_nothing():
    steps = [build(net(), replace(STILL, diversity=each), score=xs.Channel("s")) for each in (0.0, 5.0)]
    one, other = (outputs(step, start(step, count=1))["next/parameters"] for step in steps)
    close(one, other, 1e-9)


def test_diversity_of_a_layer_that_is_zero():
    """A gradient of 0, not NaN."""
    relu = CONV.replace("Sigmoid", "Relu")
    model = graph(relu + HEAD, **{**CONV_WEIGHTS, **HEAD_WEIGHTS, "b": np.full(4, -100, np.float32)})
    step = build(model, replace(STILL, diversity=1.0), size=(8, 8), score=xs.Channel("s"))
    found = outputs(step, start(step, dtype=np.float32, parameters=np.zeros((2, 3, 8, 8), np.float32)))
    np.testing.assert_array_equal(found["next/parameters"], 0)
    np.testing.assert_array_equal(found["slope"], 0)


def test_against():
    step = build(net(), ALL, against=4)
    feeds = start(step)
    check(outputs(step, feeds), feeds, Slow(ALL, of_classes(net(), against=4)), ALL)


@pytest.mark.parametrize(("margin", "free"), [(0.0, [True, False]), (0.001, [True, False]), (50.0, [False, False])])
def test_hinge(margin, free):
    """What another score is ahead by is subtracted where the class does not lead; the score itself is reported."""
    model = net()
    plain = np.stack([Slow(STILL, of_classes(model, (c, c))).scores(start(build(model, STILL))["parameters"][None])[0]
                      for c in range(5)])  # fmt: skip
    targets = np.array([plain[:, 0].argmax(), plain[:, 1].argmin()])
    step = build(model, replace(STILL, hinge=0.7, margin=margin))
    feeds = start(step, target=targets)
    p, found = feeds["parameters"], outputs(step, feeds)

    def hinged(x):
        own, scores = of_classes(model, targets)(x), np.stack([of_classes(model, (c, c))(x) for c in range(5)])
        behind = [each - margin * np.abs(own) * (targets == c) for c, each in enumerate(scores)]
        first = np.take_along_axis(scores, np.argmax(behind, axis=0)[None], axis=0)[0]
        return own - 0.7 * (first - own)

    g = Slow(STILL, hinged).gradient(p)
    close(found["next/parameters"] - p, STILL.rate * g / rms(g), 1e-6)
    close(found["next/scores"][:, 0], plain[targets, [0, 1]], 1e-6)
    without = Slow(STILL, of_classes(model, targets)).gradient(p)
    assert [np.allclose(g[k], without[k]) for k in range(2)] == free


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        ("y = Relu(image)", lambda x: np.where(x > 0, 1, 0.25)),
        ("y = Clip(image, zero, six)", lambda x: np.where((x > 0) & (x < 6), 1, 0.25)),
        ("y = Max(zero, image)", lambda x: np.where(x > 0, 1, 0.25)),
        ("y = LeakyRelu<alpha = 0.2>(image)", lambda x: np.where(x > 0, 1, 0.2)),
        ("y = Elu(image)", lambda x: np.where(x > 0, 1, np.exp(x))),
        ("y = Tanh(image)", lambda x: 1 - np.tanh(x) ** 2),
    ],
    ids=["Relu", "Clip", "Max", "LeakyRelu", "Elu", "Tanh"],
)
def test_leak(activation, slope):
    """dx = (leak + (1 − leak) f'(x)) dy at rectifiers; what is smooth, or has a slope of its own, keeps it."""
    zero, six = np.zeros((), np.float32), np.array(6, np.float32)
    given = {name: value for name, value in (("zero", zero), ("six", six)) if name in activation}
    body = f"{activation} f = Flatten(y) logits = Gemm<transB = 1>(f, m)"
    model = graph(body, m=(5, 192), opset=22, **given)
    step = build(model, replace(STILL, leak=0.25), Range(np.full(3, 127.5), np.full(3, 127.5)), (8, 8))
    feeds = start(step, dtype=np.float32)
    p = feeds["parameters"] = 5 * feeds["parameters"]
    g = array((5, 192), "m")[feeds["target"]].reshape(2, 3, 8, 8) * slope(p)
    close(outputs(step, feeds)["next/parameters"] - p, STILL.rate * g / rms(g), 1e-5)


@pytest.mark.parametrize("total", ["Add(image, f)", "Add(f, image)", "Sum(image, f)"])
def test_residual(total):
    """Of y = x + f(x), dx = (1 + residual f'(x)) dy; of sums of two branches, or with weights, the gradient."""
    body = f"g = Mul(image, image) h = Tanh(image) f = Add(g, h) r = {total} y = Add(r, b) l = Flatten(y)"
    model = graph(f"{body} logits = Gemm<transB = 1>(l, m)", m=(5, 192), b=(3, 1, 1))
    step = build(model, replace(STILL, residual=0.25), Range(np.full(3, 127.5), np.full(3, 127.5)), (8, 8))
    feeds = start(step, dtype=np.float32)
    p = feeds["parameters"]
    g = array((5, 192), "m")[feeds["target"]].reshape(2, 3, 8, 8) * (1 + 0.25 * (2 * p + 1 - np.tanh(p) ** 2))
    close(outputs(step, feeds)["next/parameters"] - p, STILL.rate * g / rms(g), 1e-5)


def test_probability():
    model = net(body=" y = Softmax(logits)", outputs="[N,5] y")
    for score, output in (("probability", "y"), ("logit", "logits")):
        step = build(model, ALL, score=score)
        feeds = start(step)
        both = net(body=" y = Softmax(logits)", outputs="[N,5] y & [N,5] logits")
        check(outputs(step, feeds), feeds, Slow(ALL, of_classes(both, output=output)), ALL)


def test_probability_of_a_network_that_ends_in_logits():
    step = build(net(), ALL, score="probability")
    both = net(body=" y = Softmax(logits)", outputs="[N,5] y & [N,5] logits")
    feeds = start(step)
    check(outputs(step, feeds), feeds, Slow(ALL, of_classes(both, output="y")), ALL)


# --- kinds of networks --------------------------------------------------------------------------


def moved(step, **given):
    return outputs(step, start(step, dtype=np.float32, **given))


def test_channels_last():
    first = "image = Transpose<perm = [0, 3, 1, 2]>(last)"
    last = net("float", before=first, inputs="float[N,H,W,3] last")
    found, expected = (moved(build(model, ALL)) for model in (last, net("float")))
    close(found["image"], expected["image"].transpose(0, 2, 3, 1))
    close(found["next/parameters"], expected["next/parameters"])


def test_fixed_batch_and_size():
    fixed = net("float", inputs="float[2,3,6,5] image", outputs="[2,5] logits")
    step = build(fixed, ALL)
    assert step.states["parameters"] == (2, 3, 6, 5)
    found, expected = moved(step), moved(build(net("float"), ALL))
    for name, value in expected.items():
        close(found[name], value)


@pytest.mark.parametrize(("opset", "mode"), [(11, "bilinear"), (18, "bilinear"), (20, "linear"), (22, "linear")])
def test_opsets(opset, mode):
    step = build(net("float", opset=opset, ir=8 if opset < 20 else 10), MOVING)
    modes = {node.attributes["mode"].as_string() for node in step.model.graph if node.op_type == "GridSample"}
    assert modes == {mode}
    found, expected = moved(step), moved(build(net("float"), MOVING))
    close(found["next/parameters"], expected["next/parameters"])


def test_half_precision_is_climbed_in_single():
    step = build(net("float16"), STILL)
    found, expected = moved(step), moved(build(net("float"), STILL))
    assert found["image"].dtype == np.float16
    assert found["next/parameters"].dtype == np.float32
    close(found["next/parameters"], expected["next/parameters"], 5e-3)


def test_views_of_doubles_at_an_old_opset():
    """The runtime has no kernel for them: what is sampled is rounded."""
    model = net(opset=18, ir=8)
    step = build(model, MOVING)
    feeds = start(step)
    check(outputs(step, feeds), feeds, Slow(MOVING, of_classes(model)), MOVING, tolerance=1e-5)


def test_images_of_one_key_see_the_same_views():
    step = build(net(), MOVING)
    same = np.broadcast_to(array((3, *SIZE), "p", np.float64), (3, 3, *SIZE))
    feeds = start(step, count=3, parameters=same, target=np.array([1, 1, 1]), key=np.array([5, 5, 6]))
    first, second, third = outputs(step, feeds)["next/parameters"]
    np.testing.assert_allclose(first, second, atol=1e-12)
    assert np.abs(first - third).max() > 1e-3


def test_the_seed_chooses_the_views():
    one, same, other = (build(net(), MOVING, seed=seed) for seed in (1, 1, 2))
    one, same, other = (outputs(step, start(step))["next/parameters"] for step in (one, same, other))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


def test_a_vanishing_gradient_makes_a_step_of_the_usual_length():
    """Squares of 1e-25 vanish in single precision; the step must neither vanish nor explode."""
    tiny = net("float", body=" k = Mul(logits, small)", outputs="[N,5] k", small=np.array(1e-24, np.float32))
    found, expected = moved(build(tiny, STILL)), moved(build(net("float"), STILL))
    assert 0 < found["slope"].max() < 1e-22
    close(found["next/parameters"], expected["next/parameters"], 1e-3)


@pytest.mark.parametrize(
    "recipe", [PAPER, MODERN, replace(ALL, rotate=0.0), ALL], ids=["paper", "modern", "upright", "all"]
)
def test_nothing_that_cuda_would_copy(recipe):
    """Bounds of a slice, sizes of a split and addresses of a batch of matrices come from the host: tools/traffic.py."""
    for node in build(net("float"), recipe, profile="cuda").model.graph:
        if node.op_type == "Slice":
            assert all(value.const_value is not None for value in node.inputs[1:]), node.name
        if node.op_type == "MatMul":
            left, right = (list(value.shape or ())[:-2] for value in node.inputs)
            assert right in ([], left), node.name
        assert node.op_type != "Split", node.name


@pytest.mark.parametrize("recipe", [MODERN, ALL], ids=["modern", "all"])
def test_every_profile_makes_the_same_step(recipe):
    model = net("float")
    steps = [build(model, recipe, profile=profile) for profile in PROFILES]
    expected, *others = (outputs(step, start(step, dtype=np.float32)) for step in steps)
    for found in others:
        for name, value in expected.items():
            close(found[name], value, 1e-4)


def test_no_gradient_no_step():
    recipe = replace(STILL, rate=1.0)
    dead = net("float", body=" k = Mul(logits, none)", outputs="[N,5] k", none=np.array(0, np.float32))
    feeds = start(build(dead, recipe), dtype=np.float32)
    found = outputs(build(dead, recipe), feeds)
    np.testing.assert_array_equal(found["next/parameters"], feeds["parameters"])


def test_steps_beyond_the_last_repeat_its_column():
    step = build(net(), STILL)
    found = outputs(step, start(step, at=9))
    close(found["next/scores"][:, 3], of_classes(net())(slow_input(start(step)["parameters"][None], STILL, RGB))[0])
    np.testing.assert_array_equal(found["next/step"], [10])


def test_a_cooled_rate_ends_at_zero():
    """It falls over the last share, and steps beyond the last do not go back."""
    recipe = replace(STILL, cool=0.5)
    step = build(net(), recipe)
    lengths = [
        np.ptp(outputs(step, start(step, at=at))["next/parameters"] - start(step)["parameters"]) for at in range(6)
    ]
    np.testing.assert_allclose(np.array(lengths) / lengths[0], [1, 1, 1, 0.5, 0, 0], atol=1e-9)


def test_half_of_the_views_are_mirrored():
    """A net that counts one column only: the gradient lies there, or in the one across."""
    weight = np.zeros((1, 3, *SIZE))
    weight[..., 1] = 1.0
    model = net(
        body=" k = Mul(image, weight) e = ReduceSum<keepdims = 0>(k, axes)",
        outputs="[N,3] e",
        weight=weight,
        axes=np.array([2, 3]),
    )
    step = build(model, replace(STILL, mirror=True))
    found = outputs(step, start(step, count=64, parameters=np.zeros((64, 3, *SIZE)), target=np.zeros(64, np.int64)))
    columns = np.abs(found["next/parameters"]).sum(axis=(1, 2)) > 1e-3
    assert set(map(tuple, np.argwhere(columns)[:, 1:])) == {(1,), (SIZE[1] - 2,)}
    assert 20 < columns[:, 1].sum() < 44


def test_another_input_stays_one():
    inputs = "float[N,3,H,W] image, float gain"
    step = build(net("float", " k = Mul(logits, gain)", "[N,5] k", inputs=inputs), STILL)
    feeds = {"gain": np.array(2, np.float32)}
    found = outputs(step, start(step, dtype=np.float32, **feeds))
    once = moved(build(net("float"), STILL))
    close(found["next/scores"], 2 * once["next/scores"])


@pytest.mark.parametrize("name", ["scores", "image", "step", "slope", "target", "next/parameters", "ascent/Add_0"])
def test_names_that_the_step_needs_are_free_inside(name):
    """The network's own outputs are not among the step's, so their names, and the image's, are nobody's contract."""
    model = net("float")
    for value in (model.graph.output[0], model.graph.node[-1]):
        if value is model.graph.output[0]:
            value.name = name
        else:
            value.output[0] = name
    if name == "image":
        model.graph.input[0].name = model.graph.node[0].input[0] = "parameters"
    close(moved(build(model, ALL))["next/parameters"], moved(build(net("float"), ALL))["next/parameters"])


def test_a_name_of_another_input_that_the_step_needs():
    model = net("float", " k = Mul(logits, key)", "[N,5] k", inputs="float[N,3,H,W] image, float key")
    with pytest.raises(ExportError, match=r"'key'.*Rename"):
        build(model, STILL)


def test_a_score_that_does_not_depend_on_the_image():
    with pytest.raises(ModelError, match="does not change with the image"):
        build(net("float", " z = Sign(logits)", "[N,5] z"), STILL)


def test_an_image_of_integers():
    model = net("float", before="image = Cast<to = 1>(bytes)", inputs="uint8[N,3,H,W] bytes")
    with pytest.raises(ModelError, match=r"'bytes' holds uint8.*need an input of floats"):
        build(model, STILL)


def test_an_unknown_layer():
    with pytest.raises(LayerError, match="relu7"):
        build(net(), STILL, score=xs.Channel("relu7"))


# --- recipes ------------------------------------------------------------------------------------


def test_recipes_by_name():
    assert dict(RECIPES) == {"paper": PAPER, "modern": MODERN}
    assert find_recipe("paper") is PAPER
    assert find_recipe(ALL) is ALL
    with pytest.raises(RecipeError, match="No recipe 'old'; the recipes are paper, modern"):
        find_recipe("old")


def test_the_papers_recipe_is_the_papers():
    """What section 2 states: the logit, the zero image, the squared norm, one gradient a step of the image itself."""
    assert (PAPER.score, PAPER.noise, PAPER.fourier, PAPER.is_moved) == ("logit", 0, False, False)
    assert PAPER.weight_decay > 0
    assert (PAPER.colour, PAPER.tv, PAPER.blur, PAPER.blur_end, PAPER.grain, PAPER.diversity) == (0, 0, 0, 0, 0, 0)


def test_all_that_is_wrong_with_a_recipe_is_said_at_once():
    wrong = {
        "steps": (0, "steps is 1 or more, an integer, not 0"),
        "rate": (-1.0, "rate is above 0, not -1.0"),
        "l2": (-0.1, "l2 is 0 or more, not -0.1"),
        "weight_decay": (-2.0, "weight_decay is 0 or more, not -2.0"),
        "hinge": (-1.0, "hinge is 0 or more, not -1.0"),
        "margin": (-0.1, "margin is 0 or more, not -0.1"),
        "leak": (1.2, "leak is a share, 0 to 1, not 1.2"),
        "residual": (1.5, "residual is a share, 0 to 1, not 1.5"),
        "tv": (float("nan"), "tv is 0 or more, not nan"),
        "noise": (float("inf"), "noise is 0 or more, not inf"),
        "grain": (-3.0, "grain is 0 or more, not -3.0"),
        "colour": (5.0, "colour is the exponent of a gain, 0 to 4, not 5.0"),
        "cool": (1.5, "cool is a share, 0 to 1, not 1.5"),
        "scale": (0.5, "scale is a factor from 1 to 4, not 0.5"),
        "jitter": (2.0, "jitter is a fraction of the side, 0 to 1, not 2.0"),
        "optimiser": ("sgd", "optimiser is 'adam' or 'normalised', not 'sgd'"),
        "score": ("loss", "score is 'logit' or 'probability', not 'loss'"),
        "decorrelate": (True, "decorrelate is for fourier images"),
    }
    with pytest.raises(RecipeError) as caught:
        Recipe("mine", **{"steps": 1, "rate": 0.1, **{name: value for name, (value, _) in wrong.items()}})
    for _, message in wrong.values():
        assert message in str(caught.value)
    for mistaken, message in (({"steps": 2.5}, "an integer, not 2.5"), ({"rate": "x"}, "rate is above 0, not 'x'")):
        with pytest.raises(RecipeError, match=message):
            Recipe("mine", **{"steps": 1, "rate": 0.1, **mistaken})
    with pytest.raises(RecipeError, match=r"weight_decay times rate is at most 1, not 1\.2"):
        Recipe("mine", steps=1, rate=0.4, weight_decay=3.0)
