"""`list_grants`: the recorded grants, by role and kind."""

from horsies.db.queries import rights as rights_queries
from tests.support.sessions import Session, call


def test_at_first_nothing_is_granted(db: Session) -> None:
    assert call(db, rights_queries.list_grants()) == []


def test_grants_are_listed_by_role_and_kind(db: Session) -> None:
    db.execute(
        "insert into horsies.grants (role_name, kind)"
        " values ('postgres', 'worker'), ('a role that was dropped', 'viewer'), ('postgres', 'producer')"
    )
    assert call(db, rights_queries.list_grants()) == [
        ("a role that was dropped", "viewer", False),
        ("postgres", "producer", True),
        ("postgres", "worker", True),
    ]


def test_a_role_has_the_kinds_of_the_roles_that_it_belongs_to(db: Session) -> None:
    with db.transaction(force_rollback=True):
        db.execute("create role hrs_group; create role hrs_member in role hrs_group")
        db.execute("insert into horsies.grants (role_name, kind) values ('hrs_group', 'viewer')")
        db.execute("grant usage on schema horsies to hrs_member")
        db.execute("grant execute on function horsies.list_grants() to hrs_member")
        db.execute("set local role hrs_member")
        assert call(db, rights_queries.own_kinds()) == ["viewer"]
