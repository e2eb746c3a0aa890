"""Rules that no linter checks: sizes, the place of SQL, and that tests assert something."""

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "horsies"

MOST_LINES_OF_FILE = 500
MOST_LINES_OF_FUNCTION = 60
MEAN_LINES_OF_FUNCTION = 14
MOST_COLUMNS_OF_SQL = 119

IMPORTS_INSIDE_FUNCTIONS = {
    "horsies/app.py:run": "producers never run a worker, and would pay for it at each start",
    "horsies/worker/main.py:_metrics_service": "its packages are optional",
    "horsies/cli/metrics.py:metrics": "its packages are optional",
    "horsies/cli/web.py:web": "its packages are optional",
    "horsies/cli/web.py:_auth": "its packages are optional",
    "horsies/cli/top.py:_watch": "its package is optional",
}
"""Functions that may import, as ``horsies/file.py:function``, each with its reason."""

_STATEMENT = re.compile(
    r"\s*(?:"
    r"select\b.+|with\s+(?:recursive\s+)?\w+\s+as\b.*|insert\s+into\b.*|update\s+\S+\s+set\b.*|delete\s+from\b.*"
    r"|(?:create|alter|drop|comment)\s+(?:or\s+replace\s+)?"
    r"(?:table|index|schema|function|view|type|role|database|trigger|sequence|extension)\b.*"
    r"|(?:listen|unlisten|notify)\s+\S+\s*|lock\s+table\b.*|set\s+(?:local|session)\s.*|set\s+[\w.]+\s*=.*"
    r"|(?:begin|commit|rollback|truncate|vacuum|analyze|copy|grant|revoke)(?:\s.*)?;.*"
    r")",
    re.IGNORECASE | re.DOTALL,
)
_CALL_OR_SESSION = re.compile(
    r"select\s[^;]*?(?:\bfrom\s+)?\bhorsies\.\w+\s*\([^;]*\)[^;()]*;?|(?:listen|unlisten|set\s+local)\s[^;]*;?|begin;|commit;",
    re.IGNORECASE | re.DOTALL,
)

type Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def place(path: Path, node: ast.AST | None = None) -> str:
    line = getattr(node, "lineno", None)
    return str(path.relative_to(ROOT)) + (f":{line}" if line else "")


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lines_of(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def source_files() -> list[Path]:
    """Return the package's Python and SQL files, without migrations, whose number only grows."""
    files = [*python_files(PACKAGE), *PACKAGE.rglob("*.sql")]
    return [path for path in files if "migrations" not in path.parts]


def strings(path: Path) -> Iterator[ast.Constant | ast.JoinedStr]:
    """Yield the string constants and f-strings of a file, without docstrings."""
    tree = parse(path)
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        )
        if is_text and id(node) not in skipped:
            assert isinstance(node, ast.Constant | ast.JoinedStr)
            yield node


def text_of(node: ast.Constant | ast.JoinedStr) -> str:
    """Return the text of a string, with ``x`` in place of each inserted value."""
    if isinstance(node, ast.Constant):
        return node.value.decode(errors="replace") if isinstance(node.value, bytes) else str(node.value)
    return "".join(text_of(part) if isinstance(part, ast.Constant) else "x" for part in node.values)


def check_none(found: Iterable[str], rule: str) -> None:
    listed = list(found)
    assert not listed, "\n  ".join([rule, *listed])


def test_no_file_is_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in source_files()}
    long = (f"{place(path)}: {lines}" for path, lines in lengths.items() if lines > MOST_LINES_OF_FILE)
    check_none(long, f"files over {MOST_LINES_OF_FILE} lines; split them by subject")


def test_lines_of_sql_are_short() -> None:
    long = (
        f"{place(path)}:{number}: {len(line)}"
        for path in source_files()
        if path.suffix == ".sql"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > MOST_COLUMNS_OF_SQL
    )
    check_none(long, f"lines of SQL over {MOST_COLUMNS_OF_SQL} columns; break them")


def test_functions_are_short() -> None:
    every = [(path, function) for path in python_files(PACKAGE) for function in functions(path)]
    long = (
        f"{place(path, each)} {each.name}: {lines_of(each)}"
        for path, each in every
        if lines_of(each) >= MOST_LINES_OF_FUNCTION
    )
    check_none(long, f"functions of {MOST_LINES_OF_FUNCTION} lines or more; cut them along their steps")
    mean = sum(lines_of(function) for _, function in every) / len(every)
    assert mean < MEAN_LINES_OF_FUNCTION, f"functions have {mean:.1f} lines on average"


