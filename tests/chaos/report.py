"""The report of a chaos run; it writes docs/reliability.md."""

import subprocess
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.chaos.checker import Timing, bound
from tests.chaos.runs import ROOT, Run

ABOUT = """# Reliability

horsies tests its [guarantees](architecture.md#guarantees) by injecting faults. `make chaos` starts PostgreSQL servers,
workers and producers as real processes, breaks them at random under load for about 20 minutes, and compares the result
with independent records. CI runs 1 % of it for every change. This page is the report of the
[last full run](#the-last-full-run), written by `python -m tests.chaos --report docs/reliability.md`.

## What is injected

| fault | what happens |
|---|---|
| child killed | SIGKILL to a process that runs tasks. |
| child stopped | SIGSTOP to a process that runs tasks. |
| supervisor killed | SIGKILL to the main process of a worker. |
| supervisor stopped | SIGSTOP to the main process of a worker, for longer than its threshold; then it continues. |
| fork server killed | SIGKILL to the process that forks the children. |
| supervisor and fork server killed | SIGKILL to both at the same time. |
| backend terminated | `pg_terminate_backend` for a connection of a worker or a producer. |
| server restarted | Immediate stop and start of PostgreSQL. |
| connections cut | All connections of a TCP proxy end, in the middle of a message. |
| reply to COMMIT cut off | The server commits, and the client never gets the reply. |
| network stalled | The TCP proxy forwards nothing for a while. |
| backend frozen | SIGSTOP to a server process of a worker or a producer, for up to 10 seconds; then it continues. |
| clock of the server set | The clock that horsies reads jumps ten minutes forward, or back and then forward again. |
| rows locked by a stranger | A transaction of another user locks rows of running tasks or of workflow runs, for up to 15 seconds. |
| notification queue full | Another user listens, stays idle in a transaction, and fills the notification queue of the server. |
| hostile role that notifies garbage | During all faults, a role that may only connect sends forged results, forged cancels and malformed notices. |
| worker with a clock that is an hour off | Two of the workers, for the whole run. |
| disk filled up | The disk of the server is full for a while. |
| fail-over | The primary crashes, and its standby is promoted. |

A plan made from a seed distributes the faults at random over a quarter of an hour. `SEED=` repeats a plan; which task or
connection each fault meets depends on the timing of the machine. "Disk filled up" and "fail-over" have separate runs with
two workers each.

## The load

- **Tasks.** Two producers send quick, sleeping, asynchronous, retried, failing and limited tasks, and tasks that send
  other tasks. A producer that gets an error repeats its send until it is accepted. One more producer sends tasks one by
  one and waits for each result.
- **Transactional tasks.** One in five of these tasks is [transactional](transactions.md#the-tasks-own-transaction) and
  inserts a row into a table of its own, with psycopg, with psycopg and asyncio, or with a session of SQLAlchemy. Some of
  them return an error, raise an exception, violate a deferred constraint, exceed their time-out, or are cancelled at about
  the time at which they end. After its commit, one in five stays in its process for up to 1.5 seconds, so that faults
  meet it before the worker knows of the commit.
- **Workflows.** In the mixed run, a third producer starts 200 workflow runs of 3 to 11 nodes, made from the seed. They have
  joins of all kinds, nodes that fail, nodes that continue after failures, transactional nodes, sub-workflows and maps.
- **Workers.** Four workers with two children each are restarted whenever they end. Two are connected directly, and two
  through a TCP proxy. One prefetches, and the clocks of two are an hour off. A worker counts as dead after 4 seconds
  without a heartbeat, and heartbeats are 1 second apart.

## What is checked

Each attempt writes its start and its end, with its number and its process, to a file that horsies does not know. Each
producer writes what was accepted. After the run, a checker (`tests/chaos/checker.py`) compares these records with the
database:

- Every accepted task has ended, exactly once.
- No task runs that was not sent.
- No attempt starts twice. Another attempt starts only after a failure that the retry policy names. Attempts of the same
  task do not overlap.
- Every outcome comes from the process that the record names, and a claim has one outcome.
- A producer that waits for a task gets the outcome that is stored.
- Each transactional task that is COMPLETED has inserted exactly one row, by the attempt that is stored. No other
  transactional task has inserted a row.
- No worker kills a process as cancelled because its task has completed itself by its own commit.
- A step of the server's clock does not make a worker that sends heartbeats count as dead.
- Limits of queues hold.
- All work is done within a minute after the last fault. The work of a killed supervisor is recovered within 2 seconds, and
  95 % of the throughput is back within a minute. On an overloaded machine, these times are multiplied by the load per
  core, up to four times.
- No process, connection or lock is left.
- No password and no argument is in a log.

A second checker (`tests/chaos/workflow_checker.py`) compares the workflow runs with a model that shares no code with the
database (`tests/support/workflow_oracle.py`):

- An accepted start creates one run, no matter how often it was repeated. So does a node that is a sub-workflow.
- A run has all of its nodes and edges. Each node, and each item of a map, is enqueued once.
- Each run and node ends with the status and the result of the model. The tasks of nodes are retried after a crash, so a
  crash does not change an outcome. Only the task that builds a sub-workflow has no retry policy and may fail its node with
  WORKER_CRASHED.

In the run of keys, eight workers run tasks of 200 keys in three queues with limits of 1 to 3 tasks per key, with rates of
queues and of keys, and some tasks answer `RateLimited`, while workers, children and connections are killed. Triggers write
each start, each end and each hold to tables that horsies does not know. A third checker (`tests/chaos/key_checker.py`)
compares them with limits, token buckets and holds: no key has more tasks in flight than its limit at any instant, no
window has more starts than a bucket allows, and nothing of a key starts while it is held. A watcher looks seven times a
second which keys have a waiting task, room and tokens, and which workers have an idle child: no child of a worker that was
not disturbed for two seconds is idle for longer than a second beside such a key. The workers poll only every ten seconds,
so that polling does not hide a lost notification.

To show that the checkers detect violations, fourteen *broken builds* run as well. Each is horsies with one protection
removed, and the checkers must report it.

## What is not tested

- a clock of the server that stays behind: a retry that became due by the earlier time then waits until that time comes
  again;
- loss of a disk;
- a server that acknowledges fsync without writing to disk;
- a hypervisor that suspends a whole machine;
- schedules;
- pausing, resuming and cancelling workflow runs under faults.
"""


