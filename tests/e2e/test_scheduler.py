"""Scheduler processes: each due time sends one task, and another scheduler takes over at once."""

import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from horsies.db.migrate import migrate
from horsies.db.queries import schedules as schedule_queries
from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE
from tests.support.factories import schedule_state
from tests.support.server import free_port, own_server
from tests.support.sessions import SCHEMA, Session, call, column, freeze_clock, move_clock, open_session, scalar
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess

APP = Path(__file__).with_name("scheduled.py")
START = datetime(2025, 3, 25, 23, 1, 2, tzinfo=UTC)  # five days before clocks are put forward in Berlin
CATCHING_UP = ("hourly", "often", "interval")
TAKEN_OVER_WITHIN_S = 5


class Stage:
    """A database with a clock that tests move, and schedulers on it."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.url = url
        self._stack = stack
        shutil.copy(APP, folder)
        self.session: Session = stack.enter_context(open_session(url))
        freeze_clock(self.session, START)

    def start(self, *args: str, **env: str) -> WorkerProcess:
        """Start a scheduler without waiting for it."""
        process = WorkerProcess(
            [*(args or ("scheduler",)), "scheduled:app"], self.folder, {URL_VARIABLE: self.url, **env}
        )
        self._stack.callback(process.assert_gone)
        self._stack.callback(process.kill_all)
        return process

    def leader(self, **env: str) -> WorkerProcess:
        """Start a scheduler and wait until it leads and has registered all schedules."""
        process = self.start(**env)
        process.wait_for_log("scheduler.lead_acquired schedules=hourly,interval,nightly,off,often")
        wait_until(lambda: len(self.next_runs()) == 5, describe=process.log)
        return process

    def now(self) -> datetime:
        return scalar(self.session, "select horsies.now()")

    def next_runs(self) -> dict[str, datetime | None]:
        _, states = call(self.session, schedule_queries.schedule_states())
        return {name: state.next_run_at for name, state in states.items()}

    def wait_until_nothing_is_due(self, timeout: float = 60) -> None:
        def is_done() -> bool:
            now = self.now()
            return all(due is None or due > now for due in self.next_runs().values())

        wait_until(is_done, timeout, lambda: f"{self.next_runs()} to be later than {self.now()}")

    def tasks(self, name: str) -> list[datetime]:
        """Return the due times, in order, of the tasks that a schedule has sent, from their ids."""
        ids = "select horsies.uuid_time(id) from horsies.tasks where args->>'key' = %s order by id"
        return column(self.session, ids, name[0])


@pytest.fixture
def stage(database_url: str, tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(database_url, tmp_path, stack)


def every(step: timedelta, first: datetime, until: datetime) -> list[datetime]:
    return [first + n * step for n in range(int((until - first) / step) + 1)]


@pytest.mark.timeout(300)
def test_ten_days_of_schedulers_that_are_killed_and_stopped_at_random(stage: Stage) -> None:
    pick = random.Random(7)  # noqa: S311 - a choice of faults
    schedulers = [stage.leader(), stage.start()]
    misfortunes = ["SIGKILL"] * 5 + ["SIGTERM"] * 3 + ["SIGSTOP"] * 2
    pick.shuffle(misfortunes)
    stopped: list[WorkerProcess] = []
    while stage.now() < START + timedelta(days=10):
        move_clock(stage.session, pick.randrange(60, 8 * 3600))
        if pick.random() < 0.3 and misfortunes:
            victim = schedulers.pop(pick.randrange(2))
            victim.signal(signal.Signals[misfortunes.pop()])
            stopped.append(victim)
            schedulers.append(stage.start())
        if pick.random() < 0.4:
            stage.wait_until_nothing_is_due()
    for process in stopped:
        process.signal(signal.SIGCONT)  # it resumes late, when others lead its schedules
    stage.wait_until_nothing_is_due()
    now = stage.now()
    assert stage.tasks("hourly") == every(timedelta(hours=1), START.replace(hour=23, minute=5, second=0), now)
    assert stage.tasks("often") == every(timedelta(minutes=10), START.replace(hour=23, minute=10, second=0), now)
    assert stage.tasks("interval") == every(timedelta(hours=7), START + timedelta(hours=7), now)
    nights = stage.tasks("nightly")
    assert len(nights) == len(set(nights)) >= 9
    assert {(night.astimezone(UTC).day, night.astimezone(UTC).hour) for night in nights} <= {
        *((day, 1) for day in range(26, 31)),
        *((day, 0) for day in (31, 1, 2, 3, 4, 5)),
    }
    for name in CATCHING_UP:
        assert schedule_state(stage.session, name).run_count == len(stage.tasks(name))
    assert scalar(stage.session, "select count(*) from horsies.tasks where args->>'key' = 'x'") == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_another_one_takes_over_within_five_seconds(stage: Stage, how: signal.Signals) -> None:
    leader = stage.leader()
    heir = stage.start()
    heir.wait_for_log("scheduler.ready")
    leader.signal(how)
    since = time.monotonic()
    move_clock(stage.session, 3600)
    stage.wait_until_nothing_is_due(TAKEN_OVER_WITHIN_S)
    assert time.monotonic() - since < TAKEN_OVER_WITHIN_S
    heir.wait_for_log("scheduler.lead_acquired")
    if how is signal.SIGSTOP:
        leader.signal(signal.SIGCONT)
        leader.wait_for_log("scheduler.lead_lost")
    assert len(stage.tasks("hourly")) == 1


def test_missed_due_times_are_caught_up_as_each_schedule_says(stage: Stage) -> None:
    assert stage.leader().stop() == 0
    move_clock(stage.session, 3 * 86_400)
    late = stage.start()
    stage.wait_until_nothing_is_due()
    assert len(stage.tasks("often")) == 3 * 144
    assert stage.tasks("nightly") == [datetime(2025, 3, 28, 1, 30, tzinfo=UTC)]  # only the last of three
    wait_until(lambda: column_of_sent(late, "often") == [100, 100, 100, 100, 32], describe=late.log)
    wait_until(lambda: column_of_sent(late, "nightly") == [1], describe=late.log)
    late.wait_for_log("payload.size_exceeded task=note content=arguments bytes=11 warn_bytes=10 ")


def column_of_sent(process: WorkerProcess, name: str) -> list[int]:
    """Return from the log how many tasks each round sent for a schedule."""
    lines = [line for line in process.log().splitlines() if f"schedule.ran schedule={name} " in line]
    return [int(line.split(" sent=")[1].split()[0]) for line in lines]


def test_a_changed_definition_restarts_due_times_and_is_logged(stage: Stage) -> None:
    assert stage.leader().stop() == 0
    move_clock(stage.session, 3600 * 8)
    later = stage.leader(VARIANT="later")
    later.wait_for_log("schedule.changed schedule=nightly")
    stage.wait_until_nothing_is_due()
    assert stage.next_runs()["nightly"] == datetime(2025, 3, 27, 2, 30, tzinfo=UTC)
    assert stage.tasks("nightly") == []
    assert "schedule.changed schedule=hourly" not in later.log()
    assert later.stop() == 0
    off = stage.leader(VARIANT="off")
    wait_until(lambda: set(stage.next_runs().values()) == {None}, describe=off.log)


def test_due_times_during_a_pause_are_skipped(stage: Stage) -> None:
    stage.leader()
    call(stage.session, schedule_queries.schedule_pause("hourly", paused=True))
    move_clock(stage.session, 3 * 3600)
    wait_until(lambda: len(stage.tasks("often")) == 18)
    assert stage.tasks("hourly") == []
    call(stage.session, schedule_queries.schedule_pause("hourly", paused=False))
    move_clock(stage.session, 3600)
    stage.wait_until_nothing_is_due()
    assert stage.tasks("hourly") == [datetime(2025, 3, 26, 2, 5, tzinfo=UTC)]


def test_it_survives_that_all_its_connections_end(stage: Stage) -> None:
    leader = stage.leader()
    for hour in range(1, 4):
        stage.session.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        move_clock(stage.session, 3600)
        stage.wait_until_nothing_is_due()
        assert len(stage.tasks("hourly")) == hour
    assert leader.stop() == 0


def test_it_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    settings = {"port": str(free_port())}  # the same address after the restart
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()), "pg")
        with own_server(home, settings) as server:
            url = server.url
            with open_session(url) as session:
                migrate(session, SCHEMA)
            stage = Stage(url, tmp_path, stack)
            leader = stage.leader()
        leader.wait_for_log("scheduler.lead_lost")
        with own_server(home, settings):
            stage.session = stack.enter_context(open_session(url))
            move_clock(stage.session, 3600)
            stage.wait_until_nothing_is_due()
            assert len(stage.tasks("hourly")) == 1
            assert leader.stop() == 0
            stage.session.close()


def test_a_worker_runs_schedules_beside_its_tasks(stage: Stage) -> None:
    worker = stage.start("worker", "--scheduler")
    worker.wait_until_ready()
    wait_until(lambda: len(stage.next_runs()) == 5, describe=worker.log)
    move_clock(stage.session, 3600)
    ended = "select count(*) from horsies.history where status = 'COMPLETED'"
    wait_until(lambda: scalar(stage.session, ended) == 7, describe=worker.log)
    assert worker.stop() == 0
    assert "scheduler.lead_lost" not in worker.log()


WRONG = """
from datetime import time
from horsies import *

