"""The output of commands: tables for people, JSON for programs."""

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import cast

import typer
from pydantic_core import to_jsonable_python
from rich.console import Console, RenderableType
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from horsies.monitoring import texts
from horsies.rendering import printable, printable_block, printable_json, printable_line, use_color
from horsies.task_result import TaskError, TaskResult

_ANY_WIDTH = 10_000
_WIDTH_OF_PIPES = 120
_WORTH_A_BAR = 10


def print_json(value: object) -> None:
    """Print JSON, indented on a terminal and otherwise on one line. Times are in ISO 8601, results as ok or err."""
    indent = 2 if sys.stdout.isatty() else None
    document = json.dumps(to_jsonable_python(value, fallback=_by_side), ensure_ascii=False, indent=indent)
    typer.echo(printable_json(document))


def say(message: str = "", *, err: bool = False) -> None:
    """Print a message, which may contain names and texts from a database: one line, or one with indented lines below.

    All commands print by the functions of this module, so that no text can control the terminal or forge a line.
    """
    typer.echo(printable_block(message), err=err)


def print_document(text: str) -> None:
    """Print a text for programs, such as metrics. Its line breaks stay; other control characters are escaped."""
    typer.echo("\n".join(map(printable_line, text.split("\n"))), nl=False)


def print_documents(found: Sequence[object]) -> None:
    """Print a single document as JSON by itself, and several as a list."""
    print_json(found[0] if len(found) == 1 else found)


def _by_side(value: object) -> object:
    if not isinstance(value, TaskResult):
        return str(value)
    result = cast("TaskResult[object, TaskError]", value)
    return {"ok": result.ok_value} if result.is_ok() else {"err": result.err_value}


def print_table(rows: Sequence[object], columns: str, *, err: bool = False) -> None:
    """Print a table of rows. ``columns`` names their attributes, separated by spaces.

    On a terminal the table has its width; elsewhere it is as wide as necessary.
    """
    stream = sys.stderr if err else sys.stdout
    table = Table(box=None, pad_edge=False)
    for name in columns.split():
        table.add_column(name.replace("_", " ").upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable_line(text(getattr(row, name)))) for name in columns.split()))
    width = None if stream.isatty() else _ANY_WIDTH
    console = Console(file=stream, width=width, no_color=not use_color(stream), highlight=False)
    console.print(table, crop=width is None)


def print_layout(make: Callable[[int, bool], RenderableType]) -> None:
    """Print what is laid out for a width.

    On a terminal this is its width; elsewhere that of the variable COLUMNS, or 120 cells.

    Args:
        make: Lays it out for a number of cells; the second argument says whether block characters can be printed. Its
            texts must have been made printable.
    """
    stream = sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else _WIDTH_OF_PIPES
    console = Console(file=stream, width=width, no_color=not use_color(stream), highlight=False)
    draws_bars = console.encoding.lower().replace("-", "").startswith("utf")
    console.print(make(console.width, draws_bars))


def print_rows(rows: Sequence[object], columns: str, nothing: Callable[[], str], data: object = None) -> None:
    """Print rows as a table, or a message if there are none. If ``data`` is given, print it as JSON instead."""
    if data is not None:
        print_json(data)
    elif rows:
        print_table(rows, columns)
    else:
        say(nothing(), err=True)


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values, one pair a line. Values that are None or an empty list are left out."""
    shown = {name: text(value) for name, value in facts.items() if value is not None and value != ()}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        typer.echo(f"{name:<{width}}  " + value.replace("\n", "\n" + " " * (width + 2)))


def text(value: object) -> str:
    """Format a value for a person: times in UTC to the second, lists with commas, control characters escaped."""
    if isinstance(value, Enum):
        return printable(str(value.value))
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, tuple):
        return ", ".join(printable(str(each)) for each in cast("tuple[object, ...]", value))
    return "" if value is None else printable(str(value))


def utc(time: datetime) -> str:
    """Format a time in UTC to the second, as in ``2026-11-25 20:52:30Z``."""
    return f"{texts.utc(time)}Z"


def confirm(question: str) -> None:
    """Ask for confirmation on standard error; any answer other than y or yes aborts the command.

    Standard output contains only results.

    `typer.confirm` writes the last character of its prompt to standard output, also with ``err=True``.
    """
    typer.echo(f"{printable_line(question)} [y/N]: ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise typer.Abort


def with_bar[T](items: Sequence[T], doing: str) -> Iterator[T]:
    """Iterate over items, with a progress bar on a terminal if there are many."""
    return (item for batch in batches_with_bar(items, doing, 1) for item in batch)


def batches_with_bar[T](items: Sequence[T], doing: str, size: int) -> Iterator[Sequence[T]]:
    """Iterate over batches of items, with a progress bar on a terminal if there are many items."""
    if not sys.stderr.isatty() or len(items) <= _WORTH_A_BAR:
        yield from itertools.batched(items, size, strict=False)
        return
    with Progress(*Progress.get_default_columns(), console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(doing, total=len(items))
        for batch in itertools.batched(items, size, strict=False):
            yield batch
            progress.advance(bar, len(batch))
