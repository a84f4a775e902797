import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_saliency.errors import ImageError
from onnx_saliency.images.preprocess import PRESETS, Preprocess, preset

sides = st.integers(1, 4000)
scales = st.floats(0.001, 1000)
recipes = st.one_of(
    st.builds(
        Preprocess,
        size=st.one_of(st.none(), sides, st.tuples(sides, sides)),
        resize=st.one_of(st.none(), sides),
        mean=st.one_of(scales, st.tuples(scales, scales, scales)),
        std=st.one_of(scales, st.tuples(scales, scales, scales)),
        channels=st.sampled_from(["RGB", "BGR"]),
    ),
    st.builds(Preprocess, mean=scales, std=st.tuples(scales), channels=st.just("L")),
)


@given(recipes)
def test_json_round_trip(recipe):
    assert Preprocess.from_json(recipe.to_json()) == recipe


def test_json_has_the_documented_form():
    recipe = Preprocess(size=(192, 224), mean=(1, 2, 3), std=4, channels="BGR")
    assert json.loads(recipe.to_json()) == {
        "size": [192, 224],
        "resize": 256,
        "crop": "center",
        "mean": [1.0, 2.0, 3.0],
        "std": 4.0,
        "channels": "BGR",
    }
    assert json.loads(Preprocess().to_json())["size"] is None


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "7", '{"size": 224, "color": "RGB"}'])
def test_json_of_something_else(text):
    with pytest.raises(ImageError, match="preprocessing"):
        Preprocess.from_json(text)


def test_json_values_are_checked():
    with pytest.raises(ImageError, match="std"):
        Preprocess.from_json('{"std": 0}')


def test_a_square_may_be_one_number():
    assert Preprocess(size=224) == Preprocess(size=(224, 224))
    assert Preprocess(size=224).height_width == (224, 224)
    assert Preprocess().height_width is None
    assert hash(Preprocess(size=[224, 224], mean=[1, 2, 3])) == hash(Preprocess(size=224, mean=(1.0, 2.0, 3.0)))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"size": 0}, "size=0"),
        ({"size": (224,)}, "size="),
        ({"size": (224, -1)}, "size="),
        ({"size": 224.5}, "size="),
        ({"size": True}, "size="),
        ({"resize": 0}, "resize=0"),
        ({"resize": "256"}, "resize="),
        ({"crop": "random"}, "crop='random'"),
        ({"channels": "GBR"}, "channels='GBR'"),
        ({"mean": float("nan")}, "mean=nan"),
        ({"mean": "127.5"}, "mean="),
        ({"mean": None}, "mean="),
        ({"mean": (1.0, 2.0)}, "mean has 2 values for 3 channels"),
        ({"mean": (1.0, 2.0, 3.0), "channels": "L"}, "mean has 3 values for 1 channel"),
        ({"std": 0}, "std=0"),
        ({"std": (1.0, -1.0, 1.0)}, "std="),
        ({"std": float("inf")}, "std=inf"),
    ],
)
def test_nonsense_is_named(fields, named):
    with pytest.raises(ImageError) as caught:
        Preprocess(**fields)
    assert named in str(caught.value)


def test_all_problems_at_once():
    with pytest.raises(ImageError) as caught:
        Preprocess(size=-1, resize=-1, crop="x", mean="x", std=0, channels="x")
    for name in ("size", "resize", "crop", "mean", "std", "channels"):
        assert f"{name}=" in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Preprocess(size=224), "short side 256, centre crop 224 x 224, RGB, (x - 127.5) / 127.5"),
        (Preprocess(), "short side 256, centre crop the network's size, RGB, (x - 127.5) / 127.5"),
        (Preprocess(size=(20, 30), resize=None, mean=0, std=255), "squashed to 20 x 30, RGB, x / 255"),
        (
            Preprocess(size=227, mean=(104, 117, 123), std=1, channels="BGR"),
            "short side 256, centre crop 227 x 227, BGR, x - (104, 117, 123)",
        ),
        (
            Preprocess(size=28, resize=None, mean=0, std=1, channels="L"),
            "squashed to 28 x 28, L, x in 0..255",
        ),
    ],
)
def test_said_in_one_line(recipe, said):
    assert str(recipe) == said


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_any_network(name):
    assert preset(name, 224).resize == PRESETS[name].resize
    assert preset(name, (299, 320)).height_width == (299, 320)
    assert preset(name, 32).resize is None


def test_short_side_in_proportion():
    assert preset("imagenet", 192).resize == 219
    assert preset("imagenet", 299).resize == 342
    assert preset("imagenet", (224, 448)).resize == 256
    assert preset("clip", 336).resize == 336
    assert preset("imagenet", 64).resize == 73
    assert preset("imagenet", 63).resize is None


@pytest.mark.parametrize(
    ("name", "pixel", "values"),
    [
        # (pixel / 255 - mean) / std with the published figures
        ("imagenet", 255, [(1 - m) / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]),
        ("inception", 0, [-1, -1, -1]),
        ("caffe", 104, [0, -13, -19]),
        ("unit", 51, [0.2, 0.2, 0.2]),
        ("raw255", 200, [200, 200, 200]),
        ("mnist", 255, [(1 - 0.1307) / 0.3081]),
    ],
)
def test_presets_are_the_published_ones(name, pixel, values):
    recipe = PRESETS[name]
    channels = len(recipe.channels)
    means = recipe.mean if isinstance(recipe.mean, tuple) else (recipe.mean,) * channels
    stds = recipe.std if isinstance(recipe.std, tuple) else (recipe.std,) * channels
    got = [(pixel - mean) / std for mean, std in zip(means, stds, strict=True)]
    assert got == pytest.approx(values, rel=1e-5, abs=1e-6)


def test_unknown_preset_lists_the_names_and_the_closest():
    with pytest.raises(ImageError) as caught:
        preset("imagnet", 224)
    assert "did you mean 'imagenet'" in str(caught.value)
    assert all(name in str(caught.value) for name in PRESETS)
    with pytest.raises(ImageError) as caught:
        preset("zzz", 224)
    assert "did you mean" not in str(caught.value)
