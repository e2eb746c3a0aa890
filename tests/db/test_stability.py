"""The stability of the functions: none promises more than the functions that it calls."""

import re

import pytest

from horsies.db import sqlfiles
from tests.support.sessions import Session, scalar

ORDER = "isv"  # immutable, stable, volatile
OVERLOADED = {"to_timestamp": "i"}
"""Functions with overloads of different stability: the stability of the overload that is called."""

CATALOG_NAMES = {"extract": "date_part"}
"""Syntax that is a call of a function with another name before PostgreSQL 14."""

_STABILITY = """
    select p.provolatile from pg_proc p
    where p.proname = %s and p.pronamespace = 'horsies'::regnamespace
"""
_WORST = """
    select max(case p.provolatile when 'i' then 0 when 's' then 1 else 2 end)
    from pg_proc p where p.proname = %s and p.pronamespace in ('horsies'::regnamespace, 'pg_catalog'::regnamespace)
"""


def stability(db: Session, name: str) -> int:
    return ORDER.index(scalar(db, _STABILITY, name))


def called(sql: str) -> set[str]:
    """The words before an opening parenthesis in a function's body; comments and literals do not count."""
    body = sql.partition("$function$")[2]
    return set(re.findall(r"\b(\w+)\s*\(", re.sub(r"--[^\n]*|'(?:[^']|'')*'", "", body)))


def stability_of_called(db: Session, name: str) -> int:
    """The least stable of the functions called; words that are no function count as immutable."""
    names = {CATALOG_NAMES.get(each, each) for each in called(sqlfiles.functions()[name]) - {name}}
    found = [ORDER.index(OVERLOADED[each]) if each in OVERLOADED else scalar(db, _WORST, each) for each in names]
    return max([each for each in found if each is not None], default=0)


@pytest.mark.parametrize("name", sqlfiles.functions())
def test_a_function_is_no_more_stable_than_the_functions_it_calls(db: Session, name: str) -> None:
    assert stability(db, name) >= stability_of_called(db, name), called(sqlfiles.functions()[name])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("task_error", "s"), ("node_task_id", "s"), ("database_identity", "v"), ("uuid_time", "i"), ("now", "v")],
)
def test_the_stability_of_called_functions_is_read_from_the_catalog(db: Session, name: str, expected: str) -> None:
    assert ORDER[stability_of_called(db, name)] == expected
    assert ORDER[stability(db, name)] == expected


def test_an_immutable_function_writes_and_reads_no_table() -> None:
    immutable = [name for name, sql in sqlfiles.functions().items() if re.search(r"language \w+ immutable", sql)]
    assert immutable == ["sample_bucket", "uuid_time"]
    for name in immutable:
        assert "horsies." not in sqlfiles.functions()[name].partition("$function$")[2]
