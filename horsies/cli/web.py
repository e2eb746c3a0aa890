"""``horsies web``."""

import getpass
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn
from urllib.parse import urlsplit

import typer

from horsies.app import Horsies
from horsies.cli.database import LOCATOR, check_readable, operator, viewer
from horsies.cli.locate import locate
from horsies.cli.output import say
from horsies.cli.worker import LogLevel, OfLogFormat, OfLogLevel
from horsies.errors import ConfigurationError, ErrorCode, HorsiesError
from horsies.events import configure_logging, event
from horsies.process import leave_on_stop_signals, open_standard_files

if TYPE_CHECKING:
    from horsies.web import Auth, Right

INSTALL = "pip install 'jinja2>=3.1' 'starlette>=0.45' 'uvicorn>=0.34'"
"""Installs the packages of the extra ``web``."""

USER_VARIABLE = "HORSIES_WEB_USER"
PASSWORD_VARIABLE = "HORSIES_WEB_PASSWORD_HASH"  # noqa: S105 - the name of a variable
"""The environment variables with the user and the hash of the password for ``--auth basic``."""

_PACKAGES = ("jinja2", "starlette", "uvicorn")
_AUTH = typer.Option("--auth", metavar="KIND", help="basic, or header:NAME. Default: no login, from this machine only.")
_RIGHTS = typer.Option("--rights", metavar="USER=RIGHT,…", help="What a user may do besides view; may be repeated.")
_PROXY = typer.Option(
    "--trusted-proxy", metavar="NETWORK", help="A proxy whose header is trusted, such as 10.0.0.5/32; may be repeated."
)
_CERTIFICATE = typer.Option("--tls-certificate", metavar="FILE", help="Serve HTTPS with this certificate.")
_KEY = typer.Option("--tls-key", metavar="FILE", help="The key of the certificate.")


@dataclass(frozen=True, slots=True)
class _Access:
    """The options that decide who may open the pages."""

    host: str
    auth: str | None
    allows_actions: bool
    rights: list[str]
    proxies: list[str]
    has_tls: bool
    public_url: str | None


def web(  # noqa: PLR0913 - one parameter an option
    locator: Annotated[str | None, LOCATOR] = None,
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Serve on this address.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Serve on this port; 0: any free port.")
    ] = 8765,
    allow_actions: Annotated[
        bool, typer.Option("--allow-actions", help="Without a login: allow all actions, and show arguments.")
    ] = False,
    auth: Annotated[str | None, _AUTH] = None,
    rights: Annotated[list[str] | None, _RIGHTS] = None,
    trusted_proxy: Annotated[list[str] | None, _PROXY] = None,
    public_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The URL under which users open the pages; needs --auth, except for localhost."
        ),
    ] = None,
    tls_certificate: Annotated[Path | None, _CERTIFICATE] = None,
    tls_key: Annotated[Path | None, _KEY] = None,
    hash_password: Annotated[
        bool, typer.Option("--hash-password", help="Ask for a password, print its hash for --auth basic, and exit.")
    ] = False,
    loglevel: OfLogLevel = LogLevel.INFO,
    log_format: OfLogFormat = "text",
) -> None:
    """Serve pages about queues, tasks and workers to a browser.

    Without a login, only this machine can open them, and they only show. For --auth basic, the variables
    HORSIES_WEB_USER and HORSIES_WEB_PASSWORD_HASH have the user and the hash of the password.

    Example: horsies web instance:app --port=8765
    """
    missing = _missing_packages()
    if missing is not None:
        raise missing
    from horsies.metrics.server import open_listener, url_of  # noqa: PLC0415 - its packages are optional
    from horsies.web import hash_password as make_hash  # noqa: PLC0415
    from horsies.web import horsies_web  # noqa: PLC0415
    from horsies.web.service import Certificate, serve  # noqa: PLC0415

    if hash_password:
        say(make_hash(_ask_password()))
        return
    if (tls_certificate is None) is not (tls_key is None):
        _refuse("--tls-certificate and --tls-key belong together", "give both, or neither")
    has_tls = tls_certificate is not None
    access = _Access(host, auth, allow_actions, rights or [], trusted_proxy or [], has_tls, public_url)
    app = check_readable(viewer(locator))
    login = _checked(lambda: _auth(access))
    open_standard_files()
    leave_on_stop_signals(exit_code=0)
    configure_logging(loglevel.value, log_format)
    pages = _checked(lambda: horsies_web(app, auth=login, public_url=public_url, declares=_declaring(locator)))
    listener = open_listener(host, port, "pages")
    event("web.listening", url=url_of(listener).replace("http:", "https:" if has_tls else "http:"))
    certificate = None if tls_certificate is None or tls_key is None else Certificate(tls_certificate, tls_key)
    serve(pages, listener, certificate)


