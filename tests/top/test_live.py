"""The live view of `horsies top`: its tabs, keys, details and actions, on a real database."""

import json

import pytest

from horsies import Horsies
from tests.support import runs
from tests.support.factories import (
    DrivenWorker,
    count_of_a_worker,
    done,
    ended_task,
    failed,
    pause_queue,
    request,
    send,
)
from tests.support.proxy import Proxy
from tests.support.sessions import Session, column, scalar
from tests.support.top import Viewer, watch
from tests.support.web import open_app

HOSTILE = "[red]x[/red]\x1b]0;owned\x07\x1b[2J\u202e[@click=app.quit]y[/]"


def fail(worker: DrivenWorker, code: str = "BOOM", message: str = "no luck") -> None:
    outcome = failed(worker.claim_one(), code)
    stored = json.dumps({"error_code": code, "message": message, "data": None, "exception": None}).encode()
    worker.finish(outcome._replace(result=stored))


def status_of(db: Session, task_id: object) -> str:
    return scalar(db, "select status from horsies.task_info(%s, false)", task_id)


def audited(db: Session) -> list[tuple[str, str, list[str]]]:
    return db.execute("select who, action, subjects from horsies.audit order by id").fetchall()


def test_the_tabs_show_what_monitoring_knows(app: Horsies, db: Session) -> None:
    assert DrivenWorker(db)
    ended_task(db)
    send(db, request(name="resize_image"))
    run_id = runs.start(db, runs.node())
    send(db, request(name="lost"))

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for(
            "1 task lost in queue default cannot run", "CRITICAL", "Waiting", "WHY TASKS WAIT", "no worker"
        )
        await viewer.press("2")
        await viewer.wait_for("QUEUE", "OLDEST DUE", "default", "open")
        await viewer.press("3")
        await viewer.wait_for("resize_image", "pending", "lost", "4 tasks shown")
        await viewer.press("4")
        await viewer.wait_for("Errors are not counted yet")
        await viewer.press("5")
        await viewer.wait_for("WORKFLOW", "running", str(run_id))
        await viewer.press("6")
        await viewer.wait_for("host-1/worker", "live")

    watch(app, script)


def test_what_ended_in_minutes_that_are_not_closed_is_shown(app: Horsies, db: Session) -> None:
    count_of_a_worker(db)

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("Last hour", "UTC 5 more so far")

    watch(app, script)


def test_an_empty_database_teaches_how_to_begin(app: Horsies) -> None:
    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("No worker is alive", "Start one: horsies worker MODULE:APP")
        await viewer.press("2")
        await viewer.wait_for("There is no queue yet")
        await viewer.press("3")
        await viewer.wait_for("horsies send MODULE:APP TASK")
        await viewer.press("5")
        await viewer.wait_for("No workflow was started yet")

    watch(app, script)


def test_it_is_read_again(app: Horsies, db: Session) -> None:
    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("No task matches this filter.")
        send(db, request(name="resize_image"))
        await viewer.wait_for("resize_image")

    watch(app, script, "task:*")


def test_a_filter_is_given_and_its_mistakes_are_shown(app: Horsies, db: Session) -> None:
    send(db, request(name="resize_image"))
    send(db, request(name="send_email"))

    async def script(viewer: Viewer) -> None:
        await viewer.press("slash")
        await viewer.type("tsak:x")
        await viewer.press("enter")
        await viewer.wait_for("there is no field 'tsak'", "did you mean 'task'?", "^^^^")
        await viewer.press(*["backspace"] * 6)
        await viewer.type("task:send_*")
        await viewer.press("enter")
        text = await viewer.wait_for("Filter task:send_*", "send_email", "1 task shown")
        assert "resize_image" not in text
        assert "there is no field" not in text
        await viewer.press("slash")
        await viewer.type("x")
        await viewer.press("escape")
        await viewer.wait_for("Filter task:send_* ")

    watch(app, script)


