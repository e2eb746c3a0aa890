"""`horsies tasks`, `workers` and `doctor`: inspecting and changing a queue from a shell."""

import json
import re
from uuid import UUID

import psycopg
import pytest

from tests.support.commands import horsies, with_app
from tests.support.environment import URL_VARIABLE
from tests.support.factories import DrivenWorker, done, failed, request, send
from tests.support.sessions import SCHEMA, column, scalar
from tests.support.shell import Shell
from tests.support.terminal import Terminal

CAPPED_APP = """
import os

from horsies import AppConfig, CustomQueueConfig, Horsies, PostgresConfig, QueueMode

queues = [CustomQueueConfig(name="mail", max_concurrency=2), CustomQueueConfig(name="bulk", max_concurrency=None)]
app = Horsies(AppConfig(
    broker=PostgresConfig(schema=os.environ.get("HORSIES_TEST_SCHEMA", "horsies")),
    queue_mode=QueueMode.CUSTOM,
    custom_queues=queues,
))
"""

_LATER_PARTITIONS = "select name from horsies.history_partitions() where first_day > current_date + 1"


@pytest.fixture
def ids(shell: Shell) -> list[UUID]:
    """Create a completed, a failed, a running and a waiting task; return their ids."""
    sent = [send(shell.session, request(name="add_numbers")) for _ in range(4)]
    worker = DrivenWorker(shell.session, names=["add_numbers", "send_mail"])
    first, second, _ = worker.claim(3)
    worker.finish(done(first, b'{"sum": 8}'), failed(second))
    return sent


def test_the_list_is_a_table_of_the_latest(shell: Shell, ids: list[UUID]) -> None:
    head, *rows = shell.run("tasks", "list").stdout.splitlines()
    assert head.startswith("TASK ID   ")
    assert head.endswith("ENDED AT              RETRY COUNT  ERROR CODE  RERUNS")
    assert [row.split()[0] for row in rows] == [str(each) for each in ids[::-1]]
    assert [row.split()[2] for row in rows] == ["PENDING", "RUNNING", "FAILED", "COMPLETED"]
    assert len(shell.json("tasks", "list", "--limit=2")) == 2


def test_the_list_can_be_filtered(shell: Shell, ids: list[UUID]) -> None:
    send(shell.session, request(name="send_mail", queue="mail"))
    listed = shell.json("tasks", "list", "--status=failed", "--status=running", "--name=add_numbers", "--queue=default")
    assert [each["task_id"] for each in listed] == [str(ids[2]), str(ids[1])]
    assert shell.json("tasks", "list", "--queue=mail")[0]["task_name"] == "send_mail"


def test_the_list_takes_a_filter_beside_options(shell: Shell, ids: list[UUID]) -> None:
    (shell.folder / "shop.py").write_text(CAPPED_APP)
    send(shell.session, request(name="send_mail", queue="mail"))

    def listed(*arguments: str) -> list[str]:
        return [each["task_id"] for each in shell.json("tasks", "list", "shop:app", *arguments)]

    assert listed("status:failed status:running since:1h") == [str(ids[2]), str(ids[1])]
    assert listed("task:add_* -status:pending", "--queue=default") == [str(each) for each in ids[2::-1]]
    excluding = shell.run("tasks", "list", "shop:app", "--json", "--", "-task:add_*").stdout
    assert [each["task_name"] for each in json.loads(excluding)] == ["send_mail"]
    assert listed("queue:def*", "--since=2020-01-01") == [str(ids[1]), str(ids[0])]
    first = shell.run("tasks", "list", "shop:app", "task:add_numbers", "--limit=3")
    assert first.stderr == f"there are more tasks; to continue: --before {ids[1]}\n"
    assert listed("task:add_numbers", f"--before={ids[1]}") == [str(ids[0])]


def test_a_mistake_in_a_filter_is_marked(shell: Shell, ids: list[UUID]) -> None:
    (shell.folder / "shop.py").write_text(CAPPED_APP)
    assert ids
    wrong = shell.run("tasks", "list", "shop:app", "status:failed quue:mail", code=1).stderr.splitlines()
    assert wrong[0] == "error[HRS-206]: there is no field 'quue'"
    assert [wrong[1].strip(), wrong[2].index("^") - wrong[1].index("s")] == ["status:failed quue:mail", 14]
    assert "did you mean 'queue'?" in wrong[-1]
    both = shell.run("tasks", "list", "shop:app", "queue:mail", "--queue=mail", code=1).stderr
    assert "the filter and an option both select by 'queue'" in both
    assert "before must be the id of a task" in shell.run("tasks", "list", "shop:app", "--before=x", code=1).stderr


