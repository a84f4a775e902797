"""Model and pictures in, maps out: arrays and pictures, batches, layouts, targets, and every refusal."""

import copy
import inspect
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, close, graph, images, run, small
from PIL import Image

import onnx_saliency as xs
from onnx_saliency import ImageError, LabelError, ModelError, TargetError
from onnx_saliency.embedded import default_model, default_pictures
from onnx_saliency.explain import sessions_like
from onnx_saliency.images import prepare, read_picture
from onnx_saliency.runtime import CudaOptions

ALL = {**CONV_WEIGHTS, **HEAD_WEIGHTS}
PLAIN = xs.Preprocess(resize=None, mean=127.5, std=127.5)
NAMES = ["ant", "bee", "cat", "dog", "eel"]
X = images(5, 3, 8, 8)
FIELDS = ("saliency", "gradient", "logits", "target")


def explainer(model=None, **options):
    return xs.Explainer(model or small(), **{"providers": ["cpu"], "preprocess": PLAIN, "labels": NAMES, **options})


def same(found, expected, tolerance=1e-5):
    for field in FIELDS:
        close(getattr(found, field), getattr(expected, field), tolerance)


def sized(batch, inputs="float[{},3,8,8] image"):
    return small(inputs=inputs.format(batch), outputs=f"float[{batch},5] logits")


def stored(model, **facts):
    for key, value in facts.items():
        model.metadata_props.add(key=f"onnx_saliency.{key}", value=value)
    return model


# --- the numbers --------------------------------------------------------------------------------


def test_an_explanation_is_what_the_exported_model_computes():
    found = explainer().explain(X, target=[0, 1, 2, 3, 4])
    saliency, gradient, logits = run(
        xs.export(small()), {"image": X, "target": np.arange(5)}, ["saliency", "input_gradient", "logits"]
    )
    close(found.saliency, saliency)
    close(found.gradient, gradient)
    close(found.logits, logits)
    np.testing.assert_array_equal(found.target, np.arange(5))
    assert [getattr(found, field).dtype for field in FIELDS] == [np.float32, np.float32, np.float32, np.int64]
    assert [getattr(found, field).shape for field in FIELDS] == [(5, 8, 8), (5, 3, 8, 8), (5, 5), (5,)]
    assert len(found) == 5
    close(found.probabilities.sum(axis=1), np.ones(5))
    np.testing.assert_array_equal(found.probabilities.argmax(axis=1), logits.argmax(axis=1))


def test_none_is_the_predicted_class():
    found = explainer().explain(X)
    np.testing.assert_array_equal(found.target, found.logits.argmax(axis=1))
    same(found, explainer().explain(X, found.target))


@pytest.mark.parametrize("activation", ["Softmax", "Sigmoid", "LogSoftmax"])
def test_logits_are_before_the_activation(activation):
    model = small(f" y = {activation}(logits)", outputs="float[N,5] y")
    same(explainer(model).explain(X), explainer().explain(X))


def test_the_probability_is_another_score():
    model = small(" y = Softmax(logits)", outputs="float[N,5] y")
    probability, logit = explainer(model, score="probability").explain(X), explainer(model).explain(X)
    close(probability.logits, logit.logits)
    assert not np.allclose(probability.gradient, logit.gradient)
    with pytest.raises(xs.SaliencyError, match="'logit', 'probability', a Neuron"):
        explainer(model, score="odds")


# --- arrays and pictures ------------------------------------------------------------------------

