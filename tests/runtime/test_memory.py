"""How many images at once: limits as they are written, what is told from two runs, and what a process really takes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from nets import CONV_WEIGHTS, HEAD_WEIGHTS, graph, images, little_memory, small

import onnx_saliency as xs
from onnx_saliency.errors import ModelError, OutOfMemoryError, SaliencyError
from onnx_saliency.runtime import RunMemory, Session, memory, memory_limit

MIB = 2**20

# --- limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        (None, None),
        (5000, 5000),
        ("5000", 5000),
        ("2GiB", 2 * 2**30),
        ("500M", 500 * MIB),
        ("1.5 gb", 3 * 2**29),
        ("3k", 3072),
    ],
)
def test_a_limit_in_bytes(given, limit):
    assert memory_limit(given) == limit


@pytest.mark.parametrize("given", [0, -1, "0", "much", "", "-2G", "2GiB more"])
def test_a_limit_that_is_none(given, net):
    with pytest.raises(SaliencyError, match="2GiB or 500M"):
        memory_limit(given)
    with pytest.raises(SaliencyError, match="2GiB or 500M"):
        xs.Explainer(net, memory_limit=given)


# --- what is told from runs ---------------------------------------------------------------------


class Process:
    """A process that holds 100 MiB and keeps what the largest run took: 10 MiB, and 4 for each image."""

    def __init__(self, monkeypatch, fixed=10.0, each=4.0):
        self.fixed, self.each, self.ran = fixed, each, []
        monkeypatch.setattr(memory, "resident", lambda: int(MIB * (100 + max([0, *map(self.takes, self.ran)]))))

    def takes(self, count):
        return self.fixed + self.each * count

    def run(self, count):
        self.ran.append(count)


def test_the_batch_follows_from_two_runs(monkeypatch):
    process = Process(monkeypatch)
    measured = RunMemory.measure(process.run, 200 * MIB)
    assert process.ran == [1, 2]
    batch = measured.largest_batch(200 * MIB, 1000)
    slack = 1 + memory.SLACK
    assert batch == int(100 / (14 * slack))  # the first run took more than the second added: the cautious of the two
    assert 100 + process.takes(batch) <= 200
    assert measured.largest_batch(200 * MIB, 3) == 3


def test_growth_that_is_steeper_than_the_first_run(monkeypatch):
    process = Process(monkeypatch, fixed=-3.0)  # 1, 5, 9 MiB
    batch = RunMemory.measure(process.run, 200 * MIB).largest_batch(200 * MIB, 1000)
    assert batch == int(100 / (4 * (1 + memory.SLACK)))


def test_two_images_are_not_tried_where_they_may_not_fit(monkeypatch):
    process = Process(monkeypatch, fixed=0.0, each=60.0)
    assert RunMemory.measure(process.run, 200 * MIB).largest_batch(200 * MIB, 16) == 1
    assert process.ran == [1]


def test_larger_images_take_more(monkeypatch):
    measured = RunMemory.measure(Process(monkeypatch).run, 200 * MIB)
    assert measured.largest_batch(200 * MIB, 1000, times=2) == measured.largest_batch(200 * MIB, 1000) // 2


def test_a_limit_for_which_one_image_is_too_much(monkeypatch):
    measured = RunMemory.measure(Process(monkeypatch).run, 105 * MIB)
    with pytest.raises(OutOfMemoryError) as caught:
        measured.largest_batch(105 * MIB, 16)
    assert str(caught.value) == (
        "One image takes about 16 MiB beside the 100 MiB that this process holds: "
        "the memory limit must be 116 MiB or more, not 105 MiB."
    )
    assert measured.largest_batch(116 * MIB, 16) == 1  # what it asks for suffices


def test_a_batch_that_the_model_fixes(monkeypatch):
    process = Process(monkeypatch)
    measured = RunMemory.measure(process.run, 1000 * MIB, 4, fixed=True)
    assert process.ran == [4]
    assert measured.largest_batch(1000 * MIB, 4) == 4
    with pytest.raises(OutOfMemoryError, match=r"The model's batch of 4 images takes about 29 MiB .* 129 MiB or more"):
        measured.largest_batch(120 * MIB, 4)


# --- a real process -----------------------------------------------------------------------------

SIDE = 128
"""An image is 192 KiB and each of its values in the net 1 MiB: well above the pages that a run takes besides."""

GROWTH = """
import json, re, resource, sys
from pathlib import Path
import numpy as np
import onnx_saliency as xs
from onnx_saliency.runtime.memory import resident

