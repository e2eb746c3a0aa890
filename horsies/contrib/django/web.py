"""`DjangoAuth`: the users, sessions and permissions of a Django project, for the web interface.

Import this module when Django is set up: in ``asgi.py``, below ``get_asgi_application()``. It needs the extra ``web``.
"""

from collections.abc import Iterable
from http import HTTPStatus
from importlib import import_module
from io import BytesIO
from typing import Any
from urllib.parse import quote

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.db import Error as DatabaseError
from django.db import connections
from starlette.requests import HTTPConnection

from horsies.rendering import printable_line
from horsies.web.access import VIEW_ONLY, Denied, Right, User

_MAX_NAME_CHARACTERS = 200
_NO_DATABASE = "the database of the sessions does not answer, so that nobody can be recognized; try again"


class DjangoAuth:
    """Accepts the users who are logged in to a Django project, for ``horsies_web(queue, auth=DjangoAuth())``.

    The rights of a user are their permissions ``horsies.view``, ``horsies.see_arguments``, ``horsies.cancel`` and so
    on, one for each `Right`, given to them or to one of their groups. ``manage.py migrate`` creates these permissions.
    A superuser has all of them. A browser without a login is sent to ``LOGIN_URL``.

    The session is read as Django reads it, and is never changed. Each request asks the database of the sessions.

    Args:
        staff_rights: The rights that users with ``is_staff`` have even without a permission.

    Raises:
        ImproperlyConfigured: ``INSTALLED_APPS`` has no ``horsies.contrib.django``.
    """

    def __init__(self, staff_rights: Iterable[Right] = VIEW_ONLY) -> None:
        if not apps.is_installed("horsies.contrib.django"):
            message = (
                "DjangoAuth needs 'horsies.contrib.django' in INSTALLED_APPS, and then `manage.py migrate`: the "
                "permissions of the web interface belong to that app"
            )
            raise ImproperlyConfigured(message)
        self._staff_rights = frozenset(staff_rights)
        self._sessions = _reading_sessions()

    async def __call__(self, connection: HTTPConnection, /) -> User | Denied:
        """Return the user whose session the request has, or where to log in."""
        request = ASGIRequest({**connection.scope, "query_string": b""}, BytesIO())
        try:
            # As Django's own handler does: blocking code of a request runs in a thread of that request.
            async with ThreadSensitiveContext():
                found = await sync_to_async(self._user_of)(request)
        except DatabaseError:
            return Denied(_NO_DATABASE, HTTPStatus.SERVICE_UNAVAILABLE, retry_after_s=2)
        if found is None:
            return Denied("log in first", HTTPStatus.UNAUTHORIZED, login_url=_login_url(connection))
        if not found.rights:
            return Denied(f"{found.name} may not open these pages: the permission horsies.view is missing")
        return found

    def _user_of(self, request: ASGIRequest) -> User | None:
        """Return the user of a request; None: nobody is logged in. It runs in a thread and asks the database."""
        try:
            request.session = self._sessions(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
            known: Any = get_user(request)  # None of a user who is not active, or whose password has changed
            return self._with_rights(known) if known.is_authenticated else None
        finally:
            # The thread ends with the request, so nothing could use its connections again.
            for each in connections.all(initialized_only=True):
                if not each.in_atomic_block:  # as in a test of Django, whose transaction must go on
                    each.close()

    def _with_rights(self, known: Any) -> User:
        given = self._staff_rights if getattr(known, "is_staff", False) else frozenset[Right]()
        permitted = {right for right in Right if known.has_perm(f"horsies.{right.value}")}
        return User(printable_line(known.get_username())[:_MAX_NAME_CHARACTERS], given | permitted)


def _reading_sessions() -> Any:
    """Return the class of the project's sessions, without the methods by which `get_user` changes a session.

    It deletes a session that is not valid, and renews one that was made with an old `SECRET_KEY`. Only a view of Django
    may do so, because only the response of a view sends the new cookie.
    """
    store = import_module(settings.SESSION_ENGINE).SessionStore
    members = {
        "flush": _leave,
        "cycle_key": _leave,
        "__qualname__": store.__qualname__,
    }  # signatures depend on the name
    return type(store.__name__, (store,), members)


def _leave(_session: object) -> None:
    """Leave a session as it is."""


def _login_url(connection: HTTPConnection) -> str:
    query = connection.scope["query_string"].decode("latin-1")
    wanted = quote(connection.scope["path"]) + (f"?{query}" if query else "")
    return redirect_to_login(wanted).url
