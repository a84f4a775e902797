"""The strongest pictures of a channel, against NumPy over all activations of the layer."""

import numpy as np
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, array, graph, run
from PIL import Image

import onnx_saliency as xs
from onnx_saliency.exporter import score_model
from onnx_saliency.images import Picture, prepare, read_picture
from onnx_saliency.runtime import Session

ALL = {**CONV_WEIGHTS, **HEAD_WEIGHTS}
PLAIN = xs.Preprocess(resize=None, mean=127.5, std=127.5)

RELU = CONV.replace("Sigmoid", "Relu")
NHWC = """
    t = Transpose<perm = [0, 3, 1, 2]>(image)
    c = Conv<pads = [1, 1, 1, 1]>(t, w, b)
    r = Relu(c)
    s = Transpose<perm = [0, 2, 3, 1]>(r)
    p = ReduceMean<keepdims = 0>(s, axes)
    f = Flatten(p)
"""
TOKENS = """
    c = Conv<kernel_shape = [2, 2], strides = [2, 2]>(image, patch, b)
    q = Reshape(c, flat)
    s = Transpose<perm = [0, 2, 1]>(q)
    m = MatMul(s, mix)
    p = ReduceMean<keepdims = 0>(m, one)
    f = Flatten(p)
"""
NETS = {  # name: body, weights, layer, its shape, where its channels lie
    "NCHW": (RELU, {}, "s", "N,4,8,8", 1),
    "before the rectifier": (RELU, {}, "c", "N,4,8,8", 1),
    "NHWC": (NHWC, {"axes": np.array([1, 2])}, "s", "N,8,8,4", 3),
    "tokens": (
        TOKENS,
        {"patch": (4, 3, 2, 2), "mix": (4, 4), "flat": np.array([0, 4, -1]), "one": np.array([1])},
        "m",
        "N,16,4",
        2,
    ),
    "dense": (RELU, {}, "logits", "N,5", 1),
}


def net(name, outputs=""):
    body, weights, layer, shape, _ = NETS[name]
    nhwc = name == "NHWC"
    inputs = "float[N,8,8,3] image" if nhwc else "float[N,3,8,8] image"
    more = f", float[{shape}] {layer}" if outputs and layer != "logits" else ""
    return graph(body + HEAD, inputs=inputs, outputs=f"float[N,5] logits{more}", **{**ALL, **weights})


def pictures(count=12, size=(8, 8)):
    rng = np.random.default_rng(0)
    return [Picture(rng.integers(0, 256, (*size, 3), dtype=np.uint8), f"{i}.png") for i in range(count)]


def found(model, images, layer, **options):
    return xs.top_activations(model, images, layer=layer, providers=["cpu"], preprocess=PLAIN, **options)


@pytest.mark.parametrize("batch_size", [1, 5, 16])
@pytest.mark.parametrize("name", NETS)
def test_ranking_and_positions(name, batch_size):
    _, _, layer, _, axis = NETS[name]
    images = pictures()
    layout = "NHWC" if name == "NHWC" else "NCHW"
    feed = np.stack([prepare(picture, PLAIN, layout=layout, size=(8, 8))[0] for picture in images])
    (values,) = run(net(name, "with the layer"), {"image": feed}, [layer])
    values = np.moveaxis(values, axis, 1)
    result = found(net(name), images, layer, count=4, batch_size=batch_size, method="gradient")
    assert [top.channel for top in result.channels] == list(range(values.shape[1]))
    assert result.failed == ()
    for top in result.channels:
        maps = values[:, top.channel]
        strongest = maps.reshape(len(images), -1).max(axis=1)
        order = [i for i in np.argsort(-strongest, kind="stable") if strongest[i] != 0][:4]
        assert [each.image for each in top.activations] == [images[i].name for i in order]
        for i, each in zip(order, top.activations, strict=True):
            assert each.value == pytest.approx(strongest[i], rel=1e-5, abs=1e-5)
            assert each.position == (tuple(np.unravel_index(maps[i].argmax(), maps[i].shape)) if maps[i].ndim else ())


def test_projection_and_patch_of_one_neuron():
    """A convolution alone: the projection is its kernel, where it lies on the picture; twice as large as the input."""
    images = pictures(size=(16, 16))
    weight = array((4, 3, 3, 3), "w")
    for top in found(net("before the rectifier"), images, "c", count=2, method="gradient").channels:
        for each in top.activations:
            y, x = each.position
            rows, columns = (slice(max(at - 1, 0), min(at + 2, 8)) for at in (y, x))
            kernel = weight[top.channel][:, rows.start - y + 1 : rows.stop - y + 1]
            kernel = kernel[:, :, columns.start - x + 1 : columns.stop - x + 1]
            np.testing.assert_allclose(each.projection, kernel.transpose(1, 2, 0), rtol=1e-5)
            assert each.box == (2 * columns.start, 2 * rows.start, 2 * columns.stop, 2 * rows.stop)
            source = next(picture for picture in images if picture.name == each.image)
            xmin, ymin, xmax, ymax = each.box
            np.testing.assert_array_equal(each.patch, source.pixels[ymin:ymax, xmin:xmax])


