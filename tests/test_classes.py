"""What is a class of a model, or a channel of a layer; and a target that is subtracted from itself."""

import numpy as np
import pytest

from onnx_saliency.classes import check_apart, check_known
from onnx_saliency.errors import TargetError


@pytest.mark.parametrize(
    ("numbers", "width", "of_classes", "said"),
    [
        ([0, 5, -1, 5], 5, True, r"No class -1, 5: the model has 5 classes, 0 to 4\.$"),
        ([4], 4, False, r"No channel 4: the layer has 4 channels, 0 to 3\.$"),
        ([-2], None, True, r"No class -2: classes count from 0\.$"),
        ([2**31], None, False, r"No channel 2147483648: channels count from 0\.$"),
    ],
)
def test_numbers_that_are_none(numbers, width, of_classes, said):
    with pytest.raises(TargetError, match=said):
        check_known(numbers, width, of_classes=of_classes)


def test_numbers_that_are():
    check_known([0, 4, np.int64(3)], 5)
    check_known([2**31 - 1], None)


def test_a_target_less_itself():
    with pytest.raises(TargetError, match="A class less itself explains nothing: 2, 3 is both"):
        check_apart([[1, 2], [3, 0]], [[2], [3]])
    with pytest.raises(TargetError, match="A channel less itself explains nothing: 2 is both"):
        check_apart(2, 2, of_classes=False)
    check_apart([1, 2], [2, 1])