def test_the_filter_of_the_command_line_begins_with_the_tasks(app: Horsies, db: Session) -> None:
    send(db, request(name="resize_image"))
    send(db, request(name="send_email"))

    async def script(viewer: Viewer) -> None:
        text = await viewer.wait_for("send_email", "1 task shown")
        assert "resize_image" not in text

    watch(app, script, "task:send_*")


def test_the_details_of_a_task_say_why_it_waits(app: Horsies, db: Session) -> None:
    send(db, request(name="lost"))

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("lost")
        await viewer.press("enter")
        await viewer.wait_for("Task lost", "Start a worker that has this task and serves this queue.", "Priority")
        await viewer.press("escape")
        await viewer.wait_for("1 task shown")

    watch(app, script, "task:lost")


def test_the_details_of_a_failed_task_show_its_attempts(app: Horsies, db: Session) -> None:
    worker = DrivenWorker(db)
    send(db)
    fail(worker, message="disk full")

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("failed", "BOOM")
        await viewer.press("enter")
        await viewer.wait_for("Task add", "It ended", "disk full", "ATTEMPT")

    watch(app, script, "status:failed")


def test_other_details(app: Horsies, db: Session) -> None:
    worker = DrivenWorker(db)
    send(db, request(name="add"))
    worker.claim_one()
    run_id = runs.start(db, runs.node(), runs.node(0))

    async def script(viewer: Viewer) -> None:
        await viewer.press("2")
        await viewer.wait_for("default")
        await viewer.press("enter")
        await viewer.wait_for("Queue default", "Why its tasks wait", "Tasks that fill it", "running")
        await viewer.press("5")
        await viewer.wait_for(str(run_id))
        await viewer.press("enter")
        await viewer.wait_for("Run of workflow", "NODE", "WAITS FOR")
        await viewer.press("6")
        await viewer.wait_for("host-1/worker")
        await viewer.press("enter")
        await viewer.wait_for("Worker host-1/worker", "Tasks that it holds", "Heartbeat")

    watch(app, script)


def test_a_problem_leads_to_what_shows_more(app: Horsies, db: Session) -> None:
    assert DrivenWorker(db)
    send(db, request(name="lost"))
    send(db, request(name="add"))

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("1 task lost in queue default cannot run")
        await viewer.press("down", "enter")
        text = await viewer.wait_for("status:pending queue:default task:lost", "1 task shown")
        assert "add" not in text.replace("horsies", "")

    watch(app, script)


def test_the_cursor_stays_on_its_task(app: Horsies, db: Session) -> None:
    send(db, request(name="first"))
    send(db, request(name="second"))

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("first", "second")
        await viewer.press("down")
        for number in range(3):
            send(db, request(name=f"later_{number}"))
        await viewer.wait_for("later_2", "5 tasks shown")
        await viewer.press("enter")
        await viewer.wait_for("Task first")

    watch(app, script, "status:pending")


def test_it_survives_the_loss_of_the_database(tcp_database_url: str, proxy: Proxy, db: Session) -> None:
    send(db, request(name="resize_image"))
    app = open_app(proxy.url(tcp_database_url))

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("resize_image")
        proxy.refuse()
        proxy.cut()
        text = await viewer.wait_for("The database does not answer.", "These data are", "old")
        assert "resize_image" in text
        proxy.accept()
        await viewer.wait_until_gone("The database does not answer.")
        send(db, request(name="send_email"))
        await viewer.wait_for("send_email")

    watch(app, script, "status:pending")
    app.close()


def test_it_starts_without_a_database(tcp_database_url: str, proxy: Proxy) -> None:
    proxy.refuse()
    app = open_app(proxy.url(tcp_database_url))

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("The database does not answer. Nothing was read yet.")
        proxy.accept()
        await viewer.wait_for("No worker is alive")

    watch(app, script)
    app.close()


def test_actions_are_off_by_default(app: Horsies, db: Session) -> None:
    task_id = send(db)

    async def script(viewer: Viewer) -> None:
        text = await viewer.wait_for("pending")
        assert "Cancel" not in text
        await viewer.press("c")
        await viewer.press("question_mark")
        text = await viewer.wait_for("filter the tasks")
        assert "cancel the selected task" not in text

    watch(app, script, "status:pending")
    assert status_of(db, task_id) == "PENDING"
    assert audited(db) == []