MODELS = {
    "NCHW": (small(), PLAIN),
    "NHWC": (
        graph(
            "t = Transpose<perm = [0, 3, 1, 2]>(image)" + CONV.replace("(image", "(t") + HEAD,
            inputs="float[N,8,9,3] image",
            **ALL,
        ),
        PLAIN,
    ),
    "grey": (
        small(inputs="float[N,1,8,8] image", w=(4, 1, 3, 3)),
        xs.Preprocess(resize=None, mean=100.0, std=50.0, channels="L"),
    ),
    "BGR": (small(), xs.Preprocess(mean=(104.0, 117.0, 123.0), std=1.0, channels="BGR", resize=9)),
    "float16": (
        graph("x = Cast<to = 1>(image)" + CONV.replace("(image", "(x") + HEAD, inputs="float16[N,3,8,8] image", **ALL),
        PLAIN,
    ),
    "uint8": (
        graph(
            "x = Cast<to = 1>(image) q = Mul(x, k)" + CONV.replace("(image", "(q") + HEAD,
            inputs="uint8[N,3,8,8] image",
            k=np.float32(0.01),
            **ALL,
        ),
        xs.Preprocess(resize=None, mean=0.0, std=1.0),
    ),
    "any size": (small(inputs="float[N,3,H,W] image"), xs.Preprocess(size=(16, 12), resize=None)),
}


@pytest.mark.parametrize(("model", "recipe"), MODELS.values(), ids=MODELS)
def test_arrays_and_pictures_give_the_same(model, recipe, picture):
    e = explainer(model, preprocess=recipe)
    paths = [picture("a.png", (12, 10)), picture("b.jpg", (30, 50), seed=1)]
    prepared = [prepare(read_picture(path), recipe, layout=e.layout, size=e.size, dtype=e._dtype) for path in paths]
    inputs = np.stack([values for values, _ in prepared])
    from_array = e.explain(inputs, target=1)
    forms = [
        paths,
        [str(path) for path in paths],
        tuple(Image.open(path) for path in paths),
        [path.read_bytes() for path in paths],
        [read_picture(path) for path in paths],
    ]
    for form in forms:
        found = e.explain(form, target="bee")
        same(found, from_array)
        assert [m.shape for m in found.maps] == [(10, 12), (50, 30)]
        assert found.placements == tuple(place for _, place in prepared)
    assert from_array.pictures == from_array.placements == ()
    np.testing.assert_array_equal(from_array.maps, from_array.saliency)
    assert (found.saliency >= 0).all()
    assert found.gradient.shape == inputs.shape
    close(found.saliency, np.abs(found.gradient).max(axis=1 if e.layout == "NCHW" else 3))


def test_uint8_gradients_are_per_pixel_value():
    model, recipe = MODELS["uint8"]
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    found = explainer(model, preprocess=recipe).explain(x, 1)
    expected = explainer().explain(x.astype(np.float32) * np.float32(0.01), 1)
    close(found.gradient, 0.01 * expected.gradient)


def test_one_picture_alone(picture):
    path = picture()
    e = explainer()
    for form in (path, str(path), Image.open(path), path.read_bytes(), read_picture(path)):
        found = e.explain(form)
        assert len(found) == len(found.maps) == len(found.pictures) == 1


def test_one_image_without_the_batch_axis():
    same(explainer().explain(X[0]), explainer().explain(X[:1]))


def test_arrays_of_other_types_and_orders():
    e = explainer()
    expected = e.explain(X)
    same(e.explain(X.astype(np.float64)), expected)
    same(e.explain(np.asfortranarray(X)), expected)
    whole = np.arange(192).reshape(1, 3, 8, 8)
    same(e.explain(whole), e.explain(whole.astype(np.float32)))


def test_maps_lie_on_the_pictures_own_pixels(tmp_path):
    """Only the left half of the picture makes the score: the map is 0 on the right."""
    weights = np.zeros((5, 3, 8, 8), np.float32)
    weights[:, :, :, :4] = 1
    model = graph("f = Flatten(image) logits = Gemm<transB = 1>(f, v)", v=weights.reshape(5, -1))
    path = tmp_path / "wide.png"
    Image.new("RGB", (160, 80)).save(path)
    squashed = explainer(model).explain(path, 0).maps[0]
    assert squashed.shape == (80, 160)
    assert (squashed[:, :70] > 0).all()
    assert (squashed[:, 90:] == 0).all()
    cropped = explainer(model, preprocess=xs.Preprocess(resize=8)).explain(path, 0).maps[0]
    assert (cropped[:, :38] == 0).all()  # cut off: nothing was seen there
    assert (cropped[:, 45:75] > 0).all()
    assert (cropped[:, 90:] == 0).all()


