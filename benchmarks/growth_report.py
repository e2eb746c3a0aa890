"""The results of `growth.py` as tables. Run alone, it writes the recorded results into docs again.

.venv/bin/python benchmarks/growth_report.py
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from generated import replace_section

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "recorded" / "growth.json"
PAGE = ROOT / "docs" / "performance.md"
SECTION = "growth"

TITLES = {
    "rows": "Beside many rows",
    "payloads": "With larger arguments",
    "round_trips": "With a distant database",
    "senders": "With more coroutines that send at the same time",
    "writes": "Written for each task",
}
"""The tables, by the name of the group of cases. Groups without a title are only printed."""


class Value(NamedTuple):
    """One measured value.

    Attributes:
        case: what was different from the first case of its group.
        measure: what was measured.
        unit: its unit; empty for a number.
        value: the value.
        base: the value of the first case of the group, from the same session.
    """

    case: str
    measure: str
    unit: str
    value: float
    base: float


@dataclass
class Found:
    """Everything that one session has found.

    Attributes:
        facts: the commit, the machine and the load.
        groups: the values by the name of their group.
    """

    facts: str
    groups: dict[str, list[Value]] = field(default_factory=dict[str, list[Value]])

    def begin(self, group: str) -> None:
        """Let the next values belong to another group."""
        self.groups[group] = []

    def add(self, case: str, measure: str, unit: str, value: float, base: float) -> None:
        """Add and print a value of the group that was begun last."""
        self.groups[next(reversed(self.groups))].append(Value(case, measure, unit, value, base))
        print(f"{case:<40} {measure:<24} {value:>12,.2f} {unit:<8} {value / base:>7.2f} of the first", flush=True)

    def record(self, path: Path = RECORD) -> None:
        """Save everything, so that the tables can be written again without another session."""
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def recorded(path: Path = RECORD) -> Found:
    """Return the session that was saved last."""
    saved = json.loads(path.read_text())
    return Found(saved["facts"], {name: [Value(*each) for each in values] for name, values in saved["groups"].items()})


def table(values: list[Value]) -> str:
    """Return a table of Markdown: one row for each case, and one column for each measure, with its ratio."""
    columns = list(dict.fromkeys((each.measure, each.unit) for each in values))
    heads = [f"{measure} ({unit})" if unit else measure for measure, unit in columns]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---:|' * len(columns)}"]
    for number, case in enumerate(dict.fromkeys(each.case for each in values)):
        found = {each.measure: each for each in values if each.case == case}
        cells = [cell(found[measure], is_base=number == 0) for measure, _unit in columns]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(found: Value, *, is_base: bool) -> str:
    """Return a value with its ratio to the base, with as many digits as can be compared."""
    digits = 0 if abs(found.value) >= 100 else 2
    text = f"{found.value:,.{digits}f}"
    return text if is_base or not found.base else f"{text} ({found.value / found.base:.2f})"


def section(found: Found) -> str:
    """Return the generated part of the page."""
    parts = [f"Measured: {found.facts}. The ratio to the first row of each table is in brackets."]
    for name, title in TITLES.items():
        if values := found.groups.get(name):
            parts += [f"### {title}", table(values)]
    return "\n\n".join(parts)


def write(found: Found, page: Path = PAGE) -> None:
    """Write the tables into the page."""
    page.write_text(replace_section(page.read_text(), SECTION, section(found)))


if __name__ == "__main__":
    write(recorded())
