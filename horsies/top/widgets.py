"""The widgets of the live view. Texts are objects of rich, so that markup in names has no meaning."""

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Static

from horsies.top.tables import GAP, Column, Listing, Style, fit, shown_cell

_SCROLLBAR = 2


class ListingTable(DataTable[Text]):
    """A table whose columns fit its width. When its rows change, the cursor stays on its row, or at the top."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Detail"),
        Binding("j", "cursor_down", "Down", show=False),
        Binding("k", "cursor_up", "Up", show=False),
    ]

    def __init__(self) -> None:
        super().__init__(cursor_type="row", cell_padding=GAP // 2, zebra_stripes=False)
        self._listing: Listing | None = None
        self._drawn: tuple[Listing, int] | None = None

    @property
    def selected(self) -> str | None:
        """The key of the row at the cursor; None: there are no rows."""
        if self._listing is None or not self._listing.rows or not self.is_valid_row_index(self.cursor_row):
            return None
        return self._listing.rows[self.cursor_row].key

    def show(self, listing: Listing) -> None:
        """Show other rows."""
        key, offset, row = self.selected, self.scroll_offset, self.cursor_row
        self._listing = listing
        self._draw()
        keys = [each.key for each in listing.rows]
        if keys:
            followed = keys.index(key) if row and key in keys else min(row, len(keys) - 1)
            self.move_cursor(row=followed, scroll=False)
            self.scroll_to(y=offset.y, animate=False)

    def on_resize(self, _event: events.Resize) -> None:
        """Fit the columns to the new width."""
        self._draw()

    def _draw(self) -> None:
        width = self.size.width - _SCROLLBAR
        if self._listing is None or width <= 0 or self._drawn == (self._listing, width):
            return
        listing, row = self._listing, self.cursor_row
        self._drawn = (listing, width)
        self.clear(columns=True)
        placed = fit(listing, width)
        for each in placed:
            column = listing.columns[each.index]
            self.add_column(_title(column, each.width), width=each.width)
        for entry in listing.rows:
            self.add_row(*(shown_cell(listing, entry.cells[each.index], each) for each in placed))
        if listing.rows:
            self.move_cursor(row=min(row, len(listing.rows) - 1), scroll=False)


def _title(column: Column, width: int) -> Text:
    title = Text(column.title, justify="right" if column.is_number else "left")
    title.truncate(width, overflow="ellipsis")
    return title


class Panel(Vertical):
    """A table with a line above it, and a sentence in its place while it has no rows."""

    def compose(self) -> ComposeResult:
        """Make its parts."""
        yield Static(classes="note", markup=False)
        yield ListingTable()
        yield Static(classes="nothing", markup=False)

    @property
    def table(self) -> ListingTable:
        """The table."""
        return self.query_one(ListingTable)

    def show(self, listing: Listing, note: Text | None = None) -> None:
        """Show other rows."""
        line = note or Text()
        if listing.note:
            line = line + Text(("  " if line.plain else "") + listing.note, style=Style.QUIET)
        above, nothing = self.query_one(".note", Static), self.query_one(".nothing", Static)
        above.update(line)
        above.display = bool(line.plain)
        nothing.update(Text(listing.nothing, style=Style.QUIET))
        nothing.display = not listing.rows
        self.table.show(listing)


class Question(ModalScreen[bool]):
    """Asks for confirmation of an action. Only the key ``y`` confirms it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
    ]

    def __init__(self, question: str, label: str) -> None:
        super().__init__()
        self._question = question
        self._label = label

    def compose(self) -> ComposeResult:
        """Make its parts."""
        with VerticalScroll(classes="dialog"):
            yield Static(Text(self._question), markup=False)
            keys = Text.assemble(("y", Style.TITLE), f"  {self._label}    ", ("n", Style.TITLE), "  Do nothing")
            yield Static(keys, classes="answers", markup=False)

    def action_answer(self, answer: bool) -> None:  # noqa: FBT001 - the key binding passes it
        """Close the question with an answer."""
        self.dismiss(answer)


class Keys(ModalScreen[None]):
    """Lists the keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q", "dismiss", "Close")]

    def __init__(self, keys: dict[str, str]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        """Make its parts."""
        width = max(map(len, self._keys))
        lines = Text()
        for key, meaning in self._keys.items():
            lines.append(f"{key:<{width}}  ", Style.TITLE).append(f"{meaning}\n")
        with VerticalScroll(classes="dialog"):
            yield Static(Text("Keys\n", style=Style.TITLE), markup=False)
            yield Static(lines, markup=False)
