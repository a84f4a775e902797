"""`segment`: seeds, degenerate maps and pictures, refinement, recipes, and where a map's views come to lie.

`Known` is a linear classifier, logits = Σ image · weights: its map of a class is |weights| whatever the picture.
"""

import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from nets import CONV, CONV_WEIGHTS, HEAD, HEAD_WEIGHTS, graph, small
from PIL import Image, ImageDraw

import onnx_saliency as xs
from onnx_saliency.errors import ImageError, LabelError, ModelError, RecipeError, SaliencyError, TargetError
from onnx_saliency.images import Picture, Preprocess
from onnx_saliency.vision import SEGMENT_RECIPES, find_segment_recipe
from onnx_saliency.vision.segmentation import PAPER, find_seeds

SIDE = 32
SQUASH = Preprocess(resize=None, mean=0, std=255)
GREEN, RED, BLUE = (40, 120, 50), (210, 60, 40), (30, 60, 190)
WEIGHTS = {**CONV_WEIGHTS, **HEAD_WEIGHTS}
ONCE = replace(PAPER, mirror=False)  # a known map does not turn with the picture


def known(*maps, inputs=f"float[N,3,{SIDE},{SIDE}] image"):
    """A classifier whose map of class k is maps[k], (SIDE, SIDE)."""
    weights = np.stack([np.broadcast_to(values, (3, SIDE, SIDE)).reshape(-1) for values in maps], axis=1)
    scores = f"float[N,{len(maps)}] logits"
    return graph(
        "f = Flatten(image) logits = MatMul(f, m)", inputs=inputs, outputs=scores, m=weights.astype(np.float32)
    )


def blob(x, y, radius=0.15):
    """A bump about (x, y), fractions of the sides."""
    rows, columns = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))


def drawn(size, shapes, background=GREEN, noise=6, seed=0):
    """A picture of shapes, ((kind, box), ...) of fractions of (height, width), each RED; and what they cover."""
    height, width = size
    mask = Image.new("1", (width, height))
    for kind, (x0, y0, x1, y1) in shapes:
        left, top = round(x0 * width), round(y0 * height)
        box = [left, top, max(left, round(x1 * width) - 1), max(top, round(y1 * height) - 1)]
        getattr(ImageDraw.Draw(mask), kind)(box, fill=1)
    truth = np.array(mask)
    pixels = np.where(truth[..., None], *np.array([RED, background], np.uint8))
    tile = np.random.default_rng(seed).normal(0, noise, (257, 263, 3)).round().astype(np.int8)
    pixels = pixels + np.tile(tile, (height // 257 + 1, width // 263 + 1, 1))[:height, :width]  # no value is near 0
    return Picture(pixels.astype(np.uint8), "drawn"), truth


def iou(found, truth):
    return (found & truth).sum() / (found | truth).sum()


def cut(model, picture, target=None, recipe=ONCE, preprocess=SQUASH, **options):
    return xs.segment(model, picture, target, recipe=recipe, preprocess=preprocess, providers=["cpu"], **options)


# --- seeds ---------------------------------------------------------------------------------------


def test_seeds_are_the_papers_quantiles():
    values = np.random.default_rng(0).permutation(1000).reshape(25, 40).astype(np.float32)
    seeds = find_seeds(values)
    np.testing.assert_array_equal(seeds == 1, values >= 950)
    np.testing.assert_array_equal(seeds == 0, values < 300)
    assert (seeds.dtype, set(np.unique(seeds))) == (np.int8, {-1, 0, 1})
    np.testing.assert_array_equal(find_seeds(values, 0.5, 0.1) == 1, values >= 500)
    np.testing.assert_array_equal(find_seeds(values, 1.0, 0.0) == 1, values == 999)
    np.testing.assert_array_equal(find_seeds(values, 1.0, 0.0) == 0, values == 0)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_seeds_of_the_background_by_the_mean(share):
    values = np.random.default_rng(0).permutation(1000).reshape(25, 40).astype(np.float32)
    seeds = find_seeds(values, 0.95, share, "mean")
    np.testing.assert_array_equal(seeds == 0, values <= share * 499.5)
    np.testing.assert_array_equal(seeds == 1, values >= 950)


def test_seeds_by_the_mean_of_a_map_without_dark_pixels_are_its_darkest():
    values = np.random.default_rng(0).permutation(1000).reshape(25, 40).astype(np.float32) + 2000
    np.testing.assert_array_equal(find_seeds(values, 0.95, 0.5, "mean") == 0, values == 2000)


@pytest.mark.parametrize("by", ["quantile", "mean"])
@pytest.mark.parametrize("value", [0.0, 1e-38, 0.3, 3e38])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (20, 30)])
def test_a_constant_map_has_no_seeds(size, value, by):
    assert (find_seeds(np.full(size, value, np.float32), background_by=by) == -1).all()


