"""Workflows made from a seed, as documents that `tests.support.workflow_oracle` reads: the same for a producer, which
starts them, and for the checker, which lets the oracle run them. No I/O, and nothing of horsies, here.

However the ends of nodes follow each other, and whichever processes die, such a run has one end: inputs are taken of
dependencies only that are waited for, and each task is tried again after a crash. A node's `work` is its task's name.
"""

from random import Random
from typing import Any

type Json = Any

FAILS = "BOOM"


def plan(seed: str) -> dict[str, Json]:
    """A workflow with a handful of nodes."""
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
    """The workflow that a node is; it fails with every fourth value."""
    nodes = [
        _node(0, "step", value=value),
        _node(1, "sum_up", 0, value=1, fails=value % 4 == 0, args_from={"before": 0}),
    ]
    return _document(nodes, output=1)


def square_of(value: int) -> int | None:
    """What becomes of an item of a map; None: it fails."""
    return None if value % 3 == 2 else value * value


def _step(random: Random, number: int) -> dict[str, Json]:
    waits_for = random.sample(range(number), random.randint(0, min(number, 3)))
    join = random.choice(["all", "all", "any", "quorum"]) if waits_for else "all"
    args_from = {"before": random.choice(waits_for)} if waits_for and join == "all" and random.random() < 0.6 else {}
    return _node(
        number,
        "sum_up" if args_from else "step",
        *waits_for,
        value=random.randrange(100),
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