def test_the_projection_is_that_of_the_explainer():
    images = pictures(3)
    (top,) = found(net("NCHW"), images, "s", channels=[2], count=3).channels
    explainer = xs.Explainer(net("NCHW"), method="deconvnet", score=xs.Neuron("s"), preprocess=PLAIN, providers=["cpu"])
    for each in top.activations:
        expected = explainer.explain([next(p for p in images if p.name == each.image)], 2).gradient[0]
        xmin, ymin, xmax, ymax = each.box
        np.testing.assert_allclose(each.projection, expected[:, ymin:ymax, xmin:xmax].transpose(1, 2, 0), rtol=1e-5)
        assert np.count_nonzero(expected) == np.count_nonzero(each.projection)


def test_a_dense_layer_sees_the_whole_picture():
    (top,) = found(net("dense"), pictures(2, size=(20, 30)), "logits", channels=[1]).channels
    for each in top.activations:
        assert each.box == (0, 0, 30, 20)
        assert each.position == ()
        assert each.projection.shape == (8, 8, 3)
        assert each.patch.shape == (20, 30, 3)


def test_of_equal_activations_the_first():
    """A rectifier with a ceiling makes many; one neuron is carried back, not the mean of them."""
    body = CONV.replace("s = Sigmoid(c)", "s = Clip(c, low, high)")
    model = graph(body + HEAD, low=np.float32(0), high=np.float32(0.01), **ALL)
    images = pictures(4)
    feed = np.stack([prepare(picture, PLAIN, size=(8, 8))[0] for picture in images])
    (values,) = run(graph(CONV + HEAD, outputs="float[N,5] logits, float[N,4,8,8] c", **ALL), {"image": feed}, ["c"])
    for top in found(model, images, "s").channels:
        assert [each.image for each in top.activations] == [f"{i}.png" for i in range(4)]
        for i, each in enumerate(top.activations):
            saturated = values[i, top.channel] >= 0.01
            assert saturated.sum() > 1
            assert each.position == tuple(np.argwhere(saturated)[0])
            assert max(each.projection.shape[:2]) <= 3


def test_a_silent_channel_has_no_pictures():
    bias = np.array([0, -1000, 0, 0], np.float32)
    model = graph(RELU + HEAD, **{**ALL, "b": bias})
    result = found(model, pictures(), "s", channels=[1, 0])
    assert [(top.channel, len(top.activations)) for top in result.channels] == [(1, 0), (0, 9)]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch(batch):
    model = graph(RELU + HEAD, inputs=f"float[{batch},3,8,8] image", outputs=f"float[{batch},5] logits", **ALL)
    expected, actual = (found(each, pictures(7), "s", count=3) for each in (net("NCHW"), model))
    for e, a in zip(expected.channels, actual.channels, strict=True):
        assert [each.image for each in a.activations] == [each.image for each in e.activations]
        assert [each.value for each in a.activations] == pytest.approx([each.value for each in e.activations])


def test_files_folders_and_damaged_pictures(tmp_path, picture):
    folder = picture("p/a.png", seed=1).parent
    picture("p/b.png", seed=2)
    (folder / "broken.png").write_bytes(b"no picture")
    shown = Image.fromarray(pictures(1)[0].pixels)
    result = found(net("dense"), [folder, shown], "logits")
    names = sorted((each.image for each in result.channels[0].activations), key=lambda name: ("PIL" in name, name))
    assert names == [str(folder / "a.png"), str(folder / "b.png"), "PIL image"]
    ((name, why),) = result.failed
    assert name == str(folder / "broken.png")
    assert "not a picture" in why
    with pytest.raises(xs.ImageError, match=r"None of the 1 pictures can be read.*broken\.png"):
        found(net("NCHW"), folder / "broken.png", "s")


def test_channels_of_bgr_are_shown_as_rgb(picture):
    model, path = net("before the rectifier"), picture("a.png", (8, 8))
    options = {"layer": "c", "channels": [0], "method": "gradient", "providers": ["cpu"]}
    flipped = Picture(read_picture(path).pixels[:, :, ::-1], "flipped")
    (plain,) = xs.top_activations(model, flipped, preprocess=PLAIN, **options).channels[0].activations
    bgr = xs.Preprocess(resize=None, channels="BGR")
    (shown,) = xs.top_activations(model, path, preprocess=bgr, **options).channels[0].activations
    np.testing.assert_allclose(shown.projection, plain.projection[:, :, ::-1])


