"""Live updates: a stream of the versions of page regions. It never carries data."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import TypedDict
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from horsies.web.access import Right, User
from horsies.web.gate import user_of
from horsies.web.parameters import refuse

_EACH_S = 1.0
_ENDS_AFTER_S = 60.0
_RETRY_MS = 1000
_MOST_VIEWS = 8
_MOST_STREAMS = 200
_MOST_OF_ONE_USER = 10


class Versions(TypedDict):
    """The versions of a page.

    Attributes:
        regions: The version of each region, by its name.
        is_current: Whether the database has answered the latest questions.
    """

    regions: dict[str, str]
    is_current: bool


type VersionsOf = Callable[[User, str], Awaitable[Versions | None]]
"""Returns the versions for a user and a view, the relative URL of a page; None: there is no such page now."""


class Live:
    """Streams of versions.

    Args:
        versions_of: Returns the versions of one view. Viewers of the same view share its work.
    """

    def __init__(self, versions_of: VersionsOf) -> None:
        self._versions_of = versions_of
        self._open = Counter[str]()

    async def answer(self, request: Request) -> Response:
        """Answer a request for a stream. It names the views that it is about."""
        user = user_of(request.scope)
        if not user.may(Right.VIEW):
            raise HTTPException(HTTPStatus.FORBIDDEN)
        views = _views(request.scope["query_string"])
        if self._open.total() >= _MOST_STREAMS or self._open[user.name] >= _MOST_OF_ONE_USER:
            message = (
                f"there are {_MOST_STREAMS} streams already, or {_MOST_OF_ONE_USER} of this user; "
                "the pages ask every two seconds instead"
            )
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, message)
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(self._events(user, views), 200, headers, "text/event-stream")

    async def _events(self, user: User, views: list[str]) -> AsyncIterator[bytes]:
        """Yield one event each second. The browser opens the stream again when it ends, and is checked again."""
        self._open[user.name] += 1
        try:
            yield f"retry: {_RETRY_MS}\n\n".encode()
            ends_at = time.monotonic() + _ENDS_AFTER_S
            while time.monotonic() < ends_at:
                found = {view: await self._versions_of(user, view) for view in views}
                yield f"data: {json.dumps(found)}\n\n".encode()
                await asyncio.sleep(_EACH_S)
        finally:
            self._open[user.name] -= 1
            self._open += Counter()  # forget users without streams


def _views(query: bytes) -> list[str]:
    try:
        given = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_VIEWS)
    except ValueError:
        refuse(f"name at most {_MOST_VIEWS} views, in UTF-8")
    if not given or any(name != "view" for name, _ in given):
        refuse("name the views: ?view=queues&view=tasks")
    return list(dict.fromkeys(view for _, view in given))