@pytest.mark.parametrize(
    ("options", "hint"),
    [(["--name=ad_numbers"], "; did you mean 'add_numbers'?"), (["--queue=defualt"], "; did you mean 'default'?")],
)
def test_a_filter_without_matches_gets_a_suggestion(
    shell: Shell, ids: list[UUID], options: list[str], hint: str
) -> None:
    assert ids
    assert shell.run("tasks", "list", *options).stderr == f"no such tasks{hint}\n"


def test_one_task_is_shown_with_result_and_attempts(shell: Shell, ids: list[UUID]) -> None:
    shown = shell.run("tasks", "show", ids[0]).stdout
    assert "status               COMPLETED" in shown
    assert 'result               {"sum": 8}' in shown
    assert "ATTEMPT  OUTCOME" in shown
    assert "it failed" in shell.run("tasks", "show", ids[1]).stdout
    found = json.loads(shell.run("tasks", "show", ids[1], "--json").stdout)
    assert (found["status"], found["result"]["err"]["error_code"]) == ("FAILED", "BOOM")
    assert json.loads(shell.run("tasks", "show", ids[0], "--json").stdout)["result"] == {"ok": {"sum": 8}}


def test_tasks_are_cancelled_by_their_ids(shell: Shell, ids: list[UUID]) -> None:
    assert shell.run("tasks", "cancel", ids[0], ids[2], ids[3]).stdout == "cancelled 2 of 3\n"
    assert scalar(shell.session, "select count(*) from horsies.tasks") == 0


def test_tasks_are_cancelled_by_their_name_after_a_question(shell: Shell, ids: list[UUID]) -> None:
    send(shell.session, request(name="other"))
    asked = shell.run("tasks", "cancel", "--name=add_numbers", code=1)
    assert "cancel 2 tasks? [y/N]" in asked.stderr
    assert scalar(shell.session, "select count(*) from horsies.tasks") == 3
    assert shell.run("tasks", "cancel", "--name=add_numbers", "--yes").stdout == "cancelled 2 of 2\n"
    assert scalar(shell.session, "select task_name from horsies.tasks") == "other"


def test_tasks_are_sent_again(shell: Shell, ids: list[UUID]) -> None:
    new = shell.run("tasks", "rerun", ids[0]).stdout.strip()
    assert json.loads(shell.run("tasks", "show", new, "--json").stdout)["rerun_of"] == str(ids[0])
    [again] = shell.run("tasks", "rerun", "--name=add_numbers", "--yes").stdout.split()
    assert json.loads(shell.run("tasks", "show", again, "--json").stdout)["rerun_of"] == str(ids[1])
    refused = shell.run("tasks", "rerun", ids[3], code=1).stderr
    assert refused == f"error[HRS-206]: task {ids[3]} has not ended\n  = help: wait for its end, or cancel it first\n"


def test_missing_things_are_reported(shell: Shell) -> None:
    missing = "01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e"
    for command in ("show", "cancel", "rerun"):
        assert f"there is no task {missing}" in shell.run("tasks", command, missing, code=1).stderr
        said = shell.run("tasks", command, "01931c2e-nonsense", code=1).stderr
        assert ("neither the id" in said) or ("the id of a task is a UUID" in said)  # without and with an app
        assert "Usage:" in shell.run("tasks", command, code=2).stderr
    assert shell.run("tasks", "list").stderr == "no such tasks\n"
    assert "is not one of 'pending'" in shell.run("tasks", "list", "--status=late", code=2).stderr


@pytest.mark.parametrize(
    ("command", "kind"),
    [(["tasks", "show"], "task"), (["tasks", "rerun"], "task"), (["why"], "task"), (["workflows", "cancel"], "run")],
    ids=str,
)
def test_an_id_that_is_not_a_uuid_is_refused(shell: Shell, command: list[str], kind: str) -> None:
    said = shell.run(*command, "shop:app", "order-17", code=1).stderr
    assert f"there is no {kind} 'order-17': the id of a {kind} is a UUID" in said


