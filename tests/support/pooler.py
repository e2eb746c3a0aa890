"""A PgBouncer between horsies and the server of a whole test run.

HORSIES_TEST_POOLER names its pool mode, ``session`` or ``transaction``. Producers of `tests/producer` and the workers
and producers of an `Environment` then connect through it. Sessions in which tests inspect the database do not, and
neither do tests that choose the URL themselves, for example that of a proxy.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import pytest

from horsies import PostgresConfig
from tests.support.pgbouncer import PgBouncer, PoolMode, running_pgbouncer
from tests.support.server import Server, database_name, with_database
from tests.support.sessions import SCHEMA

POOLER_VARIABLE = "HORSIES_TEST_POOLER"
MODE = cast("PoolMode | None", os.environ.get(POOLER_VARIABLE))
_POOL_SIZES: dict[PoolMode, int] = {"session": 100, "transaction": 8}

counts_sessions = pytest.mark.skipif(MODE is not None, reason="counts or ends the server's sessions of the app itself")
"""Marks a test that does not work with `POOLER_VARIABLE`, because PgBouncer keeps sessions or gives them to others."""

needs_notices = pytest.mark.skipif(MODE == "transaction", reason="nothing can listen in transaction mode")
"""Marks a test that does not work in transaction mode."""

keeps_statements = pytest.mark.skipif(
    MODE is not None, reason="PgBouncer ends the statements of a client that has died"
)
"""Marks a test in which the server goes on with the statements of a killed process."""

_running: list[tuple[Server, PgBouncer]] = []


@contextmanager
def pooler_of_run(server: Server) -> Generator[None]:
    """Run the PgBouncer of this run, if there is to be one."""
    if MODE is None:
        yield
        return
    with running_pgbouncer(server.tcp_url, MODE, pool_size=_POOL_SIZES[MODE]) as pooler:
        _running.append((server, pooler))
        yield
        _running.clear()


def pooled(url: str) -> str:
    """Return the URL through the PgBouncer of this run; the same URL if there is none."""
    if not _running:
        return url
    [(server, pooler)] = _running
    return pooler.url(with_database(server.tcp_url, database_name(url)))


def pooled_config(url: str) -> PostgresConfig:
    """Return the configuration of an app that connects through the PgBouncer of this run, if there is one."""
    return PostgresConfig(database_url=pooled(url), schema=SCHEMA, pgbouncer_transaction_mode=MODE == "transaction")


def pooled_variables(url: str) -> dict[str, str]:
    """Return the environment variables for a module of tasks that connects like `pooled_config`."""
    return {"HORSIES_DATABASE_URL": pooled(url)} | ({} if MODE is None else {"TEST_POOL_MODE": MODE})
