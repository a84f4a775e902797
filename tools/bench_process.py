"""Both ends of the pipe between tools/bench.py and the process of one engine."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import statistics
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench_engines import CUDA, ENGINES, Built, Task

TURN = 0.2  # seconds: a turn of a quick net is many passes, since the first one after the others' turns finds no caches
REST = 0.1  # seconds after a turn: ONNX Runtime's threads spin for 30 ms before they sleep, in the next engine's way
PATIENCE = 10  # seconds for a process to end


# --- the engine's end --------------------------------------------------------------------------


def environment(threads: int) -> dict[str, str]:
    """Variables that a library reads when it is imported, so that none takes more threads than it was given."""
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return {
        **dict.fromkeys(pools, str(threads)),
        "NPROC": str(threads),  # XLA's
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no pool of compilers that stays
        "TQDM_DISABLE": "1",  # DIANNA draws a bar for every pass
        "PYTHONWARNINGS": "ignore",
        "TORCH_LOGS": "-dynamo",  # a refusal says enough
    }


@dataclass(frozen=True)
class Refusal:
    """Why an engine does not run this net."""

    reason: str


def serve(connection: Connection, engine: str, task: Task) -> None:
    """Build the engine, say so, then answer "turn", "gradient" and "peak" until the other end closes."""
    try:
        kind = {**ENGINES, **CUDA}[engine]
        kind.load()
        before = memory("VmRSS")
        built = kind.build(task)
        forget()
        built.run()  # what is made or compiled on the first run takes no time that counts, but memory
        connection.send(None)
        while True:
            match connection.recv():
                case "turn":
                    connection.send(turn(built))
                case "gradient":
                    connection.send(None if built.gradient is None else built.gradient())
                case "peak":
                    after = memory("VmHWM") if kind.shows_memory else None
                    connection.send(None if before is None or after is None else after - before)
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:  # what engines raise on a net that they cannot run has nothing in common
        message = next(iter(str(error).strip().splitlines()), "")
        connection.send(Refusal(f"{type(error).__name__}: {message}"))


def turn(built: Built) -> float:
    """Seconds of an explanation: the median of the passes of one turn."""
    times: list[float] = []
    while sum(times) < TURN:
        start = time.perf_counter()
        built.run()
        times.append(time.perf_counter() - start)
    time.sleep(REST)
    return statistics.median(times) * built.scale


def memory(field: str) -> float | None:
    """MiB of this process by Linux's account, VmRSS now or VmHWM at most; None on other systems."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def forget() -> None:
    """Give back what building left, and begin the account of the peak anew, on Linux."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")


# --- the bench's end ---------------------------------------------------------------------------


class RefusedError(Exception):
    """An engine does not run a net, for the reason that is the message."""


class Worker:
    """The process of one engine on one task, and the pipe to it."""

    def __init__(self, engine: str, task: Task, limit: float) -> None:
        self.limit = limit
        os.environ |= environment(task.threads)  # libraries read them on import, before `serve` begins
        context = multiprocessing.get_context("spawn")  # a fork would inherit this process's libraries and threads
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, engine, task), daemon=True)
        self.process.start()
        other.close()  # or its end would not be seen

    def answer(self, order: str | None = None) -> Any:
        """Wait for what the engine says, after an order, or after it was built without one.

        Raises:
            RefusedError: what the engine raised, that it died, or that it takes too long.
        """
        try:
            if order is not None:
                self.connection.send(order)
            if not self.connection.poll(self.limit):
                raise RefusedError(f"no answer in {self.limit:.0f} s")
            said = self.connection.recv()
        except (EOFError, OSError):  # the other end is gone
            self.process.join(PATIENCE)
            raise RefusedError(f"died, exit code {self.process.exitcode}") from None
        if isinstance(said, Refusal):
            raise RefusedError(said.reason)
        return said

    def close(self) -> None:
        """End the process: of itself, or after a while by force."""
        self.connection.close()
        self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()
