"""Results are found by their names, and a name that nothing has is an error that lists those there are."""

import numpy as np
import pytest

from onnx_saliency.errors import MetricError
from onnx_saliency.evaluation.faithfulness import METRICS, Faithfulness, find_protocol
from onnx_saliency.evaluation.faithfulness import measure as faithfulness
from onnx_saliency.evaluation.localisation.measure import Contender, Localisation
from onnx_saliency.evaluation.sanity import Checked, Sanity

NONE = np.zeros((1, 0, 5))
SANITY = Sanity(tuple(Checked(name, *[NONE] * 5) for name in ("gradient", "guided")), (), NONE, (), 0.5, "normal", 0)
FAITHFULNESS = Faithfulness(find_protocol("plain"), tuple(map(faithfulness.Contender, ("gradient", "random order"))))
LOCALISATION = Localisation([Contender("paper", (0.0,)), Contender("best", (0.0,))], {}, {})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: SANITY.verdict("typo"), "no method 'typo'; found gradient, guided"),
        (lambda: SANITY.difference("gradient", "typo"), "no method 'typo'"),
        (lambda: FAITHFULNESS.find("typo"), "no contender 'typo'; found gradient, random order"),
        (lambda: FAITHFULNESS.best("typo"), f"no metric 'typo'; found {', '.join(METRICS)}"),
        (lambda: FAITHFULNESS.difference("gradient", "gradient", "typo"), "no metric 'typo'"),
        (lambda: LOCALISATION.find("typo"), "no contender 'typo'; found paper, best"),
        (lambda: LOCALISATION.difference("paper", "best", "typo"), "no measure 'typo'; found boxes, masks, known"),
    ],
)
def test_a_name_that_nothing_has(call, said):
    with pytest.raises(MetricError, match=said):
        call()


def test_one_that_something_has():
    assert SANITY.find("guided") is SANITY.methods[1]
    assert FAITHFULNESS.find("gradient") is FAITHFULNESS.contenders[0]
    assert LOCALISATION.find("best") is LOCALISATION.contenders[1]
