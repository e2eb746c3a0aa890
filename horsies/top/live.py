"""The live view of ``horsies top``: tabs that are read again every two seconds while they are shown."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Input, OptionList, Static, TabbedContent, TabPane

from horsies.monitoring import ErrorGroups, QueueStatus, Run
from horsies.monitoring.answers import TaskPage
from horsies.monitoring.asking import why_unanswered
from horsies.monitoring.broker import Broker
from horsies.monitoring.filters import TaskQuery, parse_filter
from horsies.monitoring.texts import duration, line
from horsies.producer.info import TaskInfo
from horsies.rendering import printable
from horsies.result import Err
from horsies.top import actions
from horsies.top.actions import Action, Kind
from horsies.top.detail_screen import DetailScreen
from horsies.top.details import Detail, QueueDetail, RunDetail, TaskDetail
from horsies.top.listings import error_listing, queue_listing, run_listing, task_listing, worker_listing
from horsies.top.overview import all_well, figures_part, problem_text, problems_of
from horsies.top.reading import Overview, Reader, Tab, as_result
from horsies.top.tables import Style, cell
from horsies.top.widgets import Keys, ListingTable, Panel, Question

if TYPE_CHECKING:
    from horsies.producer.handle import BrokerOperationError, BrokerResult

_EVERY_S = 2.0
_LEAVES_WITHIN_S = 5.0
_AGE_EVERY_S = 0.5
_MINUTE_S = 60.0
_NUMBERS = dict(zip("123456", Tab, strict=True))
_KEYS = {
    "1 … 6": "show a tab",
    "/": "filter the tasks",
    "enter": "show more about the selected row",
    "esc": "go back",
    "up, down, j, k": "go to another row",
    "pageup, pagedown, home, end": "scroll",
    "?": "list the keys",
    "q": "quit",
}
_ACTION_KEYS = {
    "c": "cancel the selected task or run",
    "r": "send the selected task again",
    "p": "pause or resume the selected queue or run",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The latest answer to the question of a tab.

    Attributes:
        value: The answer.
        asked_at: When the question was asked, by the monotonic clock.
    """

    value: object
    asked_at: float

    @property
    def age_s(self) -> float:
        """Its age in seconds."""
        return time.monotonic() - self.asked_at


