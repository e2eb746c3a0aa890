"""Actions on many tasks: the preview, the confirmation, the progress, and who may do what."""

import html
import re
from uuid import UUID

import httpx
import pytest

from horsies import Horsies
from horsies.web import Right, User, horsies_web
from tests.support.bulk import control, found, preview, previewed, step
from tests.support.factories import DrivenWorker, done, ended_task, failed, request, send
from tests.support.sessions import NewSession, Session, column, row, scalar
from tests.support.waiting import wait_until
from tests.support.web import ADMIN, SAME_ORIGIN, Visitor, everybody_is, served

FORM = re.compile(r'<form method="post" action="([^"]+)">')


def previewed_by(visitor: Visitor, kind: str, wanted: str) -> str:
    """Preview an action, and return the path of its page."""
    answer = visitor.act(f"/bulk/{kind}/preview", filter=wanted)
    assert answer.status_code == 303, answer.text
    return answer.url.join(answer.headers["location"]).path


def details(visitor: Visitor, page: str) -> dict[str, object]:
    return visitor.get(f"{page}.json").json()["data"]["line"]


def forms(visitor: Visitor, page: str) -> list[str]:
    """Return the last parts of the actions that a page offers."""
    return [each.rpartition("/")[2] for each in FORM.findall(visitor.page(page))]


def act(visitor: Visitor, page: str, kind: str, change: str) -> httpx.Response:
    return visitor.act(page.replace("/bulk/", f"/bulk/{kind}/") + f"/{change}")


def failures(db: Session, count: int, **options: str) -> list[UUID]:
    tasks = [send(db, request(**options)) for _ in range(count)]
    worker = DrivenWorker(db)
    worker.finish(*(failed(fence) for fence in worker.claim(count)))
    worker.stop()
    return tasks


def test_what_a_filter_says_is_previewed_and_then_cancelled(visitor: Visitor, db: Session) -> None:
    tasks = [send(db) for _ in range(3)]
    other = send(db, request(queue="other"))
    assert "Cancel all that match…" in visitor.page("/tasks?filter=queue:default")
    page = previewed_by(visitor, "cancel", "queue:default")
    text = visitor.page(page)
    assert "Cancel 3 tasks" in text
    assert all(str(each) in text for each in tasks)
    assert "Nothing has changed yet" in text
    assert scalar(db, "select count(*) from horsies.tasks") == 4
    later = send(db)
    answer = act(visitor, page, "cancel", "start")
    assert answer.status_code == 303
    assert answer.url.join(answer.headers["location"]).path == page
    assert "3 tasks were cancelled." in html.unescape(visitor.page(page))
    assert set(column(db, "select id from horsies.tasks")) == {other, later}
    assert forms(visitor, page) == []
    assert details(visitor, page)["action"]["state"] == "DONE"
    assert db.execute("select who, action from horsies.audit order by id").fetchall() == [
        ("ada", "bulk.preview"),
        ("ada", "bulk.start"),
        ("ada", "task.cancel"),
    ]
    assert "Cancel 3 tasks" in visitor.page("/bulk")


def test_without_a_status_failed_tasks_are_sent_again(visitor: Visitor, db: Session) -> None:
    tasks = failures(db, 2)
    completed = ended_task(db)
    page = previewed_by(visitor, "rerun", "queue:default")
    assert "Rerun 2 tasks" in visitor.page(page)
    act(visitor, page, "rerun", "start")
    assert "2 tasks were sent again." in visitor.page(page)
    assert set(column(db, "select rerun_of from horsies.tasks")) == set(tasks)
    page = previewed_by(visitor, "rerun", "queue:default")
    assert details(visitor, page)["action"]["left_out"] == 2
    assert "No task matches" in visitor.page(page)
    page = previewed_by(visitor, "rerun", "queue:default status:completed")
    assert previewed(db, UUID(page.removeprefix("/bulk/"))) == [completed]


def test_tasks_that_changed_are_skipped_and_counted(visitor: Visitor, db: Session) -> None:
    started, waiting = send(db), send(db)
    page = previewed_by(visitor, "cancel", "status:pending")
    fence = DrivenWorker(db).claim_one()
    assert fence.task_id == started
    act(visitor, page, "cancel", "start")
    assert "1 task was cancelled, and 1 was skipped." in visitor.page(page)
    assert row(db, "tasks", started)["status"] == "RUNNING"
    assert row(db, "history", waiting)["status"] == "CANCELLED"


