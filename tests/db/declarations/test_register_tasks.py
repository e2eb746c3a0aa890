"""`register_tasks`: what an app declares about its tasks; the newest registration applies."""

from dataclasses import replace

from horsies.config.retry import RetryPolicy
from horsies.db.queries.declarations import Declarations
from tests.support.declared import declaration, declare
from tests.support.factories import DrivenWorker
from tests.support.sessions import (
    NOON,
    InBackground,
    Session,
    column,
    freeze_clock,
    move_clock,
    row,
    scalar,
    wait_until_blocked,
)

CURRENT = "select task_name || ' ' || app_version || ' ' || queue from horsies.declarations where is_current order by 1"


def test_the_row_of_a_declaration(db: Session) -> None:
    freeze_clock(db)
    retry = RetryPolicy.fixed([1], auto_retry_for=["BOOM"])
    wanted = declaration(
        "mail", names=["to", "cc"], required=["to"], queue="emails", priority=7, retry=retry, timeout_ms=900
    )
    declare(db, wanted, version="2026.11")
    [found] = db.execute(
        "select digest, is_current, app_version, registered_at, queue, priority, retry_policy, timeout_ms, parameters,"
        " parameter_names, required_names, defaults from horsies.declarations where task_name = 'mail'"
    ).fetchall()
    assert found == (
        wanted.digest,
        True,
        "2026.11",
        NOON,
        "emails",
        7,
        retry.to_json(),
        900,
        wanted.parameters.encode(),
        ["to", "cc"],
        ["to"],
        b'{"cc": 2}',
    )


def test_the_newest_registration_applies(db: Session) -> None:
    declare(db, declaration("a"), declaration("b"), version="1")
    declare(db, declaration("a", queue="fast"), version="2")
    assert column(db, CURRENT) == ["a 2 fast", "b 1 default"]
    declare(db, declaration("a"), version="1 again")
    assert column(db, CURRENT) == ["a 1 again default", "b 1 default"]


def test_the_newest_registration_applies_even_if_the_clock_was_set_back(db: Session) -> None:
    freeze_clock(db)
    declare(db, declaration(queue="old"))
    move_clock(db, -3600)
    declare(db, declaration(queue="new"))
    assert column(db, CURRENT) == ["add v1 new"]


def test_registering_the_same_again_only_updates_version_and_time(db: Session) -> None:
    freeze_clock(db)
    declare(db, declaration(), version="1")
    move_clock(db, 60)
    declare(db, declaration(), version="2")
    assert scalar(db, "select registered_at - %s = '1 min' and app_version = '2' from horsies.declarations", NOON)


def test_a_worker_s_row_says_what_it_has_registered(db: Session) -> None:
    worker = DrivenWorker(db)
    tasks = [declaration("b"), declaration("a")]
    declare(db, *tasks, version="7", worker_id=worker.id)
    known = row(db, "workers", worker.id)
    assert known["app_version"] == "7"
    assert known["declared"] == [tasks[1].digest, tasks[0].digest]


def test_an_earlier_version_is_kept_while_a_worker_has_it(db: Session) -> None:
    worker = DrivenWorker(db)
    declare(db, declaration(), version="1", worker_id=worker.id)
    declare(db, declaration(queue="fast"), version="2")
    versions = "select app_version from horsies.declarations order by 1"
    assert column(db, versions) == ["1", "2"]
    worker.stop()
    declare(db, declaration(queue="fast"), version="2")
    assert column(db, versions) == ["2"]


def test_a_task_stays_registered_when_its_worker_stops(db: Session) -> None:
    worker = DrivenWorker(db)
    declare(db, declaration(), worker_id=worker.id)
    worker.stop()
    declare(db, declaration("other"))
    assert column(db, CURRENT) == ["add v1 default", "other v1 default"]


def test_an_app_without_a_version_gets_a_hash_of_its_declarations(db: Session) -> None:
    declare(db, declaration(), version=None)
    first = scalar(db, "select app_version from horsies.declarations")
    assert first == Declarations(None, [declaration()]).version
    declare(db, declaration(queue="fast"), version=None)
    assert scalar(db, "select app_version from horsies.declarations where is_current") not in {first, ""}


def test_a_schema_that_contains_nul_is_stored(db: Session) -> None:
    nul = replace(declaration(), parameters=r'{"description":"\u0000"}', defaults=r'{"b":"\u0000"}')
    declare(db, nul)
    assert scalar(db, "select defaults from horsies.declarations") == rb'{"b":"\u0000"}'


def test_two_apps_that_register_at_once_wait_for_each_other(
    db: Session, other: Session, in_background: InBackground
) -> None:
    with db.transaction():
        declare(db, declaration("a"), declaration("b"), version="1")
        second = in_background(lambda: declare(other, declaration("b", queue="q"), declaration("a"), version="2"))
        wait_until_blocked(db, other)
    second.result(10)
    assert column(db, CURRENT) == ["a 2 default", "b 2 q"]


def test_it_works_after_the_rows_of_locks_were_deleted(db: Session) -> None:
    db.execute("truncate horsies.locks")
    declare(db, declaration())
    assert column(db, CURRENT) == ["add v1 default"]
