"""A real worker runs tasks with secrets: no log, metric, error, table and output of a command shows them."""

import sys
from typing import Any

import pytest

from tests.support.commands import horsies
from tests.support.environment import URL_VARIABLE, Environment, load_tasks
from tests.support.leaks import leaks, secrets_in
from tests.support.pooler import pooled_variables
from tests.support.scrapes import fetch, metrics_url

MARK = "5ecret-Mark"

VAULT = """
import logging

from mixed_tasks import app
from horsies import RetryPolicy, Secret, TaskError, TaskResult, current_task


class Refused(TaskError):
    card: Secret[str] | None = None


@app.task("echo")
def echo(card: Secret[str]) -> TaskResult[Secret[str], TaskError]:
    return TaskResult(ok=card)


@app.task("repeat", redact=["card.number"])
async def repeat(card: dict[str, str]) -> TaskResult[str, TaskError]:
    return TaskResult(ok=f"<{card['number']}>")


@app.task("burst", retry_policy=RetryPolicy.fixed([1], auto_retry_for=["UNHANDLED_EXCEPTION"]))
def burst(card: Secret[str]) -> TaskResult[None, TaskError]:
    task = current_task()
    assert task is not None
    task.progress(0.5, note=f"at {card}")
    raise RuntimeError(f"cannot read {card!r}")


@app.task("refuse")
def refuse(card: Secret[str]) -> TaskResult[None, Refused]:
    return TaskResult(err=Refused(error_code="REFUSED", message=card, data={"card": card}, card=card))


@app.task("linger", timeout_ms=300)
async def linger(card: Secret[str]) -> TaskResult[None, TaskError]:
    import asyncio
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise ValueError(card) from None
"""


@pytest.mark.timeout(120)
def test_no_output_shows_a_secret(environment: Environment) -> None:
    folder, session = environment.folder, environment.session
    (folder / "vault.py").write_text(VAULT)
    worker = environment.worker("--loglevel=debug", "--metrics-port=0", app="vault:app")
    worker.wait_until_ready()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mixed_tasks", environment.tasks)
        vault: Any = load_tasks(folder / "vault.py", pooled_variables(environment.url))
    echoed = vault.echo.send(f"echo {MARK}").unwrap()
    repeated = vault.repeat.send({"number": f"repeat {MARK}"}).unwrap()
    failing = [task.send(f"fail {MARK}").unwrap() for task in (vault.burst, vault.refuse, vault.linger)]
    assert echoed.get(timeout_ms=20_000).unwrap() == f"echo {MARK}"
    assert repeated.get(timeout_ms=20_000).unwrap() == f"<repeat {MARK}>"
    errors = [handle.get(timeout_ms=20_000).err_value for handle in failing]
    assert errors[1].card == f"fail {MARK}"
    assert MARK not in "".join(f"{error.message} {error.data} {error.exception}" for error in errors)

    assert leaks(session, MARK) == []
    assert secrets_in(session, "history", "secret_args", MARK) == 5
    assert secrets_in(session, "history", "secret_result", MARK) == 3
    variables = {URL_VARIABLE: environment.url}
    shown: list[str] = []
    for handle, *option in ([failing[0]], [failing[1], "--json"]):
        done = horsies(folder, "tasks", "show", "vault:app", handle.task_id, *option, **variables)
        assert done.returncode == 0, done.stderr
        assert "[redacted]" in done.stdout
        shown.append(done.stdout + done.stderr)
    shown += [fetch(metrics_url(worker))[1], worker.log()]
    assert worker.stop() == 0
    assert MARK not in "".join([*shown, worker.log()])