def test_two_who_confirm_send_each_task_once(app: Horsies, db: Session) -> None:
    tasks = failures(db, 5)
    page = previewed_by(Visitor(app), "rerun", "queue:default")
    for name in ("ada", "bob", "ada"):
        assert act(Visitor(app, User(name, ADMIN.rights)), page, "rerun", "start").status_code == 303
    assert sorted(column(db, "select rerun_of from horsies.tasks")) == sorted(tasks)
    assert column(db, "select who from horsies.audit where action = 'bulk.start'") == ["ada"]


def test_an_action_is_stopped_and_resumed_by_another_server(app: Horsies, db: Session) -> None:
    """The first server is one that processed a batch and then ended."""
    tasks = [send(db) for _ in range(5)]
    bulk_id = preview(db)
    control(db, bulk_id, "start")
    step(db, bulk_id, 2)
    page = f"/bulk/{bulk_id}"
    visitor = Visitor(app)
    assert forms(visitor, page) == ["stop"]
    act(visitor, page, "cancel", "stop")
    assert "It is stopped. 3 tasks are left." in visitor.page(page)
    assert forms(visitor, page) == ["resume"]
    assert act(Visitor(app), page, "cancel", "start").status_code == 303
    assert found(db, bulk_id).state == "STOPPED", "a second confirmation does not resume it"
    act(Visitor(app), page, "cancel", "resume")
    assert found(db, bulk_id).changed == len(tasks)
    assert "5 tasks were cancelled." in Visitor(app).page(page)


def test_an_action_that_nobody_works_on_can_be_resumed(app: Horsies, db: Session) -> None:
    send(db)
    bulk_id = preview(db)
    control(db, bulk_id, "start")
    db.execute("update horsies.bulk_actions set worked_at = worked_at - interval '11 s'")
    visitor, page = Visitor(app), f"/bulk/{bulk_id}"
    assert "No process has worked on it for some time" in visitor.page(page)
    assert "interrupted" in visitor.page("/bulk")
    assert forms(visitor, page) == ["stop", "resume"]
    act(visitor, page, "cancel", "resume")
    assert found(db, bulk_id).state == "DONE"


def test_an_action_waits_for_a_lock_and_goes_on_in_the_background(
    app: Horsies, db: Session, new_session: NewSession
) -> None:
    tasks = [send(db) for _ in range(3)]
    holder = new_session()
    with served(horsies_web(app, auth=everybody_is(ADMIN))) as url:
        sent = httpx.post(
            f"{url}/bulk/cancel/preview", data={"filter": "queue:default"}, headers=SAME_ORIGIN, timeout=20
        )
        page = sent.url.join(sent.headers["location"])
        bulk_id = page.path.removeprefix("/bulk/")
        with holder.transaction():
            holder.execute("select from horsies.tasks where id = %s for update", (tasks[0],))
            start = f"{url}/bulk/cancel/{bulk_id}/start"
            assert httpx.post(start, headers=SAME_ORIGIN, timeout=20).status_code == 303
            assert "It is running." in httpx.get(page, timeout=20).text
            assert scalar(db, "select count(*) from horsies.tasks") == 3
        wait_until(lambda: found(db, UUID(bulk_id)).state == "DONE", 60, lambda: found(db, UUID(bulk_id)))
        assert scalar(db, "select count(*) from horsies.history where status = 'CANCELLED'") == 3


def test_an_error_that_lasts_stops_the_action_and_is_shown(app: Horsies, db: Session) -> None:
    origins = failures(db, 2)
    visitor = Visitor(app)
    page = previewed_by(visitor, "rerun", "queue:default")
    db.execute("alter table horsies.reruns add constraint broken check (origin is null) not valid")
    act(visitor, page, "rerun", "start")
    bulk_id = UUID(page.removeprefix("/bulk/"))
    assert (found(db, bulk_id).state, found(db, bulk_id).changed) == ("STOPPED", 0)
    assert "It was stopped by an error" in visitor.page(page)
    assert scalar(db, "select count(*) from horsies.tasks") == 0
    db.execute("alter table horsies.reruns drop constraint broken")
    act(visitor, page, "rerun", "resume")
    assert sorted(column(db, "select rerun_of from horsies.tasks")) == sorted(origins)