def test_a_map_that_is_the_same_but_for_rounding_has_no_seeds():
    values = np.full((20, 30), 0.3, np.float32)
    values[::3] = np.nextafter(values[::3], 1)
    assert (find_seeds(values) == -1).all()


LOPSIDED = {  # most pixels, the others, what most are
    "nearly all zero": (0, 1, 0),
    "nearly all maximum": (1, 0, 1),
    "nearly all maximum, not zero": (1, 0.5, 1),
}


@pytest.mark.parametrize("by", ["quantile", "mean"])
@pytest.mark.parametrize("name", LOPSIDED)
@pytest.mark.parametrize("others", [1, 3, 29])
def test_where_both_limits_are_one_value(name, others, by):
    most, rest, seed = LOPSIDED[name]
    values = np.full(1000, most, np.float32)
    values[:others] = rest
    seeds = find_seeds(values.reshape(20, 50), background_by=by).reshape(-1)
    assert (seeds[others:] == seed).all()
    assert (seeds[:others] == 1 - seed).all()


def test_where_both_quantiles_are_a_value_in_the_middle():
    values = np.array([[0, *[1] * 98, 2]], np.float32)
    assert find_seeds(values).tolist() == [[*[0] * 99, 1]]


@pytest.mark.parametrize("by", ["quantile", "mean"])
@pytest.mark.parametrize("seed", range(30))
def test_every_map_that_varies_has_seeds_of_both_kinds(seed, by):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, rng.integers(2, 20), (rng.integers(1, 9), rng.integers(2, 9))).astype(np.float32)
    values.flat[:2] = 0, 1
    for foreground, background in ((0.95, 0.3), (1.0, 0.0), (0.5, 0.49)):
        seeds = find_seeds(values * np.float32(rng.choice([1e-30, 1, 1e30])), foreground, background, by)
        assert {0, 1} <= set(np.unique(seeds))
        assert values[seeds == 1].min() > values[seeds == 0].max()


# --- objects -------------------------------------------------------------------------------------

DISC, BOX = ("ellipse", (0.3, 0.2, 0.7, 0.8)), ("rectangle", (0.25, 0.3, 0.6, 0.75))
SHAPES = pytest.mark.parametrize("shape", [DISC, BOX], ids=["disc", "rectangle"])
CENTRAL = known(blob(0.45, 0.5), blob(0.1, 0.1))


@SHAPES
@pytest.mark.parametrize("recipe", ["paper", "lab", "refits", "4 neighbours", "blur"])
def test_an_object_is_cut_out(shape, recipe):
    changes = {"lab": {"colours": "lab"}, "refits": {"refits": 3}, "4 neighbours": {"neighbours": 4}}
    made = find_segment_recipe(ONCE, **({"blur": 0.02} if recipe == "blur" else changes.get(recipe, {})))
    picture, truth = drawn((120, 160), [shape])
    found = cut(CENTRAL, picture, 0, made)
    assert iou(found.mask, truth) > 0.98
    rows, columns = np.nonzero(found.mask)
    assert found.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert (found.target, found.label, found.notes) == (0, "class 0", ())
    assert 0 <= found.score <= 1
    for values, dtype in ((found.mask, bool), (found.saliency, np.float32), (found.seeds, np.int8)):
        assert (values.shape, values.dtype) == ((120, 160), dtype)
    assert found.picture is picture


@SHAPES
@pytest.mark.parametrize("size", [(375, 500), (900, 700), (1500, 2000)])
def test_a_large_picture_is_cut_at_its_own_pixels(shape, size):
    picture, truth = drawn(size, [shape])
    found = cut(CENTRAL, picture, 0)
    assert iou(found.mask, truth) > 0.98
    assert found.saliency.shape == found.seeds.shape == size
    coarse = np.asarray(Image.fromarray(truth).resize((64, 48)).resize(size[::-1]))
    assert iou(found.mask, truth) > iou(coarse, truth)


