"""Tasks, workflows, schedules and forms with secrets by real processes: nothing that anybody can look at shows them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from horsies.config.postgres import DEFAULT_SCHEMA
from horsies.db import sqlfiles
from tests.support.commands import horsies
from tests.support.environment import Environment
from tests.support.leaks import leaks, secrets_in
from tests.support.roles import as_role
from tests.support.scrapes import Scrape, fetch, metrics_url
from tests.support.sessions import SCHEMA, Session, column
from tests.support.waiting import wait_until
from tests.support.workers import WorkerProcess, clean_environment
from tests.testing.secrets_app import MARK

ROOT = Path(__file__).parents[2]
VAULT = """
import os

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from tests.testing.secret_runs import app


@app.on_child_process_start
def export_spans() -> None:
    file = open(f"spans-{os.getpid()}", "w")
    exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\\n")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
"""
PAGES = ("/", "/queues", "/tasks", "/errors", "/runs", "/definitions", "/schedules", "/workers", "/system", "/send")
COMMANDS = (
    ("tasks", "list", "--limit=500", "--json"),
    ("tasks", "list", "--limit=500"),
    ("queues", "list", "--json"),
    ("schedules", "list", "--json"),
    ("workflows", "list", "--json"),
    ("workers", "--json"),
    ("errors", "--json"),
    ("audit", "list", "--json"),
    ("metrics", "--once"),
    ("top", "--once", "--json"),
    ("top", "--once"),
    ("doctor", "--json"),
)


class Vault:
    """The processes of a run with secrets, and what they show.

    Attributes:
        variables: The environment variables of the processes.
        shown: What was shown so far: where, and the text.
    """

    def __init__(self, environment: Environment) -> None:
        self.folder = environment.folder
        self.session: Session = environment.session
        self._environment = environment
        self.variables = {"HORSIES_DEV_DATABASE_URL": environment.url, "PYTHONPATH": f"{ROOT}:{environment.folder}"}
        self.shown: list[tuple[str, str]] = []
        (self.folder / "vault.py").write_text(VAULT)

    def start(self, command: str, *args: str) -> WorkerProcess:
        return self._environment.worker(*args, app="vault:app", command=command, **self.variables)

    def show(self, place: str, text: str) -> None:
        self.shown.append((place, text))

    def produce(self) -> None:
        variables = {
            name: as_role(value, "operator") if "://" in value else value for name, value in self.variables.items()
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.testing.secret_producer"],
            cwd=self.folder,
            env=clean_environment(**variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
        )
        self.show("the output of the producer", done.stdout + done.stderr)
        assert (done.returncode, done.stdout) == (0, "all results are right\n"), done.stderr

    def command(self, *words: str) -> None:
        split = 2 if len(words) > 1 and words[1] in {"list", "show"} else 1
        done = horsies(self.folder, *words[:split], "vault:app", *words[split:], **self.variables)
        assert done.returncode in {0, 1} if words[0] == "doctor" else done.returncode == 0, done.stderr
        self.show(f"horsies {' '.join(words)}", done.stdout + done.stderr)

    def ids(self, table: str) -> list[str]:
        return column(self.session, f"select id::text from horsies.{table}")

    def views(self) -> Iterator[tuple[str, str]]:
        for name in sqlfiles.views():
            rows = column(self.session, f"select to_json(v)::text from horsies.{name} as v")
            assert rows, name
            yield f"the view {name}", "\n".join(rows)


@pytest.fixture
def vault(environment: Environment) -> Vault:
    if SCHEMA != DEFAULT_SCHEMA:
        pytest.skip("the app of this test has the default schema")
    return Vault(environment)


def send_by_form(vault: Vault, url: str) -> None:
    """Send a task with a secret by the form of the web interface, and the form once more with a mistake."""
    form = {"task": "pay", "arg.card": f"form {MARK}", "arg.cents": "5"}
    headers = {"Horsies-Action": "1"}
    for token, delay, status in (("right-token", "0", 200), ("wrong-token", "later", 400)):
        answer = httpx.post(
            f"{url}/send/submit",
            data={**form, "token": token * 2, "delay": delay},
            headers=headers,
            timeout=20,
            follow_redirects=True,
        )
        assert answer.status_code == status, answer.text
        vault.show(f"the answer to a form with the delay {delay}", answer.text)
    wait_until(lambda: secrets_in(vault.session, "history", "secret_args", f"form {MARK}") == 1, 30, "the sent task")


def look_at_pages(vault: Vault, url: str) -> None:
    """Show all pages and their JSON, as a user who may see arguments."""
    paths = [*PAGES, *(f"/tasks/{each}" for each in vault.ids("history") + vault.ids("tasks"))]
    paths += [f"/runs/{each}" for each in vault.ids("workflows")]
    paths += [f"/errors?group={each}" for each in vault.ids("error_groups")]
    with httpx.Client(base_url=url, timeout=20) as client:
        for path in paths:
            place, _, query = path.partition("?")
            for each in (place, "/overview.json" if place == "/" else f"{place}.json"):
                answer = client.get(f"{each}?{query}" if query else each)
                assert answer.status_code == 200, (each, answer.text)
                vault.show(each, answer.text)


@pytest.mark.timeout(300)
def test_nothing_shows_a_secret(vault: Vault) -> None:
    worker = vault.start("worker", "--loglevel=debug", "--metrics-port=0", "--processes=2")
    scheduler = vault.start("scheduler", "--loglevel=debug")
    web = vault.start("web", "--port=0", "--allow-actions")
    worker.wait_until_ready()
    url = web.wait_for_log(r"web\.listening url=(\S+)")[1]
    wait_until(lambda: column(vault.session, "select name from horsies.schedules") == ["nightly"], 30, "the schedule")
    vault.produce()
    send_by_form(vault, url)
    wait_until(lambda: len(vault.ids("error_groups")) > 3, 150, "the samples of the minute of the failures")

    look_at_pages(vault, url)
    for words in COMMANDS:
        vault.command(*words)
    for options in ((), ("--json",)):
        vault.command("tasks", "show", *vault.ids("history"), *vault.ids("tasks"), *options)
        vault.command("workflows", "show", *vault.ids("workflows"), *options)
    vault.command("why", *vault.ids("tasks"))
    metrics = fetch(f"{metrics_url(worker)}/metrics")[1]
    assert Scrape.of(metrics).by("horsies_tasks_finished_total", "task")["pay",] > 0
    vault.show("the metrics of the worker", metrics)
    for place, text in vault.views():
        vault.show(place, text)
    assert [process.stop() for process in (web, scheduler, worker)] == [0, 0, 0]
    for name, process in (("worker", worker), ("scheduler", scheduler), ("web", web)):
        vault.show(f"the log of the {name}", process.log())
    spans = [line for file in vault.folder.glob("spans-*") for line in file.read_text().splitlines()]
    assert {"send pay", "send passing", "process pay", "process charge"} <= {json.loads(each)["name"] for each in spans}
    vault.show("spans", "\n".join(spans))

    assert leaks(vault.session, MARK) == []
    assert {place: text[max(text.find(MARK) - 200, 0) :][:500] for place, text in vault.shown if MARK in text} == {}
    assert sum("[redacted]" in text for _, text in vault.shown) > len(vault.ids("history"))
    assert secrets_in(vault.session, "history", "secret_args", MARK) > 20
    assert secrets_in(vault.session, "workflow_nodes", "secret_result", MARK) > 10
    actions = column(vault.session, "select action from horsies.audit where who = 'ada' order by 1")
    assert actions == ["schedule.run", "task.rerun"]
