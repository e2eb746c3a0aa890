"""A program that sends tasks and workflows with secrets to real workers, and checks that it gets the real results.

Run as ``python -m tests.testing.secret_producer``, in a folder for its spans.
"""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from horsies import TaskHandle
from tests.testing.secret_runs import Nested, app, mapping, naming, passing
from tests.testing.secrets_app import (
    MARK,
    Card,
    Wallet,
    declines,
    mistypes,
    pay,
    pay_async,
    pay_by_path,
    pay_in_transaction,
    pay_once,
    raises,
)

_LIMIT_MS = 60_000


def export_spans() -> None:
    """Write the spans of this process to a file."""
    file = Path("spans-producer").open("w")  # noqa: SIM115 - until the process ends
    provider = TracerProvider()
    exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def get(handle: TaskHandle[Any, Any]) -> Any:
    """Return the real result of a task."""
    return handle.get(timeout_ms=_LIMIT_MS).unwrap()


def send_tasks() -> None:
    """Send tasks in all ways, and check their results."""
    wallet = Wallet([Card(number=f"card {MARK}", pin=f"pin {MARK}")], {"token": f"token {MARK}"})
    assert get(pay.send(f"one {MARK}").unwrap()) == f"one {MARK} 1"
    many = pay.send_many([(f"many {number} {MARK}",) for number in range(3)]).unwrap()
    many += app.send_many([pay.args(f"together {MARK}")]).unwrap()
    assert [get(each) for each in many] == [*(f"many {number} {MARK} 1" for number in range(3)), f"together {MARK} 1"]
    assert get(pay_async.send(wallet).unwrap()) == wallet
    assert get(pay_by_path.send({"card": {"number": f"path {MARK}"}}).unwrap()) == f"charged path {MARK}"
    assert get(pay_in_transaction.send(f"inside {MARK}").unwrap()) == f"inside {MARK}"
    once = [pay_once.send(f"once {MARK}").unwrap() for _ in range(2)]
    assert [get(each) for each in once] == [None, None]


def fail_tasks() -> None:
    """Send tasks that fail, and check that their errors show no secrets but in the fields that are declared as such."""
    failing = [task.send(f"fail {MARK}").unwrap() for task in (raises, declines, mistypes)]
    errors = [each.get(timeout_ms=_LIMIT_MS).err_value for each in failing]
    assert getattr(errors[1], "card", None) == f"fail {MARK}"
    assert MARK not in "".join(f"{error.message} {error.data} {error.exception}" for error in errors)
    again = app.rerun(failing[0].task_id).unwrap()
    assert again.get(timeout_ms=_LIMIT_MS).is_err()


def start_runs() -> None:
    """Start workflows that pass secrets on, and check their results."""
    runs = [spec.start().unwrap() for spec in (passing(), mapping(), naming(), Nested.build(app))]
    results = [run.get(timeout_ms=_LIMIT_MS) for run in runs]
    assert results[0].err_value.error_code == "DECLINED"
    assert MARK not in f"{results[0].err_value.message} {results[0].err_value.data}"
    assert runs[0].results().unwrap()["called"].unwrap() == f"answer to <token of login {MARK}>"
    charged = runs[1].results().unwrap()["charged"].unwrap()
    assert [each.unwrap() for each in charged] == [f"lamps charged ada {number} {MARK}" for number in range(3)]
    assert results[3].unwrap() == f"child {MARK} = child {MARK}"


async def operate() -> None:
    """Send the schedule, and rerun what has failed, as an operator does."""
    broker = app.get_broker(who="ada")
    sent = (await broker.run_schedule("nightly")).unwrap()
    assert (await broker.get_result_async(str(sent), timeout_ms=_LIMIT_MS)).is_ok()
    preview = (await broker.preview_rerun(task_name="declines")).unwrap()
    [outcome] = (await broker.rerun_tasks(preview.candidates)).unwrap()
    assert outcome.new_task_id is not None
    assert (await broker.get_result_async(outcome.new_task_id, timeout_ms=_LIMIT_MS)).is_err()
    await app.close_async()


def main() -> None:
    logging.basicConfig(level=logging.DEBUG)
    export_spans()
    waiting = pay.schedule(86_400, f"waiting {MARK}").unwrap()
    assert waiting.cancel().is_ok()
    pay.schedule(86_400, f"still waiting {MARK}").unwrap()
    send_tasks()
    fail_tasks()
    start_runs()
    asyncio.run(operate())
    app.close()
    sys.stdout.write("all results are right\n")


if __name__ == "__main__":
    main()
