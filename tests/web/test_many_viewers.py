"""Many viewers of one page: with streams over real connections, they cost the database no more than one."""

import asyncio
import time
from urllib.parse import urlsplit

import pytest
from starlette.requests import HTTPConnection

from horsies import Horsies
from horsies.web import ALL_RIGHTS, Denied, User, horsies_web
from tests.support.sessions import Session, scalar
from tests.support.waiting import wait_until
from tests.support.web import served

VIEWERS = 200
EVENTS = 4
CALLS = "select coalesce(max(calls), 0) from pg_stat_user_functions where funcname = 'queue_status'"
OTHERS = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
END_OTHERS = f"select pg_terminate_backend(pid) {OTHERS}"

pytestmark = pytest.mark.timeout(180)


async def auth(connection: HTTPConnection) -> User | Denied:
    return User(connection.headers["x-user"], ALL_RIGHTS)


async def watch(address: tuple[str | None, int | None], number: int) -> int:
    """Fetch a page, and then follow its versions; returns the number of events."""
    for path in ("/queues", "/live?view=queues"):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-User: u{number}\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        events = 0
        while path.startswith("/live") and events < EVENTS:
            line = await reader.readline()
            assert line, "the stream has ended"
            events += b'"is_current": true' in line
        writer.close()
    return events


async def watch_all(url: str, viewers: int) -> list[int]:
    address = (urlsplit(url).hostname, urlsplit(url).port)
    return await asyncio.gather(*(watch(address, number) for number in range(viewers)))


@pytest.mark.parametrize("viewers", [1, VIEWERS])
def test_the_number_of_viewers_does_not_matter_to_the_database(app: Horsies, db: Session, viewers: int) -> None:
    db.execute(f'alter database "{scalar(db, "select current_database()")}" set track_functions = pl')
    started = time.monotonic()
    with served(horsies_web(app, auth=auth)) as url:
        events = asyncio.run(watch_all(url, viewers))
    seconds = time.monotonic() - started
    assert events == [EVENTS] * viewers
    db.execute(END_OTHERS)  # a session that ends reports what it has called
    wait_until(lambda: scalar(db, "select not exists (select 1 " + OTHERS + ")"), 20, "the end of the other sessions")
    wait_until(lambda: scalar(db, CALLS) >= 1, 20, "the statistics of functions")
    assert scalar(db, CALLS) <= seconds + 1, "the question is asked once a second, whoever looks"
