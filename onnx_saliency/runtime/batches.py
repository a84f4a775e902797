"""Many images: in batches, several side by side, and fewer at once where memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from onnx_saliency.errors import OutOfMemoryError

Part = TypeVar("Part")


class Batches:
    """A number of images in batches; fewer at once where memory does not suffice.

    Args:
        count: how many images.
        batch: how many are tried in one run.
        least: the smallest batch, such as one that the model is fixed to.
        workers: runs at once, each in a thread of its own.

    Attributes:
        batch, workers: as given; what is left of them where memory did not suffice. Workers are halved first.
        done: how many images are done.
    """

    def __init__(self, count: int, batch: int, least: int = 1, *, workers: int = 1) -> None:
        self.count, self.least, self.workers = count, least, workers
        self.batch = max(least, min(batch, count))
        self.done = 0

    def run(self, make: Callable[[slice], Part]) -> Iterator[Part]:
        """Yield what `make` makes of each batch, in order.

        Raises:
            OutOfMemoryError: of the smallest batch, alone.
        """
        while self.done < self.count:
            starts = range(self.done, self.count, self.batch)
            chunks = [slice(start, min(start + self.batch, self.count)) for start in starts]
            try:
                for chunk, part in zip(chunks, self._made(make, chunks), strict=True):
                    self.done = chunk.stop
                    yield part
            except OutOfMemoryError:
                size = min(self.batch, self.count - self.done)
                if size < self.count - self.done and self.workers > 1:  # it may not have been alone
                    self.workers //= 2
                elif size > self.least:
                    self.batch = max(self.least, size // 2)
                else:
                    raise

    def _made(self, make: Callable[[slice], Part], chunks: list[slice]) -> Iterator[Part]:
        workers = min(self.workers, len(chunks))
        if workers == 1:  # in the caller's thread, each when it is asked for
            yield from map(make, chunks)
            return
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(make, chunks)  # an error ends it: runs under way end, the others do not begin
