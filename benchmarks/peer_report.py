"""The results of `peers.py` as a table and as bars. Run alone, it writes the recorded results into docs again.

.venv/bin/python benchmarks/peer_report.py
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from generated import replace_section
from peer_list import CASES, FLOOR, FLOOR_CONFIGURATION, FLOOR_MISSING, PEERS

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "recorded" / "peers.json"
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
SECTION = "peers"
TASKS = "tasks/s"


class Measure(NamedTuple):
    """One column of the table, and one plot."""

    head: str
    title: str
    unit: str


MEASURES = {
    "drain_sync": Measure("drain, `def`", CASES["drain_sync"], TASKS),
    "drain_async": Measure("drain, `async def`", CASES["drain_async"], TASKS),
    "send_1": Measure("sends, 1", CASES["send_1"], TASKS),
    "send_16": Measure("sends, 16", CASES["send_16"], TASKS),
    "bulk": Measure("bulk send", CASES["bulk"], TASKS),
    "latency_p50": Measure("latency p50", f"{CASES['latency']}, median", "ms"),
    "latency_p99": Measure("latency p99", f"{CASES['latency']}, 99th percentile", "ms"),
}


def case_of(measure: str) -> str:
    """Return the case that finds a measure."""
    return "latency" if measure.startswith("latency") else measure


@dataclass
class Session:
    """Everything that one comparison has found."""

    facts: str
    load: list[float] = field(default_factory=list[float])
    minutes: float = 0.0
    missing: str | None = None
    """Why there are no results of libraries that need Redis."""
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict[str, dict[str, list[float]]])
    """The values of all rounds, by the name of the library and by the measure."""

    def add(self, name: str, found: Mapping[str, float]) -> None:
        """Add the values of one round."""
        for measure, value in found.items():
            self.values.setdefault(name, {}).setdefault(measure, []).append(value)

    def latest(self, name: str, case: str) -> str:
        """Return the newest values of a case as text."""
        found = self.values[name]
        return ", ".join(number(found[each][-1]) for each in MEASURES if case_of(each) == case)

    def of(self, measure: str) -> dict[str, list[float]]:
        """Return the values of a measure by the name of the library."""
        return {name: found[measure] for name, found in self.values.items() if measure in found}


def number(value: float) -> str:
    """Return a number with three digits, or all digits before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def cell(values: Sequence[float]) -> str:
    """Return the median and the extremes."""
    return f"{number(statistics.median(values))} ({number(min(values))} to {number(max(values))})"


def table(session: Session) -> str:
    """Return the medians and extremes as a table of Markdown: one row a library, and one column a measure."""
    heads = [f"{each.head} ({each.unit})" for each in MEASURES.values()]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    reasons: list[str] = []
    for name in [peer.name for peer in PEERS] + [FLOOR]:
        cells = [_cell_of(session, name, measure, reasons) for measure in MEASURES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    notes = [f"{index}. {reason}." for index, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, *(["", "A dash refers to its reason:", "", *notes] if notes else [])])


def _cell_of(session: Session, name: str, measure: str, reasons: list[str]) -> str:
    found = session.values.get(name, {}).get(measure)
    if found:
        return cell(found)
    peer = next((peer for peer in PEERS if peer.name == name), None)
    missing = FLOOR_MISSING if peer is None else peer.missing
    without_redis = session.missing if peer is not None and peer.postgres is None else None
    reason = f"{name}: {missing.get(case_of(measure)) or without_redis or 'was not measured in this session'}"
    if reason not in reasons:
        reasons.append(reason)
    return f"- ({reasons.index(reason) + 1})"


def section(session: Session) -> str:
    """Return the generated section of the page: the session, the table, the plots, and the configurations."""
    rounds = max((len(values) for found in session.values.values() for values in found.values()), default=0)
    loads = " and ".join(f"{load:.1f}" for load in session.load)
    medians = f"Medians of {rounds} interleaved {'round' if rounds == 1 else 'rounds'}, with the extremes in brackets."
    load = f"The load of the machine was {loads} at the beginning and at the end of the {session.minutes:.0f} minutes."
    head = f"Measured: {session.facts}. {medians} {load}"
    cases = "\n".join(f"- {each.head}: {each.title}." for each in MEASURES.values())
    plots = [
        f"![{plain(each.title)}](images/{image(measure)})" for measure, each in MEASURES.items() if session.of(measure)
    ]
    listed = [
        f"- **{peer.name}** ({', '.join(peer.installed) or 'this repository'}): {peer.configuration}." for peer in PEERS
    ]
    configurations = "\n".join([*listed, f"- **{FLOOR}**: {FLOOR_CONFIGURATION}."])
    return "\n\n".join([head, cases, table(session), *plots, "The configurations:", configurations])


def plain(title: str) -> str:
    """Return a title without marks of Markdown."""
    return title.replace("`", "")


def image(measure: str) -> str:
    """Return the name of the file with the plot of a measure."""
    return f"peers-{measure.replace('_', '-')}.svg"


def bars(title: str, unit: str, values: Mapping[str, Sequence[float]]) -> str:
    """Return horizontal bars of medians, with a line from the smallest to the largest value, as SVG."""
    left, width, row, top = 110, 420, 28, 44
    most = max(max(each) for each in values.values()) or 1.0
    height = top + row * len(values) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="680" height="{height}" role="img"',
        f'  viewBox="0 0 680 {height}" font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="680" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-weight="bold" fill="#222222">{escape(f"{title} ({unit})")}</text>',
    ]
    for index, (name, each) in enumerate(values.items()):
        y = top + row * index
        low, middle, high = (width * value / most for value in (min(each), statistics.median(each), max(each)))
        fill = "#3f51b5" if name == "horsies" else "#9fa8da"
        parts += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end" fill="#222222">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{max(middle, 1):.1f}" height="19" fill="{fill}"/>',
            f'<line x1="{left + low:.1f}" y1="{y + 9.5}" x2="{left + high:.1f}" y2="{y + 9.5}" stroke="#222222"/>',
            f'<text x="{left + high + 8:.1f}" y="{y + 14}" fill="#222222">{number(statistics.median(each))}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def record(session: Session) -> None:
    """Record the session, and write it into docs."""
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps(asdict(session), indent=1) + "\n")
    write(session, PAGE, IMAGES)


def write(session: Session, page: Path, images: Path) -> None:
    """Write the table into the page, and the plots beside it."""
    images.mkdir(exist_ok=True)
    for measure, each in MEASURES.items():
        if session.of(measure):
            (images / image(measure)).write_text(bars(plain(each.title), each.unit, session.of(measure)))
    page.write_text(replace_section(page.read_text(), SECTION, section(session)))


if __name__ == "__main__":
    write(Session(**json.loads(RECORD.read_text())), PAGE, IMAGES)
