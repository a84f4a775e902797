"""Sanity checks: what is randomised and what is not, measures by slow definitions, and verdicts that must come out."""

import math

import numpy as np
import onnx_ir as ir
import pytest
from nets import CONV_WEIGHTS, HEAD_WEIGHTS, graph, images, run, small
from onnx import numpy_helper
from scipy import stats
from skimage.feature import hog
from skimage.metrics import structural_similarity

import onnx_saliency as xs
from onnx_saliency.embedded import default_model, default_pictures
from onnx_saliency.evaluation import Interval, bootstrap_difference, bootstrap_mean
from onnx_saliency.evaluation.sanity import (
    MEASURES,
    Forgetful,
    Traits,
    Verdict,
    check_sanity,
    compare,
    hog_correlation,
    spearman,
    ssim,
)
from onnx_saliency.evaluation.sanity.similarity import oriented_gradients

DEEP = """
    c = Conv<pads = [1, 1, 1, 1]>(image, w, b)
    n = BatchNormalization(c, scale, shift, mean, var)
    r = Relu(n)
    d = Conv<pads = [1, 1, 1, 1]>(r, w2)
    q = Relu(d)
    p = GlobalAveragePool(q)
    f = Flatten(p)
    m = MatMul(f, v)
    logits = Add(m, a)
"""
DEEP_WEIGHTS = {
    **{
        "w": (4, 3, 3, 3),
        "b": (4,),
        "scale": (4,),
        "shift": (4,),
        "mean": (4,),
        "w2": (4, 4, 3, 3),
        "v": (4, 5),
        "a": (5,),
    },
    "var": np.ones(4, np.float32),
}


def deep():
    """Three layers: a convolution with BatchNormalization, one without bias, and a product with a bias of its own."""
    return graph(DEEP, **DEEP_WEIGHTS)


def weights(model):
    return {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}


def changed(model, other):
    first, second = weights(model), weights(other)
    assert first.keys() == second.keys()
    return {name for name in first if not np.array_equal(first[name], second[name])}


# --- what is randomised ---------------------------------------------------------------------------


def test_layers_go_from_the_score_to_the_image_with_biases_at_their_layer():
    stages = Forgetful(deep()).stages
    assert len(stages) == 3
    folded = [[weight.name for weight in stage.weights] for stage in stages]
    assert folded[0] == ["v", "a"]
    assert folded[1] == ["w2"]
    assert len(folded[2]) == 2  # what w, b and the four numbers of BatchNormalization became
    assert not {"w", "b", "scale"} & set(folded[2])


@pytest.mark.parametrize("draw", ["normal", "permutation"])
def test_only_the_stage_changes_and_cascading_adds_up(draw):
    forgetful = Forgetful(deep(), draw=draw)
    trained = forgetful.cascading(0)
    names = [{weight.name for weight in stage.weights} for stage in forgetful.stages]
    assert changed(trained, Forgetful(deep()).cascading(0)) == set()
    for index, own in enumerate(names):
        assert changed(trained, forgetful.independent(index)) == own
        assert changed(trained, forgetful.cascading(index + 1)) == set().union(*names[: index + 1])
        assert changed(forgetful.cascading(index), forgetful.cascading(index + 1)) == own
    alone, together = weights(forgetful.independent(1)), weights(forgetful.cascading(3))
    assert all(np.array_equal(alone[name], together[name]) for name in names[1])  # one draw a weight


def test_the_trained_state_computes_what_the_file_does():
    batch = images()
    (expected,) = run(deep(), {"image": batch})
    (actual,) = run(ir.to_proto(Forgetful(deep()).cascading(0)), {"image": batch})
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    (random,) = run(ir.to_proto(Forgetful(deep()).cascading(3)), {"image": batch})
    assert np.abs(random - expected).max() > 0.1