def test_embedded_model_and_pictures():
    e = xs.Explainer(default_model())
    found = e.explain(default_pictures())
    assert [m.shape for m in found.maps] == [p.pixels.shape[:2] for p in found.pictures]
    assert (found.probabilities.max(axis=1) > 0.2).all()


# --- batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_pieces_give_what_one_run_gives(size):
    e = explainer(batch_size=size)
    same(e.explain(X, [4, 3, 2, 1, 0]), explainer().explain(X, [4, 3, 2, 1, 0]))


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_a_fixed_batch(batch, count):
    e = explainer(sized(batch))
    assert e.at_once == batch
    targets = [4, 3, 2, 1, 0][:count]
    same(e.explain(X[:count], targets), explainer().explain(X[:count], targets))
    same(e.explain(X[:count]), explainer().explain(X[:count]))


@pytest.mark.parametrize(("threads", "batch"), [(1, 1), (2, 4), (3, 6), (64, 16)])
def test_pictures_a_run_follow_the_threads_of_a_cpu(threads, batch):
    """On CUDA, where there are 16: tests/runtime/test_cuda.py."""
    assert explainer(threads=threads, providers=["cpu"]).at_once == batch


@pytest.mark.parametrize(
    "options", [{}, {"batch_size": 4}, {"batch_size": 3}, {"threads": 6}, {"memory_limit": "64GiB"}]
)
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_give_what_one_run_gives(options, workers):
    e = explainer(workers=workers, **options)
    same(e.explain(X, [4, 3, 2, 1, 0]), explainer().explain(X, [4, 3, 2, 1, 0]))
    same(e.explain(X[:1]), explainer().explain(X[:1]))


@pytest.mark.parametrize("batch", [1, 2])
def test_workers_of_a_fixed_batch(batch):
    e = explainer(sized(batch), workers=2)
    assert e.at_once == 2 * batch
    same(e.explain(X), explainer().explain(X))


@pytest.mark.parametrize(
    ("options", "pictures", "workers"),
    [
        ({"workers": 2, "threads": 2}, 2, 2),
        ({"workers": 2, "threads": 1}, 2, 2),
        ({"workers": 2, "threads": 6}, 12, 2),
        ({"workers": 4, "batch_size": 3}, 12, 4),
        ({"workers": 4, "batch_size": 1, "threads": 8}, 4, 4),
    ],
)
def test_pictures_at_once_of_several_workers(options, pictures, workers):
    e = explainer(**options)
    assert (e.at_once, e.workers) == (pictures, workers)


@pytest.mark.parametrize(("threads", "workers", "each"), [(6, 2, 3), (2, 4, 1), (5, 1, 5), (None, 1, 0)])
def test_workers_share_the_threads(threads, workers, each):
    e = explainer(threads=threads, workers=workers)
    assert e.session.runtime.get_session_options().intra_op_num_threads == each
    assert e.settings["threads"] == threads


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_size_that_makes_no_sense(size):
    with pytest.raises(xs.SaliencyError, match="batch_size"):
        explainer(batch_size=size)


def test_a_vector_of_scores_from_a_fixed_batch_of_1():
    body = CONV + HEAD.replace("logits", "l") + " z = Squeeze(l, zero)"
    model = graph(body, inputs="float[1,3,8,8] image", outputs="float[5] z", zero=np.array([0]), **ALL)
    same(explainer(model).explain(X, 2), explainer().explain(X, 2))


def test_pictures_prepared_by_another_recipe(picture):
    e, path = explainer(), picture(size=(20, 12))
    squash, crop = replace(e.preprocess, resize=None), replace(e.preprocess, resize=8)
    (array,), (read,), (place,) = e.prepare(path, squash)
    expected, there = prepare(read_picture(path), squash, layout=e.layout, size=e.size)
    np.testing.assert_array_equal(array, expected)
    assert (place, place.box) == (there, (0, 0, 20, 12))
    np.testing.assert_array_equal(e.prepare([read])[0], e.prepare(path, e.preprocess)[0])
    _, _, (cropped,) = e.prepare(read, crop)
    assert cropped.box == pytest.approx((4, 0, 16, 12), abs=1)
    same(e.explain(array), e.explain(expected))
    with pytest.raises(ImageError, match="makes 1"):
        e.prepare(path, replace(squash, channels="L", mean=0.0, std=1.0))


