"""The HTTP server for metrics: whatever a client does, others are served and the event loop goes on."""

import asyncio
import gc
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus

import psutil
import pytest

from horsies.errors import HorsiesError
from horsies.metrics.server import Answer, MetricsServer, open_listener, text, url_of
from tests.support.waiting import wait_until


async def hello(accepted: str) -> Answer:
    return text(HTTPStatus.OK, f"hello {accepted}")


async def large(_: str) -> Answer:
    return Answer(HTTPStatus.OK, bytes(32 << 20))


async def broken(_: str) -> Answer:
    raise RuntimeError("broken")


@asynccontextmanager
async def running(host: str = "127.0.0.1") -> AsyncGenerator[tuple[str, int]]:
    listener = open_listener(host, 0)
    address = listener.getsockname()[:2]
    server = MetricsServer(listener, {"/hello": hello, "/broken": broken, "/large": large})
    await server.start()
    try:
        yield address
    finally:
        await server.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)


async def answer_to(address: tuple[str, int], sent: bytes) -> bytes:
    """Send bytes, and return everything that the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(sent)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def run(scenario: Callable[[tuple[str, int]], Coroutine[object, object, None]], host: str = "127.0.0.1") -> None:
    async def main() -> None:
        async with running(host) as address:
            await scenario(address)

    asyncio.run(main())
    gc.collect()  # an open socket would be a ResourceWarning, which fails the test


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]", "::", "localhost"])
def test_a_page_of_each_kind_of_address(host: str) -> None:
    async def scenario(address: tuple[str, int]) -> None:
        target = ("::1" if ":" in address[0] else address[0], address[1])
        found = await answer_to(target, b"GET /hello?x=1 HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n")
        head, _, body = found.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Connection: close" in head
        assert b"Content-Length: 17" in head
        assert body == b"hello text/plain\n"

    run(scenario, host)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"HEAD /hello HTTP/1.1", b"200 OK"),
        (b"GET /hello HTTP/1.0", b"200 OK"),
        (b"GET /other HTTP/1.1", b"404 Not Found"),
        (b"GET //[ HTTP/1.1", b"404 Not Found"),
        (b"POST /hello HTTP/1.1", b"405 Method Not Allowed"),
        (b"DELETE /hello HTTP/1.1", b"405 Method Not Allowed"),
        (b"GET /broken HTTP/1.1", b""),
        (b"nonsense", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\x01", b"400 Bad Request"),
        (b"GET /hello HTTP/1.1\r\nX: " + b"y" * 20_000, b"431 Request Header Fields Too Large"),
        (b"GET /" + b"y" * 20_000, b"431 Request Header Fields Too Large"),
        (b"GET /hello HTTP/1.1\r\nContent-Length: x", b"400 Bad Request"),
    ],
)
def test_every_request_gets_its_status_and_the_next_one_is_served(request_line: bytes, status: bytes) -> None:
    async def scenario(address: tuple[str, int]) -> None:
        found = await answer_to(address, request_line + b"\r\nHost: x\r\n\r\n")
        assert found.split(b"\r\n")[0].removeprefix(b"HTTP/1.1 ") == status
        if request_line.startswith(b"HEAD"):
            assert found.endswith(b"\r\n\r\n")
        if b"405" in status:
            assert b"Allow: GET, HEAD" in found
        assert b"hello" in await answer_to(address, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")

    run(scenario)


def test_slow_clients_do_not_keep_others_out() -> None:
    async def scenario(address: tuple[str, int]) -> None:
        slow = [await asyncio.open_connection(*address) for _ in range(50)]
        for _, writer in slow:
            writer.write(b"GET /hel")
        assert b"hello" in await answer_to(address, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await slow[0][0].readexactly(1)
        for _, writer in slow:
            writer.close()

    run(scenario)


def test_a_burst_of_connections_leaves_only_the_newest_open() -> None:
    async def scenario(address: tuple[str, int]) -> None:
        idle = [socket.create_connection(address) for _ in range(60)]  # none is accepted until the loop runs
        opened = [await asyncio.open_connection(sock=each) for each in idle]
        ends = [asyncio.ensure_future(reader.read()) for reader, _ in opened]
        while sum(end.done() for end in ends) < 44:
            await asyncio.wait([end for end in ends if not end.done()], return_when=asyncio.FIRST_COMPLETED)
        assert b"hello" in await answer_to(address, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.gather(*ends[:44], return_exceptions=True)
        for (_, writer), end in zip(opened, ends, strict=True):
            end.cancel()
            writer.close()

    run(scenario)


def test_the_answer_to_a_refused_request_arrives_although_its_body_is_not_read() -> None:
    async def scenario(address: tuple[str, int]) -> None:
        body = b"x" * 30_000
        found = await answer_to(address, b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n" + body)
        assert found.startswith(b"HTTP/1.1 405 ")

    run(scenario)


def test_a_client_that_sends_nothing_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("horsies.metrics.server._EXCHANGE_WITHIN_S", 0.1)

    async def scenario(address: tuple[str, int]) -> None:
        assert await answer_to(address, b"") == b""

    run(scenario)


def test_a_client_that_does_not_read_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("horsies.metrics.server._EXCHANGE_WITHIN_S", 0.2)

    async def scenario(address: tuple[str, int]) -> None:
        def is_open() -> bool:
            connections = psutil.Process().net_connections("tcp")
            return any(each.laddr[:2] == address and each.raddr for each in connections)

        with socket.create_connection(address) as client:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.to_thread(wait_until, is_open)
            await asyncio.to_thread(wait_until, lambda: not is_open())
            assert client.recv(1)  # a part of the answer had arrived before

    run(scenario)


def test_a_client_that_goes_away_is_forgotten() -> None:
    async def scenario(address: tuple[str, int]) -> None:
        for _ in range(30):
            _, writer = await asyncio.open_connection(*address)
            writer.write(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            writer.transport.abort()
        assert b"hello" in await answer_to(address, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")

    run(scenario)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 300, "192.0.2.1"])
def test_a_wrong_host_is_an_error_for_the_user(host: str) -> None:
    with pytest.raises(HorsiesError, match=r"metrics cannot be served at .* port 0: ") as caught:
        open_listener(host, 0)
    assert caught.value.help_text


def test_a_port_in_use_is_an_error_for_the_user() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(HorsiesError, match="Address already in use"):
        open_listener("127.0.0.1", taken.getsockname()[1])


def test_the_url_of_an_ipv6_address_has_brackets() -> None:
    with open_listener("::1", 0) as listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"