class Top(App[None]):
    """The live view.

    Args:
        broker: Answers the questions, and acts in the name of the user.
        database: The URL of the database without its password.
        wanted: The filter of the tasks.
        enable_actions: Whether the keys of actions do anything.
        has_colors: Whether the terminal may be sent colours.
    """

    CSS_PATH = "live.tcss"
    TITLE = "horsies top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter"),
        Binding("c", "act('cancel')", "Cancel"),
        Binding("r", "act('rerun')", "Rerun"),
        Binding("p", "act('pause')", "Pause"),
        Binding("escape", "leave", "Back", show=False),
        Binding("question_mark", "keys", "Keys"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
        *(Binding(number, f"tab('{tab}')", show=False) for number, tab in _NUMBERS.items()),
    ]

    def __init__(self, broker: Broker, database: str, wanted: str, *, enable_actions: bool, has_colors: bool) -> None:
        super().__init__(ansi_color=not has_colors)
        self.set_class(not has_colors, "no-color")
        self._reader = Reader(broker)
        self._database = database
        self._filter = wanted
        self._query = parse_filter(wanted).unwrap_or(TaskQuery())
        self._acts = enable_actions
        self._answers: dict[Tab, Answer] = {}
        self._failure: BrokerOperationError | None = None
        self._wake = asyncio.Event()

    def compose(self) -> ComposeResult:
        """Make the parts of the screen."""
        yield Static(id="head", markup=False)
        with TabbedContent(initial=Tab.TASKS if self._filter else Tab.OVERVIEW):
            for number, tab in _NUMBERS.items():
                with TabPane(f"{number} {tab.capitalize()}", id=tab):
                    if tab is Tab.OVERVIEW:
                        yield OptionList(id="problems", markup=False)
                        with VerticalScroll(can_focus=False):
                            yield Static(id="figures", markup=False)
                    else:
                        yield Panel()
        yield Static(id="trouble", markup=False)
        yield Static(id="mistake", markup=False)
        yield Input(self._filter, placeholder="status:failed queue:mail task:send_* since:2h", id="filter")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to read."""
        self.base.query_one("#filter").display = self.base.query_one("#mistake").display = False
        self.base.query_one("#trouble").display = False
        self.set_interval(_AGE_EVERY_S, self._show_age)
        self.run_worker(self._read_forever())

    @property
    def base(self) -> Screen[Any]:
        """The screen with the tabs, which may be covered by another one."""
        return self.screen_stack[0]

    @property
    def _is_open(self) -> bool:
        """Whether the widgets exist. While the view closes, an answer may still come."""
        return self.is_running and bool(self.screen_stack) and bool(self.base.query(TabbedContent))

    @property
    def detail_screen(self) -> DetailScreen | None:
        """The details that are open, perhaps below a question; None: there are none."""
        return next((each for each in reversed(self.screen_stack) if isinstance(each, DetailScreen)), None)

    @property
    def tab(self) -> Tab:
        """The tab that is shown."""
        return Tab(self.base.query_one(TabbedContent).active)

    async def _read_forever(self) -> None:
        while True:
            self._wake.clear()
            await self._read()
            try:
                async with asyncio.timeout(_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _read(self) -> None:
        """Ask the question of what is shown, and show the answer; while there is none, keep what is shown."""
        detail = self.detail_screen
        if detail is not None:
            read = await as_result(detail.read(self._reader))
            if not isinstance(read, Err) and detail is self.detail_screen:
                detail.show(read.ok_value)
            self._failure = read.err_value if isinstance(read, Err) else None
        else:
            tab, query, asked_at = self.tab, self._query, time.monotonic()
            found = await as_result(self._question(tab))
            if not isinstance(found, Err) and query is self._query and self._is_open:
                self._answers[tab] = Answer(found.ok_value, asked_at)
                self._show(tab)
            self._failure = found.err_value if isinstance(found, Err) else None
        self._show_age()
        self.refresh_bindings()

    def _question(self, tab: Tab) -> Awaitable[object]:
        reader = self._reader
        match tab:
            case Tab.OVERVIEW:
                return reader.overview()
            case Tab.QUEUES:
                return reader.queues()
            case Tab.TASKS:
                return reader.tasks(self._query)
            case Tab.ERRORS:
                return reader.errors()
            case Tab.RUNS:
                return reader.runs()
            case Tab.WORKERS:
                return reader.workers()

    def _show(self, tab: Tab) -> None:
        value: Any = self._answers[tab].value
        panel = None if tab is Tab.OVERVIEW else self.base.query_one(f"#{tab}", TabPane).query_one(Panel)
        match value, panel:
            case Overview(), _:
                self._show_overview(value)
            case TaskPage(), Panel():
                panel.show(task_listing(value, self._filter), self._filter_note())
            case ErrorGroups(), Panel():
                panel.show(error_listing(value), Text("The last day", style=Style.TITLE))
            case _, Panel() if tab is Tab.QUEUES:
                panel.show(queue_listing(value, self._reader.trends))
            case _, Panel() if tab is Tab.RUNS:
                panel.show(run_listing(value))
            case _, Panel():
                panel.show(worker_listing(value))
            case _:
                return

    def _filter_note(self) -> Text | None:
        return Text.assemble(("Filter ", Style.QUIET), (line(self._filter), Style.TITLE)) if self._filter else None

    def _show_overview(self, overview: Overview) -> None:
        problems = self.base.query_one("#problems", OptionList)
        found = problems_of(overview)
        texts = [problem_text(each) for each in found] or [all_well(overview)]
        chosen = problems.highlighted or 0
        problems.set_options(texts)
        problems.highlighted = min(chosen, len(texts) - 1) if found else None
        figures = self.base.query_one("#figures", Static)
        width = max(figures.container_size.width - 2, 20)
        figures.update(figures_part(overview, width, draws_bars=True))

    def on_resize(self) -> None:
        """Fit the overview to the new width."""
        self.call_after_refresh(self._show_again)

    def _show_again(self) -> None:
        if Tab.OVERVIEW in self._answers:
            self._show(Tab.OVERVIEW)

    def _show_age(self) -> None:
        """Show how old the data are, and whether the database answers."""
        if not self._is_open:
            return
        detail = self.detail_screen
        if detail is not None:
            age = detail.age_s
            detail.show_trouble(self._trouble(age))
        else:
            answer = self._answers.get(self.tab)
            age = None if answer is None else answer.age_s
        trouble = self.base.query_one("#trouble", Static)
        text = self._trouble(age)
        trouble.display = text is not None
        trouble.update(text or Text())
        state = "reading" if age is None else f"{_age(age)} old"
        place = cell(self._database, Style.QUIET)
        place.truncate(max(self.size.width - len(state) - 17, 8), overflow="ellipsis")
        head = Text.assemble(("horsies top", Style.TITLE), "  ", place, "  ", state)
        self.base.query_one("#head", Static).update(head)

    def _trouble(self, age: float | None) -> Text | None:
        if self._failure is None:
            return None
        shown = "Nothing was read yet." if age is None else f"These data are {_age(age)} old."
        return Text.assemble((why_unanswered(self._failure), Style.BAD), f" {shown} It is asked again every 2 s.")

    @on(TabbedContent.TabActivated)
    def _tab_changed(self) -> None:
        self._focus_tab()
        self.refresh_bindings()
        self._wake.set()

    def _focus_tab(self) -> None:
        tab = self.tab
        pane = self.base.query_one(f"#{tab}", TabPane)
        (self.base.query_one("#problems") if tab is Tab.OVERVIEW else pane.query_one(ListingTable)).focus()

    def action_tab(self, name: str) -> None:
        """Show a tab."""
        if isinstance(self.screen, DetailScreen):
            self.pop_screen()
        self.base.query_one(TabbedContent).active = name

    def action_filter(self) -> None:
        """Ask for a filter."""
        if isinstance(self.screen, DetailScreen):
            self.pop_screen()
        given = self.base.query_one("#filter", Input)
        given.value = self._filter
        given.display = True
        given.focus()

    @on(Input.Submitted, "#filter")
    def _filter_given(self, event: Input.Submitted) -> None:
        parsed = parse_filter(event.value)
        mistake = self.base.query_one("#mistake", Static)
        mistake.display = isinstance(parsed, Err)
        if isinstance(parsed, Err):
            mistake.update(Text(printable(str(parsed.err_value)), style=Style.WARNING))
            return
        self.show_tasks(event.value.strip(), parsed.ok_value)

    def show_tasks(self, text: str, query: TaskQuery) -> None:
        """Show the tasks that match a filter."""
        self._filter, self._query = text, query
        self._answers.pop(Tab.TASKS, None)
        self.action_tab(Tab.TASKS)  # before the focus moves: a tab is shown when the focus enters it
        self._close_filter()
        self._wake.set()

    def _close_filter(self) -> None:
        self.base.query_one("#filter").display = self.base.query_one("#mistake").display = False
        self._focus_tab()

    def action_leave(self) -> None:
        """Close what is open: the filter, or a detail."""
        if isinstance(self.screen, DetailScreen):
            self.pop_screen()
            self._wake.set()
        elif self.base.query_one("#filter").display:
            self._close_filter()

    def action_keys(self) -> None:
        """List the keys."""
        self.push_screen(Keys(_KEYS | (_ACTION_KEYS if self._acts else {})))

    @on(DataTable.RowSelected)
    def _row_selected(self) -> None:
        self.action_detail()

    @on(OptionList.OptionSelected, "#problems")
    def _problem_selected(self, event: OptionList.OptionSelected) -> None:
        answer = self._answers.get(Tab.OVERVIEW)
        problems = () if answer is None else problems_of(cast("Overview", answer.value))
        if event.option_index >= len(problems):
            return
        problem = problems[event.option_index]
        if problem.page == Tab.TASKS:
            text = problem.parameters.get("filter", "")
            self.show_tasks(text, parse_filter(text).unwrap_or(TaskQuery()))
        elif problem.page == Tab.QUEUES and "queue" in problem.parameters:
            self._open(Tab.QUEUES, problem.parameters["queue"])
        elif problem.page is not None and problem.page in list(Tab):
            self.action_tab(problem.page)

    def action_detail(self) -> None:
        """Show more about the selected row."""
        if self.tab is Tab.OVERVIEW or isinstance(self.screen, DetailScreen):
            return
        key = self.base.query_one(f"#{self.tab}", TabPane).query_one(ListingTable).selected
        if key is not None:
            self._open(self.tab, key)

    def _open(self, tab: Tab, key: str) -> None:
        self.push_screen(DetailScreen(tab, key))
        self._wake.set()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether an action can be used now; its key is shown only then."""
        if action != "act":
            return True
        return self._acts and self._subject_action(Kind(str(parameters[0]))) is not None

    def _subject(self) -> TaskInfo | QueueStatus | Run | None:
        """Return the task, queue or run that is selected or shown."""
        if isinstance(self.screen, DetailScreen):
            return _subject_of(self.screen.detail)
        answer = self._answers.get(self.tab)
        if self.screen is not self.base or self.tab not in {Tab.TASKS, Tab.QUEUES, Tab.RUNS} or answer is None:
            return None
        key = self.base.query_one(f"#{self.tab}", TabPane).query_one(ListingTable).selected
        value = answer.value
        shown = value.tasks if isinstance(value, TaskPage) else cast("tuple[QueueStatus | Run, ...]", value)
        return next((each for each in shown if _key(each) == key), None)

    def _subject_action(self, kind: Kind) -> Action | str | None:
        match kind, self._subject():
            case Kind.CANCEL, TaskInfo() as info:
                return actions.cancel_task(info)
            case Kind.RERUN, TaskInfo() as info:
                return actions.rerun_task(info)
            case Kind.PAUSE, QueueStatus() as queue:
                return actions.pause_queue(queue)
            case Kind.CANCEL, Run() as run:
                return actions.cancel_run(run)
            case Kind.PAUSE, Run() as run:
                return actions.pause_run(run)
            case _:
                return None

    def action_act(self, name: str) -> None:
        """Ask for confirmation of an action on the selected row, and perform it."""
        action = self._subject_action(Kind(name))
        if isinstance(action, str):
            self.notify(action, severity="warning", markup=False)
        elif action is not None:
            self.run_worker(self._confirm(action))

    async def _confirm(self, action: Action) -> None:
        if not await self.push_screen_wait(Question(action.question, action.label)):
            return
        done: BrokerResult[str] = await action.perform(self._reader.broker)
        if isinstance(done, Err):
            self.notify(f"Not done: {line(done.err_value.message)}", severity="error", markup=False)
        else:
            self.notify(done.ok_value, markup=False)
        self._wake.set()


def _age(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < _MINUTE_S else duration(seconds)


def _subject_of(detail: Detail | None) -> TaskInfo | QueueStatus | Run | None:
    match detail:
        case TaskDetail(info=info):
            return info
        case QueueDetail(status=status):
            return status
        case RunDetail(run=run):
            return run
        case _:
            return None


def _key(subject: TaskInfo | QueueStatus | Run) -> str:
    match subject:
        case TaskInfo():
            return subject.task_id
        case QueueStatus():
            return subject.queue_name
        case Run():
            return subject.run_id


async def show(top: Top) -> None:
    """Run the live view until it is left by a key or a signal, and give the terminal back as it was.

    When a terminal disappears, a write to it can block the thread of the event loop, or a thread that the interpreter
    waits for at its end. So a signal is handled outside of the event loop, and ends the process after a few seconds if
    the view does not.
    """
    loop = asyncio.get_running_loop()

    def leave(number: int, _frame: FrameType | None) -> None:
        last_resort = threading.Timer(_LEAVES_WITHIN_S, os._exit, [128 + number])
        last_resort.daemon = True
        last_resort.start()
        loop.call_soon_threadsafe(top.exit)

    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, leave)
    await top.run_async()