# --- targets and labels -------------------------------------------------------------------------


@pytest.mark.parametrize("target", [2, np.int64(2), "cat", [2] * 5, ["cat"] * 5, (2, "cat", 2, "CAT", np.int32(2))])
def test_every_way_to_name_a_class(target):
    same(explainer().explain(X, target), explainer().explain(X, np.full(5, 2)))


REFUSED = {
    "beyond the last": (5, "No class 5: the model has 5 classes, 0 to 4"),
    "negative": (-1, "No class -1"),
    "several": ([0, 9, 7, -2, 1], "No class -2, 7, 9"),
    "too few": ([1, 2], "2 targets were given for 5 image"),
    "none": ([], "0 targets were given for 5 image"),
    "a fraction": (1.5, "number or name of a class, not 1.5"),
    "a fraction inside": ([0, 1, 2, 3, 0.5], "number or name of a class, not 0.5"),
    "fractions": (np.full(5, 0.5), "number or name of a class, not"),
    "nothing inside": ([0, 1, None, 2, 3], "number or name of a class, not None"),
    "two axes": (np.zeros((5, 1), int), "number or name of a class, not"),
    "a truth": (True, "number or name of a class, not True"),
    "a mapping": ({"class": 3}, "number or name of a class, not {'class': 3}"),
    "huge": (2**70, "No class 1180591620717411303424"),
}


@pytest.mark.parametrize(("target", "why"), REFUSED.values(), ids=REFUSED)
def test_targets_that_are_none(target, why):
    with pytest.raises(TargetError) as caught:
        explainer().explain(X, target)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("options", "target", "against"),
    [({}, 2, "cat"), ({}, [0, 1, 2, 3, 4], [4, 3, 2, 1, 0]), ({"several": 2}, [1, 2], 2)],
)
def test_a_class_against_itself(options, target, against):
    """The map would be zero everywhere."""
    with pytest.raises(TargetError, match="A class less itself explains nothing: 2 is both target and against"):
        explainer(**options).explain(X, target, against=against)


def test_a_number_in_an_array_of_no_axes():
    same(explainer().explain(X, np.array(2)), explainer().explain(X, 2))


def test_a_name_that_no_class_has():
    with pytest.raises(LabelError, match=r"no class is called 'cow'"):
        explainer().explain(X, "cow")
    with pytest.raises(TargetError, match="no labels are known"):
        explainer(labels=None).explain(X, "cat")


def test_a_class_of_a_model_that_does_not_say_how_many_it_has():
    inputs, outputs = "float[N,3,8,8] image, float[C,4] v", "float[N,C] y"
    body = CONV + "y = Gemm<transB = 1>(f, v)"
    e = explainer(graph(body, inputs=inputs, outputs=outputs, v=(5, 4), **CONV_WEIGHTS), labels=None)
    assert e.classes is None
    assert e.explain(X, 4).target[0] == 4
    with pytest.raises(TargetError, match="No class -3: classes count from 0"):
        e.explain(X, -3)
    with pytest.raises(TargetError, match="No class 2147483648"):
        e.explain(X, 2**31)
    with pytest.raises(ModelError, match="cannot run the model"):
        e.explain(X, 7)


def test_labels(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES), encoding="utf-8")
    for labels in (path, str(path), NAMES, tuple(NAMES)):
        assert explainer(labels=labels).label(3) == "dog"
    assert explainer(stored(small(), labels=json.dumps(NAMES)), labels=None).label(3) == "dog"
    assert explainer(stored(small(), labels=json.dumps(NAMES)), labels=list("vwxyz")).label(3) == "y"
    assert explainer(labels=None).label(3) == "class 3"


@pytest.mark.parametrize("labels", [["a", "b"], ["a"] * 6, []])
def test_labels_of_another_number(labels):
    with pytest.raises(LabelError, match=f"{len(labels)} label names, but the model has 5 classes"):
        explainer(labels=labels)


