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
from collections.abc import AsyncIterator

import psycopg

from horsies import AppConfig, Horsies, TaskError, TaskResult

app = Horsies(AppConfig())


@app.task("add")
def add(a: int, b: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a + b)


@app.task("greet")
async def greet(name: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=name)


@app.task("charge", transactional=True)
def charge(connection: psycopg.Connection, order_id: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=order_id)


async def numbers() -> AsyncIterator[tuple[int, int]]:
    yield (5, 3)


connection = psycopg.connect()
"""
WRONG = """
from horsies import RateLimited, Snooze

add.send("5", 3)
add.send(5)
add.send(5, 3, 4)
add.send(5, c=3)
add.schedule(1.0, "5", 3)
add.with_options(priority=1).send("5", 3)
add.with_options(colour="red")
add.with_options(priority=1).send(5, c=3)
add.args("5", 3)
add.args(5)
add.with_options(priority=1).args(5, c=3)
add.args(5, 3).with_options(colour="red")
add.send_many([5])
add.send_many([add.args(5, "3")])
add.send_many([greet.args("Ada")])
add.send_many(numbers())
app.send_many([(5, 3)])
app.send_many([add.args(5, "3"), greet.args("Ada")])
charge.send("7")
charge.send(connection, 7)
charge(7)
charge.node()(connection, 7)
greet.send(1)
text: str = add.send(1, 2).unwrap().get().ok_value


@app.task("wrong_value")
def wrong_value() -> TaskResult[int, TaskError]:
    return TaskResult(ok="x")


@app.task("wrong_answer")
def wrong_answer() -> TaskResult[int, TaskError]:
    return TaskResult(err=RateLimited(retry_after="5"))


@app.task("bare_answer")
def bare_answer() -> TaskResult[int, TaskError]:
    return Snooze(5)


@app.task("x", good_until=1)
def misplaced() -> TaskResult[int, TaskError]:
    return TaskResult(ok=1)
"""
WORKFLOWS = """
from horsies import TaskNode, WorkflowHandle, WorkflowSpec, from_node


@app.task("double")
def double(number: TaskResult[int, TaskError], times: int = 1) -> TaskResult[int, TaskError]:
    return number


@app.task("listing")
def listing() -> TaskResult[list[str], TaskError]:
    return TaskResult(ok=[])


@app.task("total")
def total(numbers: TaskResult[list[TaskResult[int, TaskError]], TaskError]) -> TaskResult[int, TaskError]:
    return TaskResult(ok=0)


@app.task("size")
def size(name: str, factor: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=factor)


class PaymentError(TaskError):
    amount: int


@app.task("pay")
def pay(amount: int) -> TaskResult[int, PaymentError]:
    return TaskResult(ok=amount)


@app.task("explain")
def explain(payment: TaskResult[int, PaymentError]) -> TaskResult[str, TaskError]:
    return TaskResult(ok=str(payment.unwrap_err().amount))


paid = pay.node()(5)
one = add.node()(1, b=2)
hello = greet.node()("Ada")
each = size.map(over=from_node(listing.node()()))(factor=2)
"""
WRONG_WORKFLOWS = """
wrong1 = add.node()("5", 3)
wrong2 = add.node()(5)
wrong3 = add.node()(5, c=3)
wrong4 = add.node(colour="red")
wrong5 = add.node(join="most")
wrong6 = double.node()(from_node(hello))
wrong7 = double.node()(one)
wrong8 = double.node()(number=from_node(one), times="2")
wrong9: TaskNode[str] = add.node()(1, 2)
wrong10 = total.node()(from_node(one))
wrong11 = double.node()(from_node(each))
wrong12: WorkflowSpec[str] = app.workflow("w", [one], output=one, definition_key="w")
wrong13 = size.map(over=[1, 2])
wrong15 = explain.node()(from_node(one))
wrong14: WorkflowHandle[str] = app.workflow("w", [one], output=one, definition_key="w").start().unwrap()
right0 = explain.node()(from_node(paid))
right1 = total.node()(from_node(each))
right2 = double.node(join="any", waits_for=[one, hello])(from_node(one))
right3: WorkflowSpec[float] = app.workflow("w", [one], output=one, definition_key="w")
right4: TaskNode[object] = TaskNode(fn=greet, kwargs={"name": "x"})
"""
WRONG_LINES = {
    number
    for number, line in enumerate(WRONG.split("\n"))
    if line.startswith(("add", "app", "greet", "charge", "text"))
} | {
    number
    for number, line in enumerate(WRONG.split("\n"))
    if ("wrong" not in line and '"x"' in line) or "retry_after=" in line or "return Snooze" in line
}


def check(tool: str, *files: Path) -> subprocess.CompletedProcess[str]:
    """Run a checker on files."""
    program, *options = TOOLS[tool]
    command = [str(Path(sys.executable).with_name(program)), *options, *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parents[1])


@pytest.mark.timeout(240)
@pytest.mark.parametrize("tool", TOOLS)
def test_the_inferred_types_are_those_that_are_asserted(tool: str) -> None:
    checked = check(tool, HERE / "task_types.py", HERE / "workflow_types.py", HERE / "test_results_typing.py")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.timeout(240)
@pytest.mark.parametrize("tool", TOOLS)
def test_each_wrong_line_is_refused_and_no_other(tool: str, tmp_path: Path) -> None:
    assert refused_lines(tool, tmp_path / "wrong.py", PREAMBLE, WRONG) == WRONG_LINES


@pytest.mark.timeout(240)
@pytest.mark.parametrize("tool", TOOLS)
def test_each_wrong_line_of_a_workflow_is_refused_and_no_other(tool: str, tmp_path: Path) -> None:
    expected = {number for number, line in enumerate(WRONG_WORKFLOWS.split("\n")) if line.startswith("wrong")}
    assert refused_lines(tool, tmp_path / "workflows.py", PREAMBLE + WORKFLOWS, WRONG_WORKFLOWS) == expected


def refused_lines(tool: str, file: Path, preamble: str, wrong: str) -> set[int]:
    """The lines of what is wrong that a checker finds something about."""
    file.write_text(preamble + wrong)
    before = preamble.count("\n")
    return {
        int(line.split(f"{file.name}:")[1].split(":")[0]) - before - 1
        for line in check(tool, file).stdout.splitlines()
        if f"{file.name}:" in line and " error" in line
    }