def test_another_input_is_fed():
    inputs = "float[N,3,8,8] image, float[1,4,1,1] shift"
    body = RELU.replace("s = Relu(c)", "d = Add(c, shift) s = Relu(d)")
    model = graph(body + HEAD, inputs=inputs, **ALL)
    for shift in (0.0, 100.0):
        feeds = {"shift": np.full((1, 4, 1, 1), shift)}
        result = found(model, pictures(1), "d", channels=[0], method="gradient", feeds=feeds)
        assert (result.channels[0].activations[0].value > 50) == (shift > 50)


def test_an_explainer_stands_for_its_model_and_settings():
    model, some = net("NCHW"), pictures(3)
    explainer = xs.Explainer(model, method="gradcam", providers=["cpu"], preprocess=PLAIN, batch_size=2, threads=1)
    result = xs.top_activations(explainer, some, layer="s", channels=[0, 2])
    expected = found(model, some, "s", channels=[0, 2])
    for one, other in zip(result.channels, expected.channels, strict=True):
        assert [(each.value, each.box) for each in one.activations] == [
            (each.value, each.box) for each in other.activations
        ]
    search = xs.activations.ActivationSearch(explainer, layer="s")
    assert (search.explainer.at_once, search.explainer.method.name) == (2, "deconvnet")


BAD = {
    "layer": ({"layer": "nowhere"}, xs.LayerError, "no layer 'nowhere'"),
    "channel": ({"channels": [0, 4]}, xs.TargetError, "No channel 4"),
    "no channels": ({"channels": []}, xs.TargetError, "No channels were named"),
    "a part": ({"count": 2.5}, xs.SaliencyError, "count is a whole number, 1 or more, not 2.5"),
    "negative": ({"channels": [-1]}, xs.TargetError, "No channel -1"),
    "count": ({"count": 0}, xs.SaliencyError, "count is a whole number, 1 or more, not 0"),
    "first": ({"first": 0}, xs.SaliencyError, "first is a whole number, 1 or more, not 0"),
    "method": ({"method": "gradcam"}, xs.MethodError, "gradcam projects no activation back"),
    "pictures": ({"images": []}, xs.ImageError, "No pictures were given"),
    "folder": ({"images": "nowhere"}, xs.ImageError, "nowhere: no such file or folder"),
}


@pytest.mark.parametrize("name", BAD)
def test_refusals(name):
    changed, kind, message = BAD[name]
    arguments = {"images": pictures(1), "layer": "s", **changed}
    with pytest.raises(kind, match=message):
        found(net("NCHW"), arguments.pop("images"), arguments.pop("layer"), **arguments)


def test_a_layer_of_windows_is_refused():
    body = RELU.replace("p = Global", "h = Reshape(s, halves) j = Reshape(h, whole) p = Global").replace(
        "Pool(s)", "Pool(j)"
    )
    shapes = {"halves": np.array([-1, 2, 8, 8]), "whole": np.array([-1, 4, 8, 8])}
    with pytest.raises(xs.LayerError, match=r"'h' has 6 rows for 3 image\(s\)"):
        found(graph(body + HEAD, **shapes, **ALL), pictures(3), "h")


def test_nan_is_said():
    model = graph("k = Log(image)" + RELU.replace("(image", "(k") + HEAD, **ALL)
    with pytest.raises(xs.ModelError, match=r"NaN or infinity: the activations of 0\.png"):
        found(model, pictures(1), "s")


# --- the model of scores ------------------------------------------------------------------------


def test_a_model_of_scores_has_no_more_than_it_needs():
    model = score_model(net("NCHW"), xs.Neuron("s"))
    assert [value.name for value in model.graph.outputs] == ["scores", "positions"]
    assert [value.name for value in model.graph.inputs] == ["image"]
    assert not {"Gemm", "GlobalAveragePool"} & {node.op_type for node in model.graph}


@pytest.mark.parametrize("score", ["logit", "probability", xs.Channel("s"), xs.Neuron("s", (2, 3))])
def test_a_model_of_any_score(score):
    model = graph(RELU + HEAD + " y = Softmax(logits)", outputs="float[N,5] y", **ALL)
    feed = np.stack([prepare(picture, PLAIN, size=(8, 8))[0] for picture in pictures(3)])
    (scores,) = Session(score_model(model, score), providers=["cpu"]).run({"image": feed})
    expected = xs.Explainer(model, score=score, preprocess=PLAIN, providers=["cpu"])
    for target in range(scores.shape[1]):
        np.testing.assert_allclose(scores[:, target], expected.explain(feed, target).score, rtol=1e-5, atol=1e-6)


def test_a_layer_of_the_name_of_an_output():
    model = graph(RELU.replace(" s = ", " scores = ").replace("(s)", "(scores)") + HEAD, **ALL)
    result = found(model, pictures(3), "scores", count=2)
    expected = found(net("NCHW"), pictures(3), "s", count=2)
    for e, a in zip(expected.channels, result.channels, strict=True):
        assert [each.image for each in a.activations] == [each.image for each in e.activations]
