"""docs/reliability.md is what the report of a chaos run writes."""

import re
from collections import Counter

from tests.chaos.report import ABOUT, report
from tests.chaos.runs import FULL, Run
from tests.docs.test_documents import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()
HEADING = re.compile(r"^(?:#+ .*|\| (?:run|build) \|.*)$", re.MULTILINE)


def test_the_page_begins_with_the_text_of_the_report() -> None:
    assert PAGE.startswith(ABOUT)


def test_the_page_has_the_headings_and_tables_of_the_report() -> None:
    assert HEADING.findall(PAGE) == HEADING.findall(report([], [], scale=1, seconds=0))


def test_every_fault_is_described() -> None:
    described = set(re.findall(r"^\| ([a-zA-Z -]+) \| [A-Z`]", ABOUT, re.MULTILINE))
    counted = set(
        re.findall(r"^\| (?:mixed|full disk|fail-over) \| ([a-zA-Z -]+) \| [\d,]+ \|$", faults(PAGE), re.MULTILINE)
    )
    assert set(FULL) <= described
    assert counted <= described


def test_a_fault_of_a_run_is_in_its_report() -> None:
    run = Run("mixed", "seed", faults=Counter({"child killed": 3}))
    assert "| mixed | child killed | 3 |" in faults(report([run], [], scale=1, seconds=60))


def faults(text: str) -> str:
    return text.split("### Faults\n")[1].split("\n#", maxsplit=1)[0]