def test_the_database_may_be_that_of_an_app(shell: Shell, ids: list[UUID]) -> None:
    (shell.folder / "shop.py").write_text(CAPPED_APP)
    assert (
        shell.run("tasks", "show", "shop:app", ids[0]).stdout == shell.run("tasks", "show", ids[0], "shop:app").stdout
    )
    assert len(shell.json("tasks", "list", "shop:app")) == 4


def test_several_tasks_are_one_json_document(shell: Shell, ids: list[UUID]) -> None:
    assert [found["task_id"] for found in shell.json("tasks", "show", *ids[:2])] == [str(each) for each in ids[:2]]


def test_a_bar_is_shown_on_a_terminal_and_none_in_a_pipe(shell: Shell) -> None:
    for _ in range(11):
        send(shell.session)
    cancel = ["tasks", "cancel", "--name=add", "--yes"]
    terminal = Terminal([*with_app(shell.folder, cancel)], shell.folder, {URL_VARIABLE: shell.url})
    try:
        assert terminal.wait() == 0
        assert re.search(r"cancelling .*━.* 0%", terminal.seen())
        assert terminal.seen().splitlines()[-1].strip() == "cancelled 11 of 11"
    finally:
        terminal.close()
    for _ in range(11):
        send(shell.session)
    piped = shell.run(*cancel)
    assert (piped.stdout, piped.stderr) == ("cancelled 11 of 11\n", "")


def test_workers_are_listed(shell: Shell, ids: list[UUID]) -> None:
    assert ids
    shell.session.execute("update horsies.workers set clock_skew = 0.25")
    [row] = shell.run("workers").stdout.splitlines()[1:]
    assert row.split()[-1] == "0.25"
    assert row.split()[:7] == ["host-1/worker", "0.1.0", "default", "2", "1", "1", "0"]
    [found] = shell.json("workers")
    assert (found["running"], found["is_stale"], found["task_names"]) == (1, False, ["add_numbers", "send_mail"])


def test_the_doctor_finds_no_problem(shell: Shell) -> None:
    said = shell.run("doctor").stdout
    assert [line.split()[0] for line in said.splitlines()] == ["ok"] * 10
    assert "notices" in said
    assert all(finding["fix"] is None for finding in shell.json("doctor"))


def test_the_doctor_names_problems_and_fixes(shell: Shell) -> None:
    send(shell.session, request(name="nobody_has_it"))
    shell.session.execute("drop index horsies.tasks_by_name")
    for partition in column(shell.session, _LATER_PARTITIONS):
        shell.session.execute(f"drop table horsies.{partition}".encode())
    DrivenWorker(shell.session, stale_after_s=0)
    shell.session.execute("update horsies.workers set library_version = '9.9.9'")
    wrong = {str(each["look"]): each for each in shell.json("doctor", code=1) if each["fix"]}
    assert set(wrong) == {"schema", "partitions", "workers", "heartbeats", "unclaimable"}
    assert "index tasks_by_name" in str(wrong["schema"]["found"])
    assert "nobody_has_it (1 in default)" in str(wrong["unclaimable"]["found"])
    assert "9.9.9" in str(wrong["workers"]["found"])
    said = shell.run("doctor", code=1).stdout
    assert said.count("    fix: ") == 5


def test_the_doctor_knows_the_clocks_of_workers(shell: Shell) -> None:
    for ahead_s in (0.5, None, -4.0):
        DrivenWorker(shell.session).heartbeat(ahead_s)
    well = {each["look"]: each["found"] for each in shell.json("doctor")}
    assert well["clock skew"] == "workers are up to 4.0 s from the server's clock"
    for ahead_s in (3600.0, -5.5):
        DrivenWorker(shell.session).heartbeat(ahead_s)
    [wrong] = [each for each in shell.json("doctor", code=1) if each["fix"]]
    assert wrong["found"] == "host-1/worker is 3600.0 s ahead, host-1/worker is 5.5 s behind"
    assert "time service" in str(wrong["fix"])