def test_permutation_keeps_the_numbers_and_normal_their_spread():
    wide = graph(
        DEEP, **{**DEEP_WEIGHTS, "v": (4, 5), "w2": np.random.default_rng(0).gamma(2, 3, (4, 4, 3, 3)).astype("f")}
    )
    trained = weights(Forgetful(wide).cascading(0))
    permuted = weights(Forgetful(wide, draw="permutation").cascading(3))
    for name in ("v", "a", "w2"):
        np.testing.assert_array_equal(np.sort(permuted[name].ravel()), np.sort(trained[name].ravel()))
    root = float(np.sqrt((trained["w2"] ** 2).mean()))
    again = np.concatenate([weights(Forgetful(wide, seed=seed).cascading(3))["w2"].ravel() for seed in range(40)])
    assert again.mean() == pytest.approx(0, abs=0.1 * root)  # a kernel: around 0, whatever its own mean
    assert np.sqrt((again**2).mean()) == pytest.approx(root, rel=0.05)
    assert np.abs(again).max() <= 2 * root / stats.truncnorm.std(-2, 2) * 1.0001
    bias = np.concatenate([weights(Forgetful(wide, seed=seed).cascading(1))["a"] for seed in range(200)])
    assert bias.mean() == pytest.approx(trained["a"].mean(), abs=0.1)
    assert bias.std() == pytest.approx(trained["a"].std(), rel=0.1)


def test_a_seed_says_it_all():
    first, again, other = (weights(Forgetful(deep(), seed=seed).cascading(3)) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["v"], other["v"])


def test_stages_group_layers_evenly():
    forgetful = Forgetful(default_model(), stages=3)
    assert len(forgetful.stages) == 3
    sizes = [len(stage.layers) for stage in forgetful.stages]
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == forgetful.layers == len(Forgetful(default_model(), stages=1000).stages)


def quantised(zero=7):
    """A net whose convolution reads codes."""
    codes = np.random.default_rng(0).integers(-40, 60, (4, 3, 3, 3)).astype(np.int8)
    body = (
        "wd = DequantizeLinear(wq, s, z) c = Conv<pads = [1, 1, 1, 1]>(image, wd, b) r = Relu(c) d ="
        + DEEP.partition("d =")[2]
    )
    given = {name: value for name, value in DEEP_WEIGHTS.items() if name not in ("w", "scale", "shift", "mean", "var")}
    return graph(body, wq=codes, s=np.float32(0.02), z=np.int8(zero), **given), codes


def test_codes_are_drawn_as_codes_around_what_stands_for_zero():
    model, codes = quantised()
    forgetful = Forgetful(model)
    found = {weight.name: weight.centre for stage in forgetful.stages for weight in stage.weights}
    assert found["wq"] == 7
    assert not {"s", "z"} & set(found)
    drawn = weights(forgetful.cascading(3))["wq"]
    assert drawn.dtype == np.int8
    assert not np.array_equal(drawn, codes)
    assert codes.min() <= drawn.min() <= drawn.max() <= codes.max()
    run(ir.to_proto(forgetful.cascading(3)), {"image": images()})


def test_preprocessing_masks_and_single_numbers_are_no_weights():
    body = """
        centred = Sub(image, mean)
        scaled = Div(centred, std)
        c = Conv<pads = [1, 1, 1, 1]>(scaled, w)
        halved = Mul(c, half)
        masked = Add(halved, mask)
        r = Relu(masked)
        s = Mul(r, gain)
        p = GlobalAveragePool(s)
        f = Flatten(p)
        logits = Gemm<transB = 1>(f, v, a)
    """
    mask = np.zeros((1, 1, 8, 8), np.float32)
    mask[..., :2] = -100
    given = {"w": (4, 3, 3, 3), "mean": (1, 3, 1, 1), "std": (1, 3, 1, 1), "gain": (1, 4, 8, 8), **HEAD_WEIGHTS}
    model = graph(body, half=np.array([0.5], "f"), mask=mask, **given)
    found = {weight.name for stage in Forgetful(model).stages for weight in stage.weights}
    assert {"gain", "v", "a"} < found
    assert not {"mean", "std", "half", "mask"} & found
    assert len(found) == 5  # and w, into which the half was folded, with a bias of zeros


def test_a_shared_weight_is_drawn_once():
    body = """
        c = Conv<pads = [1, 1, 1, 1]>(image, w)
        r = Relu(c)
        d = Conv<pads = [1, 1, 1, 1]>(r, w)
        p = GlobalAveragePool(d)
        f = Flatten(p)
        logits = Gemm<transB = 1>(f, v, a)
    """
    model = graph(body, w=(3, 3, 3, 3), v=(5, 3), a=(5,))
    names = [weight.name for stage in Forgetful(model).stages for weight in stage.weights]
    assert sorted(names) == ["a", "v", "w"]