def test_labels_that_are_no_names():
    with pytest.raises(LabelError, match="a list of names or a file of them, not int"):
        explainer(labels=5)


def test_settings_keep_what_was_changed_of_the_labels():
    net = graph(CONV + "logits = MatMul(f, u)", outputs="float[N,1001] logits", u=(4, 1001), **CONV_WEIGHTS)
    first = explainer(net, labels=[str(i) for i in range(1000)])
    again = xs.Explainer(first.source, **first.settings)
    assert first.labels.note
    assert again.labels == first.labels


@pytest.mark.parametrize("text", ["not JSON", '{"0": "a"}', '["a"]', "[1, 2, 3, 4, 5]", "null", '"abcde"'])
def test_damaged_labels_in_a_model(text):
    with pytest.raises(LabelError, match=r"stored in the model|1 label names"):
        explainer(stored(small(), labels=text), labels=None)
    assert explainer(stored(small(), labels=text)).label(0) == "ant"


# --- preprocessing ------------------------------------------------------------------------------


def test_given_before_stored_before_assumed():
    own = xs.Preprocess(resize=20, mean=1.0, std=3.0)
    model = stored(small(), preprocess=own.to_json())
    for given, source, recipe in [
        (PLAIN, "given", PLAIN),
        ("unit", "given", xs.preset("unit", (8, 8))),
        (None, "stored in the model", own),
    ]:
        e = explainer(model, preprocess=given)
        assert (e.preprocess_source, e.preprocess) == (source, recipe)
    e = explainer(preprocess=None)
    assert (e.preprocess_source, e.preprocess) == ("assumed", xs.preset("inception", (8, 8)))


def test_preprocessing_decides_the_size_that_the_model_leaves_open():
    model = small(inputs="float[N,3,H,8] image")
    assert explainer(model, preprocess=xs.Preprocess(size=(20, 8))).size == (20, 8)
    assert explainer(model, preprocess=None).size == (224, 8)
    assert explainer(small()).size == (8, 8)


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"size": "large"}', '{"unknown": 1}'])
def test_damaged_preprocessing_in_a_model(text):
    with pytest.raises(ImageError, match="preprocessing"):
        explainer(stored(small(), preprocess=text), preprocess=None)


@pytest.mark.parametrize("given", ["nothing", 3, {"mean": 0}])
def test_preprocessing_that_is_none(given):
    with pytest.raises(ImageError, match="preprocess"):
        explainer(preprocess=given)


# --- arrays and pictures that cannot be used ----------------------------------------------------

ARRAYS = {
    "height": (np.zeros((1, 3, 9, 8), np.float32), r"shape \[1, 3, 9, 8\].*takes \[N, 3, 8, 8\] \(NCHW\)"),
    "layout": (np.zeros((1, 8, 8, 3), np.float32), r"\[1, 8, 8, 3\]"),
    "rank": (np.zeros((8, 8), np.float32), r"shape \[8, 8\]"),
    "too many axes": (np.zeros((1, 1, 3, 8, 8), np.float32), r"\[1, 1, 3, 8, 8\]"),
    "no image": (np.zeros((0, 3, 8, 8), np.float32), r"\[0, 3, 8, 8\]"),
    "no axis": (np.array(3.0), r"shape \[\]"),
    "NaN": (np.full((1, 3, 8, 8), np.nan, np.float32), "NaN"),
    "infinite": (np.full((1, 3, 8, 8), np.inf, np.float32), "infinite"),
    "too large for float32": (np.full((1, 3, 8, 8), 1e300), "infinite"),
    "text": (np.full((1, 3, 8, 8), "a"), "numbers"),
    "objects": (np.full((1, 3, 8, 8), None), "numbers"),
    "complex": (np.full((1, 3, 8, 8), 1j), "numbers"),
}


