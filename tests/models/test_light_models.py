"""The gradient of nine well-known architectures with random weights, against float64."""

import net as nets
import pytest
from light import NAMES, light_model, random_images

INPUTS = {"vgg19": 1, "densenet121": 1}  # the slow ones; 2 for the others
IN_DOUBLE = ("bvlc_alexnet", "inception_v2", "shufflenet", "squeezenet")  # a family each; tools/accuracy.py has all


@pytest.fixture(scope="module", params=NAMES)
def net(request):
    model = light_model(request.param)
    return nets.Net(model, random_images(model, INPUTS.get(request.param, 2)))


def test_interface(net):
    nets.check_interface(net)


def test_gradient(net):
    nets.check_gradient(net)


@pytest.mark.parametrize("net", IN_DOUBLE, indirect=True)
def test_gradient_in_longer_precisions(net):
    nets.check_longer_precisions(net)


def test_outputs_are_unchanged(net):
    nets.check_outputs(net)


def test_targets(net):
    nets.check_targets(net)


def test_export_is_deterministic(net):
    nets.check_deterministic(net)


@pytest.fixture(scope="module")
def shufflenet():
    model = light_model("shufflenet")
    return nets.Net(model, random_images(model, 1))


def test_export_is_deterministic_across_processes(shufflenet, tmp_path):
    nets.check_deterministic_across_processes(shufflenet, tmp_path)


def test_reference_evaluator(shufflenet):
    nets.check_reference_evaluator(shufflenet)
