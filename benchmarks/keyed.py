"""Claims of a queue whose keys take turns, beside those of a queue without keys."""

from contextlib import ExitStack
from typing import NamedTuple

import floor
import psycopg
from flow_kit import CLAIMED, PLAIN, TURNS, KeyedWorker, drain_rate, median_blocks, queue, waiting
from setting import measure

PER_KEY = 2
ROUNDS = 10
"""Claims of which one run takes the median."""


LIMITED = TURNS._replace(per_key=PER_KEY)


class Sizes(NamedTuple):
    """How many keys there are, how many tasks each has, how many a full key has, and how many claims drain."""

    keys: int
    each: int
    crowd: int
    drained: int


def claims(url: str, runs: int, sizes: Sizes) -> None:
    """Compare the blocks and the time of claims, and of drains, in databases that alternate."""
    keys, each, crowd, drained = sizes
    waits = waiting(keys, each)
    fills = {
        "unkeyed": (waiting(keys, each, turns=False), PLAIN),
        "keyed": (waits, LIMITED),
        f"keyed, behind {crowd:,} of a full key": (waits + ";" + waiting(1, crowd, prefix="a full key "), LIMITED),
    }
    with ExitStack() as stack:
        places = {name: stack.enter_context(queue(url, fill, flow)) for name, (fill, flow) in fills.items()}
        workers = {name: KeyedWorker(stack.enter_context(floor.connect(place))) for name, place in places.items()}
        with floor.connect([*places.values()][-1]) as connection:
            fill_first_key(connection)
        begins = ["k" + f"{number * (keys // ROUNDS):06}" for number in range(ROUNDS)]
        for name, worker in workers.items():
            worker.explain(None if name == "unkeyed" else begins[0])  # plans the statements of the functions
        found = [
            {name: median_blocks(worker, [None, *begins[1:]]) for name, worker in workers.items()} for _ in range(runs)
        ]
        drains = [{name: drain_rate(each, drained) for name, each in workers.items()} for _ in range(runs)]
    base = "unkeyed"
    for name in places:
        measure(f"blocks of a claim of {CLAIMED}, {name}", "", runs, iter([run[name][0] for run in found]).__next__)
        measure(f"a claim of {CLAIMED}, {name}", "ms", runs, iter([run[name][1] for run in found]).__next__)
        measure(f"drain by claims of {CLAIMED}, {name}", "/s", runs, iter([run[name] for run in drains]).__next__)
        if name != base:
            ratios = [
                [run[name][0] / run[base][0] for run in found],
                [run[name][1] / run[base][1] for run in found],
                [run[name] / run[base] for run in drains],
            ]
            for what, values in zip(("blocks", "time of a claim", "drain"), ratios, strict=True):
                measure(f"  {what}, against {base}", "times", runs, iter(values).__next__)


def fill_first_key(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Claim as many tasks of the first key as its limit allows, and leave them running."""
    worker = KeyedWorker(connection)
    for _ in range(PER_KEY):
        worker.cursors = None
        assert len(worker.claim(1)) == 1
