"""`horsies_web`: the ASGI app with all pages."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from horsies.app import Horsies
from horsies.monitoring.trends import Trends
from horsies.producer.handle import BrokerResult
from horsies.result import Ok
from horsies.web.access import Auth, User
from horsies.web.actions import Actions
from horsies.web.gate import Gate, user_of
from horsies.web.live import Live, Versions
from horsies.web.origins import PublicUrl
from horsies.web.pages import PAGES
from horsies.web.pages.page import Page
from horsies.web.parameters import Parameters
from horsies.web.snapshots import NoAnswerError, Snapshots
from horsies.web.templating import Assets, Templates, versions
from horsies.web.visit import Visit, as_error, as_json, root_of

_JSON = "application/json"
_HTML = "text/html; charset=utf-8"
_RELOAD = "Reload this page to try again; the log of the server has the reason."

type Endpoint = Callable[[Request], Awaitable[Response]]


def horsies_web(app: Horsies, *, auth: Auth, public_url: str | None = None, declares: Horsies | None = None) -> ASGIApp:
    """Make the web interface of an app: an ASGI app that can be served, or mounted in another one.

    ``main.mount("/queue", horsies_web(app, auth=BasicAuth(…), public_url="https://ops.example.com"))``

    It works below any prefix, and needs no events of the lifespan.

    Args:
        app: The app whose database is shown. Its own configuration says where that is.
        auth: Decides who makes a request, and what they may do: `BasicAuth`, `HeaderAuth`, `LoopbackAuth`, or an async
            function from a `starlette.requests.HTTPConnection` to a `User` or `Denied`.
        public_url: The URL under which users open the pages. Requests with another host are refused, except those for
            localhost. None: users open them on this machine.
        declares: The app whose tasks and workflows are shown, and whose tasks can be sent. None: ``app``. Its modules
            must have been imported.

    Raises:
        ValueError: ``public_url`` is not an absolute HTTP URL.
    """
    public = None if public_url is None else PublicUrl.parse(public_url)
    site = Site(app, declares)
    routes = [
        Route("/static/{digest}/{name}", site.asset),
        Route("/live", Live(site.versions_of).answer),
        *Actions(app, declares or app, site.snapshots, site.show_again).routes(),
        *(Route(page.json_path, site.endpoint(page, is_json=True)) for page in PAGES),
        *(Route(page.path, site.endpoint(page, is_json=False)) for page in PAGES),
    ]
    handlers = {HTTPException: site.refuse, NoAnswerError: site.without_answer}
    pages = Starlette(routes=routes, exception_handlers=handlers)
    pages.router.redirect_slashes = False  # to an absolute URL, which is wrong behind a proxy; `refuse` does it better
    return Gate(pages, auth, public)


class Site:
    """The endpoints of the pages of one app.

    Attributes:
        snapshots: The answers that all pages share.
    """

    def __init__(self, app: Horsies, declares: Horsies | None = None) -> None:
        self._app = app
        self._declares = declares or app
        self.snapshots = Snapshots()
        self._trends = Trends()
        self._assets = Assets()
        self._templates = Templates(PAGES, self._assets)

    def endpoint(self, page: Page, *, is_json: bool) -> Endpoint:
        """Return the endpoint of a page, or that of its JSON document."""

        async def answer(request: Request) -> Response:
            visit = self._visit(page, user_of(request.scope), request.scope["query_string"], request.path_params)
            view = await page.load(visit)
            # Arguments and results may be large, so other requests are served meanwhile.
            if is_json:
                return Response(await asyncio.to_thread(as_json, page.name, visit, view), media_type=_JSON)
            return Response(await asyncio.to_thread(self._render, page, visit, view), media_type=_HTML)

        return answer

    async def show_again(self, name: str, action_path: str, user: User, view: object) -> Response:
        """Answer an action whose form is not valid with the page that has the form."""
        page = next(each for each in PAGES if each.name == name)
        visit = self._visit(page, user, b"", {})
        visit.root = root_of(action_path)
        html = await asyncio.to_thread(self._render, page, visit, view)
        return Response(html, HTTPStatus.BAD_REQUEST, media_type=_HTML)

    def _render(self, page: Page, visit: Visit, view: object) -> str:
        regions = self._templates.regions(page, visit, view)
        return self._templates.page(page, visit, view, regions)

    def _versions(self, page: Page, visit: Visit, view: object) -> Versions:
        regions = self._templates.regions(page, visit, view)
        return Versions(regions=versions(regions), is_current=visit.is_current)

    def _visit(self, page: Page, user: User, query: bytes, path: Mapping[str, str]) -> Visit:
        if not user.may(page.right):
            message = f"this page needs the right {page.right}"
            raise HTTPException(HTTPStatus.FORBIDDEN, message)
        schedule = self._declares.config.schedule
        return Visit(
            user=user,
            broker=self._app.get_broker(who=user.name),
            registry=self._declares.registry,
            schedules=() if schedule is None else schedule.schedules,
            snapshots=self.snapshots,
            trends=self._trends,
            parameters=Parameters(query, page.parameters),
            path=path,
            root=root_of(page.path),
        )

    async def versions_of(self, user: User, url: str) -> Versions | None:
        """Return the versions of the regions of a page, named by its relative URL; None: there is no such page now.

        A page that fails is treated as one that is missing, because other pages share the stream. The browser then
        fetches the page, and its failure is logged there.
        """
        path, _, query = url.partition("?")
        matching = ((page, page.match(f"/{unquote(path)}")) for page in PAGES)
        found = next(((page, values) for page, values in matching if values is not None), None)
        if found is None or not query.isascii():
            return None
        page, values = found

        async def ask() -> BrokerResult[Versions]:
            visit = self._visit(page, user, query.encode(), values)
            view = await page.load(visit)
            return Ok(await asyncio.to_thread(self._versions, page, visit, view))

        try:
            snapshot = await self.snapshots.get(("versions", url, *sorted(user.rights)), ask)
        except Exception:  # noqa: BLE001 - see above
            return None
        return snapshot.value if snapshot.is_current else None

    async def asset(self, request: Request) -> Response:
        """Return the style sheet or the script. Their URLs change with their content."""
        content = self._assets.contents.get(request.path_params["name"])
        if content is None or request.path_params["digest"] != self._assets.digest:
            raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such file")
        headers = {"cache-control": "private, max-age=86400, immutable"}
        return Response(content, headers=headers, media_type=self._assets.media_type(request.path_params["name"]))

    async def refuse(self, request: Request, error: Exception) -> Response:
        """Answer a request that is refused: for an unknown page, a wrong parameter, or a missing right."""
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type
        target = _other_spelling(request) if error.status_code == HTTPStatus.NOT_FOUND else None
        if target is not None:
            return RedirectResponse(target, HTTPStatus.TEMPORARY_REDIRECT)
        message = error.detail
        if error.status_code == HTTPStatus.NOT_FOUND and message == HTTPStatus.NOT_FOUND.phrase:
            message = "There is no such page."
        return self._error(request, error.status_code, message, dict(error.headers or {}))

    async def without_answer(self, request: Request, error: Exception) -> Response:
        """Answer a request that needs the database, while that does not answer."""
        assert isinstance(error, NoAnswerError)  # noqa: S101 - registered for this type
        message, headers = error.reason, dict[str, str]()
        if error.retryable:
            message, headers = f"{message} {_RELOAD}", {"retry-after": "2"}
        return self._error(request, HTTPStatus.SERVICE_UNAVAILABLE, message, headers)

    def _error(self, request: Request, status: int, message: str, headers: dict[str, str]) -> Response:
        path = _path(request)
        if path.endswith(".json"):
            document = as_error(status, message)
            return Response(document, status, headers, media_type=_JSON)
        return Response(self._templates.error(status, message, root_of(path)), status, headers, media_type=_HTML)


def _path(request: Request) -> str:
    """Return the path of a request below the overview. Its beginning may be the path of a mount."""
    return request.scope["path"].removeprefix(request.scope.get("root_path", ""))


def _other_spelling(request: Request) -> str | None:
    """Return the relative URL of a page that was named with a slash too many or too few; None: it was not."""
    path = _path(request)
    query = request.scope["query_string"].decode("latin-1")
    tail = f"?{quote(query, safe='%&=+:*,-._~!()/?@')}" if query else ""
    if not path:
        last = request.scope["path"].rstrip("/").rpartition("/")[2]
        return f"{quote(last)}/{tail}"
    if path.endswith("/") and path.strip("/"):
        return f"../{quote(path.rstrip('/').rpartition('/')[2])}{tail}"
    return None
