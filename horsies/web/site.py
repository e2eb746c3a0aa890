"""`horsies_web`: the ASGI app with all pages."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from horsies.app import Horsies
from horsies.web.access import Auth
from horsies.web.gate import Gate, user_of
from horsies.web.origins import PublicUrl
from horsies.web.pages import PAGES
from horsies.web.pages.page import Page
from horsies.web.parameters import Parameters
from horsies.web.snapshots import NoAnswerError, Snapshots
from horsies.web.templating import Assets, Templates
from horsies.web.trends import Trends
from horsies.web.visit import Visit, as_error, as_json, root_of

_JSON = "application/json"
_HTML = "text/html; charset=utf-8"
_NO_ANSWER = "The database does not answer. Reload this page to try again; the log of the server has the reason."

type Endpoint = Callable[[Request], Awaitable[Response]]


def horsies_web(app: Horsies, *, auth: Auth, public_url: str | None = None) -> ASGIApp:
    """Make the web interface of an app: an ASGI app that can be served, or mounted in another one.

    ``main.mount("/queue", horsies_web(app, auth=BasicAuth(…), public_url="https://ops.example.com"))``

    It works below any prefix, and needs no events of the lifespan.

    Args:
        app: The app whose database is shown. Its own configuration says where that is.
        auth: Decides who makes a request, and what they may do: `BasicAuth`, `HeaderAuth`, `LoopbackAuth`, or an async
            function from a `starlette.requests.HTTPConnection` to a `User` or `Denied`.
        public_url: The URL under which users open the pages. Requests with another host are refused, except those for
            localhost. None: users open them on this machine.

    Raises:
        ValueError: ``public_url`` is not an absolute HTTP URL.
    """
    public = None if public_url is None else PublicUrl.parse(public_url)
    site = Site(app)
    routes = [
        Route("/static/{digest}/{name}", site.asset),
        *(Route(page.json_path, site.endpoint(page, is_json=True)) for page in PAGES),
        *(Route(page.path, site.endpoint(page, is_json=False)) for page in PAGES),
    ]
    handlers = {HTTPException: site.refuse, NoAnswerError: site.without_answer}
    return Gate(Starlette(routes=routes, exception_handlers=handlers), auth, public)


class Site:
    """The endpoints of the pages of one app."""

    def __init__(self, app: Horsies) -> None:
        self._app = app
        self._snapshots = Snapshots()
        self._trends = Trends()
        self._assets = Assets()
        self._templates = Templates(PAGES, self._assets)

    def endpoint(self, page: Page, *, is_json: bool) -> Endpoint:
        """Return the endpoint of a page, or that of its JSON document."""
        root = root_of(page.path)

        async def answer(request: Request) -> Response:
            user = user_of(request.scope)
            if not user.may(page.right):
                raise HTTPException(HTTPStatus.FORBIDDEN, f"this page needs the right {page.right}")
            visit = Visit(
                user=user,
                broker=self._app.get_broker(who=user.name),
                snapshots=self._snapshots,
                trends=self._trends,
                parameters=Parameters(request.scope["query_string"], page.parameters),
                path=request.path_params,
                root=root,
            )
            view = await page.load(visit)
            if is_json:
                return Response(as_json(page.name, visit, view), media_type=_JSON)
            regions = self._templates.regions(page, visit, view)
            return Response(self._templates.page(page, visit, view, regions), media_type=_HTML)

        return answer

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

    async def without_answer(self, request: Request, _error: Exception) -> Response:
        """Answer a request that needs the database, while that does not answer."""
        return self._error(request, HTTPStatus.SERVICE_UNAVAILABLE, _NO_ANSWER, {"retry-after": "2"})

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
