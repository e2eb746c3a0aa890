"""Actions: requests that change something. Each needs a right, is recorded in the database, and is logged."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from horsies.app import Horsies
from horsies.config.rates import LONGEST_PERIOD_S, MOST_TOKENS, NO_LIMIT, NoLimit, RateLimit
from horsies.events import event
from horsies.monitoring import (
    BulkKind,
    BulkState,
    RunAction,
    control_bulk_async,
    control_run_async,
    preview_bulk_async,
)
from horsies.monitoring.answers import RerunCandidate
from horsies.monitoring.broker import Broker
from horsies.monitoring.bulk import BulkChange
from horsies.monitoring.filters import parse_filter
from horsies.producer.handle import BrokerResult, parse_id
from horsies.rendering import printable_line
from horsies.result import Err
from horsies.web.access import Right, User
from horsies.web.bulk_runner import BulkRunner
from horsies.web.gate import user_of
from horsies.web.pages.send import ARGUMENT, OPTIONS, Form, Send
from horsies.web.parameters import Parameters, refuse
from horsies.web.sending import send_form
from horsies.web.snapshots import Snapshots

_MAX_BODY_BYTES = 16 << 10
_MOST_RUNNING = 2**31 - 1
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for an action.

    Attributes:
        declares: The app whose tasks can be sent.
        broker: Acts in the name of the user.
        path: The values in the path of the URL.
        form: The fields of the form.
        bulk_runner: Processes actions on many tasks.
    """

    declares: Horsies
    broker: Broker
    path: Mapping[str, str]
    form: Parameters
    bulk_runner: BulkRunner


@dataclass(frozen=True, slots=True)
class Done:
    """The effect of an action.

    Attributes:
        subject: The id or name that was acted on, for the log.
        target: The page to show next, relative to the URL of the action.
    """

    subject: str
    target: str


@dataclass(frozen=True, slots=True)
class Again:
    """A form that is not valid, and is shown again. Nothing was changed.

    Attributes:
        page: The name of the page that has the form.
        view: The data of the page, with what is wrong.
    """

    page: str
    view: object


type ShowAgain = Callable[[str, str, User, object], Awaitable[Response]]
"""Shows a form again: the name of the page, the path of the action, the user, and the data of the page."""


@dataclass(frozen=True, slots=True)
class Action:
    """An action.

    Attributes:
        path: Its path below the overview.
        right: The right that a user needs for it.
        fields: The fields of its form.
        perform: Does it.
        group: The beginning of the names of further fields; empty: there are none.
    """

    path: str
    right: Right
    fields: tuple[str, ...]
    perform: Callable[[Ask], Awaitable[Done | Again]]
    group: str = ""


class Actions:
    """The routes of all actions of one app.

    Args:
        app: The app whose database is changed.
        declares: The app whose tasks can be sent.
        snapshots: The answers that pages share, which are outdated after an action.
        show_again: Shows a form that is not valid again.
    """

    def __init__(self, app: Horsies, declares: Horsies, snapshots: Snapshots, show_again: ShowAgain) -> None:
        self._app = app
        self._declares = declares
        self._snapshots = snapshots
        self._show_again = show_again
        self._bulk_runner = BulkRunner()

    def routes(self) -> list[Route]:
        """Return a route for each action."""
        return [Route(each.path, self._endpoint(each), methods=["POST"]) for each in ACTIONS]

    def _endpoint(self, action: Action) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            user = user_of(request.scope)
            if not user.may(action.right):
                message = f"this action needs the right {action.right}"
                raise HTTPException(HTTPStatus.FORBIDDEN, message)
            form = Parameters(await _body(request), action.fields, action.group)
            broker = self._app.get_broker(who=user.name)
            ask = Ask(self._declares, broker, request.path_params, form, self._bulk_runner)
            done = await self._perform(action, user, ask)
            if isinstance(done, Again):
                return await self._show_again(done.page, action.path, user, done.view)
            return RedirectResponse(done.target, HTTPStatus.SEE_OTHER)

        return answer

    async def _perform(self, action: Action, user: User, ask: Ask) -> Done | Again:
        try:
            done = await action.perform(ask)
        finally:
            self._snapshots.expire()
        if isinstance(done, Again):
            return done
        event("web.action_taken", who=user.name, action=action.path, subject=done.subject)
        return done


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", _FORM).partition(";")[0].strip().lower() != _FORM:
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the content type must be {_FORM}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the form is too large")
    return body


