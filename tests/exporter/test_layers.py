"""Layers, and class activation maps on them: against NumPy from the activations and differences of the net behind them.

Grad-CAM    max(Σ_c mean(dS/dA_c) A_c, 0)     Selvaraju et al. 2017, section 3
LayerCAM    max(Σ_c max(dS/dA_c, 0) A_c, 0)   Jiang et al. 2021, section III
"""

import lzma
from pathlib import Path

import numpy as np
import onnx
import pytest
from nets import CONV_WEIGHTS, HEAD_WEIGHTS, array, close, graph, images, run

import onnx_saliency as xs
from onnx_saliency.backward import find_path
from onnx_saliency.exporter.grids import last_grid
from onnx_saliency.exporter.layers import find_layer
from onnx_saliency.graph import find_classifier, load, normalise

ZOO = Path(__file__).parents[1] / "zoo"
CLASS = 2
BOTH = pytest.mark.parametrize("method", ["gradcam", "layercam"])


class Split:
    """A net in two halves, so that the second can be run from its layer on."""

    def __init__(self, first, layer, shape, second, image="float[N,3,8,8] image", declared=None, **weights):
        self.layer, self.shape = layer, shape
        self.whole = graph(first + second, inputs=image, **weights)
        read = {name: w for name, w in weights.items() if name in second.replace("(", " ").replace(")", " ")}
        declared = declared or f"float[{','.join(map(str, ('M', *shape)))}]"
        self.rest = graph(second, inputs=f"{declared} {layer}", **read)

    def activations(self, x):
        copy = onnx.ModelProto.FromString(self.whole.SerializeToString())
        copy.graph.output.append(onnx.helper.make_tensor_value_info(self.layer, onnx.TensorProto.FLOAT, None))
        return run(copy, {"image": x}, [self.layer])[0]

    def gradient(self, a, step=1e-2):
        """dS/dA by central differences."""
        found = np.zeros(a.shape)
        for n, values in enumerate(a):
            nudges = np.eye(values.size, dtype=np.float32).reshape(-1, *values.shape) * step
            up, down = (run(self.rest, {self.layer: values + s * nudges}, ["logits"])[0][:, CLASS] for s in (1, -1))
            found[n] = ((up.astype(np.float64) - down) / (2 * step)).reshape(values.shape)
        return found


