"""Printing: results on the standard stream, everything about the run on the error stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

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
_LEAST = 8  # letters of a column that is broken, or its longest word where that is shorter

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


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[str] = (), whole: Sequence[str] = ()
) -> None:
    """Print a table; the columns named in `numbers` are set to the right.

    Those in `whole` are not broken while there is room, the first of them longest; what is broken loses no letter.
    """
    cells = [list(row) for row in rows]
    unbroken = _unbroken(columns, cells, whole)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for column in columns:
        table.add_column(
            column, justify="right" if column in numbers else "left", overflow="fold", no_wrap=column in unbroken
        )
    for row in cells:
        table.add_row(*(escape(cell) for cell in row))
    out.print(table)


def _unbroken(columns: Sequence[str], rows: Sequence[Sequence[str]], whole: Sequence[str]) -> set[str]:
    """Those of the columns in `whole` that fit beside the others: Rich would cut off what does not."""
    room, more = out.width, {}
    for column, *cells in zip(columns, *rows, strict=True):
        texts = (column, *cells)
        least = min(_LEAST, max(cell_len(word) for text in texts for word in (text.split() or [""])))
        more[column] = max(map(cell_len, texts)) - least
        room -= least + _GAP
    found: set[str] = set()
    for column in whole:
        if more[column] <= room:
            found.add(column)
            room -= more[column]
    return found


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


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """End the block at Ctrl-C, for a verb that then writes what is done; yield whether that was so."""
    interruption = Interruption()
    try:
        yield interruption
    except KeyboardInterrupt:
        interruption.happened = True


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
