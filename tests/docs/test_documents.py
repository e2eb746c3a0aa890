"""The documentation is correct: code runs, commands exist, links lead to targets, tables match the code."""

import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel
from typer.core import TyperGroup
from typer.testing import CliRunner

from horsies import AppConfig, PostgresConfig, RecoveryConfig, ScheduleConfig, WorkerResilienceConfig
from horsies.cli.main import COMMANDS, app, load_command
from horsies.embedded.server import INSTALL
from tests.support.environment import URL_VARIABLE, load_tasks
from tests.support.workers import WorkerProcess

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
EXECUTED = [
    ROOT / "docs" / name
    for name in (
        "configuration.md",
        "tasks.md",
        "transactions.md",
        "retries.md",
        "hooks.md",
        "queues.md",
        "flow-control.md",
        "results-and-errors.md",
        "schedules.md",
        "workflows.md",
        "workflow-runs.md",
        "monitoring.md",
        "web.md",
        "upgrading.md",
        "coming-from-celery.md",
        "moving-from-horsies-0.md",
    )
]
RUN_ELSEWHERE = ("sending-from-sql.md",)
"""Pages whose Python blocks belong to other blocks: test_sending_from_sql_page.py runs them together."""
FOLLOWED = ("tutorial.md", "fastapi.md", "django.md", "database-roles.md", "testing.md", "tracing.md")
"""Pages that other tests follow: test_tutorial.py, test_framework_pages.py, e2e/test_database_roles_page.py,
test_testing_page.py, test_tracing_page.py."""
BLOCK = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?^```(?P<kind>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
MODELS: dict[str, type[BaseModel]] = {
    "AppConfig": AppConfig,
    "PostgresConfig": PostgresConfig,
    "RecoveryConfig": RecoveryConfig,
    "WorkerResilienceConfig": WorkerResilienceConfig,
    "ScheduleConfig": ScheduleConfig,
}


def blocks(page: Path, kind: str) -> list[str]:
    return [found["code"] for found in BLOCK.finditer(page.read_text()) if found["kind"] == kind]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page: Path, database_url: str, tmp_path: Path) -> None:
    name = page.stem.replace("-", "_")
    file = tmp_path / f"{name}.py"
    file.write_text("\n".join([*blocks(page, "python"), f"app.discover_tasks([{name!r}])"]))
    worker = WorkerProcess(["worker", f"{name}:app", "--processes=2"], tmp_path, {URL_VARIABLE: database_url})
    try:
        worker.wait_until_ready()
        module = load_tasks(file, {})
        ran = run_as_producer(module, page, database_url)
    finally:
        worker.kill_all()
    assert ran == len(blocks(page, "python run")) > 0


def run_as_producer(module: ModuleType, page: Path, database_url: str) -> int:
    """Run the blocks that send, in order and in one namespace; how many there were."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL_VARIABLE, database_url)
        names: dict[str, Any] = vars(module)
        try:
            codes = [
                compile(code, f"{page.name}, block {number}", "exec")
                for number, code in enumerate(blocks(page, "python run"))
            ]
            for code in codes:
                exec(code, names)  # noqa: S102 - the document's own code
        finally:
            module.app.close()
    return len(codes)


def test_blocks_that_show_a_file_are_that_file() -> None:
    shown = [found for page in PAGES for found in BLOCK.finditer(page.read_text()) if found["file"]]
    assert len(shown) == 5
    for found in shown:
        assert found["code"] == (ROOT / found["file"]).read_text()


def test_every_python_block_is_run_or_is_a_file() -> None:
    idle = [
        f"{page.name}: {found['code'][:60]!r}"
        for page in PAGES
        if page not in EXECUTED and page.name not in FOLLOWED + RUN_ELSEWHERE
        for found in BLOCK.finditer(page.read_text())
        if found["kind"].startswith("python") and not found["file"]
    ]
    assert idle == []


def test_nothing_is_installed_from_the_index_under_our_name() -> None:
    """The package of that name there is another project, until ours is published."""
    texts = [*PAGES, *(ROOT / "horsies").rglob("*.py")]
    lines = [line for file in texts for line in file.read_text().splitlines()]
    wrong = [line for line in lines if re.search(r"pip install [^`]*(?<![\w./-])horsies(?![\w-])", line)]
    assert [line for line in wrong if "do not run" not in line] == []
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["embedded"]
    assert f"pip install '{extra[0]}'" == INSTALL