def test_the_doctor_counts_waiting_names(shell: Shell) -> None:
    """The doctor lists the ten names with the most waiting tasks, and the number of other names."""
    shell.session.execute(
        "select horsies.enqueue(gen_random_uuid(), 'gone' || greatest(n - 1200, 0), 'default', 100, '{}', 'x', 0, null,"
        " null, null, false) from generate_series(1, 6000) as n"
    )
    [found] = [each for each in shell.json("doctor", code=1) if each["look"] == "unclaimable"]
    names = str(found["found"]).split(", ")
    assert names[0] == "gone0 (1,200 in default)"
    assert len(names) == 11
    assert names[-1] == "and 4,791 tasks under 4,791 other names"
    app = f"from horsies import *\napp = Horsies(AppConfig(broker=PostgresConfig(schema={SCHEMA!r})))\n"
    (shell.folder / "shop.py").write_text(app)
    said = shell.run("check", "shop:app", "--live", code=1).stderr
    assert said.count("error[HRS-300]") == 21
    assert "tasks wait under 4,781 other names that neither this app nor a live worker has" in said


def test_the_doctor_without_a_schema(shell: Shell, empty_database_url: str) -> None:
    ended = horsies(shell.folder, "doctor", **{URL_VARIABLE: empty_database_url})
    assert (ended.returncode, ended.stdout.splitlines()[1]) == (1, "    fix: horsies db migrate")
    with psycopg.connect(empty_database_url) as session:
        assert session.execute("select to_regnamespace('horsies')").fetchone() == (None,)


def test_queues_are_listed_paused_resumed_and_capped(shell: Shell) -> None:
    (shell.folder / "shop.py").write_text(CAPPED_APP)
    waiting = send(shell.session, request(queue="mail"))
    worker = DrivenWorker(shell.session, caps={"mail": 2, "bulk": None})
    head, bulk, mail = shell.run("queues", "list", "shop:app").stdout.splitlines()
    assert head.split() == [
        "NAME",
        "WAITING",
        "SCHEDULED",
        "CLAIMED",
        "RUNNING",
        "PAUSED",
        "MAX",
        "CONCURRENCY",
        "WORKERS",
    ]
    assert (bulk.split(), mail.split()) == (
        ["bulk", "0", "0", "0", "0", "False", "1"],
        ["mail", "1", "0", "0", "0", "False", "2", "1"],
    )
    assert shell.run("queues", "pause", "shop:app", "mail").stdout == "queue mail is paused\n"
    assert shell.run("queues", "pause", "shop:app", "mail").stdout == "queue mail was paused before\n"
    assert worker.claim() == []
    assert shell.run("why", waiting).stdout == f"{waiting}: its queue mail is paused\n"
    assert shell.run("queues", "resume", "shop:app", "mail").stdout == "queue mail is resumed\n"
    assert shell.run("queues", "cap", "shop:app", "mail", 0).stdout == "queue mail has a cap of 0\n"
    assert shell.json("queues", "list", "shop:app")[1]["max_concurrency"] == 0
    assert [each["reason"] for each in shell.json("why", waiting)] == ["queue_full"]
    assert shell.run("queues", "cap", "shop:app", "mail").stdout == "queue mail has the cap that the app declares\n"
    worker.stop()
    assert [each["max_concurrency"] for each in shell.json("queues", "list", "shop:app")] == [None, 2]
    refused = shell.run("queues", "pause", "shop:app", "mial", code=1).stderr
    assert "the app has no queue 'mial'; did you mean 'mail'?" in refused


def test_why_prints_a_sentence_for_each_task(shell: Shell, ids: list[UUID]) -> None:
    completed, failed_, running, waiting = shell.run("why", *ids).stdout.splitlines()
    assert completed.startswith(f"{ids[0]}: it ended COMPLETED at ")
    assert failed_.startswith(f"{ids[1]}: it ended FAILED with BOOM at ")
    assert running.startswith(f"{ids[2]}: running since ")
    assert waiting == f"{ids[3]}: it is due, with 0 before it in its queue; live workers that may take it: 1"
    assert "name a task by its id" in shell.run("why", "instance:app", code=2).stderr
    assert "there is no such task" in shell.run("why", ids[0], UUID(int=7), code=1).stdout
