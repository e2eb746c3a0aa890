"""Tables for terminals: which of their columns are shown in a width, and how wide each is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from horsies.monitoring.texts import line

GAP = 2
"""The free cells after each column."""

_WIDE_ENOUGH = 36
_LEAST = 6


class Style(StrEnum):
    """The styles of texts. Each meaning is also said in words, because a terminal may have no colours."""

    PLAIN = ""
    GOOD = "green"
    BUSY = "cyan"
    WARNING = "yellow"
    BAD = "bold red"
    QUIET = "dim"
    TITLE = "bold"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        rank: In a narrow terminal, the columns with the highest ranks are left out first. 0: it is always shown.
        is_number: Whether its values are aligned on the right.
    """

    title: str
    rank: int = 0
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        key: The id or name that the row is about.
        cells: One text for each column.
    """

    key: str
    cells: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """A table before it is laid out.

    Attributes:
        columns: Its columns.
        rows: Its rows, each with another key.
        nothing: The sentence that is shown if it has no rows.
        note: A sentence about the table; empty: there is none.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    nothing: str
    note: str = ""

    def first(self, number: int) -> "Listing":
        """Return the table with its first rows only."""
        return replace(self, rows=self.rows[:number])


@dataclass(frozen=True, slots=True)
class Placed:
    """A column that is shown: its index in the table, and its width in cells."""

    index: int
    width: int


def cell(value: object, style: Style = Style.PLAIN) -> Text:
    """Return the text of a cell: one line, in which control characters are escaped and markup has no meaning."""
    return Text("" if value is None else line(value), style=style, no_wrap=True)


def fit(listing: Listing, width: int) -> list[Placed]:
    """Choose the columns of a table, and their widths, for a number of cells.

    Columns with a rank are left out until the others fit. Then the widest columns are cut.
    """
    natural = [
        max([cell_len(column.title), *(cell_len(row.cells[index].plain) for row in listing.rows)])
        for index, column in enumerate(listing.columns)
    ]
    widths = [min(each, _WIDE_ENOUGH) for each in natural]
    kept = list(range(len(widths)))
    while _total(widths, kept) > width:
        optional = [index for index in kept if listing.columns[index].rank]
        if not optional:
            break
        kept.remove(max(optional, key=lambda index: (listing.columns[index].rank, index)))
    for index in kept:
        widths[index] += min(natural[index] - widths[index], max(width - _total(widths, kept), 0))
    while _total(widths, kept) > width and max(widths[index] for index in kept) > _LEAST:
        widths[max(kept, key=lambda index: widths[index])] -= 1
    return [Placed(index, widths[index]) for index in kept]


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[index] + GAP for index in kept)


def shown_cell(listing: Listing, text: Text, placed: Placed) -> Text:
    """Return a text as it is shown in a column: cut to its width, and aligned."""
    cut = text.copy()
    cut.truncate(placed.width, overflow="ellipsis")
    cut.justify = "right" if listing.columns[placed.index].is_number else "left"
    return cut


def rich_table(listing: Listing, width: int) -> Table | Text:
    """Lay out a table for output by rich; without rows, return the sentence that says so."""
    if not listing.rows:
        return Text(line(listing.nothing), style=Style.QUIET)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style=Style.TITLE)
    placed = fit(listing, width)
    for each in placed:
        column = listing.columns[each.index]
        title = Text(column.title)
        title.truncate(each.width, overflow="ellipsis")
        table.add_column(title, width=each.width, no_wrap=True, justify="right" if column.is_number else "left")
    for row in listing.rows:
        table.add_row(*(shown_cell(listing, row.cells[each.index], each) for each in placed))
    return table
