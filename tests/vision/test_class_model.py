"""`class_model` and `export_step`: images found, whatever goes wrong on the way, and the loop without this package."""

import json
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, array, close, graph, run, small

import onnx_saliency as xs
from onnx_saliency.embedded import default_model
from onnx_saliency.errors import (
    ImageError,
    LabelError,
    LayerError,
    ModelError,
    OutOfMemoryError,
    OutputError,
    RecipeError,
    TargetError,
)
from onnx_saliency.exporter import read_metadata
from onnx_saliency.exporter.ascent import MODERN, PAPER
from onnx_saliency.runtime import Iteration, Session

WEIGHTS = {**CONV_WEIGHTS, **HEAD_WEIGHTS}
NAMES = ["tench", "goldfish", "great white shark", "tiger shark", "hammerhead"]
FEW = xs.Recipe("few", steps=6, rate=0.1)
VIEWED = replace(FEW, fourier=True, jitter=0.1, rotate=10.0, scale=1.2, noise=0.05)
RELU = CONV.replace("Sigmoid", "Relu") + HEAD
COLUMN = (slice(None), None, None)


def make(model=None, classes=(1, 3), **options):
    options = {"recipe": FEW, "providers": ["cpu"], "threads": 1, **options}
    return xs.class_model(small() if model is None else model, classes, **options)


def interrupt_at(number, batch=0):
    """A progress that is stopped by Ctrl-C after some steps of the batch that begins at an image."""

    def progress(done, step, steps, score):
        if done == batch and step >= number:
            raise KeyboardInterrupt

    return progress


# --- what comes out -----------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [FEW, VIEWED], ids=["still", "viewed"])
def test_shapes_and_types(recipe):
    found = make(recipe=recipe, frames=3, labels=NAMES, seed=4)
    for values, shape, dtype in (
        (found.inputs, (2, 3, 8, 8), np.float32),
        (found.images, (2, 8, 8, 3), np.uint8),
        (found.logits, (2, 5), np.float32),
        (found.history, (2, 6), np.float32),
        (found.target, (2,), np.int64),
        (found.frames, (3, 2, 8, 8, 3), np.uint8),
        (found.probabilities, (2, 5), np.float32),
    ):
        assert (values.shape, values.dtype) == (shape, dtype)
    assert (len(found), found.steps, found.seed, found.recipe) == (2, 6, 4, recipe)
    assert (found.partial, found.notes, found.provider) == (False, (), "cpu")
    assert found.labels.names == tuple(NAMES)
    assert np.isfinite(found.history).all()
    np.testing.assert_array_equal(found.target, [1, 3])
    close(found.logits, run(small(), {"image": found.inputs})[0], 1e-5)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.frames[-1], found.images)


def test_scores_rise():
    for recipe in (PAPER, MODERN):
        found = make(recipe=replace(recipe, steps=40), classes=None)
        assert (found.history[:, -1] > found.history[:, 0]).all()


def test_the_papers_image_begins_at_zero():
    """Where the mean image lies: pictures begin with it, and the score is that of the zero image."""
    found = make(frames=2, preprocess=xs.Preprocess(mean=(100.0, 110.0, 120.0), std=50.0))
    assert (found.frames[0] == [100, 110, 120]).all()
    (logits,) = run(small(), {"image": np.zeros((1, 3, 8, 8), np.float32)})
    np.testing.assert_allclose(found.history[:, 0], logits[0, [1, 3]], rtol=1e-5)


def test_the_mean_image_is_added():
    mean, std = np.array([100.0, 110.0, 120.0]), np.array([40.0, 50.0, 60.0])
    for channels, order in (("RGB", slice(None)), ("BGR", slice(None, None, -1))):
        found = make(preprocess=xs.Preprocess(mean=tuple(mean), std=tuple(std), channels=channels))
        pixels = np.clip(np.rint(found.inputs * std[COLUMN] + mean[COLUMN]), 0, 255)
        np.testing.assert_array_equal(found.images, pixels[:, order].transpose(0, 2, 3, 1))


