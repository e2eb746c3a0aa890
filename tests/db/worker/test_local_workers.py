"""`local_workers`: the workers on a host whose processes the caller can see."""

from horsies.db.queries import worker as worker_queries
from tests.support.factories import DrivenWorker
from tests.support.sessions import Session, call


def test_those_of_the_same_boot_and_the_same_processes_are_found(db: Session) -> None:
    one, two = DrivenWorker(db), DrivenWorker(db)
    found = call(db, worker_queries.local_workers("boot-1", "4026531836"))
    assert {each.worker_id for each in found} == {one.id, two.id}
    assert {(each.pid, each.process_start) for each in found} == {(one.facts(1).pid, "123456")}


def test_those_of_another_boot_or_another_container_are_not(db: Session) -> None:
    DrivenWorker(db)
    assert call(db, worker_queries.local_workers("boot-2", "4026531836")) == []
    assert call(db, worker_queries.local_workers("boot-1", "1")) == []
