"""The page of schedules: due times and runs in the calendar, lateness, overlap, changes of the clocks, and actions."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from horsies import (
    AppConfig,
    CronSchedule,
    DailySchedule,
    Horsies,
    HourlySchedule,
    IntervalSchedule,
    PostgresConfig,
    ScheduleConfig,
    SchedulePattern,
    TaskError,
    TaskResult,
    TaskSchedule,
)
from horsies.db.queries import schedules as schedule_queries
from horsies.scheduler.plan import plan_schedules
from horsies.scheduler.rounds import run_round
from horsies.web import User
from horsies.web.schedule_times import clock_note, due_times, in_zone
from tests.support.factories import DrivenWorker, define, done
from tests.support.sessions import Session, call, column, scalar
from tests.support.web import Visitor

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)
SCHEDULES = (
    TaskSchedule(name="hourly", task_name="add", pattern=HourlySchedule(minute=0)),
    TaskSchedule(name="often", task_name="add", pattern=IntervalSchedule(seconds=10)),
    TaskSchedule(name="nightly", task_name="add", pattern=DailySchedule(time=time(2, 30)), timezone="Europe/Berlin"),
)


@pytest.fixture
def app(database_url: str) -> Iterator[Horsies]:
    """Yield an app with schedules."""
    config = PostgresConfig(database_url=database_url, auto_migrate=False)
    opened = Horsies(AppConfig(broker=config, schedule=ScheduleConfig(schedules=SCHEDULES)))

    @opened.task("add")
    def add() -> TaskResult[int, TaskError]:
        return TaskResult(ok=1)

    assert add
    yield opened
    opened.close()


def register(app: Horsies, db: Session) -> None:
    """Run a round of a scheduler, which registers the schedules of the app and sends what is due."""
    plans = plan_schedules(app.config, app.registry)
    steps = run_round(plans.plans, plans.payload)
    groups = next(steps)
    with suppress(StopIteration):
        while True:
            groups = steps.send([[call(db, each) for each in group] for group in groups])


def set_due(db: Session, name: str, due: datetime) -> None:
    db.execute("update horsies.schedules set next_run_at = %s where name = %s", (due, name))


def data(visitor: Visitor, query: str = "") -> dict[str, dict[str, object]]:
    found = visitor.get(f"/schedules.json{query}").json()["data"]
    return {each["status"]["name"]: each for each in found["schedules"]} | {"chosen": found["chosen"]}


def test_without_schedules_the_page_teaches(visitor: Visitor, database_url: str) -> None:
    assert "no scheduler has registered them yet" in visitor.page("/schedules")
    other = Horsies(AppConfig(broker=PostgresConfig(database_url=database_url, auto_migrate=False)))
    assert "ScheduleConfig(schedules=" in Visitor(other).page("/schedules")
    other.close()


def test_next_and_past_runs(visitor: Visitor, app: Horsies, db: Session) -> None:
    register(app, db)
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 2 * HOUR
    set_due(db, "hourly", due)
    register(app, db)  # only the latest missed time runs
    worker = DrivenWorker(db)
    worker.finish(done(worker.claim_one()))
    text = visitor.page("/schedules?schedule=hourly&view=day")
    last = scalar(db, "select last_run_at from horsies.schedules where name = 'hourly'")
    assert last > due
    ran = schedule_queries.due_id("hourly", last)
    assert column(db, "select id from horsies.history") == [ran]
    assert f"./tasks/{ran}" in text
    found = data(visitor, "?schedule=hourly")
    runs = found["hourly"]["runs"]
    assert [(each["task_id"], each["status"]) for each in runs] == [(str(ran), "COMPLETED")]
    assert runs[0]["late_s"] >= 0
    marks = found["hourly"]["lane"]["marks"]
    assert marks[0]["kind"] == "completed"
    assert {each["kind"] for each in marks[1:]} == {"due"}
    assert len(marks) >= 18
    assert found["often"]["lane"]["is_dense"]
    times = [datetime.fromisoformat(each) for each, _ in found["chosen"]["upcoming"]]
    assert len(times) == 10
    assert {later - earlier for earlier, later in pairwise(times)} == {HOUR}
    assert len(data(visitor, "?view=week")["nightly"]["lane"]["marks"]) >= 4


def test_the_task_of_a_schedule_names_it(visitor: Visitor, app: Horsies, db: Session) -> None:
    register(app, db)
    set_due(
        db, "often", scalar(db, "select next_run_at - interval '1 day' from horsies.schedules where name = 'often'")
    )
    register(app, db)
    [task_id] = column(db, "select id from horsies.tasks")
    db.execute("update horsies.schedules set last_task_id = null")
    assert 'schedules?schedule=often"' in visitor.page(f"/tasks/{task_id}")


def test_a_late_schedule(visitor: Visitor, app: Horsies, db: Session) -> None:
    register(app, db)
    set_due(db, "hourly", datetime.now(UTC) - timedelta(minutes=5))
    text = visitor.page("/schedules?schedule=hourly")
    assert "It is late" in text
    assert "horsies scheduler" in text
    call(db, schedule_queries.schedule_pause("hourly", paused=True))
    text = Visitor(app).page("/schedules?schedule=hourly")
    assert "It is late" not in text
    assert "skipped while it is paused" in text


def test_runs_that_overlap(visitor: Visitor, app: Horsies, db: Session) -> None:
    register(app, db)
    set_due(db, "often", scalar(db, "select next_run_at - interval '20 s' from horsies.schedules where name = 'often'"))
    register(app, db)
    assert "overlap" not in visitor.page("/schedules")
    visitor.act("/schedules/run", schedule="often")
    assert scalar(db, "select count(*) from horsies.tasks") == 2
    assert "2 of its runs have not ended, so they overlap." in visitor.page("/schedules")


def test_a_schedule_of_another_app_has_only_its_next_time(visitor: Visitor, db: Session) -> None:
    define(db, "other", due=datetime.now(UTC) + HOUR)
    text = visitor.page("/schedules?schedule=other")
    assert "only the next due time is known" in text
    assert len(data(visitor)["other"]["lane"]["marks"]) == 1
    assert "There is no schedule of this name" in visitor.page("/schedules?schedule=unknown")


def test_actions(visitor: Visitor, app: Horsies, db: Session) -> None:
    register(app, db)
    page = "/schedules?schedule=nightly"
    assert "Run now" in visitor.page(page)
    assert "Pause" in visitor.page(page)
    assert visitor.act("/schedules/pause", schedule="nightly").headers["location"] == "../schedules?schedule=nightly"
    assert "Resume" in visitor.page(page)
    visitor.act("/schedules/resume", schedule="nightly")
    assert scalar(db, "select paused from horsies.schedules where name = 'nightly'") is False
    answer = visitor.act("/schedules/run", schedule="nightly")
    [task_id] = column(db, "select id::text from horsies.tasks")
    assert answer.headers["location"] == f"../tasks/{task_id}"
    assert f"./tasks/{task_id}" in visitor.page(page)
    actions = db.execute("select who, action from horsies.audit order by id").fetchall()
    assert actions == [("ada", each) for each in ("schedule.pause", "schedule.resume", "schedule.run")]
    assert 'method="post"' not in Visitor(app, User("v")).page(page)


@pytest.mark.parametrize("action", ["run", "pause", "resume"])
def test_actions_on_no_schedule_change_nothing(visitor: Visitor, db: Session, action: str) -> None:
    assert visitor.act(f"/schedules/{action}", schedule="unknown").status_code == 409
    assert visitor.act(f"/schedules/{action}").status_code == 400
    assert column(db, "select id from horsies.audit") == []


@pytest.mark.parametrize("query", ["view=month", "schedule=a&schedule=b", "x=1"])
def test_wrong_parameters(visitor: Visitor, query: str) -> None:
    assert visitor.get(f"/schedules?{query}").status_code == 400


SPRING, AUTUMN = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("pattern", "now", "words"),
    [
        (
            DailySchedule(time=time(2, 30)),
            SPRING,
            "2026-03-29 the clocks skip 02:00 to 03:00: the run of 02:30 is at 03:00",
        ),
        (CronSchedule("0,20 2 * * *"), SPRING, "the runs of 02:00, 02:20 are at 03:00 instead"),
        (HourlySchedule(minute=15), SPRING, "there is no run in this time"),
        (
            DailySchedule(time=time(2, 30)),
            AUTUMN,
            "02:00 to 03:00 occurs twice: the run of 02:30 is at the first of the two",
        ),
        (HourlySchedule(minute=15), AUTUMN, "it runs both times"),
        (DailySchedule(time=time(3)), SPRING, None),
        (DailySchedule(time=time(1, 59)), AUTUMN, None),
        (CronSchedule("30 2 * * mon"), SPRING, None),
        (IntervalSchedule(hours=1), SPRING, None),
    ],
)
def test_changes_of_the_clocks(pattern: SchedulePattern, now: datetime, words: str | None) -> None:
    note = clock_note(pattern, BERLIN, now)
    assert (note is None) is (words is None)
    assert words is None or (note is not None and words in note)
    assert clock_note(pattern, ZoneInfo("UTC"), now) is None


def test_what_is_said_about_the_clocks_is_what_the_pattern_does() -> None:
    daily, hourly = DailySchedule(time=time(2, 30)), HourlySchedule(minute=15)
    gap = datetime(2026, 3, 29, tzinfo=UTC)
    twice = datetime(2026, 10, 25, tzinfo=UTC)
    assert due_times(daily, BERLIN, gap, gap, gap + 3 * HOUR, 9).times == (gap + HOUR,)
    assert due_times(daily, BERLIN, twice, twice, twice + 3 * HOUR, 9).times == (twice + HOUR / 2,)
    assert len(due_times(hourly, BERLIN, twice, twice, twice + 3 * HOUR, 9).times) == 3


@pytest.mark.parametrize("known_after", [-5, 0, 7, 100])
def test_due_times_of_an_interval_do_not_depend_on_the_known_one(known_after: int) -> None:
    pattern = IntervalSchedule(minutes=25)
    first = datetime(2026, 1, 1, tzinfo=UTC)
    known = first + timedelta(minutes=10) + known_after * pattern.interval
    found = due_times(pattern, BERLIN, known, first, first + HOUR, 9)
    assert found.times == (first + timedelta(minutes=10), first + timedelta(minutes=35))
    assert not found.is_cut
    assert due_times(pattern, BERLIN, known, first, first + 9 * HOUR, 9).is_cut


def test_due_times_include_the_begin_and_exclude_the_end() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    found = due_times(HourlySchedule(minute=0), BERLIN, first, first, first + 2 * HOUR, 9)
    assert found.times == (first, first + HOUR)


def test_due_times_have_seconds_if_one_of_them_does() -> None:
    times = [datetime(2026, 11, 29, 23, 59, 30 * number, tzinfo=UTC) for number in range(2)]
    assert in_zone(times, BERLIN) == ("Mon 2026-11-30 00:59:00 CET", "Mon 2026-11-30 00:59:30 CET")
    assert in_zone(times[:1], BERLIN) == ("Mon 2026-11-30 00:59 CET",)
    assert in_zone((), BERLIN) == ()