@pytest.mark.parametrize("recipe", [FEW, VIEWED], ids=["still", "viewed"])
def test_classes_by_number_and_name(recipe):
    expected = make(classes=[2, 4], labels=NAMES, recipe=recipe)
    for classes in (["great white shark", "hammerhead"], ["Great White Shark", 4], np.array([2, 4])):
        np.testing.assert_array_equal(make(classes=classes, labels=NAMES, recipe=recipe).inputs, expected.inputs)
    for one in ("hammerhead", 4, np.int64(4)):
        close(make(classes=one, labels=NAMES, recipe=recipe).inputs, expected.inputs[1:], 1e-5)
    np.testing.assert_array_equal(make(classes=None).target, range(5))


def test_a_net_of_another_layout():
    body = "t = Transpose<perm = [0, 3, 1, 2]>(image)" + CONV.replace("(image", "(t") + HEAD
    found = make(graph(body, inputs="float[N,8,8,3] image", **WEIGHTS), frames=2)
    expected = make(frames=2)
    close(found.inputs, expected.inputs.transpose(0, 2, 3, 1), 1e-5)
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.frames, expected.frames)


def test_a_grey_net_gives_grey_pictures():
    grey = graph(CONV + HEAD, inputs="float[N,1,8,8] image", **{**WEIGHTS, "w": (4, 1, 3, 3)})
    found = make(grey, preprocess=xs.Preprocess(channels="L"), frames=2)
    assert found.inputs.shape == (2, 1, 8, 8)
    assert (found.images == found.images[..., :1]).all()
    with pytest.raises(ImageError, match=r"takes 1 colour channel.*Set channels to L"):
        make(grey)


def test_any_size():
    free = small(inputs="float[N,3,H,W] image")
    assert make(free, size=10).images.shape == (2, 10, 10, 3)
    assert make(free, size=(9, 12)).images.shape == (2, 9, 12, 3)
    assert make(free, preprocess=xs.Preprocess(size=(7, 6))).images.shape == (2, 7, 6, 3)
    half = small(inputs="float[N,3,8,W] image")
    assert make(half, size=(8, 5)).images.shape == (2, 8, 5, 3)


def test_another_score():
    body = small(outputs="float[N,5] logits, float[N,4,8,8] s")
    found = make(body, score=xs.Channel("s"), output="logits")
    assert (found.history[:, -1] > found.history[:, 0]).all()
    np.testing.assert_array_equal(make(body, None, score=xs.Channel("s"), output="logits").target, range(4))
    whole = make(body, [0, 0, 0], score=xs.Whole("s"), output="logits", recipe=VIEWED)
    assert (whole.history[:, -1] > whole.history[:, 0]).all()
    against = make(against=1, classes=[3])
    logits = run(small(), {"image": np.zeros((1, 3, 8, 8), np.float32)})[0][0]
    np.testing.assert_allclose(against.history[:, 0], logits[3] - logits[1], rtol=1e-5)


def test_other_inputs():
    body = CONV + HEAD.replace("logits", "l") + " logits = Mul(l, gain)"
    model = graph(body, inputs="float[N,3,8,8] image, float gain", **WEIGHTS)
    found, once = make(model, feeds={"gain": 2}), make()
    close(found.history, 2 * once.history, 1e-4)
    close(found.logits, run(model, {"image": found.inputs, "gain": np.array(2, np.float32)})[0], 1e-5)
    with pytest.raises(ModelError, match=r"no value for input 'gain'.*no input 'gian'"):
        make(model, feeds={"gian": 2})


@pytest.mark.parametrize(
    ("recipe", "classes"),
    [
        (PAPER, range(16)),
        (replace(MODERN, steps=120, rate=0.16, cool=0.0), [0, 5, 10, 15]),
    ],
    ids=["paper", "modern"],
)
def test_classes_of_the_embedded_model_are_their_own_first_predictions(recipe, classes):
    """By the paper's recipe as it is; the modern one takes many steps, so it makes fewer and longer ones here."""
    found = xs.class_model(default_model(), classes, recipe=recipe)
    np.testing.assert_array_equal(found.logits.argmax(axis=1), found.target)


