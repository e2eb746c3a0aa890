"""pyright and mypy agree with the asserts beside this file, and refuse what is wrong, at the line where it is."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOOLS = {
    "pyright": ["pyright", "--pythonpath", sys.executable],
    "mypy": ["mypy", "--strict", "--no-incremental", "--follow-imports=silent", "--hide-error-context"],
}
PREAMBLE = """
from horsies import AppConfig, Horsies, TaskError, TaskResult

app = Horsies(AppConfig())


@app.task("add")
def add(a: int, b: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a + b)


@app.task("greet")
async def greet(name: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=name)
"""
WRONG = """
add.send("5", 3)
add.send(5)
add.send(5, 3, 4)
add.send(5, c=3)
add.schedule(1.0, "5", 3)
add.with_options(priority=1).send("5", 3)
add.with_options(colour="red")
greet.send(1)
text: str = add.send(1, 2).unwrap().get().ok_value


@app.task("wrong_value")
def wrong_value() -> TaskResult[int, TaskError]:
    return TaskResult(ok="x")


@app.task("x", good_until=1)
def misplaced() -> TaskResult[int, TaskError]:
    return TaskResult(ok=1)
"""
WRONG_LINES = {number for number, line in enumerate(WRONG.split("\n")) if line.startswith(("add", "greet", "text"))} | {
    number for number, line in enumerate(WRONG.split("\n")) if "wrong" not in line and ('"x"' in line)
}


def check(tool: str, *files: Path) -> subprocess.CompletedProcess[str]:
    """Run a checker on files."""
    program, *options = TOOLS[tool]
    command = [str(Path(sys.executable).with_name(program)), *options, *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parents[1])


@pytest.mark.timeout(240)
@pytest.mark.parametrize("tool", TOOLS)
def test_the_inferred_types_are_those_that_are_asserted(tool: str) -> None:
    checked = check(tool, HERE / "task_types.py", HERE / "test_results_typing.py")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.timeout(240)
@pytest.mark.parametrize("tool", TOOLS)
def test_each_wrong_line_is_refused_and_no_other(tool: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(PREAMBLE + WRONG)
    before = PREAMBLE.count("\n")
    refused = {
        int(line.split(f"{file.name}:")[1].split(":")[0]) - before - 1
        for line in check(tool, file).stdout.splitlines()
        if f"{file.name}:" in line and " error" in line
    }
    assert refused == WRONG_LINES