MEASURE = """
import re, sys, time
from pathlib import Path
from test_segmentation import CENTRAL, DISC, cut, drawn, iou

picture, truth = drawn((3000, 4000), [DISC])
cut(CENTRAL, drawn((30, 40), [DISC])[0], 0)
begin = time.perf_counter()
found = cut(CENTRAL, picture, 0)
print(f"{time.perf_counter() - begin:.2f} s", file=sys.stderr)
print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1], iou(found.mask, truth))
"""


def test_twelve_million_pixels_fit_in_a_gibibyte():
    """In a process of its own, with the model, the libraries and the making of the picture.

    Not by `getrusage`, whose maximum a process takes over from the one that started it.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not say how much memory a process took at most")
    path = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    print(done.stderr)
    peak, overlap = map(float, done.stdout.split())
    assert peak * 1024 < 2**30
    assert overlap > 0.98


def test_half_the_size_gives_the_same_object():
    picture, _ = drawn((600, 800), [DISC])
    half = Picture(np.asarray(Image.fromarray(picture.pixels).reduce(2)), "half")
    large, small_ = cut(CENTRAL, picture, 0).mask, cut(CENTRAL, half, 0).mask
    assert iou(large, np.kron(small_, np.ones((2, 2))).astype(bool)) >= 0.85


def test_an_object_that_touches_the_border():
    for box in ((0, 0.2, 0.5, 0.8), (0.2, 0, 0.8, 0.7), (0.3, 0.3, 1, 1)):
        for size in ((120, 160), (480, 640)):
            picture, truth = drawn(size, [("rectangle", box)])
            middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            assert iou(cut(known(blob(*middle)), picture, 0).mask, truth) > 0.98


@pytest.mark.parametrize("size", [(120, 160), (480, 640)])
def test_the_largest_of_several_objects_and_a_note(size):
    two = [("rectangle", (0.1, 0.3, 0.5, 0.7)), ("rectangle", (0.65, 0.3, 0.9, 0.7))]
    picture, truth = drawn(size, two)
    found = cut(known(blob(0.3, 0.5) + blob(0.78, 0.5)), picture, 0)
    truth[:, truth.shape[1] * 57 // 100 :] = False
    assert iou(found.mask, truth) > 0.98
    (note,) = found.notes
    assert re.fullmatch(r"The largest part is taken for the object; what was left out is 6[23]% of its size.", note)


# --- what cannot be decided ----------------------------------------------------------------------

NO_SEEDS = "The map is the same everywhere, so there are no seeds: the whole picture is taken for the object."


def bounds(found):
    rows, columns = np.nonzero(found.mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("value", [0.0, 0.3])
@pytest.mark.parametrize("recipe", ["paper", "best"])
@pytest.mark.parametrize("size", [(120, 160), (300, 400), (32, 32), (1, 1)])
def test_a_map_that_is_the_same_everywhere(size, value, recipe):
    """Of what the network sees: the edge of a crop is no object's."""
    picture, _ = drawn(size, [DISC])
    made, crop = replace(SEGMENT_RECIPES[recipe], method="gradient"), Preprocess(resize=SIDE, mean=0, std=255)
    found = cut(known(np.full((SIDE, SIDE), value)), picture, 0, made, crop)
    assert found.mask.all()
    assert found.box == (0, 0, size[1], size[0])
    assert (found.seeds == -1).all()
    assert found.notes == (NO_SEEDS,)


@pytest.mark.parametrize("size", [(60, 80), (300, 400)])
def test_a_picture_of_one_colour(size):
    picture = Picture(np.full((*size, 3), 90, np.uint8), "grey")
    for colours in ("rgb", "lab"):
        found = cut(CENTRAL, picture, 0, find_segment_recipe("paper", colours=colours))
        assert found.mask.any()
        assert found.box == bounds(found)
        assert found.notes[0].startswith("The picture is of one colour")


STRIPS = [(1, 40), (40, 1), (1, 1), (2, 1), (3, 3000), (3000, 3), (1, 3000), (16, 5000)]