def most():
    status = Path("/proc/self/status")  # Linux counts the process that started this one into ru_maxrss
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

source, room = sys.argv[1], int(sys.argv[2])
def explainer(**options):
    return xs.Explainer(source, providers=["cpu"], threads=1, cache=False, batch_size=1000, **options)

explainer()  # libraries are loaded, and what is compiled once is compiled
limit = resident() + room
one = explainer(memory_limit=limit)
batch = one.at_once
images = np.ones((batch, 3, 128, 128), np.float32)
found = one.explain(images)
print(json.dumps([batch, len(found), limit, most()]))
"""


def wide():
    """Some values of 1 MiB an image."""
    body = (
        "c = Conv<pads = [1, 1, 1, 1]>(image, w, b) r = Relu(c) s = Sigmoid(r) p = GlobalAveragePool(s) f = Flatten(p) "
    )
    weights = {**CONV_WEIGHTS, **HEAD_WEIGHTS, "w": (16, 3, 3, 3), "b": (16,), "v": (5, 16)}
    return graph(body + "logits = Gemm<transB = 1>(f, v, a)", inputs=f"float[N,3,{SIDE},{SIDE}] image", **weights)


def test_the_peak_of_a_process_stays_within_its_limit(tmp_path):
    """Of the growth that was allowed, more than a third is used, so the limit is what decides, and not a guess."""
    path = tmp_path / "wide.onnx"
    path.write_bytes(wide().SerializeToString())
    batches = []
    for room in (64 * MIB, 256 * MIB):
        command = [sys.executable, "-c", GROWTH, str(path), str(room)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        batch, explained, limit, most = json.loads(said)
        assert explained == batch
        assert most <= limit
        assert most >= limit - 2 * room / 3
        batches.append(batch)
    assert 2 * batches[0] < batches[1] < 1000


def test_explainer_with_a_limit(net):
    one = xs.Explainer(net, providers=["cpu"], memory_limit="64GiB", batch_size=3)
    assert one.at_once == 3
    many = images(5, 3, 8, 8)
    np.testing.assert_array_equal(
        one.explain(many, 1).gradient, xs.Explainer(net, providers=["cpu"], batch_size=3).explain(many, 1).gradient
    )


def test_explainer_with_a_limit_that_is_too_small(net):
    one = xs.Explainer(net, providers=["cpu"], memory_limit="1M")
    with pytest.raises(OutOfMemoryError, match=r"One image takes .* must be \d+ MiB or more, not 1 MiB"):
        one.explain(images())


def test_explainer_of_a_fixed_batch_with_a_limit():
    model = small(inputs="float[4,3,8,8] image", outputs="float[4,5] logits")
    one = xs.Explainer(model, providers=["cpu"], memory_limit="64GiB")
    assert one.at_once == 4
    with pytest.raises(OutOfMemoryError, match="The model's batch of 4 images takes"):
        xs.Explainer(model, providers=["cpu"], memory_limit="1M").explain(images())


# --- memory that does not suffice ---------------------------------------------------------------


def test_explainer_halves_and_goes_on(net, monkeypatch):
    many = images(5, 3, 8, 8)
    expected = xs.Explainer(net, providers=["cpu"]).explain(many)
    widths = little_memory(monkeypatch, "image", 2)
    found = xs.Explainer(net, providers=["cpu"], batch_size=16).explain(many)
    assert widths == [5, 2, 2, 1]
    np.testing.assert_allclose(found.saliency, expected.saliency, rtol=1e-5)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Failed to allocate memory for requested buffer of size 9", OutOfMemoryError),
        ("CUDA failure 2: out of memory ; GPU=0", OutOfMemoryError),
        ("std::bad_alloc", OutOfMemoryError),
        ("Non-zero status code returned while running Conv", ModelError),
    ],
)
def test_what_the_runtime_says_of_memory(net, monkeypatch, reason, kind):
    session = Session(net, providers=["cpu"])

    def fail(*_):
        raise RuntimeError(reason)

    monkeypatch.setattr(session, "runtime", type("Runtime", (), {"run": fail}))
    with pytest.raises(ModelError, match=reason) as caught:
        session.run({"image": images()})
    assert type(caught.value) is kind
