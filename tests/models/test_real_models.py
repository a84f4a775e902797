"""The gradient of trained classifiers on photographs, against float64."""

import net as nets
import onnx
import pytest
from pictures import NAMES, data_folder, model_path, read_pictures

DATA = data_folder()

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(),
    reason=f"no trained models and photographs in {DATA}; ONNX_SALIENCY_TEST_DATA names another folder",
)


def load(name, count=3):
    return nets.Net(onnx.load(model_path(DATA, name)), read_pictures(DATA, name, count))


@pytest.fixture(scope="module", params=NAMES)
def net(request):
    return load(request.param)


def test_interface(net):
    nets.check_interface(net)


def test_gradient(net):
    nets.check_gradient(net)


def test_plain_gradient(net):
    nets.check_plain_gradient(net)


def test_gradient_in_longer_precisions(net):
    nets.check_longer_precisions(net)


def test_outputs_are_unchanged(net):
    nets.check_outputs(net)


def test_targets(net):
    nets.check_targets(net)


def test_export_is_deterministic(net):
    nets.check_deterministic(net)


@pytest.fixture(scope="module")
def resnet20():
    return load("resnet20_cifar10", 1)


def test_export_is_deterministic_across_processes(resnet20, tmp_path):
    nets.check_deterministic_across_processes(resnet20, tmp_path)


def test_reference_evaluator(resnet20):
    nets.check_reference_evaluator(resnet20)
