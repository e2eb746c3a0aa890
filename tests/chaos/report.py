"""The report of a chaos run; it writes docs/reliability.md."""

import subprocess
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.chaos.checker import Timing, bound
from tests.chaos.runs import ROOT, Run

ABOUT = """# Reliability

The promises in [architecture](architecture.md) are tried by breaking things: `make chaos` starts servers, workers and
producers as real processes, injects faults into them under load, and lets a checker judge what is left. This page is
what its last full run wrote (`python -m tests.chaos --report docs/reliability.md`); CI does 1 % of it each time.

## How it is tried

- **Load.** Two producers send quick, sleeping, asynchronous, retried, failing and capped tasks, and tasks that send others.
  A send whose answer was an error is replayed until it is accepted. Where the faults are mixed, a third one starts 200
  workflow runs of 3 to 11 nodes, made from the seed, and replays starts likewise: joins of all kinds, nodes that fail, nodes
  that go on after that, runs below runs, maps.
- **Workers.** Four, with two children each, started again whenever they end: one reaches the server directly, two through a
  TCP proxy, one prefetches, two have a clock that is an hour off. Their threshold is 4 s, their heartbeats are 1 s apart.
- **Faults.** A plan made from a seed, spread at random over a quarter of an hour; `SEED=` makes the same plan again, and
  what each fault meets is up to the machine. Full disk and fail-over have runs of their own, of two workers each.
- **Ledger.** Each attempt writes its begin and its end, with its number and process, to a file that the queue knows nothing
  of; each producer writes what was accepted.
- **Checker** (`tests/chaos/checker.py`, pure, with tests of its own): accepted is kept; nothing runs unasked; no attempt begins
  twice, and another one only after a failure that the policy names; attempts of a task do not overlap; each outcome comes
  from the process that the ledger names; a claim has one outcome; caps hold; all work is done within a minute of the last
  fault; the work of a killed supervisor is handed on within 2 s; 95 % of the throughput is back within a minute; no
  process, connection or lock is left; no password or argument stands in a log. On a machine whose load exceeds its cores,
  limits of time are stretched by that ratio, four times at most.
- **Checker of workflow runs** (`tests/chaos/workflow_checker.py`): an accepted start is one run, however often it was replayed,
  and so is a node that is a workflow; a run has all of its nodes and edges; a node, and an item of a map, is enqueued once;
  each run and node ends as the oracle says (`tests/support/workflow_oracle.py`, a model that shares no code with the
  database), with the results that it has there. The tasks of nodes are tried again after a crash, so a crash changes no
  outcome; only the task that builds the run of a node has no policy, and may fail that node with WORKER_CRASHED.
- **Broken builds.** Four patches, each of which takes one guard away, have to be found out: else the checker is blind.

What it does not try: loss of a disk, a server that lies about fsync, a hypervisor that stops a whole machine, schedules;
pausing, resuming and cancelling runs under faults.
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
        (f"`{run.name}`", f"{len(run.violations):,}", str(run.violations[0]) if run.violations else "NOT FOUND OUT")
        for run in broken
    ]
    return ["", "### Broken builds", "", *_table(["build", "violations", "the first of them"], rows)]