def _granted[T](answer: BrokerResult[T]) -> T:
    """Return the value of an answer, or refuse the request with the error of the database."""
    if isinstance(answer, Err):
        status = HTTPStatus.SERVICE_UNAVAILABLE if answer.err_value.retryable else HTTPStatus.CONFLICT
        raise HTTPException(status, printable_line(answer.err_value.message))
    return answer.ok_value


def _task_id(ask: Ask) -> str:
    known = parse_id(ask.path["task_id"])
    if known is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such task.")
    return str(known)


async def _cancel(ask: Ask) -> Done:
    task_id = _task_id(ask)
    _granted(await ask.broker.cancel_tasks([task_id]))
    return Done(task_id, f"../{task_id}")


async def _rerun(ask: Ask) -> Done:
    task_id = _task_id(ask)
    reruns = ask.form.number("reruns", 0, 0, 1_000_000)
    [outcome] = _granted(await ask.broker.rerun_tasks([RerunCandidate(task_id, reruns)]))
    if outcome.new_task_id is None:
        reasons = {
            "changed": "The task was sent again meanwhile. Its page links to the reruns.",
            "live": "The task has not ended.",
            "unknown": "There is no such task, or its record was deleted.",
        }
        raise HTTPException(HTTPStatus.CONFLICT, reasons.get(outcome.verdict, outcome.verdict))
    return Done(task_id, f"../{outcome.new_task_id}")


def _named(ask: Ask, kind: str) -> tuple[str, Done]:
    """Return the name of a queue or a schedule from the form, and the way back to its page."""
    name = ask.form.exact(kind)
    if not name:
        refuse(f"name the {kind}")
    return name, Done(name, f"../{kind}s?{urlencode({kind: name}, quote_via=quote)}")


def _queue(ask: Ask) -> tuple[str, Done]:
    return _named(ask, "queue")


async def _pause(ask: Ask) -> Done:
    name, done = _queue(ask)
    _granted(await ask.broker.pause_queue(name))
    return done


async def _resume(ask: Ask) -> Done:
    name, done = _queue(ask)
    _granted(await ask.broker.resume_queue(name))
    return done


async def _limit(ask: Ask) -> Done:
    name, done = _queue(ask)
    as_declared = ask.form.choice("as_declared", {"1": True}, default=False)
    if as_declared is bool(ask.form.text("max_concurrency")):
        refuse("give either max_concurrency, a number, or as_declared=1 for the limit that the app declares")
    most = None if as_declared else ask.form.number("max_concurrency", 0, 0, _MOST_RUNNING)
    _granted(await ask.broker.cap_queue(name, most))
    return done


def _rate_of(form: Parameters) -> RateLimit | NoLimit | None:
    """Return the rate that a form sets; None: that of the app."""
    marks = {name: form.choice(name, {"1": True}, default=False) for name in ("no_limit", "as_declared")}
    given = [name for name in ("limit", "per_seconds", "burst") if form.text(name)]
    is_incomplete = bool(given) and not {"limit", "per_seconds"} <= {*given}
    if is_incomplete or sum(marks.values()) + bool(given) != 1:
        refuse(
            "give limit and per_seconds, such as 100 and 60 for 100 tasks a minute; or no_limit=1 to lift the limit; "
            "or as_declared=1 for the limit that the app declares"
        )
    if not given:
        return NO_LIMIT if marks["no_limit"] else None
    return RateLimit(
        limit=form.number("limit", 0, 1, MOST_TOKENS),
        per_seconds=form.decimal("per_seconds", LONGEST_PERIOD_S),
        burst=form.number("burst", 0, 1, MOST_TOKENS) if "burst" in given else None,
    )


async def _rate(ask: Ask) -> Done:
    name, done = _queue(ask)
    is_of_key = ask.form.choice("per", {"queue": False, "key": True}, default=False)
    rate = _rate_of(ask.form)
    if is_of_key:
        _granted(await ask.broker.limit_queue_async(name, rate_per_key=rate))
    else:
        _granted(await ask.broker.limit_queue_async(name, rate=rate))
    return done


async def _pause_key(ask: Ask) -> Done:
    name, done = _queue(ask)
    _granted(await ask.broker.pause_key_async(name, ask.form.exact("key"), who=ask.broker.who))
    return done


async def _resume_key(ask: Ask) -> Done:
    name, done = _queue(ask)
    _granted(await ask.broker.resume_key_async(name, ask.form.exact("key")))
    return done


