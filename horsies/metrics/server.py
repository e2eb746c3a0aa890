"""A small HTTP server for metrics and health checks, on an event loop that must not be disturbed.

`h11` parses the requests. Each connection serves one request. The size of the head of a request, the time of an
exchange, and the number of connections are limited. If there are too many connections, the oldest one is closed: a
client that behaves has been served long before. This module needs the extra ``metrics``.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

import h11

from horsies.errors import ErrorCode, HorsiesError
from horsies.events import event

_MAX_HEAD_BYTES = 8 << 10
_MAX_IGNORED_READS = 16
_READ_BYTES = 4096
_MAX_CONNECTIONS = 16
_EXCHANGE_WITHIN_S = 10.0
_METHODS = "GET, HEAD"
_TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """The answer to a request."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT


type Page = Callable[[str], Awaitable[Answer]]
"""Makes the answer for a path, from the header ``Accept`` of the request."""


def text(status: HTTPStatus, content: str) -> Answer:
    """Return an answer of one line."""
    return Answer(status, f"{content}\n".encode())


def open_listener(host: str, port: int, subject: str = "metrics") -> socket.socket:
    """Bind a socket to an address.

    Args:
        host: a name, or an IPv4 or IPv6 address; ``::`` also accepts IPv4 where the system allows it.
        port: 0: any free port.
        subject: the plural noun for the served content, for messages.

    Raises:
        HorsiesError: HRS-206: the address cannot be used, for instance because another process listens there.
    """
    name = host.removeprefix("[").removesuffix("]")
    try:
        family, _, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        is_any = address[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((str(address[0]), port), family=family, dualstack_ipv6=is_any)
    except OSError as error:
        reason = error.strerror or str(error)
    except UnicodeError:
        reason = "the host is not a valid name"
    raise HorsiesError(
        ErrorCode.CLI_INVALID_ARGS,
        f"{subject} cannot be served at {host} port {port}: {reason}",
        help_text="choose another host or port; port 0 takes any free port",
    )


def url_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class MetricsServer:
    """Serves pages on a listening socket.

    Args:
        listener: the socket; `close` closes it.
        pages: the pages by path.
    """

    def __init__(self, listener: socket.socket, pages: Mapping[str, Page]) -> None:
        self._listener = listener
        self._pages = pages
        self._open: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Accept connections from now on."""
        self._server = await asyncio.start_server(self._serve, sock=self._listener, limit=_MAX_HEAD_BYTES)

    async def close(self) -> None:
        """Accept no further connections, and close the open ones."""
        if self._server is None:
            self._listener.close()
        else:
            self._server.close()
        for connection in list(self._open):
            connection.cancel()
        if self._open:
            await asyncio.wait(list(self._open))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        this = asyncio.current_task()
        assert this is not None  # noqa: S101 - a coroutine always runs in a task
        if len(self._open) >= _MAX_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]  # now, because many connections can arrive before it has ended
            oldest.cancel()
        self._open[this] = None
        try:
            # The client may go away or be too slow, or its connection is closed in favour of a newer one.
            with suppress(OSError, asyncio.CancelledError):
                async with asyncio.timeout(_EXCHANGE_WITHIN_S):
                    await self._exchange(reader, writer)
                    writer.close()
                    await writer.wait_closed()
        except Exception as error:  # noqa: BLE001 - a fault here must not end the worker
            event("metrics.failed", level=logging.ERROR, reason=repr(error))
        finally:
            self._open.pop(this, None)
            writer.transport.abort()  # a client that does not read would keep its socket and its answer for ever

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        is_head = False
        try:
            request = await _request(connection, reader)
            if request is None:
                return
            is_head = request.method == b"HEAD"
            answer = await self._answer(request)
        except h11.RemoteProtocolError as error:
            answer = text(HTTPStatus(error.error_status_hint), "the request is not valid HTTP")
        await _send(connection, writer, answer, is_head=is_head)
        if not answer.status.is_success:
            await _ignore_rest(reader, writer)

    async def _answer(self, request: h11.Request) -> Answer:
        page = self._pages.get(request.target.partition(b"?")[0].decode("ascii", "replace"))
        if page is None:
            return text(HTTPStatus.NOT_FOUND, f"the pages are {', '.join(self._pages)}")
        if request.method not in {b"GET", b"HEAD"}:
            return text(HTTPStatus.METHOD_NOT_ALLOWED, f"only {_METHODS} are allowed")
        accept = b",".join(value for name, value in request.headers if name == b"accept")
        return await page(accept.decode("latin-1"))


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Read the head of a request; None: the client has closed the connection instead."""
    while True:
        found = connection.next_event()
        if isinstance(found, h11.Request):
            return found
        if found is not h11.NEED_DATA:
            return None
        connection.receive_data(await reader.read(_READ_BYTES))


async def _send(
    connection: h11.Connection, writer: asyncio.StreamWriter, answer: Answer, *, is_head: bool = False
) -> None:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Date", formatdate(usegmt=True)),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
    ]
    if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", _METHODS))
    with suppress(h11.LocalProtocolError):  # no answer is possible any more
        head = h11.Response(status_code=answer.status, reason=answer.status.phrase, headers=headers)
        body = b"" if is_head else answer.body
        for part in (head, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(part) or b"")
        await writer.drain()


async def _ignore_rest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read what the client still sends: a connection that is closed with unread data loses the answer."""
    writer.write_eof()
    for _ in range(_MAX_IGNORED_READS):
        if not await reader.read(_READ_BYTES):
            return
