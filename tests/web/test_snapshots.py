"""Answers of the database that viewers share."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from horsies import BrokerErrorCode, Err, Ok
from horsies.producer.handle import BrokerOperationError, BrokerResult
from horsies.web import snapshots as module
from horsies.web.snapshots import NoAnswerError, Snapshots

AWAY = Err(BrokerOperationError(BrokerErrorCode.MONITORING_QUERY_FAILED, "away", retryable=True))


@dataclass
class Heavy:
    """An answer that says how large it is."""

    weight: int


@dataclass
class Database:
    """Answers with the number of the question, or with an error while it is away."""

    is_away: bool = False
    questions: int = 0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self) -> BrokerResult[int]:
        self.questions += 1
        number = self.questions
        await self.may_answer.wait()
        return AWAY if self.is_away else Ok(number)


def run(test: Callable[[Snapshots, Database], Awaitable[None]]) -> None:
    async def main() -> None:
        database = Database()
        database.may_answer.set()
        await test(Snapshots(), database)

    asyncio.run(main())


def test_concurrent_viewers_ask_once() -> None:
    async def test(snapshots: Snapshots, database: Database) -> None:
        database.may_answer.clear()
        asked = [asyncio.create_task(snapshots.get(("a",), database.ask, 0)) for _ in range(20)]
        await asyncio.sleep(0)
        asked[0].cancel()
        database.may_answer.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert {each.value for each in found[1:] if not isinstance(each, BaseException)} == {1}
        assert database.questions == 1

    run(test)


def test_answers_are_forgotten_when_nobody_has_asked_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(snapshots: Snapshots, database: Database) -> None:
        answer = weakref.ref((await snapshots.get(("a",), large, 1)).value)
        assert answer() is not None
        monkeypatch.setattr(module, "_KEPT_FOR_S", 0.0)
        await snapshots.get(("b",), database.ask, 1)
        gc.collect()
        assert answer() is None

    async def large() -> BrokerResult[Database]:
        return Ok(Database())

    run(test)


def test_few_tasks_are_kept() -> None:
    async def test(snapshots: Snapshots, database: Database) -> None:
        for number in range(30):
            await snapshots.get(("task", number), database.ask, 3600)
            await snapshots.get(("other", number), database.ask, 3600)
        assert database.questions == 60
        await snapshots.get(("task", 29), database.ask, 3600)
        await snapshots.get(("other", 0), database.ask, 3600)
        assert database.questions == 60
        await snapshots.get(("task", 0), database.ask, 3600)
        assert database.questions == 61

    run(test)


def test_large_answers_are_kept_up_to_a_weight() -> None:
    async def test(snapshots: Snapshots, _database: Database) -> None:
        async def ask() -> BrokerResult[Heavy]:
            return Ok(Heavy(10_000))

        kept = [weakref.ref((await snapshots.get(("run nodes", number), ask, 3600)).value) for number in range(5)]
        await snapshots.get(("other",), ask, 3600)
        gc.collect()
        assert [answer() is not None for answer in kept] == [False, False, False, True, True]

    run(test)


def test_the_latest_large_answer_is_kept_however_large_it_is() -> None:
    async def test(snapshots: Snapshots, database: Database) -> None:
        async def ask() -> BrokerResult[Heavy]:
            database.questions += 1
            return Ok(Heavy(10**6))

        for _ in range(3):
            await snapshots.get(("run nodes", 1), ask, 3600)
        assert database.questions == 1

    run(test)


def test_an_answer_is_used_until_it_is_too_old() -> None:
    async def test(snapshots: Snapshots, database: Database) -> None:
        for _ in range(3):
            assert (await snapshots.get(("a",), database.ask, 3600)).value == 1
        assert (await snapshots.get(("a",), database.ask, 0)).value == 2
        assert (await snapshots.get(("b",), database.ask, 3600)).value == 3

    run(test)


def test_the_latest_answer_is_used_while_the_database_is_away() -> None:
    async def test(snapshots: Snapshots, database: Database) -> None:
        assert (await snapshots.get(("a",), database.ask, 0)).is_current
        database.is_away = True
        found = await snapshots.get(("a",), database.ask, 0)
        assert (found.value, found.is_current) == (1, False)
        database.is_away = False
        assert (await snapshots.get(("a",), database.ask, 0)).is_current

    run(test)


def test_an_exception_makes_the_earlier_answer_outdated_for_all_viewers() -> None:
    async def fail() -> BrokerResult[int]:
        raise OverflowError

    async def test(snapshots: Snapshots, database: Database) -> None:
        await snapshots.get(("a",), database.ask, 0)
        with pytest.raises(OverflowError):
            await snapshots.get(("a",), fail, 0)
        found = await snapshots.get(("a",), fail, 3600)
        assert (found.value, found.is_current) == (1, False)
        assert (await snapshots.get(("a",), database.ask, 0)).is_current

    run(test)


def test_after_an_exception_without_any_answer_there_is_an_error() -> None:
    async def fail() -> BrokerResult[int]:
        raise OverflowError

    async def test(snapshots: Snapshots, _database: Database) -> None:
        with pytest.raises(OverflowError):
            await snapshots.get(("a",), fail, 3600)
        with pytest.raises(NoAnswerError) as caught:
            await snapshots.get(("a",), fail, 3600)
        assert caught.value.error is None

    run(test)


def test_without_any_answer_there_is_an_error() -> None:
    async def test(snapshots: Snapshots, database: Database) -> None:
        database.is_away = True
        with pytest.raises(NoAnswerError):
            await snapshots.get(("a",), database.ask)

    run(test)


def test_the_number_of_kept_answers_is_bounded() -> None:
    async def test(snapshots: Snapshots, database: Database) -> None:
        for number in range(1200):
            await snapshots.get(("a", number), database.ask, 3600)
        assert len(snapshots._entries) <= 500

    run(test)
