"""Bulk operations of the broker object: reruns and cancellations of many tasks."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, Protocol
from uuid import UUID

import pytest

from horsies import Broker, BrokerErrorCode, Err, OutcomeCode, RerunCandidate, TaskStatus
from tests.producer.conftest import NewShop
from tests.producer.shop import Hand, Shop
from tests.support.factories import done, failed
from tests.support.proxy import Proxy
from tests.support.sessions import NotificationListener, Session, column, open_session

NOBODY = "01a20a74-694d-77ef-bb11-70dc4b4506ab"


class Await(Protocol):
    """Runs a coroutine on the test's event loop."""

    def __call__[R](self, asked: Coroutine[Any, Any, R], /) -> R: ...


@pytest.fixture
def get(db: Session) -> Iterator[Await]:
    """Yield a function that awaits on one event loop."""
    assert db
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def broker(shop: Shop) -> Broker:
    return shop.app.get_broker()


def failures(shop: Shop, hand: Hand, count: int) -> list[str]:
    """Create failed tasks; return their ids in the order in which they failed."""
    handles = [shop.add.send(number).unwrap() for number in range(count)]
    for handle in handles:
        hand.end(UUID(handle.task_id), failed)
    return [handle.task_id for handle in handles]


def test_failures_are_sent_again_once(get: Await, shop: Shop, broker: Broker, hand: Hand) -> None:
    ids = failures(shop, hand, 5)
    preview = get(broker.preview_rerun(task_name="add", limit=4)).unwrap()
    assert (preview.matching, preview.left_out) == (5, 0)
    assert preview.candidates == tuple(RerunCandidate(each, 0) for each in ids[:4])
    sent = get(broker.rerun_tasks(preview.candidates)).unwrap()
    assert [(each.task_id, each.verdict) for each in sent] == [(each, "sent") for each in ids[:4]]
    for each in sent:
        new = shop.app.handle(str(each.new_task_id)).info().unwrap()
        origin = shop.app.handle(each.task_id).info().unwrap()
        assert new is not None
        assert origin is not None
        assert (new.rerun_of, origin.reruns) == (each.task_id, (each.new_task_id,))
    again = get(broker.preview_rerun(task_name="add")).unwrap()
    assert (again.matching, again.left_out) == (1, 4)
    assert again.candidates == (RerunCandidate(ids[4], 0),)
    assert len(get(broker.preview_rerun(again=True)).unwrap().candidates) == 5


@pytest.mark.parametrize("limit", [-1, 2**31, 10**400, "5", None])
def test_a_limit_that_is_no_number_of_tasks_is_refused(get: Await, broker: Broker, limit: Any) -> None:
    for asked in (broker.preview_rerun(limit=limit), broker.list_tasks(limit=limit)):
        error = get(asked).unwrap_err()
        assert (error.code, error.retryable) == (BrokerErrorCode.MONITORING_QUERY_FAILED, False)
        assert error.message.startswith("limit must be a whole number from 0 to 2,147,483,647, got ")
        assert len(error.message) < 200


@pytest.mark.parametrize("again", [False, True], ids=["", "again"])
def test_the_second_of_two_previews_sends_nothing(
    get: Await, shop: Shop, broker: Broker, hand: Hand, *, again: bool
) -> None:
    ids = failures(shop, hand, 3)
    if again:
        assert shop.app.rerun(ids[0]).is_ok()
    previews = [get(broker.preview_rerun(again=again)).unwrap() for _ in range(2)]
    verdicts = [[each.verdict for each in get(broker.rerun_tasks(preview.candidates)).unwrap()] for preview in previews]
    assert verdicts == [["sent"] * 3, ["changed"] * 3]


def test_tasks_that_have_not_ended_are_left_out(get: Await, shop: Shop, broker: Broker) -> None:
    live = shop.add.send(1).unwrap().task_id
    outcomes = get(broker.rerun_tasks([RerunCandidate(each, 0) for each in (live, NOBODY, "five")])).unwrap()
    assert [(each.verdict, each.new_task_id) for each in outcomes] == [
        ("live", None),
        ("unknown", None),
        ("unknown", None),
    ]
    assert get(broker.rerun_tasks([])).unwrap() == []