def stretch(x, size, axis):
    """Linear, centres of pixels on centres, borders repeated."""
    old = x.shape[axis]
    at = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    low = np.floor(at).astype(int)
    share = (at - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return np.take(x, low, axis) * (1 - share) + np.take(x, np.minimum(low + 1, old - 1), axis) * share


def cam(method, a, g, size):
    """Of activations and gradients [N, C, h, w]."""
    weights = g.mean(axis=(2, 3), keepdims=True) if method == "gradcam" else np.maximum(g, 0)
    small = np.maximum((weights * a).sum(axis=1), 0)
    return stretch(stretch(small, size[0], 1), size[1], 2)


def explainer(model, method, **options):
    return xs.Explainer(model, method=method, providers=["cpu"], **options)


# --- convolutional nets ---------------------------------------------------------------------------

STEM = """
    c = Conv<pads = [1, 1, 1, 1]>(image, w, b)
    r = Sigmoid(c)
    p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
    e = Conv<pads = [1, 1, 1, 1]>(p, w2)
    q = Tanh(e)
"""
MEAN = "m = GlobalAveragePool(q) f = Flatten(m) h = Tanh(f) logits = Gemm<transB = 1>(h, v, a)"
DENSE = "f = Flatten(q) d = Gemm<transB = 1>(f, k) h = Tanh(d) logits = Gemm<transB = 1>(h, v, a)"
WEIGHTS = {**CONV_WEIGHTS, **HEAD_WEIGHTS, "w2": (4, 4, 3, 3)}
MIDDLE = STEM.index("    p = MaxPool")
NETS = {
    "mean": lambda: Split(STEM, "q", (4, 4, 4), MEAN, **WEIGHTS),
    "VGG-like": lambda: Split(STEM, "q", (4, 4, 4), DENSE, k=array((4, 64), "k") / 8, **WEIGHTS),
    "not square": lambda: Split(STEM, "q", (4, 4, 3), MEAN, image="float[N,3,8,6] image", **WEIGHTS),
    "as many channels as rows": lambda: Split(STEM, "q", (4, 4, 6), MEAN, image="float[N,3,8,12] image", **WEIGHTS),
}


def pictures(net):
    shape = [dim.dim_value for dim in net.whole.graph.input[0].type.tensor_type.shape.dim]
    return images(2, *shape[1:])


@BOTH
@pytest.mark.parametrize("name", NETS)
def test_the_last_picture_of_a_convolutional_net(name, method):
    net = NETS[name]()
    x = pictures(net)
    made = explainer(net.whole, method)
    assert made.layer == "q"
    found = made.explain(x, CLASS)
    a = net.activations(x)
    close(found.saliency, cam(method, a, net.gradient(a), x.shape[2:]), 2e-3)
    assert found.gradient is None


@BOTH
def test_a_layer_by_its_name(method):
    smooth = (STEM[MIDDLE:] + MEAN).replace("MaxPool", "AveragePool")  # differences mean nothing at kinks
    net = Split(STEM[:MIDDLE], "r", (4, 8, 8), smooth, **WEIGHTS)
    kind = {"gradcam": xs.GradCAM, "layercam": xs.LayerCAM}[method]
    x = images()
    made = explainer(net.whole, kind("r"))
    assert made.layer == "r"
    a = net.activations(x)
    close(made.explain(x, CLASS).saliency, cam(method, a, net.gradient(a, 5e-2), (8, 8)), 5e-3)


@BOTH
def test_channels_last(method):
    first = (
        "t = Transpose<perm = [0, 3, 1, 2]>(image)"
        + STEM.replace("(image", "(t")
        + "y = Transpose<perm = [0, 2, 3, 1]>(q)"
    )
    second = "m = ReduceMean<keepdims = 0>(y, both) h = Tanh(m) logits = Gemm<transB = 1>(h, v, a)"
    image = "float[N,8,12,3] image"
    net = Split(first, "y", (4, 6, 4), second, image=image, both=np.array([1, 2]), **WEIGHTS)
    x = images(2, 8, 12, 3)
    made = explainer(net.whole, method)
    assert made.layer == "y"
    a = net.activations(x)
    g = net.gradient(a)
    expected = cam(method, a.transpose(0, 3, 1, 2), g.transpose(0, 3, 1, 2), (8, 12))
    close(made.explain(x, CLASS).saliency, expected, 2e-3)


# --- transformers ---------------------------------------------------------------------------------


def block(n, x):
    """Attention of two heads [N, 2, T, 2] around tokens [N, T, 4]; no head is a picture."""
    return f"""
        q{n} = MatMul({x}, wq{n})  qr{n} = Reshape(q{n}, heads)  qt{n} = Transpose<perm = [0, 2, 1, 3]>(qr{n})
        k{n} = MatMul({x}, wk{n})  kr{n} = Reshape(k{n}, heads)  kt{n} = Transpose<perm = [0, 2, 3, 1]>(kr{n})
        s{n} = MatMul(qt{n}, kt{n})  o{n} = Softmax<axis = -1>(s{n})
        z{n} = MatMul(o{n}, qt{n})  zt{n} = Transpose<perm = [0, 2, 1, 3]>(z{n})  zr{n} = Reshape(zt{n}, tokens)
        x{n} = Add({x}, zr{n})
    """


CUT = "e = Conv<strides = [2, 2]>(image, patch) g = Reshape(e, flat) t = Transpose<perm = [0, 2, 1]>(g)"
CLASS_TOKEN = """
    n = Shape<end = 1>(image)  rest = Constant<value = int64[2] {1, 4}>()  to = Concat<axis = 0>(n, rest)
    token = Expand(cls, to)  x0 = Concat<axis = 1>(token, t)
"""
BY_TOKEN = "y = Gather<axis = 1>(x2, zero) logits = Gemm<transB = 1>(y, v, a)"
BY_MEAN = "y = ReduceMean<keepdims = 0>(x2, minus2) logits = Gemm<transB = 1>(y, v, a)"


def transformer(token, image="float[N,3,8,10] image"):
    """Two blocks; with a class token the last attention is where it last reads the others."""
    weights = {f"w{kind}{n}": array((4, 4), f"{kind}{n}") / 2 for kind in "qk" for n in "12"}
    weights |= {"patch": (4, 3, 2, 2), "flat": np.array([0, 4, -1]), **HEAD_WEIGHTS}
    weights |= {"heads": np.array([0, 0, 2, 2]), "tokens": np.array([0, 0, 4])}
    if token:
        first = CUT + CLASS_TOKEN + block(1, "x0")
        weights |= {"cls": (1, 1, 4), "zero": np.array(0)}
        return Split(first, "x1", (21, 4), block(2, "x1") + BY_TOKEN, image=image, **weights)
    first = CUT + block(1, "t") + block(2, "x1")
    return Split(first, "x2", (20, 4), BY_MEAN, image=image, minus2=np.array([-2]), **weights)


@BOTH
@pytest.mark.parametrize("token", [True, False])
def test_the_tokens_of_a_transformer(token, method):
    net, x = transformer(token), images(2, 3, 8, 10)
    made = explainer(net.whole, method)
    assert made.layer == net.layer
    a = net.activations(x)
    grid = [values[:, -20:].reshape(2, 4, 5, 4).transpose(0, 3, 1, 2) for values in (a, net.gradient(a))]
    close(made.explain(x, CLASS).saliency, cam(method, *grid, (8, 10)), 5e-3)


def test_a_final_softmax_is_no_attention():
    """It takes no part in finding the layer, which the class token still reads."""
    net = transformer(True)
    net.whole.graph.node.append(onnx.helper.make_node("Softmax", ["logits"], ["y2"]))
    del net.whole.graph.output[:]
    net.whole.graph.output.append(onnx.helper.make_tensor_value_info("y2", onnx.TensorProto.FLOAT, ["N", 5]))
    made = explainer(net.whole, "gradcam", score="probability")
    assert made.layer == "x1"


def test_patches_cut_without_a_convolution():
    """Then the tokens stand for squares of the image itself."""
    body = f"""
        u = Reshape(image, squares)  p = Transpose<perm = [0, 2, 4, 1, 3, 5]>(u)  f = Reshape(p, flat)
        t = MatMul(f, patch)
        {block(1, "t")}
        y = ReduceMean<keepdims = 0>(x1, minus2)  logits = Gemm<transB = 1>(y, v, a)
    """
    weights = {f"w{kind}1": array((4, 4), f"{kind}1") / 2 for kind in "qk"}
    weights |= {
        "squares": np.array([0, 3, 4, 3, 3, 3]),
        "flat": np.array([0, 12, 27]),
        "patch": array((27, 4), "patch") / 5,
    }
    weights |= {"heads": np.array([0, 0, 2, 2]), "tokens": np.array([0, 0, 4]), "minus2": np.array([-2])}
    model = graph(body, inputs="float[N,3,12,9] image", **weights, **HEAD_WEIGHTS)
    made = explainer(model, "layercam")
    assert made.layer == "x1"
    assert made.explain(images(2, 3, 12, 9), CLASS).saliency.shape == (2, 12, 9)


LAST = {
    "resnet": "/layer4/layer4.0/act2/Relu_output_0",
    "convnext": "/stages/stages.3/blocks/blocks.1/Add_output_0",
    "swin": "/norm/LayerNormalization_output_0",  # [1, 2, 2, C], before the mean
    "swin_v2": "/norm/LayerNormalization_output_0",
    "vit": "/blocks/blocks.4/Add_1_output_0",  # what the attention of the last block, of six, reads
    "vit_relative_positions": "/blocks.8/Add_1_output_0",
    "mambaout": "/stages/stages.3/blocks/blocks.0/Add_output_0",
    "coatnet": "/norm/Transpose_1_output_0",
}


def zoo(name):
    model = onnx.ModelProto.FromString(lzma.decompress((ZOO / f"{name}.onnx.xz").read_bytes()))
    side = int(np.load(ZOO / f"{name}.npz")["side"])
    return model, images(1, 3, side, side)


@pytest.mark.parametrize("name", LAST)
def test_no_layer_need_be_named(name):
    model, x = zoo(name)
    made = explainer(model, "layercam")
    found = made.explain(x)
    assert made.layer == LAST[name]
    assert found.saliency.shape == (1, *x.shape[2:])
    assert found.saliency.max() > 0
    assert np.ptp(found.saliency) > 0


# --- the last layer of each size ------------------------------------------------------------------

STAGES = """
    c = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(image, w, b)
    r = Sigmoid(c)
    d = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(r, w2)
    s = Tanh(d)
    e = Conv<pads = [1, 1, 1, 1]>(s, w2)
    t = Sigmoid(e)
    g = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(t, w2)
    q = Tanh(g)
"""


def stages(*size):
    """Halves of the sides, too large, then quarters in `s` and `t`, then eighths in `q`."""
    return graph(STAGES + MEAN, inputs=f"float[N,3,{size[0]},{size[1]}] image", **WEIGHTS)


def pyramid():
    """Tokens of quarters of the sides, merged to eighths: the picture that they stand for grows smaller."""
    body = f"""
        e = Conv<strides = [4, 4]>(image, patch)  h = Reshape(e, flat)  t = Transpose<perm = [0, 2, 1]>(h)
        {block(1, "t")}
        u = Transpose<perm = [0, 2, 1]>(x1)  j = Reshape(u, square)  m = Conv<strides = [2, 2]>(j, merge)
        l = Reshape(m, flat)  y = Transpose<perm = [0, 2, 1]>(l)
        {block(2, "y")}
        z = ReduceMean<keepdims = 0>(x2, minus2)  logits = Gemm<transB = 1>(z, v, a)
    """
    weights = {f"w{kind}{n}": array((4, 4), f"{kind}{n}") / 2 for kind in "qk" for n in "12"}
    weights |= {"heads": np.array([0, 0, 2, 2]), "tokens": np.array([0, 0, 4]), "flat": np.array([0, 4, -1])}
    weights |= {"square": np.array([0, 4, 6, 4]), "minus2": np.array([-2])}
    weights |= {"patch": (4, 3, 4, 4), "merge": array((4, 4, 2, 2), "merge") / 2, **HEAD_WEIGHTS}
    return graph(body, inputs="float[N,3,24,16] image", **weights)


FUSED = {  # the model, a picture's size, the layers
    "convolutions": (lambda: stages(16, 24), (16, 24), ["t", "q"]),
    "tokens": (pyramid, (24, 16), ["j", "x2"]),
    "tokens of one size": (lambda: transformer(True).whole, (8, 10), ["x1"]),
    "any size": (lambda: stages("H", "W"), (16, 24), ["q"]),
    "any width": (lambda: stages(16, "W"), (16, 24), ["q"]),
}


def peaked(saliency):
    """Each over its maximum, but for those that are zero."""
    assert saliency.max() > 0
    highest = saliency.max(axis=(1, 2), keepdims=True)
    return saliency / np.where(highest > 0, highest, 1)


@pytest.mark.parametrize("name", FUSED)
def test_layers_of_several_sizes_together(name):
    """What LayerCAM finds in each of them, alone, over its maximum."""
    make, size, layers = FUSED[name]
    model, x = make(), images(2, 3, *size)
    made = explainer(model, "layercam_fused")
    assert made.layer == ", ".join(layers)
    alone = [explainer(model, xs.LayerCAM(layer)).explain(x, CLASS).saliency for layer in layers]
    found = made.explain(x, CLASS)
    close(found.saliency, np.mean([peaked(each) for each in alone], axis=0), 1e-5)
    assert found.gradient is None


def test_one_pass_serves_all_sizes():
    model = stages(16, 24)

    def backwards(method):
        nodes = xs.export(model, method=method).graph.node
        return sum(node.op_type == "ConvTranspose" for node in nodes)

    assert [backwards(xs.LayerCAM(layer)) for layer in "tq"] == [1, 0]
    assert backwards("layercam_fused") == 1
    assert [backwards(xs.LayerCAM(layer)) for layer in "rtq"] == [2, 1, 0]


def test_maps_of_nothing_are_nothing():
    """Not NaN, where no layer speaks for the class."""
    model = graph(STAGES + MEAN.replace("Tanh(f)", "Relu(f)"), inputs="float[N,3,16,24] image", **WEIGHTS)
    dead = explainer(model, "layercam_fused").explain(np.zeros((1, 3, 16, 24), np.float32), CLASS)
    none = graph(STAGES + MEAN, inputs="float[N,3,16,24] image", **{**WEIGHTS, "v": np.zeros((5, 4), np.float32)})
    assert np.isfinite(dead.saliency).all()
    assert (explainer(none, "layercam_fused").explain(images(1, 3, 16, 24), CLASS).saliency == 0).all()


@pytest.mark.parametrize("name", ["resnet", "swin", "vit", "coatnet"])
def test_the_last_layer_is_one_of_them(name):
    model, x = zoo(name)
    made = explainer(model, "layercam_fused")
    assert made.layer.split(", ")[-1] == LAST[name]
    assert len(made.layer.split(", ")) == {"resnet": 4, "swin": 2, "vit": 1, "coatnet": 4}[name]
    found = made.explain(x)
    assert 0 < found.saliency.max() <= 1


def test_a_picture_one_pixel_high():
    body = """
        c = Conv<pads = [1, 1, 1, 1]>(image, w, b)  p = Pad(c, by)  q = Tanh(p)
        m = GlobalAveragePool(q)  f = Flatten(m)  logits = Gemm<transB = 1>(f, v, a)
    """
    by = np.array([0, 0, 1, 0, 0, 0, 1, 0])
    model = graph(body, inputs="float[N,3,1,8] image", by=by, **CONV_WEIGHTS, **HEAD_WEIGHTS)
    x = images(2, 3, 1, 8)
    alone, fused = (explainer(model, method).explain(x, 1) for method in ("layercam", "layercam_fused"))
    close(fused.saliency, peaked(alone.saliency), 1e-5)


# --- what a layer is ------------------------------------------------------------------------------


def layer(model, name):
    classifier = find_classifier(normalise(load(model).clone()))
    return find_layer(classifier.model.graph, name, classifier.image)


@pytest.mark.parametrize("size", [(8, 12), (4, 9), (4, 4), (12, 8)])
def test_channels_of_a_convolution_come_first_whatever_its_size(size):
    height, width = size
    model = graph(STEM + MEAN, inputs=f"float[N,3,{height},{width}] image", **WEIGHTS)
    for name in "crpeq":
        assert layer(model, name).channel_axis == 1


@pytest.mark.parametrize("size", [(8, 12), (4, 9), (6, 6)])
def test_channels_that_were_moved_last_are_last(size):
    body = """
        c = Conv<pads = [1, 1, 1, 1]>(image, w, b)  t = Transpose<perm = [0, 2, 3, 1]>(c)
        n = LayerNormalization<axis = -1>(t, one)  m = MatMul(n, k)  s = Add(t, m)
        u = Transpose<perm = [0, 3, 1, 2]>(s)  h = Tanh(u)  p = GlobalAveragePool(h)  f = Flatten(p)
        logits = Gemm<transB = 1>(f, v, a)
    """
    height, width = size
    inputs = f"float[N,3,{height},{width}] image"
    model = graph(body, inputs=inputs, one=np.ones(4, np.float32), k=(4, 4), **CONV_WEIGHTS, **HEAD_WEIGHTS)
    assert [layer(model, name).channel_axis for name in "ctnmsuh"] == [1, 3, 3, 3, 3, 1, 1]


def test_a_heads_scores_are_no_picture():
    classifier = find_classifier(normalise(load(transformer(True).whole).clone()))
    grid = last_grid(find_path(classifier.model.graph, [classifier.score], [classifier.image]), classifier.image)
    assert (grid.like.name, grid.factor, grid.extra) == ("e", 1, True)


WRONG = {
    "unknown": ("qq", r"no layer 'qq'. The closest are .*'q'.*inspect --layers"),
    "no positions": ("h", r"'h' has shape \['N', 4\], which is no picture"),
    "one position": ("m", "'m' has shape .*, which is no picture"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("kind", [xs.GradCAM, xs.LayerCAM])
def test_a_layer_that_cannot_be_mapped(kind, name):
    wanted, message = WRONG[name]
    with pytest.raises(xs.LayerError, match=message):
        xs.export(graph(STEM + MEAN, **WEIGHTS), method=kind(wanted))


def test_a_layer_that_is_scaled_in_one_step():
    """What is scaled by channel is no longer computed alone; the node that scales it is, with the convolution."""
    body = "[conv] c = Conv(image, w) [scaler] y = Mul(c, scale) r = Relu(y) p = GlobalAveragePool(r) f = Flatten(p)"
    weights = {"w": (4, 3, 3, 3), "scale": np.full((4, 1, 1), -2, np.float32), **HEAD_WEIGHTS}
    model = graph(body + " logits = Gemm<transB = 1>(f, v, a)", **weights)
    x = images(1, 3, 8, 8)
    found = [
        xs.Explainer(model, score=xs.Channel(name), providers=["cpu"]).explain(x, 1).score
        for name in ("y", "conv", "scaler")
    ]
    assert found[0] == found[1] == found[2]
    with pytest.raises(xs.LayerError, match="'c' is scaled or shifted by channel, in one step with it: name 'y'"):
        xs.export(model, method=xs.GradCAM("c"))


def test_a_layer_that_the_score_does_not_depend_on():
    body = STEM + MEAN + " side = Conv(p, w2)"
    model = graph(body, outputs="float[N,5] logits, float[N,4,2,2] side", **WEIGHTS)
    with pytest.raises(xs.LayerError, match="does not depend on layer 'side'"):
        xs.export(model, output="logits", method=xs.GradCAM("side"))
    with pytest.raises(xs.LayerError, match="does not depend on layer 'q'"):
        xs.export(model, output="logits", method=xs.GradCAM("q"), score=xs.Channel("p"))


def test_a_net_without_a_picture():
    model = graph("f = Flatten(image) h = MatMul(f, k) t = Tanh(h) logits = MatMul(t, m)", k=(192, 4), m=(4, 5))
    with pytest.raises(xs.LayerError, match="No layer of the model is a picture"):
        xs.export(model, method="gradcam")
