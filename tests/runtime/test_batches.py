"""Many images: batches in order, workers side by side, and less at once where memory does not suffice."""

import threading

import pytest

from onnx_saliency.errors import ModelError, OutOfMemoryError
from onnx_saliency.runtime import Batches


def sizes(tried):
    """What makes of a batch its numbers, notes its size, and has memory for three images."""

    def make(part):
        tried.append(part.stop - part.start)
        if tried[-1] > 3:
            raise OutOfMemoryError("full")
        return range(100)[part]

    return make


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_batches_cover_everything_once(workers):
    batches = Batches(7, 3, workers=workers)
    assert [list(range(7))[part] for part in batches.run(lambda part: part)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches.done == 7


def test_workers_run_at_once():
    together = threading.Barrier(3, timeout=30)  # breaks where fewer come
    assert len(list(Batches(6, 1, workers=3).run(lambda part: together.wait()))) == 6


def test_one_worker_runs_what_is_asked_for_in_the_callers_thread():
    threads = []
    batches = Batches(5, 1)
    run = batches.run(lambda part: threads.append(threading.current_thread()))
    next(run)
    assert threads == [threading.main_thread()]
    assert batches.done == 1


def test_batches_are_halved_and_stay_so():
    tried = []
    batches = Batches(10, 8)
    assert list(batches.run(sizes(tried))) == [range(i, i + 2) for i in range(0, 10, 2)]
    assert tried[:3] == [8, 4, 2]
    assert batches.batch == 2


def test_workers_are_halved_before_batches():
    tried = []
    batches = Batches(40, 4, workers=4)
    assert list(batches.run(sizes(tried))) == [range(i, i + 2) for i in range(0, 40, 2)]
    assert (batches.workers, batches.batch) == (1, 2)


def test_what_was_done_before_memory_ran_out_is_kept():
    failed = threading.Event()

    def make(part):
        if part.start == 2 and not failed.is_set():
            failed.set()
            raise OutOfMemoryError("full")
        made.append(part.start)
        return part.start

    made = []
    assert list(Batches(6, 1, workers=2).run(make)) == [0, 1, 2, 3, 4, 5]
    assert made.count(0) == made.count(1) == 1


@pytest.mark.parametrize(("count", "batch", "least"), [(1, 8, 1), (8, 8, 8), (3, 8, 8)])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_cannot_be_halved(count, batch, least, workers):
    def make(part):
        raise OutOfMemoryError("full")

    with pytest.raises(OutOfMemoryError, match="full"):
        list(Batches(count, batch, least, workers=workers).run(make))


def test_another_error_ends_it_and_what_was_not_begun_is_not():
    begun = []

    def make(part):
        begun.append(part.start)
        if part.start == 0:
            raise ModelError("NaN")
        threading.Event().wait(0.01)

    with pytest.raises(ModelError, match="NaN"):
        list(Batches(1000, 1, workers=2).run(make))
    assert len(begun) < 1000
