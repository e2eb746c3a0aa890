"""`horsies check` on workflows: specs, keys and builders, in this order; each phase runs if the previous one passed."""

import json
from pathlib import Path

import pytest

from tests.support.commands import horsies

HEAD = """\
from typing import Any

from horsies import *

app = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://me:hunter2@127.0.0.1:1/jobs")))


@app.task("fetch")
def fetch(url: str) -> TaskResult[str, TaskError]:
    return TaskResult(ok=url)


class Good(WorkflowDefinition[str]):
    name = "good"
    definition_key = "good.v1"
    page = TaskNode(fn=fetch, kwargs={"url": "x"})

    class Meta:
        output = "page"


class Base(WorkflowDefinition[str]):
    page = TaskNode(fn=fetch, kwargs={"url": "x"})


class Child(Base):
    name = "child"
    definition_key = "child.v1"

    class Meta:
        output = "page"


@app.task("size")
def size(page: TaskResult[str, TaskError], most: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=0)


class Sized(WorkflowDefinition[int]):
    # its nodes are what build_with makes of them
    definition_key = "sized.v1"
    page = TaskNode(fn=fetch, kwargs={"url": None})
    large = TaskNode(fn=size, node_id="size", waits_for=[page], args_from={"page": page}, join="any")
    small = TaskNode(fn=size, node_id="size", waits_for=[page, Good.page], args_from={"page": Good.page})

    @classmethod
    def build_with(cls, app: Horsies, *, url: str, most: int) -> WorkflowSpec[int]:
        raise AssertionError(url)


class Nested(WorkflowDefinition[None]):
    definition_key = "nested.v1"
    sized = SubWorkflowNode(Sized)

    @classmethod
    def build_with(cls, app: Horsies, url: str) -> WorkflowSpec[None]:
        raise AssertionError(url)


@app.workflow_builder(cases=[{"url": "x"}, {"url": "y"}])
def good(url: str) -> WorkflowSpec[Any]:
    fetch.send(url).unwrap_err()
    return app.workflow("good", [TaskNode(fn=fetch, kwargs={"url": url})], definition_key="built.v1")


"""


def check(folder: Path, *parts: str) -> list[tuple[str, int]]:
    """Check a module; return the codes and lines of the errors."""
    (folder / "flows.py").write_text(HEAD + "\n\n".join(parts) + "\n")
    done = horsies(folder, "check", "flows:app", "--json")
    assert done.stderr == ""
    found = [(error["code"], error["line"]) for error in json.loads(done.stdout)]
    assert done.returncode == bool(found)
    return found


def line(text: str, *parts: str) -> int:
    return max(n for n, each in enumerate((HEAD + "\n\n".join(parts)).splitlines(), 1) if text in each)


def test_good_workflows_are_silent(tmp_path: Path) -> None:
    assert check(tmp_path) == []


def test_all_wrong_specs_of_an_import_are_reported(tmp_path: Path) -> None:
    parts = [
        "app.workflow('', [TaskNode(fn=fetch, kwargs={'url': 'x'})], definition_key='a')  # first",
        "app.workflow('b', [], definition_key='b')  # second",
        "class Twin(WorkflowDefinition[str]):  # third\n    definition_key = 'good.v1'\n    page = Good.page",
    ]
    found = check(tmp_path, *parts)
    assert [code for code, _ in found] == ["HRS-001", "HRS-002", "HRS-017"]
    assert [number for _, number in found[:2]] == [line("# first", *parts), line("# second", *parts)]


def test_a_wrong_task_hides_the_workflows_that_have_it(tmp_path: Path) -> None:
    wrong = "@app.task('wrong')\ndef wrong(a: int): ..."
    assert check(tmp_path, wrong, "app.workflow('', [TaskNode(fn=wrong, kwargs={'b': 1})])") == [
        ("HRS-100", line("@app.task('wrong')", wrong))
    ]


def test_a_definition_without_a_key(tmp_path: Path) -> None:
    part = "class Keyless(WorkflowDefinition[str]):\n    name = 'keyless'\n    page = TaskNode(fn=fetch)"
    assert [code for code, _ in check(tmp_path, part)] == ["HRS-016"]


