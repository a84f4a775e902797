"""How many images at once: as many as measured memory allows."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from dataclasses import dataclass

from onnx_saliency.errors import OutOfMemoryError, SaliencyError

SLACK = 0.1
"""Share of a run's memory that is set aside for what the straight line does not tell; docs/benchmarks.md has it."""

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_bytes(text: str) -> int | None:
    """Bytes of a text such as 500M or 2GiB, in powers of 1024; None if it is none."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), flags=re.IGNORECASE | re.ASCII)
    return None if number is None else int(float(number[1]) * _UNITS[number[2].upper()])


def memory_limit(given: int | str | None) -> int | None:
    """A limit as it is given, in bytes or as a text, in bytes.

    Raises:
        SaliencyError: it is no number of bytes above 0.
    """
    limit = parse_bytes(given) if isinstance(given, str) else given
    if given is not None and (limit is None or limit < 1):
        raise SaliencyError(f"A memory limit is a number of bytes above 0, such as 2GiB or 500M, not {given!r}.")
    return limit


def resident() -> int:
    """Bytes that this process holds in memory."""
    import psutil  # late: only a limit needs it

    held: int = psutil.Process().memory_info().rss
    return held


@dataclass(frozen=True)
class RunMemory:
    """What runs of a model take, as it was measured; it grows with the batch in a straight line.

    Attributes:
        held: bytes that the process held before.
        least: the smallest batch: 1, or the one that the model is fixed to.
        first: bytes of a run of `least` images, with what is set aside.
        each: bytes of each image.
    """

    held: int
    least: int
    first: float
    each: float

    @classmethod
    def measure(cls, run: Callable[[int], object], limit: int, least: int = 1, *, fixed: bool = False) -> RunMemory:
        """Run the model once, and on twice as many images where that is within `limit`.

        The peak of a run is what the process holds afterwards, since the runtime keeps what it took for the next one.

        Args:
            run: runs so many images, and returns what is to be counted too: the arrays that went in and came out.
            limit: bytes that the process may hold.
            least: images of the first run.
            fixed: there is no other batch.
        """
        _trim()
        held = resident()
        first = _taken(run, least, held)
        each = first / least
        if not fixed and held + 2 * first <= limit:
            each = max(each, (_taken(run, 2 * least, held) - first) / least)
        return cls(held, least, first, each)

    def largest_batch(self, limit: int, most: int, times: float = 1.0) -> int:
        """The most images, up to `most`, whose run keeps the process within `limit`.

        Args:
            limit: bytes that the process may hold.
            most: images at once.
            times: how many times as large as the images that were measured.

        Raises:
            OutOfMemoryError: the limit is too small for the smallest batch.
        """
        need = self.held + times * self.first
        if need > limit:
            one = "One image takes" if self.least == 1 else f"The model's batch of {self.least} images takes"
            raise OutOfMemoryError(
                f"{one} about {_shown(times * self.first)} beside the {_shown(self.held)} that this process holds: the "
                f"memory limit must be {_shown(need)} or more, not {_shown(limit)}."
            )
        return max(self.least, min(most, int((limit - self.held) / (times * self.each))))


def _trim() -> None:
    """Give back what was freed, or the first run would fill it, and the process seem not to grow."""
    import psutil  # as above

    gc.collect()
    if hasattr(psutil, "heap_trim"):  # not with every C library
        psutil.heap_trim()


def _taken(run: Callable[[int], object], images: int, held: int) -> float:
    """Bytes by which a run lets the process grow, with what is set aside."""
    kept = run(images)
    grown = resident() - held
    del kept
    return (1 + SLACK) * max(grown, 1)


def _shown(bytes_: float) -> str:
    """A size rounded up, so that what is asked for suffices."""
    unit, name = (2**30, "GiB") if bytes_ >= 2**30 else (2**20, "MiB")
    places = 100 if name == "GiB" else 1
    return f"{-(-bytes_ * places // unit) / places:g} {name}"
