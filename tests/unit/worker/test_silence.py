"""Which workers are silent, by the clock of the process that watches them."""

from uuid import UUID, uuid4

from horsies.db.queries.worker import WorkerBeats
from horsies.worker.silence import SilenceObserver

FIRST, SECOND = uuid4(), uuid4()


def watch(observer: SilenceObserver, at: float, **beats: int) -> None:
    """One look, which takes a second."""
    known = {"first": (FIRST, 10.0), "second": (SECOND, 100.0)}
    workers = [WorkerBeats(known[name][0], number, known[name][1]) for name, number in beats.items()]
    observer.observe(workers, at, at + 1)


def dead(observer: SilenceObserver) -> list[UUID]:
    return [each.worker_id for each in observer.dead()]


def test_nobody_is_dead_at_first_sight() -> None:
    observer = SilenceObserver()
    assert dead(observer) == []
    watch(observer, 1_000_000, first=7, second=7)
    assert (dead(observer), observer.silent_for(1)) == ([], [])


def test_a_worker_is_dead_when_its_number_has_not_changed_for_its_threshold() -> None:
    observer = SilenceObserver()
    watch(observer, 0, first=7, second=7)
    watch(observer, 10.9, first=7, second=7)
    assert (dead(observer), observer.silent_for(9.9)) == ([], [FIRST, SECOND])
    watch(observer, 11, first=7, second=7)
    assert dead(observer) == [FIRST]
    watch(observer, 101, first=7, second=7)
    assert dead(observer) == [FIRST, SECOND]


def test_a_heartbeat_begins_the_silence_again() -> None:
    observer = SilenceObserver()
    watch(observer, 0, first=7)
    watch(observer, 10, first=8)
    watch(observer, 20, first=8)
    assert dead(observer) == []
    watch(observer, 21, first=8)
    assert dead(observer) == [FIRST]


def test_a_number_that_went_back_is_a_sign_of_life() -> None:
    observer = SilenceObserver()
    watch(observer, 0, first=7)
    watch(observer, 20, first=0)
    assert dead(observer) == []


def test_a_worker_that_is_gone_is_forgotten() -> None:
    observer = SilenceObserver()
    watch(observer, 0, first=7, second=7)
    watch(observer, 20, second=7)
    watch(observer, 40, first=7, second=7)
    assert dead(observer) == []
