"""`Visit`: one request for a page, with everything that the page needs to answer it."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from pydantic_core import to_jsonable_python

from horsies.config.schedules import TaskSchedule
from horsies.monitoring.broker import Broker
from horsies.monitoring.trends import Trends
from horsies.producer.handle import BrokerResult
from horsies.rendering import printable_json
from horsies.tasks.registry import Registry
from horsies.web.access import Right, User
from horsies.web.parameters import Parameters
from horsies.web.snapshots import Key, Snapshot, Snapshots, reason_of


@dataclass(slots=True)
class Visit:
    """One request for a page.

    Attributes:
        user: The user who makes it.
        broker: Answers questions, in the name of the user.
        registry: The tasks and workflows that the app declares.
        schedules: The schedules that it declares.
        snapshots: The answers that all visits share.
        trends: The numbers of waiting tasks that earlier visits saw.
        parameters: Those of the URL.
        path: The values in the path of the URL, by name.
        root: The relative URL of the overview, such as ``../``. All links begin with it, so that the pages work below
            any prefix.
    """

    user: User
    broker: Broker
    registry: Registry
    schedules: Sequence[TaskSchedule]
    snapshots: Snapshots
    trends: Trends
    parameters: Parameters
    path: Mapping[str, str]
    root: str
    _used: list[Snapshot[Any]] = field(default_factory=list[Snapshot[Any]])

    async def ask[T](
        self,
        name: str,
        question: Callable[[Broker], Awaitable[BrokerResult[T]]],
        *key: str | float | None,
        max_age_s: float = 1.0,
    ) -> T:
        """Ask the database, or take the answer that another visit got within ``max_age_s``.

        Args:
            name: The kind of the question.
            question: Asks it.
            key: Everything that the answer depends on.
            max_age_s: The age in seconds at which the database is asked again.

        Raises:
            NoAnswerError: The database did not answer.
        """
        whole: Key = (name, *key)
        found = await self.snapshots.get(whole, lambda: question(self.broker), max_age_s)
        if max_age_s <= 1.0 or not found.is_current:
            self._used.append(found)
        return found.value

    def may(self, right: str) -> bool:
        """Return whether the user has a right, for templates."""
        return self.user.may(Right(right))

    @property
    def age_s(self) -> float:
        """The age, in seconds, of the oldest answer that the page shows and that is asked for each second."""
        return max((each.age_s for each in self._used), default=0.0)

    @property
    def is_current(self) -> bool:
        """Whether the database answered the latest questions. False: the page shows earlier answers."""
        return all(each.is_current for each in self._used)

    @property
    def failure(self) -> str | None:
        """A sentence that says why the page shows earlier answers; None: it shows the latest ones."""
        outdated = [each.error for each in self._used if not each.is_current]
        lasting = [each for each in outdated if each is None or not each.retryable]
        return reason_of([*lasting, *outdated][0]) if outdated else None

    @property
    def as_of(self) -> datetime:
        """When the oldest answer was asked for, by the clock of this process."""
        return datetime.now(UTC) - timedelta(seconds=self.age_s)

    def to(self, path: str, **parameters: str | int | None) -> str:
        """Return the relative URL of a page."""
        return f"{self.root}{quote(path)}{Parameters(b'', ()).replaced(**parameters)}"

    def json_url(self, json_path: str) -> str:
        """Return the relative URL of the JSON document of this page."""
        values = {name: quote(value, safe="") for name, value in self.path.items()}
        return f"{self.root}{json_path[1:].format(**values)}{self.parameters.replaced()}"


def root_of(path: str) -> str:
    """Return the relative URL of the overview, as seen from a path below it."""
    depth = path.count("/") - 1
    return "../" * depth if depth > 0 else "./"


def as_json(page: str, visit: Visit, view: object) -> bytes:
    """Return the JSON document of a page."""
    document = {
        "page": page,
        "as_of": visit.as_of,
        "age_s": round(visit.age_s, 3),
        "is_current": visit.is_current,
        "data": view,
    }
    plain = to_jsonable_python(document, fallback=str, inf_nan_mode="strings")
    return printable_json(json.dumps(plain, ensure_ascii=False)).encode()


def as_error(status: int, message: str) -> bytes:
    """Return the JSON document that says why a request was not answered."""
    return printable_json(json.dumps({"status": status, "error": message}, ensure_ascii=False)).encode()
