"""How each server function runs: with whose rights, and with which search path."""

import pytest

from horsies.db import sqlfiles
from tests.db.test_sqlfiles import FOR_USERS, parse_header
from tests.support.sessions import Session, column

KINDS = {"producer", "worker", "viewer", "operator", "arguments"}
FIXED_PATH = "search_path=pg_catalog, pg_temp"

_ENTRY_POINTS = """
    select p.proname::text from pg_proc p
    where p.pronamespace = 'horsies'::regnamespace and p.prosecdef and %s = any (p.proconfig)
"""
_HELPERS = """
    select p.proname::text from pg_proc p
    where p.pronamespace = 'horsies'::regnamespace and not p.prosecdef
      and not exists (select from unnest(p.proconfig) as setting where setting like 'search_path=%%')
"""


def kinds(name: str) -> set[str]:
    """The kinds of roles that the header of a function names."""
    named = parse_header(sqlfiles.functions()[name]).sections["Granted to"].removesuffix(".")
    return set() if named == "nobody" else set(named.split(", "))


ENTRY_POINTS = sorted(name for name in sqlfiles.functions() if kinds(name))
HELPERS = sorted(name for name in sqlfiles.functions() if not kinds(name))


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_a_header_names_kinds_of_roles(name: str) -> None:
    assert kinds(name) <= KINDS


def test_exactly_the_functions_that_the_library_or_users_call_are_granted() -> None:
    callers = {name: parse_header(sql).sections["Called by"] for name, sql in sqlfiles.functions().items()}
    assert sorted(name for name, called in callers.items() if ".py" in called or name in FOR_USERS) == ENTRY_POINTS


def test_an_entry_point_runs_as_the_owner_with_a_fixed_search_path(db: Session) -> None:
    assert sorted(column(db, _ENTRY_POINTS, FIXED_PATH)) == ENTRY_POINTS


def test_a_helper_runs_as_its_caller_and_inherits_the_search_path(db: Session) -> None:
    assert sorted(column(db, _HELPERS)) == HELPERS
