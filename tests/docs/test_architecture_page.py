"""Every file, function and class that docs/architecture.md names exists where its link leads."""

import ast
import re
from pathlib import Path

import pytest

from horsies import RecoveryConfig
from horsies.worker.maintenance import maintenance_jobs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
LINK = re.compile(r"\[([^\]]+)\]\(\.\./(horsies/[^)#]+)\)")
SQL_FUNCTIONS = {file.stem for file in ROOT.glob("horsies/db/sql/functions/*/*.sql")}


def definitions(file: Path) -> set[str]:
    """Module-level functions, classes and type aliases of a file, and the methods of its classes as Class.method."""
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.TypeAlias):
            found.add(node.name.id)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{node.name}.{method.name}" for method in methods}
    return found


def wrong_link(text: str, path: str) -> str | None:
    """Return the mistake in a link to a source file; None if the link is correct."""
    file = ROOT / path
    if not file.is_file():
        return f"{path} does not exist"
    if "`" not in text:
        is_right = not text.endswith((".py", ".sql")) or path == f"horsies/{text}"
    elif file.suffix == ".sql":
        is_right = text.strip("`") == file.stem
    else:
        is_right = text.strip("`") in definitions(file)
    return None if is_right else f"{text} is not in {path}"


def test_every_linked_name_is_in_the_file_that_its_link_leads_to() -> None:
    links = LINK.findall(PAGE)
    assert len(links) > 80
    assert [wrong for link in links if (wrong := wrong_link(*link))] == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("`Claimer.reqest`", "horsies/worker/claimer.py"),
        ("`claim`", "horsies/db/sql/functions/worker/finish.sql"),
        ("`claim`", "horsies/db/sql/functions/claim.sql"),
        ("worker/claimer.py", "horsies/worker/completer.py"),
    ],
)
def test_a_wrong_link_is_found(text: str, path: str) -> None:
    assert wrong_link(text, path) is not None


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`(?:horsies/)?([\w/]+\.(?:py|pyi|sql))`", PAGE)
    assert [name for name in named if not (ROOT / "horsies" / name).is_file()] == []


def test_every_function_that_is_named_as_server_function_exists() -> None:
    """Names of server functions without a link, such as `reap` in a table, are links elsewhere on the page."""
    linked = {Path(path).stem for _, path in LINK.findall(PAGE) if path.endswith(".sql")} - {"0001_tables"}
    assert linked <= SQL_FUNCTIONS
    assert {"claim", "start", "finish", "retry_at", "reap", "reconcile", "task_result", "workflow_advance"} <= linked


@pytest.mark.parametrize("step", ["claimer", "completer", "reconciler", "exchange", "exchange_state", "dispatcher"])
def test_the_page_leads_to_the_parts_of_the_worker(step: str) -> None:
    assert f"../horsies/worker/{step}.py" in PAGE


def test_the_page_leads_to_every_module_of_the_worker() -> None:
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("horsies/worker/**/*.py")
        if path.name not in {"__init__.py", "options.py"}
    }
    assert modules - {path for _, path in LINK.findall(PAGE)} == set()


def test_the_maintenance_jobs_are_listed_in_their_order() -> None:
    rows = re.findall(r"^\| \[?`(\w+)`.* \| .* \| (.*) \|$", section("Maintenance"), re.MULTILINE)
    assert [name for name, _ in rows] == [job.name for job in maintenance_jobs(RecoveryConfig())]
    settings = {name for _, text in rows for name in re.findall(r"`([a-z_]+)`", text)}
    assert settings <= set(RecoveryConfig.model_fields)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("auto_requeue_stale_claimed", False),
        ("auto_fail_stale_running", False),
        ("terminal_record_retention_hours", None),
        ("heartbeat_retention_hours", None),
    ],
)
def test_a_setting_that_turns_a_job_off_stands_in_its_row(setting: str, value: object) -> None:
    kept = {job.name for job in maintenance_jobs(RecoveryConfig.model_validate({setting: value}))}
    off = {job.name for job in maintenance_jobs(RecoveryConfig())} - kept
    named = {
        row.split("`")[1] for row in section("Maintenance").splitlines() if f"`{setting}`" in row and row[0] == "|"
    }
    assert off == named != set()


def section(title: str) -> str:
    return PAGE.split(f"### {title}\n")[1].split("\n#")[0]
