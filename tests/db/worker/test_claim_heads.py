"""`claim_heads`: the pairs of a name and a priority that have waiting rows, with the first due time of each."""

from tests.support.factories import DrivenWorker, request, send
from tests.support.sessions import NOON, Session, freeze_clock

type Head = tuple[str, str | None, int, float]


def heads(db: Session, names: list[str], queues: list[str] | None = None, lowest: int = 1) -> list[Head]:
    rows = db.execute("select * from horsies.claim_heads(%s::text[], %s::text[], %s)", (names, queues, lowest))
    return sorted(
        ((name, queue, level, (due - NOON).total_seconds()) for name, queue, level, due in rows),
        key=lambda head: (head[0], head[1] or "", head[2]),
    )


def fill(db: Session) -> None:
    freeze_clock(db)
    for name, queue, priority, delay in [
        ("add", "a", 5, 9),
        ("add", "b", 5, 3),
        ("add", "a", 7, 0),
        ("sub", "a", 5, 1),
        ("foreign", "a", 1, 0),
    ]:
        for more in (0, 1):
            send(db, request(name=name, queue=queue, priority=priority, delay=delay + more))


def test_each_pair_of_a_known_name_and_a_priority_has_one(db: Session) -> None:
    fill(db)
    assert heads(db, ["sub", "add", "never sent"]) == [("add", None, 5, 3), ("add", None, 7, 0), ("sub", None, 5, 1)]
    assert heads(db, ["sub", "add"], lowest=6) == [("add", None, 7, 0)]


def test_with_queues_each_triple_has_one(db: Session) -> None:
    fill(db)
    assert heads(db, ["sub", "add"], ["a"]) == [("add", "a", 5, 9), ("add", "a", 7, 0), ("sub", "a", 5, 1)]


def test_claimed_tasks_are_no_heads(db: Session) -> None:
    send(db)
    DrivenWorker(db).claim_one()
    assert heads(db, ["add"]) == []