def test_sql_stands_in_sql_files() -> None:
    sql = (
        f"{place(path, node)} {text_of(node)[:60]!r}"
        for path in python_files(PACKAGE)
        for node in strings(path)
        if _STATEMENT.fullmatch(text_of(node))
        and not (PACKAGE / "db" in path.parents and _CALL_OR_SESSION.fullmatch(text_of(node).strip()))
    )
    check_none(
        sql,
        "SQL belongs into horsies/db/sql; Python below horsies/db may call functions: select … from horsies.function(…)",
    )


def test_the_rule_for_sql_knows_sql_from_prose() -> None:
    for statement in ("select 1", "SELECT * FROM tasks", "with a as (select 1) select 2", "listen x", "delete from t"):
        assert _STATEMENT.fullmatch(statement), statement
    for prose in ("select", "with", "update the lock", "insert", "listen to what it says", "set up", "create a folder"):
        assert not _STATEMENT.fullmatch(prose), prose
    for call in (
        "select * from horsies.claim(%s, %s)",
        "select horsies.enqueue(%s::json)",
        "select a, b from horsies.f()",
    ):
        assert _CALL_OR_SESSION.fullmatch(call), call
    for other in ("select * from horsies.tasks", "select 1", "select horsies.f(1); drop table t", "begin; drop"):
        assert not _CALL_OR_SESSION.fullmatch(other), other


def test_functions_import_nothing() -> None:
    imports = (
        f"{place(path, node)} in {function.name}"
        for path in python_files(PACKAGE)
        for function in functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and f"{place(path)}:{function.name}" not in IMPORTS_INSIDE_FUNCTIONS
    )
    check_none(imports, "imports inside functions; move them up, or list them with a reason")


def test_no_body_is_empty() -> None:
    empty = (
        f"{place(path, node)}"
        for path in python_files(PACKAGE, ROOT / "tests", ROOT / "examples", ROOT / "benchmarks")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Pass)
    )
    check_none(empty, "`pass`: say what is to happen, or why nothing is (contextlib.suppress, a docstring)")


def test_nothing_is_put_off() -> None:
    put_off = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X)\b")
    found = (
        f"{place(path)}:{number} {line.strip()[:80]}"
        for path in tracked_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if put_off.search(line)
    )
    check_none(found, "notes to oneself; do it now, or open an issue")


def test_nothing_outside_is_named() -> None:
    outside = re.compile(r"(\.\.|/work)/[s]hared\b")
    named = (place(path) for path in tracked_files() if outside.search(path.read_text(errors="replace")))
    check_none(named, "files that name what is no part of the project")


def test_every_test_asserts() -> None:
    idle = (
        f"{place(path, function)} {function.name}"
        for path in python_files(ROOT / "tests")
        for function in functions(path)
        if function.name.startswith("test_") and path.name.startswith("test_") and not asserts(function)
    )
    check_none(idle, "tests that assert nothing")


def asserts(function: Function) -> bool:
    return any(isinstance(node, ast.Assert) or is_check(node) for node in ast.walk(function))


def is_check(node: ast.AST) -> bool:
    """Whether a node is a check: ``pytest.raises(…)``, ``x.assert_gone()``, ``check_none(…)``, ``wait_until(…)``."""
    if isinstance(node, ast.Name) and node.id == "wait_until":
        return True
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in {"raises", "warns"} or name.startswith(("assert_", "check", "wait_until", "wait_for"))


def test_nothing_is_mocked() -> None:
    mocks = (
        place(path, node)
        for path in python_files(ROOT / "tests")
        for node in ast.walk(parse(path))
        if (isinstance(node, ast.Import) and any("mock" in name.name for name in node.names))
        or (isinstance(node, ast.ImportFrom) and ("mock" in (node.module or "") or node.module == "unittest"))
        or (isinstance(node, ast.arg) and node.arg == "mocker")
    )
    check_none(mocks, "mocks; use the real thing, and break the real thing")


@cache
def tracked_files() -> list[Path]:
    """Return the text files of the repository, or of the folder if it is not a clone."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else []
    paths = [ROOT / name for name in names if name] or [*python_files(PACKAGE, ROOT / "tests"), *ROOT.glob("*.md")]
    return [path for path in paths if path.is_file() and path.suffix not in {".png", ".ico"}]
