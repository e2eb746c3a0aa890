"""`horsies tasks rerun` and `cancel` for many tasks: preview, confirmation, and exactly that effect."""

import json
import re
from uuid import UUID

import pytest

from horsies.db.queries import tasks as task_queries
from tests.support.environment import URL_VARIABLE
from tests.support.factories import DrivenWorker, failed, request, send, send_many
from tests.support.sessions import Session, call, column, move_clock, scalar
from tests.support.shell import Shell
from tests.support.terminal import Terminal

RERUN = ("tasks", "rerun", "--name=charge")


def failures(session: Session, count: int, code: str = "BOOM") -> list[UUID]:
    """Create failed tasks; return their ids in the order in which they ended."""
    sent = [send(session, request(name="charge")) for _ in range(count)]
    worker = DrivenWorker(session, names=["charge"])
    for fence in worker.claim(count):
        worker.finish(failed(fence, code))
    worker.stop()
    return sent


def origins(session: Session) -> set[UUID]:
    """Return the tasks that have live reruns."""
    return set(column(session, "select rerun_of from horsies.tasks where rerun_of is not null"))


def test_a_second_bulk_rerun_repairs_only_what_is_left(shell: Shell) -> None:
    ids = failures(shell.session, 5)
    [first] = shell.run("tasks", "rerun", ids[0]).stdout.split()
    sent = shell.run(*RERUN, "--yes")
    assert "left out: 1 task that has a rerun already; --again includes it" in sent.stderr
    assert sent.stderr.splitlines()[-1] == "sent 4 of 4"
    assert len(sent.stdout.split()) == 4
    assert origins(shell.session) == set(ids)
    again = shell.run(*RERUN, "--yes")
    assert (again.stdout, again.stderr) == (
        "",
        "left out: 5 tasks that have a rerun already; --again includes them\n",
    )
    assert len(shell.run(*RERUN, "--yes", "--again").stdout.split()) == 5
    shown = json.loads(shell.run("tasks", "show", ids[0], "--json").stdout)
    assert (shown["reruns"][0], len(shown["reruns"])) == (first, 2)
    assert re.search(rf"^rerun_of +{ids[0]}$", shell.run("tasks", "show", first).stdout, re.MULTILINE)
    assert re.search(rf"^reruns +{first}, [0-9a-f-]+$", shell.run("tasks", "show", ids[0]).stdout, re.MULTILINE)


def test_the_preview_names_number_sample_and_cut_off(shell: Shell) -> None:
    ids = failures(shell.session, 7)
    asked = shell.run(*RERUN, "--limit=6", code=1)
    head, cut_off, columns, *rows, more, question = asked.stderr.splitlines()[:10]
    assert head == "to be sent again: 6 tasks (FAILED), those of 7 that ended first (see --limit)"
    assert re.fullmatch(r"cut-off: tasks that ended after \d{4}-\d\d-\d\d [\d:]{8}Z are not among them", cut_off)
    assert columns.split() == ["TASK", "ID", "TASK", "NAME", "ERROR", "CODE", "ENDED", "AT"]
    assert [row.split()[:3] for row in rows] == [[str(each), "charge", "BOOM"] for each in ids[:5]]
    assert more == "and 1 more"
    assert question.startswith("rerun 6 tasks? [y/N]: Aborted")
    assert asked.stdout == ""
    assert origins(shell.session) == set()


def test_tasks_that_others_rerun_during_the_question_are_left_out(shell: Shell) -> None:
    ids = failures(shell.session, 3)
    terminal = Terminal([*RERUN], shell.folder, {URL_VARIABLE: shell.url})
    try:
        terminal.wait_for(r"rerun 3 tasks\?")
        later = failures(shell.session, 2)
        call(shell.session, task_queries.rerun(ids[1], UUID(int=17)))
        terminal.type("y\n")
        assert terminal.wait() == 0
        assert "sent 2 of 3" in terminal.seen()
        assert "left out 1 task: sent again by somebody else since the preview" in terminal.seen()
    finally:
        terminal.close()
    assert scalar(shell.session, "select count(*) from horsies.tasks") == 3
    assert origins(shell.session) == set(ids)
    assert not origins(shell.session) & set(later)


