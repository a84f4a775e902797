"""The conventions of Quantus and Captum, held by fakes; tools/adapters.py runs the packages themselves."""

import subprocess
import sys

import numpy as np
import pytest
from nets import close, differences, images, small

import onnx_saliency as xs
from onnx_saliency.adapters import CaptumAttribution, QuantusExplain


class Tensor:
    """What is used of a PyTorch tensor, on a device that NumPy does not reach."""

    def __init__(self, values, device="far"):
        self.values, self.device = np.asarray(values), device
        self.shape, self.dtype = self.values.shape, self.values.dtype

    def __array__(self, *_, **__):
        raise TypeError("a tensor that requires grad, or of another device, is no array")

    def detach(self):
        return self

    def cpu(self):
        return _Near(self.values)

    def is_floating_point(self):
        return self.dtype.kind == "f"

    def float(self):
        return Tensor(self.values.astype(np.float32), self.device)

    def new_tensor(self, values):
        return Tensor(np.asarray(values, self.dtype), self.device)


class _Near:
    def __init__(self, values):
        self.values = values

    def numpy(self):
        return self.values


@pytest.fixture(scope="module")
def explainer():
    return xs.Explainer(small(), threads=1)


def test_neither_package_is_imported():
    code = "import sys; import onnx_saliency.adapters; print({'torch', 'captum', 'quantus'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class TestQuantus:
    def test_maps_as_it_calls_for_them(self, explainer):
        batch, targets = images(), np.array([3, 1])
        found = QuantusExplain(explainer)(model=object(), inputs=batch, targets=targets, device="cpu")
        assert (found.shape, found.dtype) == ((2, 1, 8, 8), np.float32)
        close(found[:, 0], np.abs(differences(small(), batch, targets)).max(axis=1), 1e-3)

    def test_signed(self, explainer):
        found = QuantusExplain(explainer, signed=True)(model=object(), inputs=images(), targets=np.array([3, 1]))
        assert (found < 0).any()
        close(found, differences(small(), images(), [3, 1]), 1e-3)

    def test_randomised_copies_are_refused(self, explainer):
        explain, model = QuantusExplain(explainer), object()
        for _ in range(2):
            explain(model=model, inputs=images(), targets=np.array([0, 0]))
        with pytest.raises(xs.ModelError, match="another model than before"):
            explain(model=object(), inputs=images(), targets=np.array([0, 0]))
        with pytest.raises(xs.ModelError, match="another model than before"):
            QuantusExplain(explainer, model=model)(model=object(), inputs=images(), targets=np.array([0, 0]))

    def test_options_are_refused(self, explainer):
        with pytest.raises(xs.MethodError, match="explain_func_kwargs holds method, softmax"):
            QuantusExplain(explainer)(object(), images(), np.array([0, 0]), method="Saliency", softmax=True)

    def test_targets_that_do_not_fit(self, explainer):
        with pytest.raises(xs.TargetError, match="3 targets were given for 2 image"):
            QuantusExplain(explainer)(object(), images(), np.array([0, 1, 2]))


class TestCaptum:
    @pytest.mark.parametrize("target", [[3, 1], np.array([3, 1]), Tensor([3, 1])], ids=["list", "array", "tensor"])
    def test_a_tensor_gives_a_tensor(self, explainer, target):
        inputs = Tensor(images().astype(np.float64))
        found = CaptumAttribution(explainer).attribute(inputs, target=target)
        assert (found.shape, found.dtype, found.device) == (inputs.shape, np.float64, "far")
        close(found.values, differences(small(), images(), [3, 1]), 1e-3)

    @pytest.mark.parametrize("target", [2, np.int64(2), np.array(2), Tensor(2), Tensor([2]), [2]])
    def test_one_target_for_all(self, explainer, target):
        found = CaptumAttribution(explainer).attribute(images(), target)
        assert isinstance(found, np.ndarray)
        close(found, explainer.explain(images(), 2).gradient, 0)

    def test_no_target_is_the_predicted_class(self, explainer):
        close(CaptumAttribution(explainer).attribute(images()), explainer.explain(images()).gradient, 0)

    def test_a_tuple_gives_a_tuple(self, explainer):
        (found,) = CaptumAttribution(explainer).attribute((images(),), 2)
        close(found, explainer.explain(images(), 2).gradient, 0)
        with pytest.raises(xs.MethodError, match="2 inputs were given"):
            CaptumAttribution(explainer).attribute((images(), images()), 2)

    @pytest.mark.parametrize("wrap", [np.asarray, Tensor])
    def test_values_of_whole_numbers_are_not_whole(self, explainer, wrap):
        whole = np.arange(192).reshape(1, 3, 8, 8)
        found = CaptumAttribution(explainer).attribute(wrap(whole), 2)
        assert found.dtype == np.float32
        close(getattr(found, "values", found), explainer.explain(whole, 2).gradient, 0)

    def test_baselines(self, explainer):
        integrated = CaptumAttribution(xs.Explainer(small(), method=xs.IntegratedGradients(steps=4, baseline=0.5)))
        close(integrated.attribute(images(), 1, baselines=0.5), integrated.attribute(images(), 1), 0)
        for wrong in (0.0, images()):
            with pytest.raises(xs.MethodError, match=r"integrated_gradients starts from 0\.5 everywhere"):
                integrated.attribute(images(), 1, baselines=wrong)
        with pytest.raises(xs.MethodError, match="gradient takes no baselines"):
            CaptumAttribution(explainer).attribute(images(), 1, baselines=0.0)

    def test_what_it_does_not_take(self, explainer):
        with pytest.raises(xs.MethodError, match="additional_forward_args"):
            CaptumAttribution(explainer).attribute(images(), 1, additional_forward_args=(1,))
        for wrong in ([(1, 2), (3, 4)], [1.5, 2.0], "dog"):
            with pytest.raises(xs.TargetError, match="A target is the number of a class"):
                CaptumAttribution(explainer).attribute(images(), wrong)

    def test_no_delta(self, explainer):
        assert CaptumAttribution(explainer).has_convergence_delta() is False


@pytest.mark.parametrize("adapter", [QuantusExplain, CaptumAttribution])
def test_explainers_of_several_classes(adapter):
    with pytest.raises(xs.MethodError, match=r"2 classes of an image \(several\)"):
        adapter(xs.Explainer(small(), several=2))


def test_maps_without_signed_values():
    gradcam = xs.Explainer(small(), method="gradcam")
    assert QuantusExplain(gradcam)(object(), images(), [1, 2]).shape == (2, 1, 8, 8)
    with pytest.raises(xs.MethodError, match="gradcam makes a map and no signed values"):
        QuantusExplain(gradcam, signed=True)(object(), images(), [1, 2])
    with pytest.raises(xs.MethodError, match="gradcam makes a map and no signed values"):
        CaptumAttribution(gradcam).attribute(images(), 1)
