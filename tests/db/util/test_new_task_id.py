"""`new_task_id`: a UUIDv7 of the given time, made by the server."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from tests.support.sessions import NOON, Session, column, scalar

IDS = "select horsies.new_task_id(%s) from generate_series(1, %s::int)"


def test_it_is_a_uuid_of_version_7_and_the_right_variant(db: Session) -> None:
    ids: list[UUID] = column(db, IDS, NOON, 300)
    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert {str(each)[19] for each in ids} == set("89ab")


def test_its_time_is_the_millisecond_of_the_given_time_and_never_a_later_one(db: Session) -> None:
    for moment in (NOON, NOON + timedelta(microseconds=999_999), datetime(1970, 1, 1, 0, 0, 0, 1_500, UTC)):
        whole = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        assert scalar(db, "select horsies.uuid_time(horsies.new_task_id(%s))", moment) == whole


def test_ids_of_one_time_differ_even_if_random_numbers_repeat(db: Session, other: Session) -> None:
    ids: list[UUID] = column(db, IDS, NOON, 20_000)
    for session in (db, other, db):
        session.execute("select setseed(0.5)")
        ids += column(session, IDS, NOON, 1_000)
    assert len(set(ids)) == 23_000


def test_all_other_bits_vary(db: Session) -> None:
    ids: list[UUID] = column(db, IDS, NOON, 300)
    ones = 0
    zeros = 0
    for each in ids:
        ones |= each.int
        zeros |= ~each.int
    fixed = (0xF << 76) | (0b11 << 62)
    varying = ((1 << 80) - 1) & ~fixed
    assert ones & zeros & varying == varying
