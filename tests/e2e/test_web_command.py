"""`horsies web` as a process: which addresses and users it serves, and what it refuses to serve."""

import base64
import subprocess

import httpx
import pytest

from tests.support.environment import Environment
from tests.support.proxy import Proxy
from tests.support.shell import Shell
from tests.support.waiting import wait_until
from tests.support.workers import HORSIES, WorkerProcess, clean_environment


def url_of(server: WorkerProcess) -> str:
    """Wait until the pages are served, and return their URL."""
    return server.wait_for_log(r"web\.listening url=(\S+)")[1]


def fetch(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=20)


def test_pages_are_served_to_this_machine_until_a_signal_comes(environment: Environment) -> None:
    environment.send("ok", "waits")
    server = environment.worker("--port=0", command="web")
    url = url_of(server)
    answer = fetch(url)
    assert answer.status_code == 200
    assert "No worker is alive" in answer.text
    [task] = fetch(f"{url}/tasks.json").json()["data"]["tasks"]
    assert task["status"] == "PENDING"
    page = fetch(f"{url}/tasks/{task['task_id']}.json").json()["data"]
    assert not page["shows_arguments"]
    assert fetch(url, Host="evil.example").status_code == 421
    assert server.stop() == 0


def test_the_tasks_of_the_app_are_shown_and_can_be_sent(environment: Environment) -> None:
    server = environment.worker("--port=0", "--allow-actions", command="web")
    url = url_of(server)
    tasks = {each["name"]: each for each in fetch(f"{url}/definitions.json").json()["data"]["tasks"]}
    fields = {f"arg.{each['name']}": "1" for each in tasks["ok"]["parameters"] if each["is_required"]}
    sent = httpx.post(
        f"{url}/send/submit",
        data={"task": "ok", "token": "t" * 20, **fields},
        headers={"Horsies-Action": "1"},
        timeout=20,
        follow_redirects=True,
    )
    assert sent.status_code == 200, sent.text
    [task] = fetch(f"{url}/tasks.json").json()["data"]["tasks"]
    assert (task["task_name"], task["status"]) == ("ok", "PENDING")
    assert server.stop() == 0


def test_it_starts_without_a_database_and_survives_its_loss(
    environment: Environment, proxy: Proxy, tcp_database_url: str
) -> None:
    environment.url = proxy.url(tcp_database_url)
    proxy.refuse()
    url = url_of(environment.worker("--port=0", command="web"))
    assert fetch(f"{url}/queues").status_code == 503
    proxy.accept()
    wait_until(lambda: fetch(f"{url}/queues").status_code == 200, 20, "an answer of the database")
    proxy.refuse()
    proxy.cut()
    wait_until(lambda: "The database does not answer" in fetch(f"{url}/queues").text, 20, "a page that says its age")
    assert fetch(f"{url}/queues").status_code == 200


def test_a_password_is_asked_for(environment: Environment) -> None:
    made = subprocess.run(
        [HORSIES, "web", "--hash-password"],
        input="open sesame\n",
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    variables = {"HORSIES_WEB_USER": "ada", "HORSIES_WEB_PASSWORD_HASH": made.stdout.strip()}
    server = environment.worker("--port=0", "--auth=basic", "--rights=ada=see_arguments", command="web", **variables)
    url = url_of(server)
    assert fetch(url).status_code == 401
    credentials = base64.b64encode(b"ada:open sesame").decode()
    assert fetch(url, Authorization=f"Basic {credentials}").status_code == 200
    assert server.stop() == 0


def test_a_forwarded_address_is_not_that_of_the_peer(environment: Environment) -> None:
    options = ("--auth=header:X-User", "--trusted-proxy=10.0.0.0/8")
    url = url_of(environment.worker("--port=0", *options, command="web"))
    assert fetch(url, **{"X-User": "ada", "X-Forwarded-For": "10.0.0.1"}).status_code == 403


def test_a_database_without_the_schema_is_refused_at_the_start(shell: Shell) -> None:
    shell.session.execute("alter schema horsies rename to moved")
    refused = shell.run("web", "--port=0", code=1)
    assert "HRS-211" in refused.stderr
    assert "horsies db migrate" in refused.stderr


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--host=0.0.0.0"], "pages without a login are not served on 0.0.0.0"),
        (["--host=0.0.0.0", "--allow-actions"], "without a login"),
        (["--host=0.0.0.0", "--auth=basic"], "plain HTTP"),
        (["--auth=basic"], "HORSIES_WEB_USER"),
        (["--auth=basic", "--allow-actions"], "--rights USER="),
        (["--auth=header:X-User"], "at least one trusted proxy"),
        (["--auth=header:"], "there is no --auth"),
        (["--auth=oauth"], "there is no --auth"),
        (["--trusted-proxy=10.0.0.1/32"], "--auth header:NAME"),
        (["--rights=ada=cancel"], "--allow-actions"),
        (["--auth=header:X-User", "--trusted-proxy=10.0.0.1/32", "--rights=ada=fly"], "there is no right 'fly'"),
        (["--public-url=https://ops.example.com"], "everybody who can open https://ops.example.com"),
        (["--public-url=nonsense"], "https://ops.example.com"),
        (["--tls-key=x.pem"], "belong together"),
    ],
)
def test_unsafe_options_are_refused(shell: Shell, options: list[str], problem: str) -> None:
    refused = shell.run("web", *options, code=1)
    assert "HRS-206" in refused.stderr
    assert problem in refused.stderr