def test_a_definition_that_nothing_has_built(tmp_path: Path) -> None:
    parts = [
        "class Wrong(WorkflowDefinition[int]):\n    name = 'wrong'\n    definition_key = 'wrong.v1'",
        "    page = TaskNode(fn=fetch, kwargs={'link': 'x'})  # unbound",
        "    class Meta:\n        output = 'page'",
        "other = Horsies(AppConfig())\n@other.task('other')\ndef theirs() -> TaskResult[str, TaskError]: ...",
        "class Theirs(WorkflowDefinition[int]):\n    definition_key = 'theirs.v1'\n    page = TaskNode(fn=theirs)",
    ]
    at, where = line("# unbound", *parts), line("class Wrong", *parts)
    assert check(tmp_path, *parts) == [("HRS-019", at), ("HRS-020", at), ("HRS-025", where)]


SIZED = """
class Wrong(WorkflowDefinition[str]):
    name = "wrong"
    definition_key = "wrong.v1"
    page = TaskNode(fn=fetch, waits_for=["again"])
    again = TaskNode(fn=fetch, waits_for=["page"])
    badly = TaskNode(fn=fetch, node_id="a b")
    typo = TaskNode(fn=fetch, waits_for=["pag"])
    early = TaskNode(fn=size, args_from={"page": page})
    other = TaskNode(fn=size, waits_for=[page], args_from={"most": page})
    unknown = TaskNode(fn=size, kwargs={"mots": 1})
    none = TaskNode(fn=len)
    queue = TaskNode(fn=fetch, queue="nowhere")
    child = SubWorkflowNode(Sized, kwargs={"link": 1})
    count = TaskNode(fn=size)

    class Meta:
        output = "count"
        success_policy = SuccessPolicy(cases=[SuccessCase(required=["count", "cuont"])])

    @classmethod
    def build_with(cls, app: Horsies, url: str) -> WorkflowSpec[str]:
        raise AssertionError(url)
"""


def test_a_definition_that_needs_parameters_is_checked_partially(tmp_path: Path) -> None:
    at = {
        "page": "HRS-007",
        "badly": "HRS-003",
        "typo": "HRS-006",
        "early": "HRS-008",
        "other": "HRS-024",
        "unknown": "HRS-019",
        "none": "HRS-300",
        "queue": "HRS-014",
        "child": "HRS-023",
    }
    expected = [(code, line(f"    {name} = ", SIZED)) for name, code in at.items()]
    expected += [(code, line("class Wrong", SIZED)) for code in ("HRS-012", "HRS-025")]
    assert sorted(check(tmp_path, SIZED)) == sorted(expected)
    said = horsies(tmp_path, "check", "flows:app").stderr
    for message in (
        "nodes of workflow 'wrong' wait for each other: page -> again -> page",
        "node 'typo' of workflow 'wrong' waits for 'pag', which is not a node",
        "node 'early' takes 'page' from node 'page', which is not in its waits_for",
        "the success policy of workflow 'wrong' names 'cuont', which is not one of its nodes",
        "Wrong is a WorkflowDefinition[str], but <task node 'count'> returns int",
    ):
        assert message in said


@pytest.mark.parametrize(
    ("code", "decorator", "body"),
    [
        ("HRS-027", "@app.workflow_builder()", "return None"),
        ("HRS-028", "@app.workflow_builder(cases=[{'link': 'x'}])", "return None"),
        ("HRS-028", "@app.workflow_builder(cases=['x'])", "return None"),
        ("HRS-029", "@app.workflow_builder(cases=[{'url': 'x'}])", "return None"),
        ("HRS-029", "@app.workflow_builder(cases=[{'url': 'x'}])", "return 1 / 0"),
        ("HRS-002", "@app.workflow_builder(cases=[{'url': 'x'}])", "return app.workflow('a', [], definition_key='k')"),
    ],
    ids=["no cases", "unknown argument", "no dict", "no spec", "raises", "wrong spec"],
)
def test_builders_are_called_with_their_cases(tmp_path: Path, code: str, decorator: str, body: str) -> None:
    part = f"{decorator}\ndef build(url: str) -> Any:\n    {body}"
    raises = code != "HRS-028" and ("1 / 0" in body or "workflow(" in body)
    assert check(tmp_path, part) == [(code, line(body if raises else decorator, part))]


@pytest.mark.parametrize("annotation", ["WorkflowSpec", "WorkflowSpec[str]", "'WorkflowSpec[str]'"])
def test_a_builder_that_is_not_decorated(tmp_path: Path, annotation: str) -> None:
    part = f"def build() -> {annotation}: ..."
    assert check(tmp_path, part) == [("HRS-030", line("def build", part))]
