"""The results of `get`, by handle and by id."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest

from horsies import ContractCode, Horsies, OperationalErrorCode, OutcomeCode, RetrievalCode, TaskError
from horsies.db.queries.worker import Fence, Outcome
from horsies.producer import handle as handle_module
from tests.producer.conftest import NewShop
from tests.producer.shop import PASSWORD, Do, Hand, Shop, ShopError, task_id
from tests.support.factories import done, expire, failed
from tests.support.sessions import Session, move_clock

NOBODY = "01a20a74-694d-77ef-bb11-70dc4b4506ab"


def with_result(result: bytes) -> Callable[[Fence], Outcome]:
    return lambda fence: done(fence, result)


def with_error(**fields: Any) -> Callable[[Fence], Outcome]:
    error = {"error_code": "CLOSED", "message": "no paper", "data": None, "exception": None, **fields}
    return lambda fence: Outcome(fence, False, json.dumps(error).encode(), str(error["error_code"]), None, 1, "child")


class TestOutcomes:
    """Outcomes of the task."""

    def test_a_value(self, do: Do, shop: Shop, hand: Hand) -> None:
        handle = do(shop.add.send, 5, 3).unwrap()
        hand.end(UUID(handle.task_id), with_result(b"8"))
        assert do(handle.get).ok_value == 8

    def test_an_error_of_the_declared_class(self, do: Do, shop: Shop, hand: Hand) -> None:
        handle = do(shop.order.send, "paper").unwrap()
        hand.end(UUID(handle.task_id), with_error(shop="side", data={"a": 1}))
        error = do(handle.get).err_value
        assert isinstance(error, ShopError)
        assert (error.error_code, error.message, error.data, error.shop) == ("CLOSED", "no paper", {"a": 1}, "side")

    def test_a_code_of_the_library_comes_back_as_its_member(self, do: Do, shop: Shop, hand: Hand) -> None:
        handle = do(shop.add.send, 1).unwrap()
        hand.end(UUID(handle.task_id), with_error(error_code="WORKER_CRASHED"))
        assert do(handle.get).err_value.error_code is OperationalErrorCode.WORKER_CRASHED

    def test_expired(self, do: Do, shop: Shop, db: Session, database_url: str) -> None:
        with psycopg.connect(database_url) as session:
            now = session.execute("select now() + interval '1 minute'").fetchone()
        assert now
        handle = do(shop.add.with_options(good_until=now[0]).send, 1).unwrap()
        move_clock(db, 61)
        assert expire(db) == 1
        assert do(handle.get).err_value.error_code is OutcomeCode.TASK_EXPIRED


class TestCaching:
    """An outcome is final and cached; other results are not cached."""

    def test_an_outcome(self, do: Do, shop: Shop, db: Session, hand: Hand) -> None:
        handles = [do(shop.add.send, 1).unwrap() for _ in range(2)]
        hand.end(UUID(handles[0].task_id))
        hand.end(UUID(handles[1].task_id), failed)
        results = [do(handle.get) for handle in handles]
        db.execute("truncate horsies.history")
        assert [do(handle.get) for handle in handles] == results
        assert [do(handle.get, timeout_ms=0) for handle in handles] == results

    def test_a_time_out_is_not(self, do: Do, shop: Shop, hand: Hand) -> None:
        handle = do(shop.add.send, 1).unwrap()
        for timeout_ms in (0, -5, 30):
            error = do(handle.get, timeout_ms=timeout_ms).err_value
            assert error.error_code is RetrievalCode.WAIT_TIMEOUT
            assert handle.task_id in str(error.message)
        hand.end(UUID(handle.task_id))
        assert do(handle.get, timeout_ms=0).is_ok()

    def test_an_unknown_id_is_not(self, do: Do, shop: Shop, hand: Hand) -> None:
        handle = shop.add.handle(NOBODY)
        error = do(handle.get).err_value
        assert error.error_code is RetrievalCode.TASK_NOT_FOUND
        assert NOBODY in str(error.message)
        known = do(shop.add.send, 1).unwrap()
        hand.end(UUID(known.task_id))
        assert do(known.get).is_ok()

    def test_an_unreachable_database_is_not(self, do: Do, shop: Shop, db: Session, hand: Hand) -> None:
        handle = do(shop.add.send, 1).unwrap()
        hand.end(UUID(handle.task_id))
        db.execute("alter function horsies.task_result(uuid) rename to away")
        error = do(handle.get).err_value
        assert error.error_code is OperationalErrorCode.BROKER_ERROR
        assert "task_result" in str(error.message)
        db.execute("alter function horsies.away(uuid) rename to task_result")
        assert do(handle.get).is_ok()

    def test_an_unreachable_database_is_waited_for(self, do: Do, new_shop: NewShop) -> None:
        shop = new_shop(f"postgresql://me:{PASSWORD}@127.0.0.1:1/jobs")
        error = do(shop.add.handle(NOBODY).get, timeout_ms=400).err_value
        assert error.error_code is OperationalErrorCode.BROKER_ERROR
        assert "refused" in str(error.message)


class TestInvalidResults:
    """The row contains an invalid result."""

    def end_with(self, do: Do, shop: Shop, hand: Hand, db: Session, stored: str) -> Any:
        handle = do(shop.add.send, 1).unwrap()
        hand.end(UUID(handle.task_id))
        db.execute("update horsies.history set result = %s where id = %s", (stored, handle.task_id))
        return do(handle.get).err_value

    def test_no_json_that_can_be_read(self, do: Do, shop: Shop, hand: Hand, db: Session) -> None:
        for stored in ('"\\ud800"', "[" * 1_000 + "]" * 1_000):
            error = self.end_with(do, shop, hand, db, stored)
            assert error.error_code is OperationalErrorCode.RESULT_DESERIALIZATION_ERROR, stored[:10]
            assert error.message

    def test_no_longer_of_the_type(self, do: Do, shop: Shop, hand: Hand, db: Session) -> None:
        for stored in ('"five"', "null", "1.5", "[]", "true", '"5"', "1e999999"):
            error = self.end_with(do, shop, hand, db, stored)
            assert error.error_code is ContractCode.PYDANTIC_HYDRATION_ERROR, stored
            assert "int" in str(error.message)

    def test_an_error_that_is_none(self, do: Do, shop: Shop, hand: Hand, db: Session) -> None:
        handle = do(shop.add.send, 1).unwrap()
        hand.end(UUID(handle.task_id), failed)
        db.execute("update horsies.history set result = '5'")
        assert do(handle.get).err_value.error_code is ContractCode.PYDANTIC_HYDRATION_ERROR


class TestById:
    """Another process knows only the id."""

    def test_typed_by_the_task(self, do: Do, shop: Shop, hand: Hand) -> None:
        sent = do(shop.order.send, "paper").unwrap()
        hand.end(UUID(sent.task_id), with_error(shop="side"))
        assert isinstance(do(shop.order.handle(sent.task_id).get).err_value, ShopError)
        assert isinstance(do(shop.app.handle(sent.task_id).get).err_value, ShopError)
        assert isinstance(do(shop.app.get_result, sent.task_id, 1_000).err_value, ShopError)

    def test_plain_where_the_task_is_not_known(self, do: Do, shop: Shop, hand: Hand) -> None:
        sent = do(shop.plain.send, 1).unwrap()
        hand.end(UUID(sent.task_id), with_result(b'{"a": [1, 2.5, null]}'))
        stranger = Horsies(shop.app.config)
        assert do(stranger.get_result, sent.task_id).ok_value == {"a": [1, 2.5, None]}
        failure = do(shop.plain.send, 2).unwrap()
        hand.end(UUID(failure.task_id), with_error(shop="side"))
        error = do(stranger.get_result, failure.task_id).err_value
        assert isinstance(error, TaskError)
        assert error.model_dump()["shop"] == "side"  # the class is unknown here, but its fields are kept
        do(stranger.close)

    def test_any_spelling_of_an_id(self, shop: Shop) -> None:
        for spelled in (NOBODY.upper(), NOBODY.replace("-", ""), f"{{{NOBODY}}}"):
            assert shop.app.handle(spelled).task_id == shop.add.handle(spelled).task_id == NOBODY


def test_inside_a_running_loop(shop: Shop, hand: Hand, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "horsies")

    async def as_in_a_notebook() -> list[int]:
        handles = [shop.add.send(1).unwrap() for _ in range(3)]
        for handle in handles:
            hand.end(UUID(handle.task_id))
        return [handle.get().ok_value for handle in handles]

    handle_module._warn_that_it_blocks.cache_clear()  # the warning appears once per process
    assert asyncio.run(as_in_a_notebook()) == [1, 1, 1]
    assert asyncio.run(as_in_a_notebook()) == [1, 1, 1]
    [warning] = [record.getMessage() for record in caplog.records if record.name == "horsies"]
    assert "get_async" in warning


def test_a_very_long_time_out(do: Do, shop: Shop, hand: Hand) -> None:
    handle = do(shop.add.send, 1).unwrap()
    hand.end(UUID(handle.task_id))
    assert do(handle.get, timeout_ms=10**18).is_ok()
    assert task_id(do(shop.add.send, 1))