def test_weights_in_a_loop_are_found():
    cell = graph(
        """
        x = Transpose<perm = [2, 0, 1, 3]>(image)
        y = Reshape(x, rows)
        h, last = LSTM<hidden_size = 4>(y, W, R)
        f = Squeeze(last, axes)
        logits = Gemm<transB = 1>(f, v, a)
        """,
        inputs="float[1,3,8,8] image",
        outputs="float[1,5] logits",
        rows=np.array([8, 1, 24]),
        axes=np.array([0]),
        **{"W": (1, 16, 24), "R": (1, 16, 4), **HEAD_WEIGHTS},
    )
    forgetful = Forgetful(cell)
    before, after = forgetful.cascading(0), forgetful.cascading(len(forgetful.stages))
    sizes = {weights(before)[name].size for name in changed(before, after)}
    assert {16 * 24, 16 * 4} <= sizes


def test_weights_that_a_caller_could_override_are_weights():
    """Some exporters list every initializer among the inputs."""
    model = small(inputs="float[N,3,8,8] image, float[4,3,3,3] w, float[5,4] v")
    forgetful = Forgetful(model)
    assert {weight.name for stage in forgetful.stages for weight in stage.weights} == {"w", "b", "v", "a"}
    found = check_sanity(model, images(3, 3, 8, 8), methods=["gradient"])
    assert found.find("gradient").cascading[-1, :, 0].max() < 0.999


@pytest.mark.parametrize("wrong", [{"stages": 0}, {"seed": -1}, {"draw": "uniform"}])
def test_options_out_of_range(wrong):
    with pytest.raises(xs.MetricError, match="draw of normal, permutation"):
        Forgetful(deep(), **wrong)


def test_no_weights():
    body = "p = GlobalAveragePool(image) logits = Flatten(p)"
    with pytest.raises(xs.ModelError, match="no weights between image and score"):
        Forgetful(graph(body, outputs="float[N,3] logits"))


# --- how alike maps are ---------------------------------------------------------------------------


@pytest.fixture
def pair():
    rng = np.random.default_rng(3)
    first = np.round(np.abs(rng.standard_normal((45, 52))), 1)  # with ties
    return first, np.round(first + np.abs(rng.standard_normal((45, 52))), 1)


def test_spearman_is_pearson_of_mean_ranks(pair):
    def ranks(values):
        flat = values.ravel()
        return np.array([(flat < x).sum() + ((flat == x).sum() + 1) / 2 for x in flat])

    a, b = map(ranks, pair)
    assert spearman(*pair) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-12)
    assert spearman(pair[0], -pair[0]) == pytest.approx(-1)


def shown(values):
    """As `ssim` states it."""
    low = max(values.min(), 0)
    return np.clip((values - low) / np.quantile(np.abs(values - low), 0.99), -1, 1)


@pytest.mark.parametrize("sign", [False, True])
def test_ssim_is_that_of_scikit_image(pair, sign):
    a, b = (values - sign * 0.7 for values in pair)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = structural_similarity(shown(a), shown(b), data_range=1 + sign, **options)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-12)