@pytest.mark.parametrize("size", STRIPS)
@pytest.mark.parametrize("recipe", ["paper", "best"])
def test_strips(size, recipe):
    picture, _ = drawn(size, [("rectangle", (0.3, 0.0, 0.7, 1.0) if size[1] >= size[0] else (0.0, 0.3, 1.0, 0.7))])
    chosen = replace(SEGMENT_RECIPES[recipe], method="gradient")
    for preprocess in (SQUASH, Preprocess(mean=0, std=255)):
        found = cut(CENTRAL, picture, 0, chosen, preprocess)
        assert found.mask.shape == found.seeds.shape == found.saliency.shape == size
        assert found.mask.any()
        assert found.box == bounds(found)
        assert found.notes or {0, 1} <= set(np.unique(found.seeds))


def test_a_strip_is_cut_where_its_colour_changes():
    picture, truth = drawn((3, 3000), [("rectangle", (0.3, 0, 0.7, 1))])
    assert iou(cut(CENTRAL, picture, 0).mask, truth) > 0.98


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ((192, 256), (3000, 4000)),
        ((256, 192), (257, 193)),
        ((1, 256), (1, 9000)),
        ((3, 256), (50, 4000)),
    ],
)
def test_refinement_goes_up_in_even_steps(first, last):
    from onnx_saliency.vision.segmentation import _finer

    sizes = [first, *_finer(first, last)]
    assert sizes[-1] == last
    growth = [max(after) / max(before) for before, after in pairwise(sizes)]
    assert max(growth) <= 4.1  # rounded to pixels
    assert max(growth) <= 1.1 * min(growth)
    assert all(a <= c and b <= d for (a, b), (c, d) in pairwise(sizes))


def test_an_object_too_thin_to_be_refined_is_left_as_it_was_found():
    """In the small picture a line one pixel wide; in the large one no pixel of it is of the object's colour."""
    pixels = np.tile(np.array(GREEN, np.uint8), (1024, 1024, 1))
    pixels[510:514:2, 200:800] = RED
    pixels[511:515:2, 200:800] = BLUE
    line = np.full((SIDE, SIDE), 0.01)
    line[15:17, 8:24] = 1
    found = cut(known(line), Picture(pixels, "line"), 0)
    assert found.mask.any()
    assert found.box == bounds(found)


# --- recipes -------------------------------------------------------------------------------------

WRONG = {
    "method": "sobel",
    "views": ("crop", "squash"),
    "mirror": 1,
    "blur": -0.1,
    "foreground": 1.5,
    "background": "0.3",
    "background_by": "median",
    "components": 0,
    "colours": "hsv",
    "smoothness": float("nan"),
    "neighbours": 6,
    "refits": -1,
    "size": 8,
    "seed": 0.5,
}


def test_all_that_is_wrong_with_a_recipe_is_named():
    with pytest.raises(RecipeError) as caught:
        find_segment_recipe("paper", **WRONG)
    message = str(caught.value)
    assert "No method 'sobel'" in message
    for name in set(WRONG) - {"method"}:
        assert f"{name} is " in message
        assert f"not {WRONG[name]!r}" in message


@pytest.mark.parametrize("name", WRONG)
def test_each_alone(name):
    with pytest.raises(RecipeError, match=name):
        find_segment_recipe("best", **{name: WRONG[name]})


@pytest.mark.parametrize("views", ["crop", (), ["whole"], (["whole"],), None])
def test_views_are_a_tuple_of_names(views):
    with pytest.raises(RecipeError, match="views is one or both of 'crop' and 'whole'"):
        find_segment_recipe("paper", views=views)


def test_background_is_below_foreground():
    with pytest.raises(RecipeError, match=r"background \(0.95\) is below foreground \(0.95\)"):
        find_segment_recipe("paper", background=0.95)
    assert find_segment_recipe("paper", background=0.0, foreground=1.0).foreground == 1.0


@pytest.mark.parametrize("recipe", ["papers", None, 3, {}])
def test_no_such_recipe(recipe):
    with pytest.raises(RecipeError, match=r"No recipe .* for segmentation: there are paper, best"):
        find_segment_recipe(recipe)


def test_no_such_field():
    with pytest.raises(RecipeError, match="has no lambda_, sigma"):
        find_segment_recipe("paper", sigma=1, lambda_=2)