@pytest.mark.parametrize(
    ("kind", "wanted", "status", "shown"),
    [
        ("cancel", "", 409, "a filter is required"),
        ("cancel", "stauts:pending", 400, "did you mean 'status'"),
        ("cancel", "status:failed", 409, "no tasks that can be cancelled"),
        ("rerun", "status:pending", 409, "no tasks that can be sent again"),
        ("rerun", "-status:failed", 409, "no tasks that can be sent again"),
    ],
)
def test_filters_that_select_nothing_are_refused(  # noqa: PLR0917 - fixtures
    visitor: Visitor, db: Session, kind: str, wanted: str, status: int, shown: str
) -> None:
    answer = visitor.act(f"/bulk/{kind}/preview", filter=wanted)
    assert answer.status_code == status
    assert shown in html.unescape(answer.text)
    assert column(db, "select count(*) from horsies.bulk_actions") == [0]


def test_unknown_actions_and_those_of_another_kind_are_not_found(visitor: Visitor, db: Session) -> None:
    send(db)
    bulk_id = preview(db)
    unknown = "01931c2e-5b7e-7c3a-9d0e-2f4a5b6c7d8e"
    for path in (f"/bulk/rerun/{bulk_id}/start", f"/bulk/cancel/{unknown}/start", "/bulk/cancel/x/stop"):
        assert visitor.act(path).status_code == 404
    assert visitor.get(f"/bulk/{unknown}").status_code == 404
    assert visitor.get("/bulk/x.json").status_code == 404
    assert found(db, bulk_id).state == "PREVIEW"


def test_each_kind_needs_its_right(app: Horsies, db: Session) -> None:
    send(db)
    failures(db, 1)
    canceller = Visitor(app, User("c", frozenset({Right.VIEW, Right.CANCEL})))
    page = previewed_by(canceller, "cancel", "queue:*")
    viewer = Visitor(app, User("v"))
    rerunner = Visitor(app, User("r", frozenset({Right.VIEW, Right.RERUN})))
    assert forms(canceller, page) == ["start"]
    for visitor in (viewer, rerunner):
        assert forms(visitor, page) == []
        assert act(visitor, page, "cancel", "start").status_code == 403
    assert rerunner.act("/bulk/cancel/preview", filter="queue:*").status_code == 403
    assert rerunner.act("/bulk/rerun/preview", filter="queue:*").status_code == 303
    assert "all that match" not in viewer.page("/tasks?filter=queue:*")
    assert "Rerun all that match…" in rerunner.page("/tasks?filter=queue:*")
    assert "Cancel all that match…" not in rerunner.page("/tasks?filter=queue:*")
    assert scalar(db, "select count(*) from horsies.tasks") == 1


def test_text_of_the_filter_is_escaped(visitor: Visitor, db: Session) -> None:
    hostile = '"<script>alert(1)</script>\u202e"'
    send(db, request(name=hostile.strip('"')))
    page = previewed_by(visitor, "cancel", f"task:{hostile}")
    for path in (page, "/bulk", f"/tasks?filter=task:{hostile}"):
        text = visitor.page(path)
        assert "<script>alert" not in text
        assert "\u202e" not in text


def test_a_filter_with_line_breaks_comes_back_unchanged(visitor: Visitor, db: Session) -> None:
    """Browsers turn a line break in a field into CR LF."""
    task_id = send(db, request(task_key="a\nb"))
    shown = visitor.page("/tasks?filter=key:%22a%0Ab%22")
    [(name, value)] = set(re.findall(r'type="hidden" name="(filter[^"]*)" value="([^"]+)"', shown))
    assert "\n" not in html.unescape(value)
    answer = visitor.act("/bulk/cancel/preview", **{name: html.unescape(value)})
    bulk_id = answer.headers["location"].rpartition("/")[2]
    assert previewed(db, UUID(bulk_id)) == [task_id]


def test_workers_learn_about_the_cancelled_tasks(visitor: Visitor, db: Session) -> None:
    send(db)
    worker = DrivenWorker(db)
    fence = worker.claim_one()
    page = previewed_by(visitor, "cancel", "status:running")
    act(visitor, page, "cancel", "start")
    assert worker.finish(done(fence)) == ["stale"]