app = Horsies(AppConfig(
    schedule=ScheduleConfig(schedules=[
        TaskSchedule(name="a", task_name="nota", pattern=DailySchedule(time(3))),
        TaskSchedule(name="b", task_name="note", pattern=DailySchedule(time(3)), args=[1]),
        TaskSchedule(name="c", task_name="note", pattern=DailySchedule(time(3)), args=["x"], queue_name="mail"),
        TaskSchedule(name="d", task_name="note", pattern=DailySchedule(time(3)), kwargs={"kez": "x"}, queue_name="m"),
    ]),
))


@app.task("note")
def note(key: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=key)
"""


@pytest.mark.parametrize("command", ["scheduler", "worker", "check"])
def test_all_mistakes_in_schedules_are_reported_at_start(tmp_path: Path, command: str) -> None:
    (tmp_path / "instance.py").write_text(WRONG)
    done = horsies(tmp_path, command, "instance:app", HORSIES_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 1
    for line, expected in (
        (7, "error[HRS-300]: there is no task named 'nota'"),
        (8, "error[HRS-205]: the arguments do not fit the task 'note': key"),
        (9, "error[HRS-205]: the app has no queue 'mail'"),
        (10, "error[HRS-205]: the arguments do not fit the task 'note': note() got an unexpected argument 'kez'"),
        (10, "error[HRS-205]: the app has no queue 'm'"),
    ):
        assert f"{expected}" in done.stderr
        assert f" --> instance.py:{line}\n" in done.stderr
    assert "in the schedule 'a'" in done.stderr
    assert done.stderr.endswith("error: 5 errors\n")


@pytest.mark.parametrize("config", ["", "schedule=ScheduleConfig()"])
def test_an_app_without_schedules_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "instance.py").write_text(f"from horsies import *\napp = Horsies(AppConfig({config}))\n")
    done = horsies(tmp_path, "scheduler", "instance:app", HORSIES_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert (done.returncode, done.stderr.count("\n")) == (1, 2)
    assert "error[HRS-205]: the app 'instance' has no schedules, so a scheduler would do nothing" in done.stderr
    assert "= help: give AppConfig(schedule=ScheduleConfig(schedules=[TaskSchedule(…)])), or run: horsies worker" in (
        done.stderr
    )