def test_conditions(shell: Shell) -> None:
    [old] = failures(shell.session, 1)
    [boom], [bang] = failures(shell.session, 1), failures(shell.session, 1, "BANG")
    shell.session.execute("update horsies.history set finished_at = finished_at - interval '1 h' where id = %s", (old,))
    half_past = scalar(
        shell.session, "select to_char(now() at time zone 'UTC' - interval '30 min', 'YYYY-MM-DD\"T\"HH24:MI:SS')"
    )
    assert "(FAILED)" in shell.run(*RERUN, "--error-code=BANG", "--yes").stderr
    assert origins(shell.session) == {bang}
    shell.run(*RERUN, f"--since={half_past}", "--yes")
    assert origins(shell.session) == {bang, boom}
    shell.run(*RERUN, f"--until={half_past}Z", "--status=failed", "--status=expired", "--yes")
    assert origins(shell.session) == {bang, boom, old}
    assert "is not a time: write it as 2026-11-25" in shell.run(*RERUN, "--since=yesterday", code=2).stderr
    assert "tasks that are PENDING have not ended" in shell.run(*RERUN, "--status=pending", code=2).stderr
    for command in ("rerun", "cancel"):
        both = shell.run("tasks", command, old, "--name=charge", code=2).stderr
        assert "give either ids or conditions such as --name" in both
    assert "give --queue or --name" in shell.run("tasks", "cancel", code=2).stderr
    for options in ((), (f"--since={half_past}", "--yes")):
        assert "give --queue, --name or --error-code" in shell.run("tasks", "rerun", *options, code=2).stderr


def test_an_error_code_alone_is_a_condition(shell: Shell) -> None:
    ids, others = failures(shell.session, 2), failures(shell.session, 1, "BANG")
    assert shell.run("tasks", "rerun", "--error-code=BOOM", "--yes").stderr.endswith("sent 2 of 2\n")
    assert origins(shell.session) == set(ids)
    since, until = ("2000-01-01", "2000-01-02")
    said = shell.run("tasks", "rerun", "--error-code=BANG", f"--since={since}", f"--until={until}", "--yes")
    assert said.stderr == "no such tasks\n"
    said = shell.run("tasks", "rerun", "--error-code=BANG", f"--since={since}", "--yes")
    assert said.stderr.endswith("sent 1 of 1\n")
    assert origins(shell.session) == {*ids, *others}


def test_an_id_that_has_a_rerun_is_refused_unless_again(shell: Shell) -> None:
    ids = failures(shell.session, 3)
    live = send(shell.session, request(name="charge"))
    [_] = shell.run("tasks", "rerun", ids[0]).stdout.split()
    for yes in ((), ("--yes",)):
        refused = shell.run("tasks", "rerun", ids[0], *yes, code=1)
        assert refused.stdout == ""
        assert f"task {ids[0]} has a rerun already" in refused.stderr
        assert "add --again to send it once more" in refused.stderr
    several = shell.run("tasks", "rerun", ids[1], ids[0], live, UUID(int=5), ids[2], ids[1], code=1)
    assert len(several.stdout.split()) == 2
    for said in ("has a rerun already", f"task {live} has not ended", f"there is no task {UUID(int=5)}", "3 errors"):
        assert said in several.stderr
    counted = "select count(*) from horsies.reruns where origin = %s"
    assert [scalar(shell.session, counted, each) for each in ids] == [1, 1, 1]
    [_] = shell.run("tasks", "rerun", ids[0], "--again").stdout.split()
    assert scalar(shell.session, counted, ids[0]) == 2