def test_a_task_is_cancelled_only_after_a_confirmation(app: Horsies, db: Session) -> None:
    task_id = send(db, request(name="resize_image"))

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("resize_image", "Cancel")
        await viewer.press("c")
        await viewer.wait_for("Cancel task resize_image", str(task_id)[:8], "It has not started, and will not start.")
        await viewer.press("enter")
        await viewer.press("n")
        await viewer.wait_until_gone("It has not started, and will not start.")
        assert status_of(db, task_id) == "PENDING"
        await viewer.press("c")
        await viewer.wait_for("It has not started, and will not start.")
        await viewer.press("y")
        await viewer.wait_for("The task is cancelled.")

    watch(app, script, "task:resize_image", enable_actions=True)
    assert status_of(db, task_id) == "CANCELLED"
    assert audited(db) == [("ada", "task.cancel", [str(task_id)])]


def test_what_was_confirmed_does_not_happen_to_a_task_that_has_changed(app: Horsies, db: Session) -> None:
    task_id = send(db)
    worker = DrivenWorker(db)

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("pending")
        await viewer.press("c")
        await viewer.wait_for("It has not started, and will not start.")
        worker.claim_one()
        await viewer.press("y")
        await viewer.wait_for("The task is running now, so nothing was done.")

    watch(app, script, "task:add", enable_actions=True)
    assert status_of(db, task_id) == "RUNNING"
    assert audited(db) == []


def test_a_failed_task_is_sent_again_once(app: Horsies, db: Session) -> None:
    worker = DrivenWorker(db)
    task_id = send(db)
    fail(worker)

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("BOOM")
        await viewer.press("c")
        await viewer.wait_for("The task has ended, so it cannot be cancelled.")
        await viewer.press("r")
        await viewer.wait_for("A new task with the same arguments is sent to queue default.")
        await viewer.press("y")
        await viewer.wait_for("The new task is")

    watch(app, script, "status:failed", enable_actions=True)
    assert [(who, action) for who, action, _ in audited(db)] == [("ada", "task.rerun")]
    assert column(db, "select rerun_of from horsies.tasks") == [task_id]


def test_a_queue_is_paused_and_resumed(app: Horsies, db: Session) -> None:
    assert DrivenWorker(db)
    send(db)

    async def script(viewer: Viewer) -> None:
        await viewer.press("2")
        await viewer.wait_for("default", "open")
        await viewer.press("p")
        await viewer.wait_for("Pause queue default in the whole cluster?", "1 waiting task now")
        await viewer.press("y")
        await viewer.wait_for("Queue default is paused.", "paused")
        await viewer.press("enter")
        await viewer.wait_for("Queue default", "Paused")
        await viewer.press("p")
        await viewer.wait_for("Resume queue default?")
        await viewer.press("y")
        await viewer.wait_for("Queue default is resumed.")

    watch(app, script, enable_actions=True)
    assert audited(db) == [("ada", "queue.pause", ["default"]), ("ada", "queue.resume", ["default"])]


def test_a_run_is_paused_resumed_and_cancelled(app: Horsies, db: Session) -> None:
    run_id = runs.start(db, runs.node(), runs.node(0))

    async def script(viewer: Viewer) -> None:
        await viewer.press("5")
        await viewer.wait_for("running")
        for key, question, effect, status in (
            ("p", "No further node starts until it is resumed", "The run is paused.", "paused"),
            ("p", "Resume run", "The run is resumed.", "running"),
            ("c", "2 nodes have not ended", "The run is cancelled.", "cancelled"),
        ):
            await viewer.press(key)
            await viewer.wait_for(question)
            await viewer.press("y")
            await viewer.wait_for(effect, status)
            await viewer.wait_until(lambda: runs.state(db, run_id).status == status.upper(), status)  # noqa: B023

    watch(app, script, enable_actions=True)
    assert [(who, action) for who, action, _ in audited(db)] == [
        ("ada", "run.pause"),
        ("ada", "run.resume"),
        ("ada", "run.cancel"),
    ]