# --- the same again -----------------------------------------------------------------------------


@cache
def alone(recipe, k):
    """What no test may change."""
    return make(classes=[k], recipe=recipe)


@pytest.mark.parametrize("recipe", [FEW, VIEWED], ids=["still", "viewed"])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_a_batch_gives_what_its_images_alone_give(recipe, batch_size):
    """Rounding may differ with the batch, and an ascent amplifies it: equal to 1e-4 of the image's norm."""
    found = make(classes=None, recipe=recipe, batch_size=batch_size)
    for k in range(5):
        close(found.inputs[k : k + 1], alone(recipe, k).inputs, 1e-4)
        close(found.history[k : k + 1], alone(recipe, k).history, 1e-4)


def test_a_network_of_a_fixed_batch():
    fixed = small(inputs="float[2,3,8,8] image", outputs="float[2,5] logits")
    found, expected = make(fixed, classes=[0, 2, 4], recipe=VIEWED), make(classes=[0, 2, 4], recipe=VIEWED)
    close(found.inputs, expected.inputs, 1e-4)
    close(found.logits, expected.logits, 1e-4)
    assert found.history.shape == (3, 6)


def test_the_same_seed_gives_the_same_image_and_another_another():
    first, again, other = (make(recipe=VIEWED, seed=seed).inputs for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_class_asked_for_again_is_another_image(batch_size):
    """Whatever the batches: random numbers go by how often a class was asked for before."""
    found = make(classes=[2, 2, 2], recipe=VIEWED, batch_size=batch_size)
    differences = [np.abs(found.inputs[i] - found.inputs[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(differences) > 0.01
    close(found.inputs[:1], make(classes=2, recipe=VIEWED).inputs, 1e-4)


# --- dead starts --------------------------------------------------------------------------------


def rectified(bias, gain=1.0):
    w = gain * array(CONV_WEIGHTS["w"], "w")
    return graph(RELU, **{**WEIGHTS, "w": w, "b": np.full(4, bias, np.float32)})


def test_a_dead_start_begins_from_noise():
    """All rectifiers are off at the zero image; noise of 0.5 half ranges switches some on."""
    found = make(rectified(-0.5, gain=0.2), classes=[1, 3], recipe=replace(PAPER, steps=20))
    (note,) = found.notes
    assert "Dead start: at 1, 3 the gradient is zero where" in note
    assert "noise of standard deviation 0.5" in note
    assert (found.inputs != 0).any()


def test_a_penalty_does_not_hide_a_dead_start():
    start = replace(PAPER, steps=3, noise=0.001, l2=1.0)
    note, fallen = make(rectified(-0.5, gain=0.2), recipe=start).notes
    assert "Dead start" in note
    assert "smaller penalty" in fallen


def test_only_dead_images_begin_from_noise():
    """Class 0 reads a sigmoid, class 1 a rectifier that is off."""
    body = """
        c = Conv<pads = [1, 1, 1, 1]>(image, w, b)
        low = Sub(c, far) dead = Relu(low) live = Sigmoid(c)
        p = GlobalAveragePool(live) q = GlobalAveragePool(dead)
        pf = Flatten(p) qf = Flatten(q) x = ReduceSum(pf, one) y = ReduceSum(qf, one) logits = Concat<axis = 1>(x, y)
    """
    model = graph(body, outputs="float[N,2] logits", **CONV_WEIGHTS, far=np.array(4, np.float32), one=np.array([1]))
    found = make(model, classes=[0, 1])
    (note,) = found.notes
    assert "at 1 the gradient" in note
    close(found.inputs[:1], make(model, classes=[0]).inputs, 1e-4)
    alone = make(model, classes=[1])
    close(found.inputs[1:], alone.inputs, 1e-4)


def test_a_start_that_stays_dead_is_said():
    found = make(rectified(-1000.0))
    (note,) = found.notes
    assert "at 1, 3 the gradient is zero, from noise too; the image is no class model" in note
    assert (found.history == found.history[:, :1]).all()


def test_a_network_of_nan():
    body = CONV + HEAD.replace("logits", "l") + " d = Exp(l) n = Neg(d) logits = Sqrt(n)"
    with pytest.raises(ModelError, match="NaN or infinity"):
        make(graph(body, **WEIGHTS))


# --- interruptions ------------------------------------------------------------------------------


def test_an_interruption_keeps_what_was_made():
    recipe = replace(FEW, steps=30)
    found, whole = make(recipe=recipe, frames=4, progress=interrupt_at(10)), make(recipe=recipe)
    assert found.partial
    assert 0 < found.steps < 30
    np.testing.assert_array_equal(np.isnan(found.history), np.arange(30)[None].repeat(2, 0) >= found.steps)
    np.testing.assert_array_equal(found.history[:, : found.steps], whole.history[:, : found.steps])
    assert len(found.frames) == 4
    np.testing.assert_array_equal(found.frames[-1], found.images)
    assert found.notes == ()


def test_an_interruption_of_the_second_batch():
    recipe = replace(FEW, steps=30)
    found = make(classes=None, recipe=recipe, batch_size=2, frames=3, progress=interrupt_at(10, batch=2))
    assert found.partial
    np.testing.assert_array_equal(found.target, range(4))
    np.testing.assert_array_equal(np.isnan(found.history).any(axis=1), [False, False, True, True])
    assert found.frames.shape[:2] == (3, 4)
    assert found.notes == ("Interrupted before 1 of 5 images were begun.",)
    close(found.inputs[:2], make(classes=[0, 1], recipe=recipe).inputs, 1e-4)


def test_an_interruption_at_the_last_step_of_a_batch_ends_all():
    found = make(classes=None, batch_size=2, progress=interrupt_at(6))
    assert found.partial
    assert found.steps == 6
    np.testing.assert_array_equal(found.target, [0, 1])
    assert found.notes == ("Interrupted before 3 of 5 images were begun.",)


def test_an_interruption_between_batches(monkeypatch):
    """While the second one starts."""
    begun = []
    outputs = Iteration.outputs

    def stop(self, names):
        begun.append(names)
        if len(begun) == 3:  # gradient at the start, image at the end, gradient at the second start
            raise KeyboardInterrupt
        return outputs(self, names)

    monkeypatch.setattr(Iteration, "outputs", stop)
    found = make(classes=None, batch_size=2)
    assert found.partial
    np.testing.assert_array_equal(found.target, [0, 1])


def test_an_interruption_before_anything_was_made(monkeypatch):
    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Iteration, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        make()


# --- memory -------------------------------------------------------------------------------------


def narrow(monkeypatch, limit, kind=OutOfMemoryError, message="full"):
    step = Iteration.step

    def limited(self):
        if len(self.read("parameters")) > limit:
            raise kind(message)
        step(self)

    monkeypatch.setattr(Iteration, "step", limited)


@pytest.mark.parametrize("recipe", [FEW, VIEWED], ids=["still", "viewed"])
def test_a_batch_that_does_not_fit_is_halved(monkeypatch, recipe):
    expected = make(classes=None, recipe=recipe)
    narrow(monkeypatch, 2)
    found = make(classes=None, recipe=recipe)
    np.testing.assert_array_equal(found.target, range(5))
    close(found.inputs, expected.inputs, 1e-4)
    assert found.notes == ("Memory did not suffice for 5 images at once; 2 were made at once.",)


def test_notes_of_a_batch_that_is_made_again_are_made_once(monkeypatch):
    narrow(monkeypatch, 2)
    found = make(rectified(-1000.0), classes=[0, 1, 2, 3])
    assert [note.split(":")[0] for note in found.notes] == [
        "Memory did not suffice for 4 images at once; 2 were made at once.",
        "Dead start",
        "Dead start",
    ]


def test_memory_that_does_not_suffice_for_one_image(monkeypatch):
    narrow(monkeypatch, 0)
    with pytest.raises(OutOfMemoryError, match="full"):
        make()


def test_other_failures_are_not_tried_again(monkeypatch):
    narrow(monkeypatch, 1, ModelError, "Non-zero status code returned while running Conv")
    with pytest.raises(ModelError, match="running Conv"):
        make()


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"classes": [1, 7, 5]}, TargetError, "No class 5, 7: the model has 5 classes, 0 to 4"),
        ({"classes": [-1]}, TargetError, "No class -1: the model has 5 classes"),
        ({"classes": []}, TargetError, "No classes were named"),
        ({"classes": ["tench"]}, TargetError, "'tench' is a name, and no labels are known"),
        ({"classes": ["tigershark"], "labels": NAMES}, LabelError, "closest are tiger shark"),
        ({"labels": NAMES[:3]}, LabelError, "3 label names, but the model has 5"),
        ({"against": 5}, TargetError, "No class 5"),
        ({"against": -1}, TargetError, "No class -1"),
        ({"against": "tench"}, TargetError, "'tench' is a name, and no labels are known"),
        ({"against": "trout", "labels": NAMES}, LabelError, "no class is called 'trout'"),
        ({"against": 1.5}, TargetError, "number or name of a class, not 1.5"),
        ({"against": 3}, TargetError, "A class less itself explains nothing: 3 is both"),
        ({"recipe": "old"}, RecipeError, "the recipes are paper, modern"),
        ({"score": xs.Channel("nowhere")}, LayerError, "nowhere"),
        ({"score": xs.Channel("c"), "classes": [4]}, TargetError, "No channel 4: the layer has 4 channels, 0 to 3"),
        (
            {"score": xs.Channel("c"), "classes": ["tench"], "labels": NAMES},
            TargetError,
            "A channel is given by its number, not by 'tench'",
        ),
        ({"size": 9}, ImageError, "takes images of 8 x 8, not of 9 x 9"),
        ({"size": (8, 0)}, ImageError, "1 pixel or more high and wide, not 8 x 0"),
        ({"batch_size": 0}, xs.SaliencyError, "batch_size is a whole number, 1 or more, not 0"),
        ({"frames": -1}, xs.SaliencyError, "frames is a whole number, 0 or more, not -1"),
        ({"seed": -1}, xs.SaliencyError, "seed is a whole number, 0 or more, not -1"),
        ({"seed": 2.5}, xs.SaliencyError, "seed is a whole number, 0 or more, not 2.5"),
        ({"preprocess": "nobody"}, ImageError, "nobody"),
        ({"feeds": {"gain": 1}}, ModelError, "no input 'gain'"),
        ({"providers": ["tpu"]}, xs.ProviderError, "tpu"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_refused(options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


def test_all_classes_of_a_network_that_leaves_them_open():
    inputs = "float[N,3,8,8] image, float[4,C] u"
    model = graph(CONV + "k = MatMul(f, u)", inputs=inputs, outputs="float[N,C] k", **CONV_WEIGHTS)
    options = {"feeds": {"u": array((4, 5), "u")}, "input": "image"}
    assert make(model, classes=[1], **options).logits.shape == (1, 5)
    with pytest.raises(TargetError, match="leaves the number of classes open"):
        make(model, classes=None, **options)
    with pytest.raises(TargetError, match="No class -2: classes count from 0"):
        make(model, classes=[-2], **options)


def test_a_size_that_the_network_cannot_take():
    body = CONV.replace("p = GlobalAveragePool(s)", "p = Identity(s)") + "logits = MatMul(f, m)"
    model = graph(body, inputs="float[N,3,H,W] image", m=(256, 5), **CONV_WEIGHTS)
    assert make(model, size=8).images.shape == (2, 8, 8, 3)
    with pytest.raises(ModelError):
        make(model, size=9)


def test_the_callers_model_stays_as_it_is():
    model = small()
    before = model.SerializeToString()
    make(model)
    xs.export_step(model)
    assert model.SerializeToString() == before


# --- the loop -----------------------------------------------------------------------------------


def test_nothing_but_scores_is_read_between_steps(monkeypatch):
    read = []
    real = Iteration.read
    monkeypatch.setattr(Iteration, "read", lambda self, name: read.append((self.steps, name)) or real(self, name))
    told = []
    recipe = replace(VIEWED, steps=20)
    make(recipe=recipe)
    assert read == [(20, "scores")]
    read.clear()
    make(recipe=recipe, progress=lambda *facts: told.append(facts))
    assert {name for _, name in read} == {"scores"}
    assert [step for _, step, _, _ in told] == [1, 9, 17, 20]
    assert [at for at, _ in read] == [1, 9, 17, 20, 20]


def doubling():
    """x ← 2 x + c, and half of x beside it."""
    body = "y = Mul(x, two) z = Add(y, c) h = Div(x, two)"
    model = graph(
        body.replace("z =", "[next] z ="),
        inputs="float[2] x, float[2] c",
        outputs="float[2] z, float[2] h",
        two=np.array(2, np.float32),
    )
    for node in model.graph.node:
        node.output[:] = ["next/x" if name == "z" else name for name in node.output]
    model.graph.output[0].name = "next/x"
    return Session(model.SerializeToString(), providers=["cpu"])


def test_iteration():
    x, c = np.array([1, 3], np.float32), np.array([1, 0], np.float32)
    iteration = Iteration(doubling(), {"x": x}, {"c": c, "unknown": c})
    seen = []
    for step in range(4):
        assert iteration.steps == step
        seen.append(iteration.read("x"))
        (half,) = iteration.outputs(["h"])
        np.testing.assert_array_equal(half, seen[-1] / 2)
        iteration.step()
    np.testing.assert_array_equal(seen, [[1, 3], [3, 6], [7, 12], [15, 24]])  # copies, not the buffers
    np.testing.assert_array_equal(x, [1, 3])
    np.testing.assert_array_equal(c, [1, 0])


def test_iteration_refuses_in_its_own_words():
    iteration = Iteration(doubling(), {"x": np.zeros(3, np.float32)}, {"c": np.zeros(2, np.float32)})
    for run_it in (iteration.step, lambda: iteration.outputs(["h"])):
        with pytest.raises(ModelError, match="cannot run the step"):
            run_it()
    assert iteration.steps == 0
    with pytest.raises(ModelError, match="cannot take the values"):
        Iteration(doubling(), {"x": np.array(["a"], object)}, {"c": [object()]})


# --- the exported step --------------------------------------------------------------------------


def plain_loop(model, recipe, targets, seed=0):
    """Class models by onnxruntime alone, as docs/class-models.md says."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {value.name: value for value in session.get_inputs()}
    count = len(targets)
    feeds = {"target": np.array(targets), "step": np.zeros(1, np.int64)}
    feeds |= {"key": np.array(targets)} if "key" in inputs else {}
    for name in {"parameters", "mean", "square", "scores"} & set(inputs):
        shape = [count if isinstance(dim, str) else dim for dim in inputs[name].shape]
        feeds[name] = np.zeros(shape, np.float32)
    if recipe.noise:
        for k, target in enumerate(targets):
            shape = feeds["parameters"].shape[1:]
            feeds["parameters"][k] = recipe.noise * np.random.default_rng([seed, target]).standard_normal(shape)
    carried = [value.name for value in session.get_outputs() if value.name.startswith("next/")]
    for _ in range(recipe.steps):
        values = session.run(carried, feeds)
        feeds |= {name.removeprefix("next/"): value for name, value in zip(carried, values, strict=True)}
    (image,) = session.run(["image"], feeds)
    return image, feeds["scores"]


@pytest.mark.parametrize("recipe", [PAPER, MODERN], ids=["paper", "modern"])
def test_the_exported_step_makes_the_same_images(recipe):
    recipe = replace(recipe, steps=12)
    model = xs.export_step(default_model(), recipe=recipe, seed=2)
    onnx.checker.check_model(model)
    image, scores = plain_loop(model, recipe, [3, 8], seed=2)
    found = xs.class_model(default_model(), [3, 8], recipe=recipe, seed=2, providers=["cpu"])
    close(image, found.inputs, 1e-4)
    close(scores, found.history, 1e-4)


def test_the_exported_step_says_what_it_is(tmp_path):
    preprocess = xs.Preprocess(mean=(1.0, 2.0, 3.0))
    path = tmp_path / "step.onnx"
    assert xs.export_step(small(), path, recipe=VIEWED, against=2, seed=5, preprocess=preprocess) is None
    assert [file.name for file in tmp_path.iterdir()] == ["step.onnx"]
    facts = read_metadata({prop.key: prop.value for prop in onnx.load(path).metadata_props})
    assert (facts["method"], facts["score"], facts["against"], facts["seed"]) == ("ascent", "logit", "2", "5")
    assert xs.Recipe(**json.loads(facts["recipe"])) == VIEWED
    assert json.loads(facts["recipe"]) == asdict(VIEWED)
    assert xs.Preprocess.from_json(facts["preprocess"]) == preprocess
    assert facts["version"]


def test_the_exported_step_is_of_standard_operators_and_the_same_again():
    first, again = (xs.export_step(small(), recipe=VIEWED) for _ in range(2))
    assert first.SerializeToString() == again.SerializeToString()
    assert {node.domain for node in first.graph.node} <= {"", "ai.onnx"}
    assert [imported.domain for imported in first.opset_import] == [""]
    names = [value.name for value in first.graph.input]
    assert names == ["parameters", "target", "key", "step", "mean", "square", "scores"]
    still = xs.export_step(small(), recipe=replace(PAPER, optimiser="normalised"))
    assert "mean" not in [value.name for value in still.graph.input]


def test_steps_that_cannot_be_exported(tmp_path):
    with pytest.raises(OutputError, match="there is no folder"):
        xs.export_step(small(), tmp_path / "no" / "step.onnx")
    with pytest.raises(TargetError, match="No class 9"):
        xs.export_step(small(), tmp_path / "step.onnx", against=9)
    assert list(tmp_path.iterdir()) == []


# --- an explainer in the model's place, and ascents that lead nowhere -----------------------------


def test_an_explainer_stands_for_its_model_and_settings():
    preprocess = xs.Preprocess(size=8, mean=(120.0, 110.0, 100.0), std=58.0, channels="BGR")
    explainer = xs.Explainer(small(), preprocess=preprocess, labels=NAMES, providers=["cpu"], threads=1)
    found = xs.class_model(explainer, ["goldfish"], recipe=FEW)
    expected = make(classes=[1], preprocess=preprocess, labels=NAMES)
    np.testing.assert_array_equal(found.images, expected.images)
    assert found.labels.names == tuple(NAMES)
    other = xs.class_model(explainer, ["tench"], recipe=FEW, labels=NAMES[1:] + NAMES[:1])
    assert other.target.tolist() == [4]  # what is given goes before the explainer's


@pytest.mark.parametrize(("given", "begun"), [({}, {0, 1, 2}), ({"batch_size": 2}, {0, 2})])
def test_images_at_once_are_the_explainers(given, begun):
    told = set()
    explainer = xs.Explainer(small(), providers=["cpu"], batch_size=1)
    xs.class_model(explainer, [1, 2, 3], recipe=FEW, progress=lambda done, *_: told.add(done), **given)
    assert told == begun


def test_against_a_class_by_its_name():
    found, expected = (make(classes=[1], against=each, labels=NAMES) for each in ("tiger shark", 3))
    np.testing.assert_array_equal(found.images, expected.images)
    assert not np.array_equal(found.images, make(classes=[1]).images)


def test_a_score_that_does_not_rise_is_said():
    (note,) = make(recipe=xs.Recipe("still", steps=3, rate=1e-30)).notes
    assert "The score of 1, 3 is not higher at the end" in note
