"""Random workflows, as documents that `tests.support.workflow_oracle` reads.

The same seed gives the same workflow to the producer, which starts it, and to the checker, which lets the oracle run
it. This module does no I/O and does not import horsies.

Such a run has only one possible outcome, regardless of the order in which nodes end and of the processes that die:
nodes get inputs only from dependencies that they wait for, and each task is retried after a crash. The `work` of a node
is the name of its task.
"""

from random import Random
from typing import Any

type Json = Any

FAILS = "BOOM"


def plan(seed: str) -> dict[str, Json]:
    """Return a workflow with a few nodes."""
    random = Random(seed)  # noqa: S311
    nodes: list[dict[str, Json]] = []
    for _ in range(random.randint(3, 6)):
        nodes.append(_step(random, len(nodes)))
    if random.random() < 0.5:
        waits_for = random.sample(range(len(nodes)), random.randint(0, 1))
        nodes.append(_node(len(nodes), "child", *waits_for, kind="workflow", value=random.randrange(8)))
        nodes.append(_node(len(nodes), "sum_up", len(nodes) - 1, value=1, args_from={"before": len(nodes) - 1}))
    if random.random() < 0.5:
        found = len(nodes)
        nodes.append(_node(found, "numbers", value=random.randrange(7)))
        most = random.choice([None, 2])
        nodes.append(_node(found + 1, "square", found, kind="map", over=found, max_parallel=most))
        nodes.append(_node(found + 2, "total", found + 1, args_from={"parts": found + 1}))
    needed = random.sample(range(len(nodes)), 2)
    return _document(nodes, cases=random.choice([None, None, [needed]]))


def child_plan(value: int) -> dict[str, Json]:
    """Return the workflow of a sub-workflow node. It fails for every fourth value."""
    nodes = [
        _node(0, "step", value=value),
        _node(1, "sum_up", 0, value=1, fails=value % 4 == 0, args_from={"before": 0}),
    ]
    return _document(nodes, output=1)


def square_of(value: int) -> int | None:
    """Return the result of an item of a map; None: the item fails."""
    return None if value % 3 == 2 else value * value


def _step(random: Random, number: int) -> dict[str, Json]:
    waits_for = random.sample(range(number), random.randint(0, min(number, 3)))
    join = random.choice(["all", "all", "any", "quorum"]) if waits_for else "all"
    args_from = {"before": random.choice(waits_for)} if waits_for and join == "all" and random.random() < 0.6 else {}
    value = random.randrange(100)
    step = "step" if value % 3 else "effect_step"
    return _node(
        number,
        "sum_up" if args_from else step,
        *waits_for,
        value=value,
        fails=random.random() < 0.2,
        args_from=args_from,
        join=join,
        min_success=random.randint(1, len(waits_for)) if join == "quorum" else None,
        allow_failed_deps=join == "all" and random.random() < 0.4,
    )


def _node(number: int, work: str, *waits_for: int, **options: Json) -> dict[str, Json]:
    plain = {"kind": "task", "join": "all", "min_success": None, "allow_failed_deps": False, "args_from": {}}
    more = {"ctx_from": None, "over": None, "max_parallel": None, "value": 0, "fails": False}
    return {"node_id": f"n{number}", "work": work, "waits_for": list(waits_for)} | plain | more | options


def _document(nodes: list[dict[str, Json]], **options: Json) -> dict[str, Json]:
    return {"nodes": nodes, "on_error": "fail", "output": None, "cases": None, "optional": []} | options
