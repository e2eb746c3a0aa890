"""Who may see and do what: rights, users, and the objects that decide about a request."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from starlette.requests import HTTPConnection


class Right(StrEnum):
    """What a user of the web interface may do.

    Attributes:
        VIEW: See pages, with the messages of errors.
        SEE_ARGUMENTS: See arguments, results, and the tracebacks and data of errors.
        CANCEL: Cancel tasks.
        RERUN: Send ended tasks again.
        PAUSE: Pause and resume queues, keys and schedules.
        LIMIT: Change the limits of queues.
        SEND: Send tasks, and run schedules now.
        WORKFLOWS: Pause, resume and cancel workflow runs.
    """

    VIEW = "view"
    SEE_ARGUMENTS = "see_arguments"
    CANCEL = "cancel"
    RERUN = "rerun"
    PAUSE = "pause"
    LIMIT = "limit"
    SEND = "send"
    WORKFLOWS = "workflows"


ALL_RIGHTS = frozenset(Right)
"""All rights."""

VIEW_ONLY = frozenset({Right.VIEW})
"""The rights of a user for whom nothing else is configured."""


@dataclass(frozen=True, slots=True)
class User:
    """The person who makes a request.

    Attributes:
        name: The name, for the log and for the records of actions.
        rights: The rights of the person.
    """

    name: str
    rights: frozenset[Right] = VIEW_ONLY

    def may(self, right: Right) -> bool:
        """Return whether the person has a right."""
        return right in self.rights


@dataclass(frozen=True, slots=True)
class Denied:
    """The answer to a request whose sender is unknown or unwelcome.

    Attributes:
        message: Why, and how to fix it. The sender sees it.
        status: The status of the response: 401, 403, 429 or 503.
        challenge: The header ``WWW-Authenticate`` of a response with 401.
        retry_after_s: When to try again, in seconds: the header ``Retry-After``. None: there is no such header.
        login_url: The URL of a page where the sender can log in. A browser that opens a page is sent there, with the
            status 302; other requests get ``status``. None: there is no such page.
    """

    message: str
    status: HTTPStatus = HTTPStatus.FORBIDDEN
    challenge: str | None = None
    retry_after_s: int | None = None
    login_url: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response."""
        given = {"www-authenticate": self.challenge, "retry-after": self.retry_after_s}
        return {name: str(value) for name, value in given.items() if value is not None}


class Auth(Protocol):
    """Decides about each request: who sends it, and with which rights. An async function with this signature will do.

    It must not read the body of the request.
    """

    async def __call__(self, connection: HTTPConnection, /) -> User | Denied:
        """Return the user, or why the request is refused."""
        ...


_FORWARDING = ("forwarded", "x-forwarded-for", "x-real-ip")
"""The headers by which proxies say for whom they send a request."""


class LoopbackAuth:
    """Accepts requests from this machine, without a login. Every local user and program can send them.

    Requests that a proxy on this machine passes on are refused if a header such as ``X-Forwarded-For`` says so. A
    proxy that adds no such header, or a tunnel, opens the pages to all of its users.

    Args:
        rights: What all of them may do.
        name: Their name in the records of actions.
    """

    def __init__(self, rights: Iterable[Right] = VIEW_ONLY, *, name: str = "local user") -> None:
        self._user = User(name, frozenset(rights))

    async def __call__(self, connection: HTTPConnection, /) -> User | Denied:
        """Return the local user, or refuse a request from another machine."""
        if not is_from_this_machine(connection):
            return Denied("only this machine may open these pages, because no login is configured")
        forwarded = next((name for name in _FORWARDING if name in connection.headers), None)
        if forwarded is not None:
            return Denied(
                f"a proxy has passed this request on, as its header {forwarded} says, and no login is configured: "
                "configure one (--auth of the command, auth of horsies_web)"
            )
        return self._user


def is_from_this_machine(connection: HTTPConnection) -> bool:
    """Return whether the peer of the socket is on this machine. A peer without an address is not."""
    peer = peer_address(connection)
    return peer is not None and peer.is_loopback


def peer_address(connection: HTTPConnection) -> IPv4Address | IPv6Address | None:
    """Return the address of the peer of the socket; None if it has no valid one."""
    if connection.client is None:
        return None
    try:
        found = ip_address(connection.client.host)
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found
