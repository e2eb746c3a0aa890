"""The comparison with other task queues: its computations and its report, and its run with horsies and the floor alone."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture(scope="module")
def modules() -> dict[str, ModuleType]:
    """Import the modules of the benchmarks as they import each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return {name: importlib.import_module(name) for name in ("peers", "peer_list", "peer_report", "generated")}


@pytest.fixture
def session(modules: dict[str, ModuleType]) -> Any:
    """Return a session of two rounds in which two libraries were measured."""
    session = modules["peer_report"].Session(facts="commit abc, 2 cores", load=[0.1, 0.2], minutes=12.4)
    for rate in (20_000.0, 22_000.0):
        session.add("horsies", {"drain_sync": rate})
        session.add("horsies", {"latency_p50": 2.04, "latency_p99": 3.5})
    session.add("DBOS", {"drain_sync": 51.2})
    session.add("floor", {"drain_sync": 30_000.0})
    return session


def test_a_rate_counts_the_outcomes_after_the_first_ones(modules: dict[str, ModuleType]) -> None:
    assert modules["peers"].rate([100.0, 100.0, 100.5, 101.0, 102.0]) == 1.5
    assert modules["peers"].rate([3.0, 1.0, 2.0]) == 1.0


def test_a_rate_of_outcomes_at_one_time_is_refused(modules: dict[str, ModuleType]) -> None:
    with pytest.raises(ValueError, match="all 2 outcomes have the same time"):
        modules["peers"].rate([5.0, 5.0])


def test_each_cell_has_a_median_with_extremes_or_a_reason(modules: dict[str, ModuleType], session: Any) -> None:
    lines = modules["peer_report"].table(session).splitlines()
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines if "|" in line
    }
    assert list(rows) == ["", "---", *(peer.name for peer in modules["peer_list"].PEERS), "floor"]
    assert rows["horsies"][0] == "21,000 (20,000 to 22,000)"
    assert rows["horsies"][5] == "2.04 (2.04 to 2.04)"
    assert rows["DBOS"][0] == "51.2 (51.2 to 51.2)"
    reasons = dict(line.split(". ", 1) for line in lines if line[:1].isdigit())
    assert reasons[_reason(rows["Celery"][1])] == "Celery: runs no `async def` tasks."
    assert reasons[_reason(rows["floor"][3])] == "floor: has one connection."
    assert reasons[_reason(rows["pgqueuer"][0])] == "pgqueuer: was not measured in this session."


def _reason(cell: str) -> str:
    assert cell.startswith("- (")
    return cell[3:-1]


def test_a_session_without_redis_says_why(modules: dict[str, ModuleType], session: Any) -> None:
    session.missing = "Redis is not installed"
    table = modules["peer_report"].table(session)
    assert "Celery: Redis is not installed." in table
    assert "horsies: Redis" not in table


def test_plots_are_svg_with_attributes_only(modules: dict[str, ModuleType], session: Any) -> None:
    text = modules["peer_report"].bars("drain <1> & 2", "tasks/s", session.of("drain_sync"))
    root = ET.fromstring(text)  # noqa: S314 - made here
    space = "{http://www.w3.org/2000/svg}"
    assert {each.tag.removeprefix(space) for each in root.iter()} == {"svg", "title", "rect", "text", "line"}
    assert not any("style" in each.attrib or "class" in each.attrib for each in root.iter())
    texts = [each.text for each in root.iter(f"{space}text")]
    assert texts == ["drain <1> & 2 (tasks/s)", "horsies", "21,000", "DBOS", "51.2", "floor", "30,000"]
    widths = [float(each.attrib["width"]) for each in root.iter(f"{space}rect")][1:]
    assert widths[0] == pytest.approx(widths[2] * 0.7)
    assert max(float(each.attrib["x"]) for each in root.iter(f"{space}text")) < 600


def test_the_report_replaces_its_section_and_nothing_else(
    modules: dict[str, ModuleType], session: Any, tmp_path: Path
) -> None:
    page, images = tmp_path / "page.md", tmp_path / "images"
    page.write_text("# Page\n\n<!-- peers: begin; by a command -->\nold\n<!-- peers: end -->\n\nEnd.\n")
    modules["peer_report"].write(session, page, images)
    once = page.read_text()
    assert once.startswith("# Page\n\n<!-- peers: begin; by a command -->\n\nMeasured: commit abc, 2 cores.")
    assert once.endswith("\n\n<!-- peers: end -->\n\nEnd.\n")
    assert "old" not in once
    assert "Medians of 2 interleaved rounds" in once
    shown = {line.split("images/")[1].rstrip(")") for line in once.splitlines() if line.startswith("![")}
    assert (
        shown
        == {path.name for path in images.iterdir()}
        == {
            "peers-drain-sync.svg",
            "peers-latency-p50.svg",
            "peers-latency-p99.svg",
        }
    )
    modules["peer_report"].write(session, page, images)
    assert page.read_text() == once


def test_a_page_without_the_section_is_refused(modules: dict[str, ModuleType]) -> None:
    with pytest.raises(ValueError, match="must contain the comments <!-- peers: begin"):
        modules["generated"].replace_section("# Page\n", "peers", "new")


def test_the_page_about_performance_has_the_section(modules: dict[str, ModuleType]) -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    assert "\n\nnew\n\n" in modules["generated"].replace_section(page, "peers", "new")


@pytest.mark.timeout(180)
def test_horsies_and_the_floor_run_through_all_cases() -> None:
    command = [sys.executable, str(BENCHMARKS / "peers.py"), "--quick", "horsies"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in done.stdout.splitlines() if line.startswith("| ")}
    assert len(rows["| horsies"]) == 7
    assert not any(cell.startswith("-") for cell in rows["| horsies"])
    assert [cell.startswith("-") for cell in rows["| floor"]] == [False, True, False, True, False, True, True]
