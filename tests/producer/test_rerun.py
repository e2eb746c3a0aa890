"""`app.rerun`: an ended task once more."""

from uuid import UUID

import pytest

from horsies import BrokerErrorCode, Err
from tests.producer.conftest import NewShop
from tests.producer.shop import Do, Hand, Shop
from tests.support.factories import done, failed
from tests.support.proxy import Proxy
from tests.support.sessions import Session, column

NOBODY = "01a20a74-694d-77ef-bb11-70dc4b4506ab"


def test_it_is_a_new_task_of_the_same_kind(do: Do, shop: Shop, hand: Hand) -> None:
    first = do(shop.order.with_options(priority=7).send, "paper").unwrap()
    hand.end(UUID(first.task_id), failed)
    again = do(shop.app.rerun, first.task_id).unwrap()
    assert again.task_id != first.task_id
    hand.end(UUID(again.task_id), lambda fence: done(fence, b'{"paper":1}'))
    assert do(again.get).ok_value == {"paper": 1}
    assert do(first.get).is_err()
    info = do(again.info).unwrap()
    assert info is not None
    assert (info.rerun_of, info.task_name, info.priority) == (first.task_id, "order", 7)


def test_a_live_task_is_not_run_again(do: Do, shop: Shop, hand: Hand) -> None:
    handle = do(shop.add.send, 1).unwrap()
    error = do(shop.app.rerun, handle.task_id).unwrap_err()
    assert (error.code, error.retryable) == (BrokerErrorCode.ENQUEUE_FAILED, False)
    assert "has not ended" in error.message
    hand.claim(UUID(handle.task_id))
    assert do(shop.app.rerun, handle.task_id) == Err(error)
    do(handle.cancel)
    assert do(shop.app.rerun, handle.task_id).is_ok()


def test_there_is_no_such_task(do: Do, shop: Shop) -> None:
    assert do(shop.app.rerun, NOBODY).unwrap_err().code is BrokerErrorCode.TASK_NOT_FOUND


@pytest.fixture(params=[True, False], ids=["replaying", "plain"])
def far_shop(request: pytest.FixtureRequest, new_shop: NewShop, proxy: Proxy, tcp_database_url: str) -> Shop:
    """An app behind the proxy, that replays or does not."""
    return new_shop(proxy.url(tcp_database_url), resend_on_transient_err=request.param)


def test_a_lost_answer(do: Do, far_shop: Shop, db: Session, hand: Hand, proxy: Proxy) -> None:
    handle = do(far_shop.add.send, 1).unwrap()
    hand.end(UUID(handle.task_id))
    proxy.cut_after(0, "to client")
    again = do(far_shop.app.rerun, handle.task_id)
    [made] = column(db, "select id from horsies.tasks")
    if far_shop.app.config.resend_on_transient_err:
        assert again.unwrap().task_id == str(made)
    else:
        error = again.unwrap_err()
        assert (error.code, error.retryable) == (BrokerErrorCode.ENQUEUE_FAILED, True)
