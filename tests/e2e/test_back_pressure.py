"""Unconfirmed outcomes are held in bounded memory; at the bound, no further task starts."""

import sys

from tests.e2e.test_database_trouble import FILL_UP
from tests.support.environment import URL_VARIABLE, Environment
from tests.support.workers import WorkerProcess

PROGRAM = """
import horsies.worker.completer
from mixed_tasks import app

horsies.worker.completer.MAX_HELD_BYTES = 1 << 20  # 64 MB would take a while to fill
if __name__ == "__main__":
    raise SystemExit(app.worker(processes=2).run())
"""


def test_work_continues_when_the_database_accepts_outcomes_again(environment: Environment) -> None:
    (environment.folder / "bounded.py").write_text(PROGRAM)
    env = {URL_VARIABLE: environment.url, "TEST_LEDGER": str(environment.ledger_file)}
    worker = WorkerProcess(["bounded.py"], environment.folder, env, sys.executable)
    environment._stack.callback(worker.assert_gone)
    environment._stack.callback(worker.kill_all)
    worker.wait_until_ready()
    keys = [f"big-{number}" for number in range(60)]
    for key in keys[:30]:
        environment.send("big", key, "x" * (1 << 18))
    environment.session.execute(FILL_UP)
    for key in keys[30:]:
        environment.send("big", key, "x" * (1 << 18))
    worker.wait_for_log(r"(?s)(connection\.retrying .*no space left.*){3}")
    begun = len(environment.ledger())
    assert begun < 60
    worker.wait_for_log(r"(?s)(connection\.retrying .*no space left.*){5}")
    assert len(environment.ledger()) == begun
    environment.session.execute(b"drop trigger full_disk on horsies.history")
    environment.wait_until_all_ended()
    assert {key: environment.counts()[key] for key in keys} == dict.fromkeys(keys, 1)
    assert worker.stop() == 0
