"""The gate in front of all pages: it checks each request before a page sees it, and adds headers to each response."""

import logging
from collections.abc import Awaitable
from http import HTTPStatus
from inspect import markcoroutinefunction

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from horsies.events import event
from horsies.rendering import printable_line
from horsies.web.access import Auth, Denied, User
from horsies.web.origins import ACTION_HEADER, PublicUrl, is_from_own_page, is_known_host, is_safe

USER = "horsies.user"
"""The key of the user in the scope of a request."""

_MAX_URL_CHARACTERS = 8000

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Gate:
    """An ASGI app that lets requests through to another one, if they are allowed.

    Args:
        app: The pages. They find the user in the scope.
        auth: Decides who sends a request.
        public: The URL under which users open the pages; None: they do so on this machine.
    """

    def __init__(self, app: ASGIApp, auth: Auth, public: PublicUrl | None) -> None:
        self._app = app
        self._auth = auth
        self._public = public

    @markcoroutinefunction  # by which ASGI servers recognize the version of the protocol
    def __call__(self, scope: Scope, receive: Receive, send: Send | None = None) -> Awaitable[None]:
        """Answer a request. Connections other than HTTP are closed.

        Raises:
            TypeError: A WSGI server calls this app: its call has two arguments.
        """
        if send is None:
            raise TypeError(_CALLED_AS_WSGI)
        return self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            refusal = await self._admit(scope)
            await (refusal or self._app)(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001 - the message of an error may contain data, so no server may log it
            event("web.request_failed", level=logging.ERROR, path=scope["path"], reason=_place(error))
            if not has_begun:
                failed = PlainTextResponse("this page failed; the log of the server says where\n", 500)
                await failed(scope, receive, send_with_headers)

    async def _admit(self, scope: Scope) -> Response | None:
        """Return the response to a request that is refused; None: it may pass, and its scope has the user."""
        connection = HTTPConnection(scope)
        if not is_known_host(connection, self._public):
            return _refusal(HTTPStatus.MISDIRECTED_REQUEST, _WRONG_HOST)
        if len(scope["path"]) + len(scope["query_string"]) > _MAX_URL_CHARACTERS:
            return _refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "the URL is too long")
        answer = await self._auth(connection)
        if isinstance(answer, Denied):
            if answer.login_url is not None and _opens_page(connection):
                return RedirectResponse(answer.login_url, HTTPStatus.FOUND)
            return _refusal(answer.status, answer.message, answer.headers)
        if not is_safe(scope["method"]) and not is_from_own_page(connection, self._public):
            return _refusal(HTTPStatus.FORBIDDEN, _OTHER_PAGE)
        scope[USER] = answer
        return None


_CALLED_AS_WSGI = (
    "the app that horsies_web returns is an ASGI app, but it was called as a WSGI app. WSGI is not supported: serve it "
    "with an ASGI server such as uvicorn, mount it in an ASGI application (in Django in asgi.py), or run the command "
    "horsies web beside your application"
)
_WRONG_HOST = (
    "this server does not know the host of the URL: open it as localhost, or configure the public URL "
    "(--public-url of the command, public_url of horsies_web)"
)
_OTHER_PAGE = f"this action does not come from a page of this server; programs must send the header {ACTION_HEADER}: 1"


def user_of(scope: Scope) -> User:
    """Return the user whom the gate has let through."""
    return scope[USER]


def _opens_page(connection: HTTPConnection) -> bool:
    """Return whether a browser shows the response as a page. Otherwise a script or a program reads it."""
    mode = connection.headers.get("sec-fetch-mode")
    shows_html = "text/html" in connection.headers.get("accept", "") if mode is None else mode == "navigate"
    return shows_html and is_safe(connection.scope["method"])


def _refusal(status: HTTPStatus, message: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{printable_line(message)}\n", status.value, headers)


def _place(error: Exception) -> str:
    """Describe an error by its type and place, without its message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return f"{type(error).__qualname__}{where}"