def test_the_list_has_the_conditions_of_a_rerun_and_a_column_for_reruns(shell: Shell) -> None:
    [boom], [bang] = failures(shell.session, 1), failures(shell.session, 1, "BANG")
    send(shell.session, request(name="charge"))
    shell.run("tasks", "rerun", boom)

    def listed(*options: str) -> list[object]:
        return [each["task_id"] for each in shell.json("tasks", "list", *options)]

    assert len(listed()) == 4
    assert listed("--error-code=BANG") == [str(bang)]
    assert listed("--error-code=BANG", "--error-code=BOOM") == [str(bang), str(boom)]
    assert listed("--since=2000-01-01") == [str(bang), str(boom)]
    assert listed("--until=2000-01-01") == []
    head, *rows = shell.run("tasks", "list", "--status=failed").stdout.splitlines()
    assert head.split()[-1] == "RERUNS"
    assert [row.split()[-1] for row in rows] == ["BANG", "1"]
    assert shell.run("tasks", "list", "--error-code=BONG").stderr == "no such tasks; did you mean 'BANG'?\n"
    assert "is not a time" in shell.run("tasks", "list", "--since=yesterday", code=2).stderr


@pytest.mark.parametrize("command", ["rerun", "cancel"])
def test_a_misspelled_name_gets_a_suggestion(shell: Shell, command: str) -> None:
    """This also works without a live worker and without waiting tasks."""
    failures(shell.session, 1)
    said = shell.run("tasks", command, "--name=chagre", "--yes")
    assert (said.stdout, said.stderr) == ("", "no such tasks; did you mean 'charge'?\n")
    said = shell.run("tasks", command, "--queue=defualt", "--yes")
    assert said.stderr == "no such tasks; did you mean 'default'?\n"
    if command == "rerun":
        said = shell.run("tasks", command, "--error-code=BOMO", "--yes")
        assert said.stderr == "no such tasks; did you mean 'BOOM'?\n"


@pytest.mark.timeout(120)
def test_a_bulk_cancel_continues_until_all_are_cancelled(shell: Shell) -> None:
    send_many(shell.session, 1203)
    other = send(shell.session, request(name="other"))
    DrivenWorker(shell.session).claim(2)
    asked = shell.run("tasks", "cancel", "--name=add", code=1)
    assert "cancel 1,203 tasks? [y/N]" in asked.stderr
    assert shell.run("tasks", "cancel", "--name=add", "--yes").stdout == "cancelled 1,203 of 1,203\n"
    assert column(shell.session, "select id from horsies.tasks") == [other]


def test_a_cancel_affects_only_the_counted_tasks(shell: Shell) -> None:
    send(shell.session)
    terminal = Terminal(["tasks", "cancel", "--name=add"], shell.folder, {URL_VARIABLE: shell.url})
    try:
        terminal.wait_for(r"cancel 1 task\?")
        later = send(shell.session)
        terminal.type("y\n")
        assert terminal.wait() == 0
        assert "cancelled 1 of 1" in terminal.seen()
    finally:
        terminal.close()
    assert column(shell.session, "select id from horsies.tasks") == [later]


@pytest.mark.timeout(120)
def test_a_large_bulk_rerun_is_sent_in_batches_with_a_bar(shell: Shell) -> None:
    send_many(shell.session, 1100)
    move_clock(shell.session, 1)
    worker = DrivenWorker(shell.session)
    worker.finish(*map(failed, worker.claim(1100)))
    terminal = Terminal(
        ["tasks", "rerun", "--name=add", "--limit=1100", "--yes"], shell.folder, {URL_VARIABLE: shell.url}
    )
    try:
        assert terminal.wait() == 0
        assert re.search(r"sending .*━", terminal.seen())
        assert "sent 1,100 of 1,100" in terminal.seen()
    finally:
        terminal.close()
    assert len(origins(shell.session)) == 1100
