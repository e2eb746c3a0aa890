"""The web interface as a client sees it, without a server: requests go to the ASGI app directly."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from threading import Thread

import httpx
import uvicorn
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from horsies import AppConfig, Horsies, PostgresConfig
from horsies.metrics.server import open_listener, url_of
from horsies.web import ALL_RIGHTS, Auth, Denied, User, horsies_web
from tests.support.waiting import wait_until

AWAY = "postgresql://nobody@127.0.0.1:1/none"
"""The URL of a database that does not answer."""

SAME_ORIGIN = {"sec-fetch-site": "same-origin"}


def open_app(url: str = AWAY) -> Horsies:
    """Return an app without tasks on a database."""
    return Horsies(AppConfig(broker=PostgresConfig(database_url=url, auto_migrate=False)))


def everybody_is(user: User | Denied) -> Auth:
    """Return an ``auth`` that gives the same answer to each request."""

    async def auth(_connection: HTTPConnection) -> User | Denied:
        return user

    return auth


ADMIN = User("ada", ALL_RIGHTS)


class Visitor:
    """A client of the web interface of an app.

    Attributes:
        app: The app whose database is shown.
        site: The ASGI app that answers.
    """

    def __init__(self, app: Horsies, user: User | Denied = ADMIN, *, site: ASGIApp | None = None) -> None:
        self.app = app
        self.site = site or horsies_web(app, auth=everybody_is(user))

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.send("GET", path, headers)

    def send(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.run(lambda client: client.request(method, path, headers=headers))

    def act(self, path: str, **fields: str) -> httpx.Response:
        """Send the form of an action, as a page of the same origin does."""
        return self.run(lambda client: client.post(path, data=fields, headers=SAME_ORIGIN))

    def run[R](self, action: Callable[[httpx.AsyncClient], Awaitable[R]]) -> R:
        """Run an action with a client, in an event loop that ends with it."""

        async def main() -> R:
            transport = httpx.ASGITransport(self.site, client=("127.0.0.1", 4711), raise_app_exceptions=True)
            try:
                async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                    return await action(client)
            finally:
                await self.app.close_async()

        return asyncio.run(main())

    def page(self, path: str) -> str:
        """Return the markup of a page that must exist."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text


@contextmanager
def served(site: ASGIApp, port: int = 0) -> Generator[str]:
    """Serve an ASGI app over HTTP within the block; yields its URL. The port 0 stands for any free one."""
    listener = open_listener("127.0.0.1", port, "pages")
    server = uvicorn.Server(uvicorn.Config(site, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started, 20, "the server")
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
