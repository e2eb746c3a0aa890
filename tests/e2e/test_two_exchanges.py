"""Two exchanges under way: the second connection carries on while the first one's exchange has to wait."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from horsies import TaskHandle
from tests.support.scene import Scene
from tests.support.waiting import wait_until

WAITING = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@pytest.fixture
def lock(scene: Scene) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A session whose locks end with its transaction."""
    with psycopg.connect(scene.url) as session:
        yield session
        session.rollback()


def block_the_finish_of(scene: Scene, key: str, lock: psycopg.Connection[tuple[object, ...]]) -> TaskHandle[str]:
    """Run a task whose outcome can't be written until the lock goes."""
    handle = scene.send("sleep", key, 0.5)
    scene.wait_for_note(key)
    lock.execute("select from horsies.tasks where id = %s for update", (UUID(handle.task_id),))
    return handle


def waiting(scene: Scene) -> set[int]:
    return {int(row[0]) for row in scene.session.execute(WAITING)}


def test_an_exchange_that_waits_for_a_lock_holds_up_no_other_task(
    scene: Scene, lock: psycopg.Connection[tuple[object, ...]]
) -> None:
    worker = scene.ready_worker("--processes=2")
    blocked = block_the_finish_of(scene, "blocked", lock)
    wait_until(lambda: len(waiting(scene)) == 1, 20, "an exchange that waits")
    for number in range(20):
        assert scene.send("ok", f"ok-{number}").get(timeout_ms=10_000).is_ok()
    assert len(waiting(scene)) == 1
    lock.rollback()
    assert blocked.get(timeout_ms=10_000).is_ok()
    assert set(scene.counts().values()) == {1}
    assert worker.stop() == 0


@pytest.mark.parametrize("which", [0, 1])
def test_an_exchange_whose_connection_ends_beside_another_one_is_made_again(
    scene: Scene, lock: psycopg.Connection[tuple[object, ...]], which: int
) -> None:
    worker = scene.ready_worker("--processes=2")
    blocked = [block_the_finish_of(scene, "first", lock)]
    wait_until(lambda: len(waiting(scene)) == 1, 20, "an exchange that waits")
    [first] = waiting(scene)
    blocked.append(block_the_finish_of(scene, "second", lock))
    wait_until(lambda: len(waiting(scene)) == 2, 20, "another one")
    [second] = waiting(scene) - {first}
    scene.session.execute("select pg_terminate_backend(%s)", ([first, second][which],))
    wait_until(lambda: [first, second][which] not in waiting(scene), 20, "its end")
    lock.rollback()
    assert all(handle.get(timeout_ms=10_000).is_ok() for handle in blocked)
    assert scene.send("ok", "after").get(timeout_ms=10_000).is_ok()
    assert set(scene.counts().values()) == {1}
    worker.wait_for_log(r"database\.back")
    assert worker.stop() == 0