def test_ssim_window_by_window(pair):
    """Wang et al. 2004, equations 13 to 16, at every pixel by a loop."""
    x, y = map(shown, pair)
    away = np.arange(-5, 6)
    bell = np.exp(-(away**2) / (2 * 1.5**2))
    window = np.outer(bell, bell) / bell.sum() ** 2
    values = []
    for i in range(5, x.shape[0] - 5):
        for j in range(5, x.shape[1] - 5):
            p, q = (each[i - 5 : i + 6, j - 5 : j + 6] for each in (x, y))
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            both = (window * (p - mp) * (q - mq)).sum()
            c1, c2 = 0.01**2, 0.03**2
            values.append((2 * mp * mq + c1) * (2 * both + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    assert ssim(*pair) == pytest.approx(np.mean(values), abs=1e-10)


@pytest.mark.parametrize(("shape", "cell"), [((64, 80), 8), ((45, 52), 7), ((30, 20), 10)])
def test_oriented_gradients_are_those_of_scikit_image(shape, cell):
    values = np.random.default_rng(5).random(shape)
    blocks = tuple(min(3, length // cell) for length in shape)
    if cell % 2:  # whose cells of odd sides lie half a pixel aside
        values = np.kron(values, np.ones((2, 2)))
        cell *= 2
    expected = hog(values, pixels_per_cell=(cell, cell), cells_per_block=blocks)
    np.testing.assert_allclose(oriented_gradients(values, cell).ravel(), expected, atol=1e-6)


def test_hog_correlation(pair):
    a, b = (hog(shown(values), pixels_per_cell=(4, 4)) for values in (each[:44, :44] for each in pair))
    cells = [oriented_gradients(shown(values), 4).ravel() for values in (each[:44, :44] for each in pair)]
    assert np.corrcoef(*cells)[0, 1] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-6)
    expected = np.corrcoef(*(oriented_gradients(shown(values), 3).ravel() for values in pair))[0, 1]
    assert hog_correlation(*pair) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", [spearman, ssim, hog_correlation])
def test_measures_of_the_same_another_and_none(measure):
    first, second = (np.random.default_rng(seed).standard_normal((60, 60)) for seed in (0, 1))
    assert measure(first, first) == pytest.approx(1)
    assert measure(first, 1000 * first) == pytest.approx(1)
    assert abs(measure(first, second)) < 0.1
    assert math.isnan(measure(first, np.full((60, 60), 3.0)))
    with pytest.raises(xs.MetricError, match="maps of one picture"):
        measure(first, second[1:])
    with pytest.raises(xs.MetricError, match="not finite"):
        measure(first, np.full((60, 60), np.nan))


def test_ssim_of_maps_smaller_than_its_window():
    assert math.isnan(ssim(np.eye(10), np.eye(10)))
    assert ssim(np.eye(11), np.eye(11)) == pytest.approx(1)


def test_all_measures(pair):
    signed = (pair[0] - 0.7, pair[1] - 0.7)
    traits = [tuple(map(Traits, two)) for two in (pair, signed)]
    found = compare(*traits[0], traits[1])
    assert tuple(found) == tuple(
        measure(*two) for two in (pair, signed) for measure in (spearman, ssim, hog_correlation)
    )
    assert all(math.isnan(value) for value in compare(*traits[0])[3:])


# --- the checks -----------------------------------------------------------------------------------


def picture_net():
    """The small net for larger pictures."""
    return small(inputs="float[N,3,24,24] image")


def edges(model, batch, targets):
    """An edge detector: it never looks at the model."""
    return np.abs(np.gradient(batch.mean(axis=1), axis=2))


def hashed(model, batch, targets):
    """Noise that depends on every weight, and on the picture."""
    total = sum(float(numpy_helper.to_array(each).astype(np.float64).sum()) for each in model.graph.initializer)
    seeds = (abs(hash((total, float(each[0, 0, 0])))) for each in batch)
    return np.stack([np.random.default_rng(seed).random(batch.shape[2:]) for seed in seeds])


@pytest.fixture(scope="module")
def batch():
    return images(6, 3, 24, 24, seed=2)


def test_every_number_again(batch):
    model, told = picture_net(), []
    found = check_sanity(
        model, batch, methods=["gradient", "gradcam"], threads=1, progress=lambda done, of: told.append((done, of))
    )
    assert told == [(i + 1, 7) for i in range(7)]
    trained = xs.Explainer(model, cache=False).explain(batch)
    np.testing.assert_array_equal(found.target, trained.target)
    forgetful = Forgetful(model)
    checked = found.find("gradient")
    for rows, state in [
        (checked.cascading[0], forgetful.cascading(1)),
        (checked.cascading[1], forgetful.cascading(2)),
        (checked.independent[0], forgetful.independent(0)),
        (checked.independent[1], forgetful.independent(1)),
    ]:
        after = xs.Explainer(state, cache=False).explain(batch, trained.target)
        for i, row in enumerate(rows):
            plain = trained.saliency[i], after.saliency[i]
            signed = trained.gradient[i].sum(axis=0), after.gradient[i].sum(axis=0)
            expected = [measure(*two) for two in (plain, signed) for measure in (spearman, ssim, hog_correlation)]
            np.testing.assert_allclose(row, expected, atol=2e-3)
    assert not np.isnan(checked.cascading).any()
    assert np.isnan(found.find("gradcam").cascading[..., 3:]).all()  # it has no sign
    np.testing.assert_allclose(checked.shown[0], trained.saliency[0], rtol=1e-3, atol=1e-5)
    assert checked.shown.shape == (3, 24, 24)
    assert found.layers.tolist() == [1, 2]


def test_another_class_and_shuffled_pixels(batch):
    seen = []

    def record(model, given, targets):
        seen.append((given, targets))
        return edges(model, given, targets)

    found = check_sanity(picture_net(), batch, methods=[record], independent=False)
    assert found.find("record").independent.shape == (0, 6, len(MEASURES))
    (given, same), (whole, other) = seen[-2:]
    np.testing.assert_array_equal(same, found.target)
    assert (other != found.target).all()
    assert ((other >= 0) & (other < 5)).all()
    np.testing.assert_array_equal(whole, batch)
    assert not np.array_equal(given, batch)
    for before, after in zip(batch, given, strict=True):  # whole pixels: their colours stay together
        order = [np.lexsort(each.reshape(3, -1)) for each in (before, after)]
        np.testing.assert_array_equal(before.reshape(3, -1)[:, order[0]], after.reshape(3, -1)[:, order[1]])


def test_pixels_of_a_net_with_channels_last_stay_whole():
    body = (
        "t = Transpose<perm = [0, 3, 1, 2]>(image) c = Conv<pads = [1, 1, 1, 1]>(t, w, b) "
        + """
        s = Sigmoid(c) p = GlobalAveragePool(s) f = Flatten(p) logits = Gemm<transB = 1>(f, v, a)"""
    )
    model = graph(body, inputs="float[N,24,24,3] image", **CONV_WEIGHTS, **HEAD_WEIGHTS)
    batch, seen = images(2, 24, 24, 3), []

    def record(model, given, targets):
        seen.append(given)
        return given.mean(axis=3)

    found = check_sanity(model, batch, methods=["gradient", record], independent=False)
    assert {tuple(pixel) for pixel in seen[-2][0].reshape(-1, 3)} == {tuple(pixel) for pixel in batch[0].reshape(-1, 3)}
    assert not np.isnan(found.find("gradient").cascading).any()


def test_an_edge_detector_fails_and_noise_of_the_weights_passes(batch):
    found = check_sanity(picture_net(), batch, methods=[edges, hashed])
    np.testing.assert_allclose(found.find("edges").cascading[..., :3], 1)
    assert found.verdict("edges").outcome == "fails"
    assert found.verdict("edges").reason == "fails: all layers, the upper third"
    assert found.verdict("hashed").outcome == found.verdict("hashed").reason == "passes"
    assert found.difference("edges", "hashed").low > 0.5


def test_a_seed_gives_the_same_again(batch):
    first, again, other = (
        check_sanity(picture_net(), batch[:2], methods=["gradient"], seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.methods[0].cascading, again.methods[0].cascading)
    np.testing.assert_array_equal(first.methods[0].input, again.methods[0].input)
    assert not np.array_equal(first.methods[0].cascading, other.methods[0].cascading)


def test_verdicts_are_of_rank_correlations_and_their_intervals():
    paths = default_pictures()[:4]
    options = {"methods": ["gradient", "guided"], "stages": 5, "independent": False, "threads": 1}
    found = check_sanity(default_model(), paths, threshold=0.4, **options)
    assert found.upper == 2
    ranks = found.find("guided").cascading[:, :, MEASURES.index("spearman")]
    assert found.verdict("guided") == Verdict(
        bootstrap_mean(ranks[4]), bootstrap_mean(ranks[1]), bootstrap_mean(found.find("guided").input[:, 0]), 0.4
    )
    others = found.find("gradient").cascading[1, :, 0]
    assert found.difference("guided", "gradient") == bootstrap_difference(ranks[1], others)
    assert found.pictures == tuple(map(str, paths))


def test_a_map_of_the_network_alone_fails():
    """DeconvNet reads of the picture where a maximum was: without pooling its map is of the network alone."""
    body = """
        c = Conv<pads = [1, 1, 1, 1]>(image, w, b)
        r = Relu(c)
        p = GlobalAveragePool(r)
        f = Flatten(p)
        logits = Gemm<transB = 1>(f, v, a)
    """
    model = graph(body, inputs="float[N,3,24,24] image", **CONV_WEIGHTS, **HEAD_WEIGHTS)
    found = check_sanity(model, images(6, 3, 24, 24), methods=["gradient", "deconvnet"], independent=False)
    np.testing.assert_allclose(found.find("deconvnet").input[:, 0], 1, atol=1e-6)
    assert "the pixels" in found.verdict("deconvnet").reason
    assert found.verdict("gradient").parts["the pixels"] == "passes"


def test_outcomes():
    def interval(low, high):
        return Interval((low + high) / 2, low, high)

    below, above, across = interval(0.1, 0.2), interval(0.6, 0.7), interval(0.2, 0.9)
    assert Verdict(below, below, below).reason == "passes"
    assert Verdict(below, above, below).reason == "fails: the upper third"
    assert Verdict(above, across, below).reason == "fails: all layers"
    assert Verdict(below, below, above).reason == "fails: the pixels"
    assert Verdict(below, across, below).reason == "undecided: the upper third"
    assert Verdict(None, below, below).reason == "undecided: all layers"
    assert Verdict(bootstrap_mean([0.1, 0.1]), below, below).reason == "undecided: all layers"


def test_maps_that_are_constant_say_nothing(batch):
    def constant(model, given, targets):
        return np.ones((len(given), 24, 24))

    found = check_sanity(picture_net(), batch, methods=[constant, edges])
    assert np.isnan(found.find("constant").cascading).all()
    assert found.verdict("constant").outcome == "undecided"
    assert found.difference("constant", "edges") is None


def test_settings_come_from_an_explainer():
    model = default_model()
    explainer = xs.Explainer(model, preprocess="unit", threads=1, cache=False)
    found = check_sanity(explainer, default_pictures()[:2], methods=["gradient"], stages=2, independent=False)
    again = check_sanity(
        model, default_pictures()[:2], methods=["gradient"], stages=2, independent=False, preprocess="unit", threads=1
    )
    np.testing.assert_array_equal(found.methods[0].cascading, again.methods[0].cascading)


def test_what_is_refused(batch):
    net = picture_net()
    with pytest.raises(xs.MethodError, match="lime"):
        check_sanity(net, batch, methods=["lime"])
    with pytest.raises(xs.MetricError, match="'gradient' twice"):
        check_sanity(net, batch, methods=["gradient", "gradient"])
    with pytest.raises(xs.MetricError, match="found none"):
        check_sanity(net, batch, methods=[])
    with pytest.raises(xs.ImageError, match="No pictures"):
        check_sanity(net, [])
    with pytest.raises(xs.ImageError, match="No pictures"):
        check_sanity(net, batch[:0])
    with pytest.raises(xs.MetricError, match=r"threshold.*found 1.5"):
        check_sanity(net, batch, threshold=1.5)
    with pytest.raises(xs.MetricError, match=r"\(6, H, W\); found \(24, 24\)"):
        check_sanity(net, batch, methods=[lambda model, given, targets: given[0, 0]])


def test_one_class_has_no_other(batch):
    model = small(inputs="float[N,3,24,24] image", outputs="float[N,1] logits", v=(1, 4), a=(1,))
    found = check_sanity(model, batch, methods=["gradient"], independent=False)
    assert np.isnan(found.methods[0].target).all()
    assert not np.isnan(found.methods[0].input).any()


def test_pictures_keep_their_shape_of_one_image(batch):
    """A single image without the batch axis, as `explain` takes it."""
    found = check_sanity(picture_net(), batch[0], methods=["gradient"], independent=False)
    assert found.pictures == ("0",)
    assert found.verdict("gradient").outcome == "undecided"  # one picture has no interval
