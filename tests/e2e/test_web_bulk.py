"""An action on many tasks whose web server is killed in the middle of a batch, while another server takes over."""

import re
from uuid import UUID

import httpx
import pytest

from tests.support.bulk import found
from tests.support.environment import Environment
from tests.support.factories import numbered_id, send_many
from tests.support.sessions import Session, column, open_session, scalar
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

TASKS = 3500
ADVISORY = 4711
# The second batch waits here, after it has changed its tasks and before it is committed.
BARRIER = f"""
    create function horsies.wait_at_barrier() returns trigger language plpgsql as $function$
    begin
        if new.processed = 2000 then
            perform pg_advisory_xact_lock_shared({ADVISORY});
        end if;
        return new;
    end
    $function$;
    create trigger barrier before update on horsies.bulk_actions
    for each row execute function horsies.wait_at_barrier()
"""


def web(environment: Environment) -> tuple[WorkerProcess, str]:
    server = environment.worker("--port=0", "--allow-actions", command="web")
    return server, server.wait_for_log(r"web\.listening url=(\S+)")[1]


def post(url: str, **fields: str) -> httpx.URL:
    answer = httpx.post(url, data=fields, headers={"Horsies-Action": "1"}, timeout=30)
    assert answer.status_code == 303, answer.text
    return answer.url.join(answer.headers["location"])


def waits_at_barrier(session: Session) -> bool:
    asked = "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = %s"
    return bool(scalar(session, asked, ADVISORY))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["cancel", "rerun"])
def test_a_killed_server_leaves_an_action_that_another_one_finishes(environment: Environment, kind: str) -> None:
    db = environment.session
    send_many(db, TASKS, queue="bulk")
    tasks = [numbered_id(number) for number in range(TASKS)]
    if kind == "rerun":
        db.execute("select horsies.cancel_many(%s)", (tasks,))
    db.execute(BARRIER)
    server, url = web(environment)
    status = "cancelled" if kind == "rerun" else "pending"
    page = post(f"{url}/bulk/{kind}/preview", filter=f"queue:bulk status:{status}")
    bulk_id = UUID(re.sub(".*/", "", page.path))
    assert found(db, bulk_id).total == TASKS
    with open_session(environment.url) as holder:
        holder.execute("select pg_advisory_lock(%s)", (ADVISORY,))
        post(f"{url}/bulk/{kind}/{bulk_id}/start")
        wait_until(lambda: waits_at_barrier(db), 60, lambda: str(found(db, bulk_id)))
        server.kill_all()
    wait_until(lambda: not waits_at_barrier(db), 60, "the end of the batch of the killed server")
    assert found(db, bulk_id).state == "RUNNING"
    _, url = web(environment)
    wait_until(lambda: "Resume</button>" in httpx.get(f"{url}/bulk/{bulk_id}", timeout=30).text, 60, "a way to resume")
    post(f"{url}/bulk/{kind}/{bulk_id}/resume")
    wait_until(lambda: found(db, bulk_id).state == "DONE", 120, lambda: str(found(db, bulk_id)))
    after = found(db, bulk_id)
    assert (after.processed, after.changed) == (TASKS, TASKS)
    acted = column(
        db, "select subject::uuid from horsies.audit, unnest(subjects) as subject where action = %s", f"task.{kind}"
    )
    assert sorted(acted) == sorted(tasks)
    if kind == "rerun":
        assert sorted(column(db, "select rerun_of from horsies.tasks")) == sorted(tasks)
    else:
        assert scalar(db, "select count(*) from horsies.history where status = 'CANCELLED'") == TASKS