def test_hostile_names_are_shown_and_not_obeyed(app: Horsies, db: Session) -> None:
    worker = DrivenWorker(db, queues=[HOSTILE], names=[HOSTILE])
    send(db, request(name=HOSTILE, queue=HOSTILE))
    fail(worker, HOSTILE, HOSTILE)
    send(db, request(name=HOSTILE, queue=HOSTILE))
    pause_queue(db, HOSTILE)

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("is paused, and 1 task in it wait.")
        for key in ("1", "2", "3", "5", "6"):
            await viewer.press(key)
            text = await viewer.wait_for("[red]x[/red]") if key != "5" else viewer.text()
            assert not {"\x1b", "\x07", "\u202e"} & set(text)
            assert "owned" in text or key == "5"
            await viewer.press("enter")
            text = viewer.text()
            assert not {"\x1b", "\x07", "\u202e"} & set(text)
        for key, question in (("2", "Resume queue [red]x[/red]"), ("3", "Cancel task [red]x[/red]")):
            await viewer.press(key)
            await viewer.wait_for("[red]x[/red]")
            await viewer.press("p" if key == "2" else "c")
            await viewer.wait_for(question)
            await viewer.press("n")

    watch(app, script, enable_actions=True)


@pytest.mark.parametrize("width", [60, 200])
def test_the_columns_fit_the_width(app: Horsies, db: Session, width: int) -> None:
    assert DrivenWorker(db)
    ended_task(db)
    name = "a_rather_long_name_of_a_task_" * 3
    send(db, request(name=name))

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("cannot run")
        for key, texts in (
            ("2", ("QUEUE", "WAITING", "STATE")),
            ("3", ("TASK", "STATUS", "a_rather_long")),
            ("5", ("No workflow",)),
            ("6", ("WORKER", "STATE", "live")),
        ):
            await viewer.press(key)
            text = await viewer.wait_for(*texts)
            assert ("CLOCK" in text or key != "6") is (width == 200) or key != "6"
        await viewer.resize(260 - width, 30)
        await viewer.press("6")
        await viewer.wait_until(lambda: ("CLOCK" in viewer.text()) is (width == 60), "the columns of the other width")

    watch(app, script, size=(width, 24))


def test_the_errors_of_the_last_day(app: Horsies, db: Session) -> None:
    db.execute(
        "insert into horsies.sampling (first_minute, sampled_until, errors_since) select t, t, t from horsies.now() t"
    )
    task_id = send(db)
    db.execute(
        "with g as (insert into horsies.error_groups (task_name, digest, error_code, frame, message, is_other,"
        " first_seen, last_seen, example_id) select 'add', 'd', 'BOOM', 'shop.py: add', 'disk full', false, t, t, %s"
        " from horsies.now() t returning id)"
        " insert into horsies.error_counts select 3600, date_trunc('hour', horsies.now()), g.id, '', '', 7 from g",
        (task_id,),
    )

    async def script(viewer: Viewer) -> None:
        await viewer.press("4")
        await viewer.wait_for("BOOM", "disk full", "shop.py: add", "7")
        await viewer.press("enter")
        await viewer.wait_for("Error BOOM of task add", "7 attempts in the last day", "By hour", str(task_id))

    watch(app, script)


def test_no_colours_leave_the_cursor_visible(app: Horsies, db: Session) -> None:
    worker = DrivenWorker(db)
    send(db)
    worker.finish(done(worker.claim_one()))

    async def script(viewer: Viewer) -> None:
        await viewer.wait_for("completed")
        styles = [
            segment.style
            for strip in viewer.view.screen._compositor.render_strips()
            for segment in strip
            if "add" in segment.text and segment.style is not None
        ]
        assert any(style.reverse for style in styles)

    watch(app, script, "task:add", has_colors=False)