def report(runs: Sequence[Run], broken: Sequence[Run], scale: float, seconds: float) -> str:
    """As Markdown."""
    return "\n".join(
        [ABOUT, *_head(runs, scale, seconds), *_faults(runs), *_tasks(runs), *_times(runs), *_broken(broken), ""]
    )


def _head(runs: Sequence[Run], scale: float, seconds: float) -> list[str]:
    violations = [violation for run in runs for violation in run.violations]
    faults = sum((run.faults for run in runs), Counter[str]()).total()
    attempts = sum(run.tasks["attempts begun"] for run in runs)
    seed = runs[0].seed if runs else "none"
    verdict = "No guarantee was violated." if not violations else f"A guarantee was violated {len(violations)} times:"
    return [
        "## The last full run" if scale >= 1 else f"## A run at scale {scale:g}",
        "",
        (
            f"Run of {datetime.now(UTC):%Y-%m-%d}, commit {_commit()}, `SEED={seed}`, scale {scale:g}, "
            f"{seconds / 60:.0f} minutes."
        ),
        "",
        verdict,
        *([""] if violations else []),
        *(f"- {violation}" for violation in violations[:50]),
        "",
        f"With 95 % confidence, {faults:,} faults without a violation bound the share of such faults that violate a "
        f"guarantee by {bound(faults):.2%}, and {attempts:,} attempts bound the share of such attempts by "
        f"{bound(attempts):.4%}. (Rule of three: no event in n trials bounds its rate by 3/n.)"
        if not violations
        else "A run with violations gives no bound.",
        "",
        *(f"- {run.name}: {remark}" for run in runs for remark in [*run.measured, *run.remarks]),
    ]


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _faults(runs: Sequence[Run]) -> list[str]:
    rows = [(run.name, name, f"{count:,}") for run in runs for name, count in sorted(run.faults.items())]
    return ["", "### Faults", "", *_table(["run", "fault", "times"], rows)]


def _tasks(runs: Sequence[Run]) -> list[str]:
    rows = [(run.name, name, f"{count:,}") for run in runs for name, count in sorted(run.tasks.items()) if count]
    rows += [(run.name, name, f"{count:,}") for run in runs for name, count in sorted(run.events.items()) if count]
    return ["", "### Tasks and events", "", *_table(["run", "what", "count"], rows)]


def _times(runs: Sequence[Run]) -> list[str]:
    rows: list[Sequence[object]] = []
    for run in runs:
        before, after = run.rates
        rows.append((run.name, "quick tasks per second, before and after", f"{before:.0f}, {after:.0f}"))
        for what in sorted({timing.what for timing in run.timings}):
            found = sorted(timing.seconds for timing in run.timings if timing.what == what)
            rows.append((run.name, _said(what, run.timings), _spread(found)))
    return ["", "### Times", "", *_table(["run", "what", "seconds"], rows)]


def _said(what: str, timings: Sequence[Timing]) -> str:
    limits = [timing.limit for timing in timings if timing.what == what]
    return f"{what} (limit {min(limits):.0f} s)"


def _spread(found: Sequence[float]) -> str:
    if len(found) == 1:
        return f"{found[0]:.1f}"
    return f"median {found[len(found) // 2]:.2f}, longest {found[-1]:.2f} of {len(found)}"


def _broken(broken: Sequence[Run]) -> list[str]:
    rows = [
        (f"`{run.name}`", f"{len(run.violations):,}", str(run.violations[0]) if run.violations else "NOT DETECTED")
        for run in broken
    ]
    return ["", "### Broken builds", "", *_table(["build", "violations", "first violation"], rows)]