@pytest.mark.parametrize(("values", "why"), ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_do_not_fit(values, why):
    with pytest.raises(ImageError, match=why):
        explainer().explain(values)


@pytest.mark.parametrize("value", [-1.0, 256.0, 0.5])
def test_arrays_that_uint8_cannot_hold(value):
    model, recipe = MODELS["uint8"]
    with pytest.raises(ImageError, match=r"whole numbers .*uint8"):
        explainer(model, preprocess=recipe).explain(np.full((1, 3, 8, 8), value, np.float32))


@pytest.mark.parametrize("form", [5, None, [None], {"a": 1}, [np.zeros((8, 8, 3))]])
def test_what_is_no_picture(form):
    with pytest.raises(ImageError):
        explainer().explain(form)


def test_no_pictures():
    with pytest.raises(ImageError, match="No pictures were given"):
        explainer().explain([])


def test_a_model_in_place_of_a_picture_and_the_reverse(net, picture):
    with pytest.raises(ImageError, match=r"net\.onnx: not a picture"):
        explainer().explain(net)
    with pytest.raises(ModelError, match=r"picture\.png: not an ONNX"):
        xs.Explainer(picture())
    with pytest.raises(ModelError, match="not Image"):
        xs.Explainer(Image.new("RGB", (4, 4)))


def test_channels_that_do_not_fit(picture):
    model, _ = MODELS["grey"]
    with pytest.raises(ImageError, match=r"takes 1 colour channel.*makes 3 \(RGB\).*Set channels to L"):
        explainer(model).explain(picture())


# --- models that cannot be explained ------------------------------------------------------------


def test_another_input_that_needs_a_value():
    inputs = "float[N,3,8,8] image, float[N,5] shift"
    model = graph(CONV + HEAD.replace("logits", "l") + " logits = Add(l, shift)", inputs=inputs, **ALL)
    with pytest.raises(ModelError, match=r"no value for input 'shift'.*in feeds"):
        explainer(model)
    with pytest.raises(ModelError, match="no value for input 'shift'; the model has no input 'shaft'"):
        explainer(model, feeds={"shaft": 1})
    with pytest.raises(ModelError, match="'shift' cannot be read as float32"):
        explainer(model, feeds={"shift": "two"})


def test_another_input_is_fed():
    inputs = "float[N,3,8,8] image, float[1,5] shift"
    model = graph(CONV + HEAD.replace("logits", "l") + " logits = Add(l, shift)", inputs=inputs, **ALL)
    images = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    plain = explainer(model, feeds={"shift": np.zeros((1, 5))}).explain(images)
    raised = explainer(model, feeds={"shift": [[0, 0, 0, 0, 100]]}).explain(images)
    assert raised.target.tolist() == [4, 4, 4]
    np.testing.assert_allclose(raised.logits - plain.logits, [[0, 0, 0, 0, 100]] * 3, atol=1e-4)


def test_another_input_with_a_default():
    inputs = "float[N,3,8,8] image, float[1,5] shift"
    body = CONV + HEAD.replace("logits", "l") + " logits = Add(l, shift)"
    model = graph(body, inputs=inputs, shift=np.zeros((1, 5), np.float32), **ALL)
    same(explainer(model).explain(X, 1), explainer().explain(X, 1))


def test_an_explained_model():
    with pytest.raises(xs.ExportError, match="already an explained one"):
        explainer(xs.export(small()))


def test_a_model_that_gives_nan_is_said():
    body = "k = Log(image)" + CONV.replace("(image", "(k") + HEAD
    e = explainer(graph(body, **ALL))
    x = np.abs(X) + 1
    assert np.isfinite(e.explain(x).saliency).all()
    x[3, 0, 0, 0] = -1
    with pytest.raises(ModelError, match=r"gradient of image 3 are not finite"):
        e.explain(x)


def test_infinite_weights_are_named_where_scores_are_not_finite():
    """Real models hold them as masks, so they are not refused."""
    broken = {**ALL, "a": np.array([0, np.inf, 0, 0, 0], np.float32)}
    with pytest.raises(ModelError, match=r"image 0, 1, 2, 3, 4 are not finite\. Weights with infinite values: a\.$"):
        explainer(graph(CONV + HEAD, **broken)).explain(X)
    masked = {**ALL, "a": np.array([0, -np.inf, 0, 0, 0], np.float32)}
    assert np.isfinite(explainer(graph(CONV + HEAD, **masked)).explain(X).saliency).all()


def test_the_callers_model_is_not_changed():
    model = small(opset=11)
    before = model.SerializeToString(deterministic=True)
    explainer(model).explain(X)
    assert model.SerializeToString(deterministic=True) == before


def test_a_runtime_refusal_is_one_sentence(monkeypatch):
    """A network of any size may still refuse one."""
    body = "p = MaxPool<kernel_shape = [8, 8]>(image) f = Flatten(p) logits = MatMul(f, v)"
    model = graph(body, inputs="float[N,3,H,W] image", v=(3, 5))
    e = explainer(model)
    e.explain(X)
    with pytest.raises(ModelError, match=r"cannot run the model on image float32\[1, 3, 16, 16\]"):
        e.explain(images(1, 3, 16, 16))


# --- settings, for verbs that write another graph of the model ------------------------------------

OF_THE_VERB = {"method", "score", "several"}
"""What is explained, and how: each verb has its own."""


def test_every_option_is_a_setting_or_the_verbs_own():
    options = set(inspect.signature(xs.Explainer.__init__).parameters) - {"self", "model"}
    assert set(explainer().settings) == options - OF_THE_VERB


def test_the_settings_make_the_same_explainer_again():
    first = explainer(precision="double", batch_size=3, memory_limit="4GiB", cuda=CudaOptions(tf32=True), threads=1)
    again = xs.Explainer(first.source, **first.settings)
    assert again.settings == first.settings
    assert (again.precision, again.at_once) == ("double", 3)
    assert first.settings["memory_limit"] == 4 << 30
    assert first.settings["cuda"] == CudaOptions(tf32=True, memory_limit=4 << 30)


def test_a_segmenter_runs_as_its_explainer_does():
    given = explainer(precision="double", batch_size=3, memory_limit="4GiB")
    made = xs.Segmenter(given).explainer
    assert (made.precision, made.at_once, made.settings["memory_limit"]) == ("double", 3, 4 << 30)


def test_other_sessions_take_no_cuda_graph():
    given = explainer().settings | {"cuda": CudaOptions(tf32=True, graph=True)}
    assert sessions_like(given) == {"providers": ["cpu"], "threads": None, "cuda": CudaOptions(tf32=True)}


# --- arguments of another kind than they should be --------------------------------------------------

OF_ANOTHER_KIND = {
    "batch_size": ({"batch_size": 2.5}, "batch_size is a whole number of pictures, 1 or more, not 2.5"),
    "batch_size as text": ({"batch_size": "2"}, "not '2'"),
    "threads": ({"threads": 1.5}, "1 to 1024 threads, not 1.5"),
    "threads of workers": ({"threads": 1.5, "workers": 2}, "1 to 1024 threads, not 1.5"),
    "workers": ({"workers": 0}, "workers is a whole number, 1 or more, not 0"),
    "workers as text": ({"workers": "2"}, "not '2'"),
    "several": ({"several": "all"}, "Several classes are 1 or more; the model has 5, not 'all'"),
}


@pytest.mark.parametrize(("options", "why"), OF_ANOTHER_KIND.values(), ids=OF_ANOTHER_KIND)
def test_options_of_another_kind(options, why):
    with pytest.raises(xs.SaliencyError, match=why):
        explainer(**options)


@pytest.mark.parametrize("labels", [NAMES, None])
@pytest.mark.parametrize("index", ["cat", None, 1.0, True])
def test_a_label_of_what_is_no_number(labels, index):
    with pytest.raises(TargetError, match="A class is named by its number, not by"):
        explainer(labels=labels).label(index)


@pytest.mark.parametrize("way", [copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("holder", [lambda one: one, xs.Segmenter], ids=["explainer", "segmenter"])
def test_what_holds_a_session_says_that_it_cannot_be_copied(way, holder):
    with pytest.raises(
        xs.SaliencyError, match=r"Build one in each process.*Explainer\(path, \*\*explainer\.settings\)"
    ):
        way(holder(explainer()))