def _declaring(locator: str | None) -> Horsies | None:
    """Return an app with the tasks that the named one declares, for the pages that show and send them.

    Mistakes in its modules are logged: the pages are needed most when something is wrong.
    """
    if locator is None:
        return None
    declared = locate(locator)
    for mistake in declared.check():
        event("web.app_invalid", level=logging.WARNING, reason=mistake.message)
    broker = declared.config.broker.model_copy(update={"auto_migrate": False})
    app = Horsies(declared.config.model_copy(update={"broker": broker}))
    app.registry = declared.registry
    return app


def _auth(access: _Access) -> "Auth":
    from horsies.web import ALL_RIGHTS, BasicAuth, HeaderAuth, LoopbackAuth, Right  # noqa: PLC0415

    kind, _, header = (access.auth or "").partition(":")
    if access.auth is not None and access.allows_actions:
        _refuse("--allow-actions is for pages without a login", "give rights to users: --rights USER=cancel,rerun")
    if access.proxies and kind != "header":
        _refuse("--trusted-proxy is for --auth header:NAME", "add --auth header:X-Forwarded-User, for example")
    if access.auth is None:
        _refuse_without_login(access)
        return LoopbackAuth(ALL_RIGHTS if access.allows_actions else {Right.VIEW}, name=operator())
    known = dict(_user_rights(each, list(Right)) for each in access.rights)
    if access.auth == "basic":
        if not (_is_local_address(access.host) or access.has_tls):
            fix = "give --tls-certificate and --tls-key, or serve on 127.0.0.1 behind a proxy with HTTPS"
            _refuse(f"--auth basic would send passwords over plain HTTP to {access.host}", fix)
        user = _from_environment(USER_VARIABLE)
        return _checked(lambda: BasicAuth(user, _from_environment(PASSWORD_VARIABLE), known.get(user, {Right.VIEW})))
    if kind != "header" or not header:
        _refuse(f"there is no --auth {access.auth!r}", "write basic, or header:X-Forwarded-User with --trusted-proxy")
    return _checked(lambda: HeaderAuth(header, access.proxies, known))


def _refuse_without_login(access: _Access) -> None:
    if not _is_local_address(access.host):
        fix = "add --auth basic or --auth header:NAME, or serve on 127.0.0.1"
        _refuse(f"pages without a login are not served on {access.host}", fix)
    public = None if access.public_url is None else urlsplit(access.public_url).hostname
    if public and not _is_local_address(public):
        fix = "add --auth basic or --auth header:NAME"
        _refuse(f"without a login, everybody who can open {access.public_url} could see these pages", fix)
    if access.rights:
        _refuse("--rights needs users, and without --auth there are none", "add --auth, or use --allow-actions")


def _is_local_address(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _user_rights(option: str, known: "list[Right]") -> "tuple[str, set[Right]]":
    user, equals, names = option.rpartition("=")
    wanted = {name.strip().replace("-", "_") for name in names.split(",")}
    unknown = sorted(wanted - set(known))
    if not equals or not user or unknown:
        problem = f"there is no right {unknown[0]!r}" if unknown and user else "a user and rights are needed"
        _refuse(f"invalid --rights {option!r}: {problem}", f"write USER=RIGHT,…; rights: {', '.join(known)}")
    return user, {right for right in known if right in wanted} | {known[0]}


def _from_environment(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        fix = f"set {USER_VARIABLE}, and set {PASSWORD_VARIABLE} to the output of: horsies web --hash-password"
        _refuse(f"--auth basic needs the environment variable {name}", fix)
    return value


def _ask_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Repeat it: ") != password:
        say("the passwords differ", err=True)
        raise typer.Exit(1)
    return password


def _checked[T](make: Callable[[], T]) -> T:
    """Make something from options, whose mistakes are refused as such."""
    try:
        return make()
    except ValueError as error:
        _refuse(str(error), "see horsies web --help")


def _refuse(message: str, help_text: str) -> NoReturn:
    raise ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message, help_text=help_text)


def _missing_packages() -> HorsiesError | None:
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if not missing:
        return None
    message = f"horsies web needs packages that are not installed: {', '.join(missing)}"
    return HorsiesError(ErrorCode.CLI_INVALID_ARGS, message, help_text=f"run: {INSTALL}")
