"""What monitoring costs a drain: runs with it and without it alternate, so that a drift of the machine hits both."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import psycopg
from setting import measure

from horsies.db.functions import replace_functions
from horsies.db.sqlfiles import bind

_NOTHING = """
    create or replace function horsies.sample(keep_hours double precision) returns int
    language sql as 'select 0';
    create or replace function horsies.sample_errors() returns int
    language sql as 'select 0'
"""


def compare(name: str, runs: int, with_it: Callable[[], float], without: Callable[[], float]) -> None:
    """Print the rate of drains with and without something, and the quotient of each pair."""
    found: list[tuple[float, float]] = []
    for number in range(runs):  # each of the two is the first one in every second pair
        first, second = (with_it, without) if number % 2 == 0 else (without, with_it)
        rates = first(), second()
        found.append(rates if number % 2 == 0 else (rates[1], rates[0]))
    measure(f"drain with {name}", "/s", runs, iter([rate for rate, _ in found]).__next__)
    measure(f"drain without {name}", "/s", runs, iter([rate for _, rate in found]).__next__)
    measure("  with against without", "times", runs, iter([rate / off for rate, off in found]).__next__)


@contextmanager
def without_sampling(url: str) -> Generator[None]:
    """Replace the server functions that compute samples and error groups by functions that do nothing."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(bind(_NOTHING, "horsies"))
    try:
        yield
    finally:
        with psycopg.connect(url) as connection:
            replace_functions(connection, "horsies")


def samples(url: str) -> int:
    """Return how many tasks of closed minutes have been counted."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("select sum(completed) from horsies.samples where period_s = 60").fetchone()
        return 0 if row is None or row[0] is None else int(row[0])