def test_changes_leave_the_recipe_as_it_was():
    changed = find_segment_recipe("paper", refits=2)
    assert (changed.refits, PAPER.refits) == (2, 1)
    assert find_segment_recipe(changed, seed=3) == replace(PAPER, refits=2, seed=3)
    assert find_segment_recipe(changed) is not None
    assert (PAPER.foreground, PAPER.background) == (0.95, 0.30)


@pytest.mark.parametrize("change", [{"refits": 5}, {"colours": "lab"}, {"neighbours": 4}, {"smoothness": 1}])
def test_what_a_recipe_changes(change):
    """On noise, where no two ways agree."""
    noise = np.random.default_rng(3).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    noise = np.asarray(Image.fromarray(noise).resize((90, 80), Image.Resampling.BICUBIC))
    before, again, after = (
        cut(CENTRAL, Picture(noise, "noise"), 0, find_segment_recipe("paper", **each)) for each in ({}, {}, change)
    )
    np.testing.assert_array_equal(before.mask, again.mask)
    assert (before.mask != after.mask).any()
    np.testing.assert_array_equal(before.seeds, after.seeds)


def test_lab_is_cie_lab():
    from onnx_saliency.vision.segmentation import _in_space

    pixels = np.array([[[0, 0, 0], [255, 255, 255], [128, 128, 128], [255, 0, 0], [0, 0, 255]]], np.uint8)
    found = _in_space(pixels, find_segment_recipe("paper", colours="lab"))[0].astype(float)
    expected = np.array([[0, 0, 0], [100, 0, 0], [53.6, 0, 0], [54.3, 80.8, 69.9], [29.6, 68.3, -112.0]])  # D50
    np.testing.assert_allclose(found[:, 0] * 100 / 255, expected[:, 0], atol=1)
    np.testing.assert_allclose(found[:, 1:] - 128, expected[:, 1:], atol=2)


# --- where views come to lie ---------------------------------------------------------------------


def centre(values):
    rows, columns = np.mgrid[0 : values.shape[0], 0 : values.shape[1]] + 0.5
    return (columns * values).sum() / values.sum(), (rows * values).sum() / values.sum()


def test_a_mirrored_map_is_laid_back():
    """The known map is the same for the mirror image, so laid back it is on the other side."""
    picture, _ = drawn((60, 100), [DISC])
    model = known(blob(0.2, 0.3), blob(0.5, 0.5))
    once = cut(model, picture, 0).saliency
    both = cut(model, picture, 0, find_segment_recipe("paper", mirror=True)).saliency
    np.testing.assert_allclose(both, (once + once[:, ::-1]) / 2 / blob(0.2, 0.3).max(), atol=1e-5)
    assert centre(both)[0] == pytest.approx(50, abs=0.01)
    assert centre(both)[1] == pytest.approx(centre(once)[1], abs=0.01)


