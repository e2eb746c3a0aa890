"""The screen of the live view that shows more about one queue, task, error group, run or worker."""

import time
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from horsies.top.details import (
    Detail,
    error_detail,
    layout,
    queue_detail,
    run_detail,
    task_detail,
    title_of,
    worker_detail,
)
from horsies.top.reading import Reader, Tab
from horsies.top.tables import Style


class DetailScreen(Screen[None]):
    """Shows more about the row of a tab.

    Args:
        tab: The tab.
        key: The key of the row.

    Attributes:
        detail: The latest answer; None: there is none, or what it was about does not exist any more.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.leave", "Back")]

    def __init__(self, tab: Tab, key: str) -> None:
        super().__init__()
        self._tab = tab
        self._key = key
        self._asked_at: float | None = None
        self.detail: Detail | None = None

    def compose(self) -> ComposeResult:
        """Make the parts of the screen."""
        yield Static(Text("Reading", style=Style.TITLE), id="title", markup=False)
        with VerticalScroll():
            yield Static(id="content", markup=False)
        yield Static(id="trouble", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Hide what is not needed yet."""
        self.query_one("#trouble").display = False
        self.query_one(VerticalScroll).focus()

    @property
    def age_s(self) -> float | None:
        """The age of the latest answer in seconds; None: there is none."""
        return None if self._asked_at is None else time.monotonic() - self._asked_at

    async def read(self, reader: Reader) -> tuple[float, Detail | None]:
        """Ask the question; return when it was asked, and the answer. Raises UnansweredError."""
        asked_at = time.monotonic()
        found: Detail | None
        match self._tab:
            case Tab.QUEUES:
                found = await queue_detail(reader, self._key)
            case Tab.TASKS:
                found = await task_detail(reader, self._key)
            case Tab.ERRORS:
                found = await error_detail(reader, int(self._key))
            case Tab.RUNS:
                found = await run_detail(reader, self._key)
            case Tab.WORKERS:
                found = await worker_detail(reader, self._key)
            case Tab.OVERVIEW:
                found = None
        return asked_at, found

    def show(self, answer: tuple[float, Detail | None]) -> None:
        """Show an answer."""
        self._asked_at, found = answer
        title, content = self.query_one("#title", Static), self.query_one("#content", Static)
        if found is None:
            earlier = "It is not there" if self.detail is None else f"{title_of(self.detail)} is not there any more"
            title.update(Text(earlier, style=Style.WARNING))
        else:
            title.update(Text(title_of(found), style=Style.TITLE))
            self.detail = found
            content.update(layout(found, max(self.size.width - 4, 20)))
        self.refresh_bindings()

    def show_trouble(self, text: Text | None) -> None:
        """Show that the database does not answer; None: it does."""
        trouble = self.query_one("#trouble", Static)
        trouble.display = text is not None
        trouble.update(text or Text())

    def on_resize(self) -> None:
        """Fit the answer to the new width."""
        if self.detail is not None:
            self.query_one("#content", Static).update(layout(self.detail, max(self.size.width - 4, 20)))
