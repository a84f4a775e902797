"""Printing: results on the standard stream, everything about the run on the error stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from onnx_saliency.explain import Explainer

PARTIAL = 1  # some inputs failed, the others are done
FAILED = 2  # usage, or the model
INTERRUPTED = 130  # by Ctrl-C, as shells have it

_GAP = 2  # letters between columns

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Item = TypeVar("Item")


def fail(message: str) -> None:
    """Print an error."""
    err.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)


def note(message: str) -> None:
    """Print something the user should know about the run."""
    err.print(f"[dim]{escape(message)}[/]", soft_wrap=True)


def tell_reading(explainer: Explainer) -> None:
    """Print how pictures and classes are read."""
    from onnx_saliency.report.run import reading

    for line in reading(explainer):
        note(line)


def print_json(value: Any) -> None:
    """Print `value` as JSON, for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[str] = ()) -> None:
    """Print a table, of which no letter is lost on a narrow terminal; the columns in `numbers` are set to the right."""
    cells = [list(row) for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for column, width in zip(columns, _widths(columns, cells), strict=True):
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold", width=width)
    for row in cells:
        table.add_row(*(escape(cell) for cell in row))
    out.print(table)


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """As wide as their texts; where there is no room, the widest are broken, between words while there is room.

    What comes first says what a row is about, so it is the last to be broken, if it fits at all.
    """
    texts = list(zip(columns, *rows, strict=True))
    wanted = [max(map(cell_len, each)) for each in texts]
    words = [max((cell_len(word) for text in each for word in text.split()), default=0) for each in texts]
    room = out.width - _GAP * (len(columns) - 1)
    most = max((most for most in range(1, max(words) + 1) if sum(min(most, word) for word in words) <= room), default=1)
    widths = [min(most, word) for word in words]
    room -= sum(widths)
    lacking = [want - width for want, width in zip(wanted, widths, strict=True)]
    for index in sorted(range(len(widths)), key=lambda index: (index > 0 or lacking[0] > room, lacking[index])):
        more = max(0, min(lacking[index], room))
        widths[index] += more
        room -= more
    return widths


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print name and value, a line each."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, escape(value))
    out.print(table)


def _columns() -> tuple[ProgressColumn, ...]:
    return TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()


def progress(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Iterate with a bar on a terminal, silently elsewhere."""
    with Progress(*_columns(), console=err, transient=True, disable=not err.is_terminal or len(items) < 2) as bar:
        yield from bar.track(items, description=what)


@dataclass
class Interruption:
    """Whether a loop was interrupted."""

    happened: bool = False

    def after(self, done: int, pictures: int) -> str:
        """How far the loop came, if it was interrupted, else nothing."""
        from onnx_saliency.report.table import counted

        return f"interrupted after {done} of {counted(pictures, 'picture')}" if self.happened else ""


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """End the block at Ctrl-C, for a verb that then writes what is done; yield whether that was so."""
    interruption = Interruption()
    try:
        yield interruption
    except KeyboardInterrupt:
        interruption.happened = True


def leave(partial: str, failed: Sequence[object]) -> None:
    """Leave with the exit code of a verb that was interrupted, which is said, or of which some pictures failed."""
    if partial:
        fail(partial)
        raise typer.Exit(INTERRUPTED)
    if failed:
        raise typer.Exit(PARTIAL)


@contextmanager
def steps_bar(what: str) -> Iterator[Callable[[int, int, int, float], None]]:
    """Yield what shows images done, step, steps and score, as a bar on a terminal, silently elsewhere."""
    with Progress(*_columns(), console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what)

        def show(done: int, step: int, steps: int, score: float) -> None:
            before = f"{done} done, " if done else ""
            bar.update(task, completed=step, total=steps, description=f"{what}, {before}score {score:.3g}")

        yield show


@contextmanager
def counting_bar(what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Yield what shows how many of `total` are done, as a bar on a terminal, silently elsewhere.

    It takes how many are done, and how many there are where that was not known.
    """
    with Progress(*_columns(), console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, of=None: bar.update(task, completed=done, total=of)
