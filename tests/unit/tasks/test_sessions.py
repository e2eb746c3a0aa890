"""Notebooks and prompts, where a cell that is run again defines its task, hook or workflow again."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
from horsies import *
app = Horsies(AppConfig())
def cell(number, source):
    exec(compile(source, f"/tmp/ipykernel_1/{number}.py", "exec"), globals())
"""
TASK = "@app.task('add')\ndef add(a: int) -> TaskResult[int, TaskError]:\n    return TaskResult(ok=a + {n})\n"
HOOK = "@app.on_child_process_start\ndef warm() -> None:\n    print({n})\n"
FLOW = "class Flow(WorkflowDefinition):\n    definition_key = 'flow.v1'\n    name = 'flow'\n    first = add.node()(a={n})\n"


def session(folder: Path, *lines: str, options: tuple[str, ...] = ("-i", "-q")) -> subprocess.CompletedProcess[str]:
    """Type lines at a Python prompt."""
    typed = "\n".join([f"exec({HEAD!r})", *lines, ""])
    return subprocess.run(
        [sys.executable, *options], input=typed, cwd=folder, capture_output=True, text=True, timeout=50, check=False
    )


def cells(*sources: str) -> list[str]:
    return [f"cell({number}, {source!r})" for number, source in enumerate(sources)]


def test_a_task_that_is_edited_and_run_again_replaces_the_first(tmp_path: Path) -> None:
    done = session(tmp_path, *cells(TASK.format(n=1), TASK.format(n=2)), "print(add(1).ok_value, app.list_tasks())")
    assert done.stdout == "3 ['add']\n"
    assert "/tmp/ipykernel_1/1.py:1: UserWarning: the task 'add' is defined again" in done.stderr
    assert "HRS-301" not in done.stderr


def test_the_function_may_get_another_name(tmp_path: Path) -> None:
    renamed = TASK.format(n=2).replace("def add", "def plus")
    done = session(tmp_path, *cells(TASK.format(n=1), renamed), "print(app.registry.get('add').fn.__name__)")
    assert done.stdout == "plus\n"


def test_a_cell_that_is_run_again_as_it_was_is_no_matter(tmp_path: Path) -> None:
    source = TASK.format(n=1)
    done = session(tmp_path, f"cell(1, {source!r})", f"cell(1, {source!r})", "print(app.list_tasks())")
    assert done.stdout == "['add']\n"
    assert "UserWarning" not in done.stderr


def test_hooks_and_workflows_are_replaced_as_well(tmp_path: Path) -> None:
    sources = [TASK.format(n=1), HOOK.format(n=1), HOOK.format(n=2), FLOW.format(n=1), FLOW.format(n=2)]
    show = "print([hook.fn.__code__.co_filename[-4] for hook in app.registry.hooks.child_start], len(app.check()))"
    done = session(tmp_path, *cells(*sources), show)
    assert done.stdout == "['2'] 0\n"
    assert "UserWarning: the workflow definition 'flow.v1' is defined again" in done.stderr


@pytest.mark.parametrize("options", [(), ("-",)], ids=["piped", "-"])
def test_a_program_has_one_task_of_a_name_all_the_same(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = session(tmp_path, *cells(TASK.format(n=1), TASK.format(n=2)), options=options)
    assert done.returncode == 1
    assert "HRS-301" in done.stderr