def _on_run(action: RunAction) -> Callable[[Ask], Awaitable[Done]]:
    async def perform(ask: Ask) -> Done:
        known = parse_id(ask.path["run_id"])
        found = None if known is None else _granted(await control_run_async(ask.broker, str(known), action))
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such run, or its record was deleted.")
        return Done(str(known), f"../{known}")

    return perform


def _preview(kind: BulkKind) -> Callable[[Ask], Awaitable[Done]]:
    async def perform(ask: Ask) -> Done:
        wanted = ask.form.text("filter")
        parsed = parse_filter(wanted)
        if isinstance(parsed, Err):
            refuse(f"the filter is not valid: {parsed.err_value.message}; {parsed.err_value.help_text}")
        found = _granted(await preview_bulk_async(ask.broker, kind, wanted))
        return Done(found.action_id, f"../{found.action_id}")

    return perform


def _on_bulk(kind: BulkKind, change: BulkChange) -> Callable[[Ask], Awaitable[Done]]:
    async def perform(ask: Ask) -> Done:
        known = parse_id(ask.path["bulk_id"])
        action_id = str(known)
        state = None if known is None else _granted(await control_bulk_async(ask.broker, action_id, kind, change))
        if state is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such action on tasks, or its record was deleted.")
        if state is BulkState.RUNNING and change != "stop":
            await ask.bulk_runner.work(ask.broker, action_id, kind)
        return Done(action_id, f"../../{action_id}")

    return perform


async def _send(ask: Ask) -> Done | Again:
    sent = await send_form(ask.declares.registry, ask.declares.producer, ask.form, who=ask.broker.who)
    if isinstance(sent, Form):
        return Again("send", Send(tuple(ask.declares.registry.names), sent))
    return Done(sent.task_id, f"../tasks/{sent.task_id}")


def _schedule(ask: Ask) -> tuple[str, Done]:
    return _named(ask, "schedule")


def _known_schedule[T](answer: BrokerResult[T | None]) -> T:
    found = _granted(answer)
    if found is None:
        raise HTTPException(HTTPStatus.CONFLICT, "There is no such schedule: a running scheduler registers schedules.")
    return found


async def _run_schedule(ask: Ask) -> Done:
    name, _ = _schedule(ask)
    task_id = _known_schedule(await ask.broker.run_schedule(name))
    return Done(name, f"../tasks/{task_id}")


async def _pause_schedule(ask: Ask) -> Done:
    name, done = _schedule(ask)
    _known_schedule(await ask.broker.pause_schedule(name))
    return done


async def _resume_schedule(ask: Ask) -> Done:
    name, done = _schedule(ask)
    _known_schedule(await ask.broker.resume_schedule(name))
    return done


_BULK_CHANGES: tuple[BulkChange, ...] = ("start", "stop", "resume")

ACTIONS = (
    Action("/tasks/{task_id}/cancel", Right.CANCEL, (), _cancel),
    Action("/tasks/{task_id}/rerun", Right.RERUN, ("reruns",), _rerun),
    Action("/queues/pause", Right.PAUSE, ("queue",), _pause),
    Action("/queues/resume", Right.PAUSE, ("queue",), _resume),
    Action("/queues/limit", Right.LIMIT, ("queue", "max_concurrency", "as_declared"), _limit),
    Action(
        "/queues/rate", Right.LIMIT, ("queue", "per", "limit", "per_seconds", "burst", "no_limit", "as_declared"), _rate
    ),
    Action("/queues/pause-key", Right.PAUSE, ("queue", "key"), _pause_key),
    Action("/queues/resume-key", Right.PAUSE, ("queue", "key"), _resume_key),
    *(Action(f"/runs/{{run_id}}/{each}", Right.WORKFLOWS, (), _on_run(each)) for each in RunAction),
    *(Action(f"/bulk/{kind}/preview", Right(kind), ("filter",), _preview(kind)) for kind in BulkKind),
    *(
        Action(f"/bulk/{kind}/{{bulk_id}}/{change}", Right(kind), (), _on_bulk(kind, change))
        for kind in BulkKind
        for change in _BULK_CHANGES
    ),
    Action("/send/submit", Right.SEND, ("task", "token", *OPTIONS), _send, group=ARGUMENT),
    Action("/schedules/run", Right.SEND, ("schedule",), _run_schedule),
    Action("/schedules/pause", Right.PAUSE, ("schedule",), _pause_schedule),
    Action("/schedules/resume", Right.PAUSE, ("schedule",), _resume_schedule),
)
"""All actions."""