LAYOUTS = {
    "NCHW": (CONV + HEAD, "float[N,3,8,8] image"),
    "NHWC": ("t = Transpose<perm = [0, 3, 1, 2]>(image)" + CONV.replace("(image", "(t") + HEAD, "float[N,8,8,3] image"),
    "batch 1": (CONV + HEAD, "float[1,3,8,8] image"),
    "batch 3": (CONV + HEAD, "float[3,3,8,8] image"),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_the_mean_of_a_picture_and_its_mirror_image(name, channels):
    """A net without symmetry, explained by hand on both."""
    body, inputs = LAYOUTS[name]
    model = graph(body, inputs=inputs, outputs=f"float[{inputs[6]},5] logits", **WEIGHTS)
    shape, scale = (40, 64), np.array([100.0, 110.0, 120.0])
    pixels = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    recipe = find_segment_recipe("paper", mirror=True, views=("whole",))
    preprocess = Preprocess(resize=9, mean=tuple(scale), std=50.0, channels=channels)
    found = cut(model, Picture(pixels, "noise"), 2, recipe, preprocess)
    squashed = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR)).astype(float)
    views = np.stack([squashed, squashed[:, ::-1]])[..., :: 1 if channels == "RGB" else -1]
    x = ((views - scale) / 50).transpose(0, 3, 1, 2).astype(np.float32)
    explained = xs.Explainer(small(), providers=["cpu"]).explain(x, 2)
    maps = explained.saliency / explained.saliency.max(axis=(1, 2), keepdims=True)
    expected = (maps[0] + maps[1][:, ::-1]) / 2
    large = np.asarray(Image.fromarray(expected).resize(shape[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_allclose(found.saliency, large, atol=2e-3)
    assert found.score == pytest.approx(explained.probabilities[:, 2].mean(), rel=1e-4)


def test_crop_and_whole_together():
    """Each view over its maximum, laid on its own part of the picture; the crop's part is the middle half."""
    picture, _ = drawn((60, 120), [DISC])
    crop, model = Preprocess(resize=SIDE, mean=0, std=255), known(blob(0.7, 0.4), blob(0.5, 0.5))
    views = [("crop",), ("whole",), ("whole", "crop")]
    one, two, both = (cut(model, picture, 0, find_segment_recipe(ONCE, views=each), crop).saliency for each in views)
    np.testing.assert_allclose(both, (one + two) / 2 / blob(0.7, 0.4).max(), atol=1e-5)
    assert centre(one)[0] == pytest.approx(30 + 0.7 * 60, abs=2)
    mirrored = cut(model, picture, 0, find_segment_recipe("paper", views=views[2], mirror=True), crop).saliency
    np.testing.assert_allclose(mirrored, (both + both[:, ::-1]) / 2, atol=1e-5)


def test_without_whole_only_the_crop_is_seen():
    picture, _ = drawn((60, 120), [DISC])
    crop = Preprocess(resize=SIDE, mean=0, std=255)
    model = known(0.5 + blob(0.5, 0.5))
    seen = cut(model, picture, 0, preprocess=crop).saliency > 0
    assert seen[:, 31:89].all()
    assert not seen[:, :29].any()
    assert not seen[:, 91:].any()
    assert (cut(model, picture, 0, find_segment_recipe(ONCE, views=("whole",)), crop).saliency > 0).all()


# --- classes -------------------------------------------------------------------------------------

NAMES = ["tench", "goldfish", "great white shark", "tiger shark", "hammerhead"]
FIVE = known(*(blob(x, 0.5) for x in (0.1, 0.3, 0.5, 0.7, 0.9)))


@pytest.mark.parametrize("target", [3, "tiger shark", np.int64(3), np.array(3), [3], ["Tiger Shark"], np.array([3])])
def test_a_class_by_number_and_name(target):
    picture, _ = drawn((40, 50), [DISC])
    found = cut(FIVE, picture, target, labels=NAMES)
    assert (found.target, found.label) == (3, "tiger shark")
    assert centre(found.saliency)[0] == pytest.approx(35, abs=1)


def test_without_a_target_the_predicted_class():
    picture, _ = drawn((40, 50), [("rectangle", (0.8, 0, 1, 1))], background=(0, 0, 0))
    for recipe in (ONCE, replace(SEGMENT_RECIPES["best"], method="gradient")):
        found = cut(FIVE, picture, None, recipe)
        logits = xs.Explainer(FIVE, preprocess=SQUASH, providers=["cpu"]).explain(picture).logits
        if recipe is ONCE:
            assert found.target == logits.argmax()
            assert found.score == pytest.approx(np.exp(logits - np.logaddexp.reduce(logits, 1)).max(), rel=1e-4)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (5, TargetError, "No class 5: the model has 5 classes, 0 to 4"),
        (-1, TargetError, "No class -1"),
        ([1, 2], TargetError, "give a list of 1"),
        ([], TargetError, "give a list of 1"),
        ([[1], [2]], TargetError, "give a list of 1"),
        ("minnow", LabelError, "minnow"),
        (True, TargetError, "not True"),
        (1.5, TargetError, "not 1.5"),
    ],
)
@pytest.mark.parametrize("mirror", [False, True])
def test_classes_that_there_are_not(target, error, message, mirror):
    picture, _ = drawn((40, 50), [DISC])
    with pytest.raises(error, match=message):
        cut(FIVE, picture, target, find_segment_recipe("paper", mirror=mirror), labels=NAMES)


def test_more_classes_than_there_are():
    with pytest.raises(TargetError, match="the model has 5, not 6"):
        xs.Segmenter(FIVE, top=6, providers=["cpu"])
    with pytest.raises(TargetError, match="1 or more"):
        xs.Segmenter(FIVE, top=0, providers=["cpu"])


def test_several_classes_in_the_order_they_are_given_or_of_their_scores():
    picture, _ = drawn((40, 50), [DISC])
    for mirror in (False, True):
        segmenter = xs.Segmenter(
            FIVE, find_segment_recipe("paper", mirror=mirror), top=3, preprocess=SQUASH, labels=NAMES, providers=["cpu"]
        )
        given = segmenter.segment(picture, [4, "tench", 2])
        assert [each.target for each in given] == [4, 0, 2]
        assert [each.target for each in segmenter.segment(picture, [2, 2, 1])] == [2, 2, 1]
        best = segmenter.segment(picture)
        scores = [each.score for each in best]
        assert scores == sorted(scores, reverse=True)
        for each in (*given, *best):
            alone = cut(FIVE, picture, each.target, find_segment_recipe("paper", mirror=mirror))
            np.testing.assert_allclose(each.saliency, alone.saliency, atol=1e-5)
            np.testing.assert_array_equal(each.mask, alone.mask)


def test_views_that_disagree_are_judged_by_their_mean():
    """Class 0 is bright on the left, 1 on the right, 2 everywhere: the picture is 0's, its mirror image 1's."""
    left, right = np.zeros((2, SIDE, SIDE))
    left[:, : SIDE // 2] = right[:, SIDE // 2 :] = 0.01
    model = known(left, right, np.full((SIDE, SIDE), 0.0056) + 0.00001 * blob(0.5, 0.5))
    picture = Picture(np.zeros((40, 40, 3), np.uint8), "left")
    picture.pixels[:, :20] = 200
    assert cut(model, picture).target == 0
    found = cut(model, picture, None, find_segment_recipe("paper", mirror=True))
    explained = xs.Explainer(model, preprocess=SQUASH, providers=["cpu"]).explain(
        [picture, Picture(picture.pixels[:, ::-1], "right")]
    )
    mean = explained.probabilities.mean(axis=0)
    assert explained.target.tolist() == [0, 1]
    assert found.target == mean.argmax()
    assert found.score == pytest.approx(mean.max(), rel=1e-4)
    np.testing.assert_allclose(found.probabilities, mean, rtol=1e-4)


# --- what else goes wrong ------------------------------------------------------------------------


def test_a_part_of_a_layer_is_no_class():
    model = small(outputs="float[N,5] logits, float[N,4,8,8] s")
    with pytest.raises(SaliencyError, match="Segmentation finds the object of a class"):
        xs.segment(model, Picture(np.zeros((9, 9, 3), np.uint8), "black"), 3, score=xs.Channel("s"), output="logits")


@pytest.mark.parametrize("picture", ["missing.png", None, 3, [], np.zeros((8, 8, 3), np.uint8)])
def test_what_is_no_picture(picture):
    with pytest.raises(ImageError):
        cut(FIVE, picture, 0)


def test_a_grey_net_says_what_to_set():
    grey = graph(CONV + HEAD, inputs="float[N,1,8,8] image", **{**WEIGHTS, "w": (4, 1, 3, 3)})
    picture, _ = drawn((40, 50), [DISC])
    assert cut(grey, picture, preprocess=Preprocess(channels="L")).mask.any()
    with pytest.raises(ImageError, match="Set channels to L"):
        cut(grey, picture)


def test_a_net_of_nan():
    model = graph("l = Log(image) f = Flatten(l) logits = MatMul(f, m)", m=(192, 5))
    with pytest.raises(ModelError, match="NaN or infinity"):
        cut(model, Picture(np.zeros((8, 8, 3), np.uint8), "black"))


def test_an_explainer_stands_for_its_model_and_settings():
    model, (picture, _) = small(), drawn((24, 32), [("rectangle", (0.2, 0.2, 0.6, 0.7))])
    preprocess = Preprocess(size=8, resize=None, mean=(120.0, 110.0, 100.0), std=58.0, channels="BGR")
    options = {"preprocess": preprocess, "labels": ["a", "b", "c", "d", "e"], "providers": ["cpu"], "threads": 1}
    found = xs.segment(xs.Explainer(model, method="smoothgrad", **options), picture, "c")
    expected = xs.segment(model, picture, "c", **options)
    assert np.array_equal(found.mask, expected.mask)
    assert np.array_equal(found.saliency, expected.saliency)  # by the recipe's method, not the explainer's
    assert found.label == "c"