def test_by_status_and_code(get: Await, shop: Shop, broker: Broker, hand: Hand) -> None:
    [failure] = failures(shop, hand, 1)
    cancelled = shop.add.send(1).unwrap()
    cancelled.cancel()
    by_status = get(broker.preview_rerun([TaskStatus.CANCELLED])).unwrap()
    assert [each.task_id for each in by_status.candidates] == [cancelled.task_id]
    ended = [TaskStatus.CANCELLED, TaskStatus.FAILED]
    by_code = get(broker.preview_rerun(ended, error_codes=[OutcomeCode.TASK_CANCELLED])).unwrap()
    assert [each.task_id for each in by_code.candidates] == [cancelled.task_id]
    assert [each.task_id for each in get(broker.preview_rerun(error_codes=["BOOM"])).unwrap().candidates] == [failure]


def test_a_lost_answer_is_an_error_and_the_next_preview_is_right(
    get: Await, new_shop: NewShop, hand: Hand, *, db: Session, proxy: Proxy, tcp_database_url: str
) -> None:
    shop = new_shop(proxy.url(tcp_database_url))
    broker = shop.app.get_broker()
    failures(shop, hand, 2)
    preview = get(broker.preview_rerun()).unwrap()
    proxy.cut_after(0, "to client")
    error = get(broker.rerun_tasks(preview.candidates)).unwrap_err()
    assert (error.code, error.retryable) == (BrokerErrorCode.ENQUEUE_FAILED, True)
    assert len(column(db, "select id from horsies.tasks")) == 2
    assert get(broker.preview_rerun()).unwrap().candidates == ()


def test_many_are_cancelled(get: Await, shop: Shop, broker: Broker, hand: Hand, database_url: str) -> None:
    running, waiting, other, ended = (
        task.send(argument).unwrap()
        for task, argument in ((shop.add, 1), (shop.add, 2), (shop.greet, "Ada"), (shop.add, 3))
    )
    fences = hand.worker.claim(4)
    hand.worker.finish(*(done(fence) for fence in fences if str(fence.task_id) == ended.task_id))
    hand.worker.release(*(fence for fence in fences if str(fence.task_id) == waiting.task_id))
    assert get(broker.get_live_ids(task_name="add")).unwrap() == [waiting.task_id, running.task_id]
    assert len(get(broker.get_live_ids(queue_name="default")).unwrap()) == 3
    assert get(broker.get_live_ids(queue_name="other")).unwrap() == []
    with open_session(database_url) as session:
        listener = NotificationListener(session, "cancel")
        cancelled = get(broker.cancel_tasks([running.task_id, NOBODY, "five", waiting.task_id, ended.task_id])).unwrap()
        assert {running.task_id, waiting.task_id} == set(cancelled)
        assert {UUID(running.task_id).hex, UUID(waiting.task_id).hex} <= set(listener.heard())
    assert running.get(1000).err_value.error_code is OutcomeCode.TASK_CANCELLED
    assert get(broker.get_live_ids()).unwrap() == [other.task_id]


def test_an_unreachable_database(get: Await, new_shop: NewShop, proxy: Proxy, tcp_database_url: str) -> None:
    broker = new_shop(proxy.url(tcp_database_url)).app.get_broker()
    proxy.refuse()
    answers = (
        get(broker.preview_rerun()),
        get(broker.rerun_tasks([RerunCandidate(NOBODY, 0)])),
        get(broker.get_live_ids()),
        get(broker.cancel_tasks([NOBODY])),
    )
    assert [answer.err_value.code for answer in answers if isinstance(answer, Err)] == [
        BrokerErrorCode.MONITORING_QUERY_FAILED,
        BrokerErrorCode.ENQUEUE_FAILED,
        BrokerErrorCode.MONITORING_QUERY_FAILED,
        BrokerErrorCode.CLEANUP_FAILED,
    ]
