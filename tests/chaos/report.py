"""The report of a chaos run; it writes docs/reliability.md."""

import subprocess
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.chaos.checker import Timing, bound
from tests.chaos.runs import ROOT, Run

ABOUT = """# Reliability

`make chaos` tests the promises in [architecture](architecture.md). It starts servers, workers and producers as real
processes, injects faults under load, and checks the records that remain. The last full run wrote this page
(`python -m tests.chaos --report docs/reliability.md`). Each CI run executes 1 % of it.

## How the tests work

- **Load.** Two producers send tasks that are quick, sleep, are asynchronous, are retried, fail, have a cap or send
  other tasks. They replay each failed send until it is accepted. In the mixed part, a third producer starts 200 random
  workflow runs of 3 to 11 nodes, and replays failed starts. They have joins of all kinds, failing nodes, nodes that run
  although a dependency failed, child runs, and maps.
- **Workers.** Four workers with two children each are restarted whenever they end. One connects to the server directly,
  two through a TCP proxy. One prefetches. Two have a clock that is wrong by an hour. A worker counts as dead after 4 s
  without a heartbeat; heartbeats are sent every second.
- **Faults.** A seed determines the plan, which spreads the faults randomly over a quarter of an hour. `SEED=` repeats a
  plan; the exact effect of each fault depends on timing. A full disk and failovers are tested in separate runs with two
  workers each.
- **Ledger.** Each attempt records its start and its end, with its number and process, in a file outside the queue. Each
  producer records the accepted tasks.
- **Checker** (`tests/chaos/checker.py`, which has its own tests). It checks that
    - every accepted task ends, and no task runs that was not sent;
    - no attempt starts twice, and another attempt starts only after a failure that the retry policy names;
    - the attempts of a task do not overlap;
    - each outcome comes from the process in the ledger, and each claim has only one outcome;
    - caps are kept;
    - all tasks have ended within a minute after the last fault;
    - the tasks of a killed supervisor are recovered within 2 s;
    - 95 % of the throughput is restored within a minute;
    - no process, connection or lock remains, and no log contains a password or an argument.

  If the load of the machine exceeds the number of its cores, time limits are multiplied by that ratio, at most by four.
- **Checker of workflow runs** (`tests/chaos/workflow_checker.py`). It checks that
    - an accepted start creates one run, regardless of replays, and a sub-workflow node creates one child run;
    - a run has all of its nodes and edges, and each node and map item is enqueued once;
    - each run and node ends with the outcome and the result that a model predicts (`tests/support/workflow_oracle.py`,
      which shares no code with the database).

  The tasks of nodes are retried after a crash, so a crash does not change any outcome. The one exception is the task that
  builds a child run: it has no retry policy, and a crash may fail its node with WORKER_CRASHED.
- **Broken builds.** Four patches remove one safeguard each. The checker must detect each of them.

The tests do not cover the loss of a disk, a server that ignores fsync, a hypervisor that stops a whole machine,
schedules, and pausing, resuming and cancelling runs under faults.
"""


def report(runs: Sequence[Run], broken: Sequence[Run], scale: float, seconds: float) -> str:
    """Return the report as Markdown."""
    return "\n".join(
        [ABOUT, *_head(runs, scale, seconds), *_faults(runs), *_tasks(runs), *_times(runs), *_broken(broken), ""]
    )


def _head(runs: Sequence[Run], scale: float, seconds: float) -> list[str]:
    violations = [violation for run in runs for violation in run.violations]
    faults = sum((run.faults for run in runs), Counter[str]()).total()
    attempts = sum(run.tasks["attempts begun"] for run in runs)
    seed = runs[0].seed if runs else "none"
    verdict = "No promise was broken." if not violations else f"{len(violations)} times a promise was broken:"
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
        f"With 95 % confidence (rule of three: none in n trials bounds the rate by 3/n), {faults:,} faults without a "
        f"violation bound the share of such faults that break a promise by {bound(faults):.2%}, and {attempts:,} attempts "
        f"bound the share of attempts that do by {bound(attempts):.4%}."
        if not violations
        else "No bound follows from a run with violations.",
        "",
        *(f"- {run.name}: {remark}" for run in runs for remark in run.remarks),
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
        rows.append((run.name, "quick tasks a second, before and after", f"{before:.0f}, {after:.0f}"))
        for what in sorted({timing.what for timing in run.timings}):
            found = sorted(timing.seconds for timing in run.timings if timing.what == what)
            rows.append((run.name, _describe(what, run.timings), _spread(found)))
    return ["", "### Times", "", *_table(["run", "what", "seconds"], rows)]


def _describe(what: str, timings: Sequence[Timing]) -> str:
    limits = [timing.limit for timing in timings if timing.what == what]
    return f"{what} (limit {min(limits):.0f} s)"


def _spread(found: Sequence[float]) -> str:
    if len(found) == 1:
        return f"{found[0]:.1f}"
    return f"median {found[len(found) // 2]:.2f}, longest {found[-1]:.2f} of {len(found)}"


def _broken(broken: Sequence[Run]) -> list[str]:
    rows = [
        (f"`{run.name}`", f"{len(run.violations):,}", str(run.violations[0]) if run.violations else "NOT FOUND OUT")
        for run in broken
    ]
    return ["", "### Broken builds", "", *_table(["build", "violations", "the first of them"], rows)]
