"""The functions of the schema change under a running worker."""

import pytest

from tests.support.environment import Environment
from tests.support.sessions import SCHEMA

FIND = """
    select p.oid::regprocedure::text, pg_get_functiondef(p.oid)
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = %s and p.proname = %s
"""


def drop(environment: Environment, function: str) -> str:
    """Drop a function of the schema; return the statement that creates it again."""
    found = environment.session.execute(FIND, (SCHEMA, function)).fetchone()
    assert found is not None
    environment.session.execute(f"drop function {found[0]}".encode())
    return found[1]


@pytest.mark.parametrize("changed", [["claim"], ["claim", "reconcile"]], ids=["claim", "reconcile too"])
def test_a_worker_whose_claim_is_gone_finishes_its_tasks_and_claims_no_others(
    environment: Environment, changed: list[str]
) -> None:
    worker = environment.ready_worker("--processes=2", TEST_HEARTBEAT_MS="1000", TEST_POLL_MS="1000")
    gate = environment.folder / "gate"
    running = environment.send("wait_again", "running", str(gate))
    environment.wait_for_note("running")
    for function in changed:
        drop(environment, function)
    environment.send("ok", "left")
    worker.wait_for_log(r"worker\.outdated .*restart this worker with the new version")
    gate.touch()
    assert running.get(timeout_ms=20_000).ok_value == "running"
    assert "left" not in environment.counts()
    assert worker.log().count("worker.outdated") == 1
    assert worker.stop() == 0


def test_a_claim_that_returns_more_columns_still_fits(environment: Environment) -> None:
    worker = environment.ready_worker()
    assert environment.send("ok", "before").get(timeout_ms=20_000).is_ok()
    drop(environment, "claim")
    environment.session.execute(WIDER.encode())
    assert environment.send("ok", "after").get(timeout_ms=30_000).is_ok()
    assert "worker.outdated" not in worker.log()
    assert worker.stop() == 0


WIDER = """
    create function horsies.claim(
        claiming_worker uuid, exchange bigint, wanted int, free int, lease_seconds double precision,
        queue_names text[], known_names text[], singly boolean default false, given_cursors json default null
    ) returns table (
        novelty text, id uuid, task_name text, args json, attempt int, timeout_ms int, queue text, capped boolean,
        root_id uuid, inputs json, trace_context json, due_in double precision, cursors json
    ) language sql as $function$
        with claimed as (
            update horsies.tasks t
            set status = 'RUNNING', worker_id = claiming_worker, exchange_no = exchange, claimed_at = now(),
                started_at = now(), attempt = t.attempt + 1
            where t.status = 'PENDING' returning t.*
        )
        select 'new', c.id, c.task_name, c.args, c.attempt, c.timeout_ms, c.queue, false, c.root_id, null::json,
               null::json, null::float8, null::json
        from claimed c
        union all
        select 'new', null, null, null, null, null, null, false, null, null, null, null, null
        where not exists (select from claimed)
    $function$
"""


def test_a_child_sends_for_the_first_time_after_an_upgrade(environment: Environment) -> None:
    worker = environment.ready_worker("--processes=2")
    assert environment.send("ok", "before").get(timeout_ms=20_000).is_ok()
    environment.session.execute("update horsies.schema_version set version = 9999, library_version = '999.0'")
    assert environment.send("sender", "outer").get(timeout_ms=20_000).ok_value == "inner said done outer:inner"
    assert worker.stop() == 0