def commands() -> list[list[str]]:
    lines = [line for page in PAGES for code in blocks(page, "sh") for line in code.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith(("horsies ", "make "))]


@pytest.mark.timeout(120)
def test_every_command_line_exists() -> None:
    assert len(commands()) > 8
    makefile = (ROOT / "Makefile").read_text()
    for program, *arguments in commands():
        if program == "make":
            assert f"\n{arguments[0]}:" in makefile
            continue
        words = arguments[: 2 if isinstance(load_command(arguments[0]), TyperGroup) else 1]
        help_text = horsies_help(*words)
        for option in (word.split("=")[0] for word in arguments if word.startswith("--")):
            assert option in help_text, f"{option} of {words}"


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\(docs/([a-z0-9-]+\.md)\)", (ROOT / "README.md").read_text()))
    assert linked == {page.name for page in ROOT.glob("docs/*.md")}


def test_the_layers_on_the_page_are_those_that_are_kept() -> None:
    kept = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    [shown] = (code for code in blocks(ROOT / "docs" / "architecture.md", "") if code.startswith("testing "))
    assert [line.split("  ")[0] for line in shown.splitlines()] == kept


def test_every_table_is_on_the_page() -> None:
    migrations = "".join(file.read_text() for file in ROOT.glob("horsies/db/sql/migrations/*.sql"))
    tables = set(re.findall(r"^create table horsies\.(\w+)", migrations, re.MULTILINE)) - {"history_default"}
    listed = (ROOT / "docs" / "architecture.md").read_text().split("## Tables")[1].split("\n## ")[0]
    assert tables <= set(re.findall(r"`(\w+)`", listed))


def test_every_command_has_a_section() -> None:
    sections = re.findall(r"^## ([a-z]+)$", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(COMMANDS)


def test_the_options_of_the_worker_are_those_that_are_listed() -> None:
    section = (ROOT / "docs" / "cli.md").read_text().split("\n## worker\n")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `(--[a-z-]+)`", section, re.MULTILINE))
    assert listed == set(re.findall(r"--[a-z][a-z-]+", horsies_help("worker"))) - {"--help"}


@cache
def horsies_help(*words: str) -> str:
    ran = CliRunner().invoke(app, [*words, "--help"], prog_name="horsies", env={"COLUMNS": "200"})
    assert ran.exit_code == 0, ran.output
    shown = ran.output
    return shown.split("Example:")[0] + shown.split("Options:")[-1]


@pytest.mark.parametrize("model", MODELS)
def test_the_table_of_settings_is_that_of_the_model(model: str) -> None:
    section = (ROOT / "docs" / "configuration.md").read_text().split(f"## {model}\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", section, re.MULTILINE))
    fields = {field.alias or name: field for name, field in MODELS[model].model_fields.items()}
    assert list(rows) == list(fields)
    for name, field in fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = f"{type(default).__name__}()" if isinstance(default, BaseModel) else str(default)
        assert rows[name] == shown, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, heading in LINK.findall(page.read_text()):
        file = (page.parent / target) if target else page
        assert file.exists(), f"{page.name}: {target}"
        if heading:
            slugs = {slug(line) for line in file.read_text().splitlines() if line.startswith("#")}
            assert heading in slugs, f"{page.name}: {target}#{heading}"


def slug(line: str) -> str:
    return re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
