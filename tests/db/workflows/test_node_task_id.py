"""`node_task_id`: the ids of tasks that the database sends itself."""

from tests.support.sessions import NOON, Session, column, scalar

IDS = "select horsies.node_task_id(%s, place, %s) from unnest(%s::int[]) as place"


def test_it_is_a_version_7_of_its_time(db: Session) -> None:
    (made,) = column(db, IDS, NOON, "a run", [5])
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert scalar(db, "select horsies.uuid_time(%s)", made) == NOON


def test_ids_of_one_time_sort_by_place(db: Session) -> None:
    ids = column(db, IDS, NOON, "a run", [0, 1, 9, 10, 4095, 4096, 16_777_215])
    assert ids == sorted(set(ids))


def test_another_seed_makes_another_id(db: Session) -> None:
    assert column(db, IDS, NOON, "a run", [1]) != column(db, IDS, NOON, "another run", [1])
