"""`announce_ids`: records which tasks and runs are to be named in notifications."""

from tests.support.factories import numbered_id
from tests.support.sessions import Session, scalar

MOST = 20_000


def recorded(session: Session) -> str:
    return scalar(session, "select current_setting('horsies_notices.done')")


def test_ids_are_collected(db: Session) -> None:
    first, second = numbered_id(1), numbered_id(2)
    db.execute("select horsies.announce_ids('done', %s)", ([first],))
    db.execute("select horsies.announce_ids('done', null)")
    db.execute("select horsies.announce_ids('done', %s)", ([second],))
    assert recorded(db) == f" {first.hex} {second.hex}"


def test_only_so_many_are_kept(db: Session) -> None:
    ids = [numbered_id(number) for number in range(MOST + 1)]
    db.execute("select horsies.announce_ids('done', %s)", (ids,))
    assert recorded(db).split() == [each.hex for each in ids[1:]]
