"""`limit_rooms`: how many more tasks fit into queues and into the cluster."""

import pytest

from tests.support.factories import DrivenWorker, request, send
from tests.support.sessions import Session


def rooms(
    db: Session, names: str, limits: dict[str, int], cluster: int | None = None, free: int = 1
) -> tuple[dict[str, int | None], int | None]:
    [(usable, found, cluster_room)] = db.execute(
        "select * from horsies.limit_rooms(%s::text[], %s::text[], %s::int[], %s::int, %s)",
        (list(names), list(limits), list(limits.values()), cluster, free),
    ).fetchall()
    return dict(zip(usable, found or [], strict=True)), cluster_room


@pytest.mark.parametrize(
    ("limits", "cluster", "free", "expected"),
    [
        ({}, None, 1, ({"a": None, "b": None, "c": None}, None)),
        ({"a": 3, "b": 1, "z": 0}, None, 1, ({"a": 1, "c": None}, None)),
        ({"a": 3, "b": 2}, None, 0, ({"c": None}, None)),
        ({"a": 9}, 5, 1, ({"a": 2, "b": 2, "c": 2}, 2)),
        ({}, 3, 1, ({}, 0)),
    ],
)
def test_claimed_tasks_take_room(
    db: Session,
    limits: dict[str, int],
    cluster: int | None,
    free: int,
    expected: tuple[dict[str, int | None], int | None],
) -> None:
    for queue in "aab":
        send(db, request(queue=queue))
    assert len(DrivenWorker(db, queues="ab").claim(3)) == 3
    assert rooms(db, "abc", limits, cluster, free) == expected
