"""The diagram of a task's life: every arrow has a test of its name, and no test an arrow that is not drawn."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ARROW = re.compile(r"^    (\S+) --> (\w+): (.+)$", re.MULTILINE)


def test_every_arrow_has_a_test_of_its_name() -> None:
    arrows = ARROW.findall((ROOT / "docs" / "task-life-cycle.md").read_text())
    named = {
        f"test_{before}_to_{after}_by_{event}".replace("[*]", "new").replace(" ", "_").lower()
        for before, after, event in arrows
    }
    tests = re.findall(r"^def (test_\w+)\(", (ROOT / "tests" / "db" / "test_edges.py").read_text(), re.MULTILINE)
    assert len(named) == len(arrows) > 10
    assert set(tests) == named
