"""A test that has forgotten to make a queue fails, and writes nothing to the database that its app names."""

import re
from pathlib import Path

import pytest

from tests.support.kit_projects import STRICT, run

PYTEST = ("pytest", *STRICT, "-p", "no:asyncio", "--strict-markers")
WRONG = (
    "after_the_queue",
    "and_hidden",
    "and_mistaken_for_something_else",
    "app",
    "before_the_queue",
    "broker",
    "engine",
    "fixture",
    "in_a_loop",
    "in_a_thread",
    "send",
)


@pytest.mark.timeout(120)
def test_only_tests_without_a_queue_fail(project: Path) -> None:
    output = run(project, *PYTEST, "-rfE", "forgotten.py", code=1)
    failed = re.findall(r"^(?:FAILED|ERROR) forgotten\.py::test_wrong_(\w+)", output, re.MULTILINE)
    assert sorted(failed) == list(WRONG), output
    assert "5 passed, 1 error" in re.sub(r"\d+ failed, ", "", output)
    reports = re.split(r"^_{3,} (?:ERROR at setup of )?test_wrong_(\w+) _{3,}$", output, flags=re.MULTILINE)
    for name, report in zip(reports[1::2], reports[2::2], strict=True):
        assert "this test has made no queue of the app: " in report, name
        assert "postgresql://nobody@127.0.0.1:1/nowhere" in report, name
        assert "call horsies(app) before the first call of the app" in report, name
    assert f"test_wrong_send at {project / 'forgotten.py'}:" in output
    assert "in the thread 'mailer' would have used" in output
    assert f"forward at {project / 'forgotten.py'}:" in output


@pytest.mark.parametrize("options", [("-k", "wrong_send"), ("-m", "not horsies_own_database", "-k", "wrong_send")])
def test_tests_are_guarded_if_those_with_fixtures_are_deselected(project: Path, options: tuple[str, ...]) -> None:
    output = run(project, *PYTEST, *options, "forgotten.py", code=1)
    assert "this test has made no queue of the app" in output
    assert "1 failed" in output


def test_the_guard_can_be_switched_off(project: Path) -> None:
    assert "1 passed" in run(project, *PYTEST, "-o", "horsies_guard=off", "-k", "wrong_send", "forgotten.py")


def test_sessions_without_the_kit_are_unchanged(project: Path) -> None:
    assert "2 passed" in run(project, *PYTEST, "without_fixtures.py")


@pytest.mark.parametrize("setting", ["horsies_guard=on", "horsies_setup=tables:create"])
def test_a_project_can_guard_every_session(project: Path, setting: str) -> None:
    output = run(project, *PYTEST, "-o", setting, "-k", "reaches", "without_fixtures.py", code=1)
    assert "this test has made no queue of the app" in output


def test_a_wrong_mode_is_named(project: Path) -> None:
    output = run(project, *PYTEST, "-o", "horsies_guard=always", "without_fixtures.py", code=4)
    assert "horsies_guard is auto, on or off, got 'always'" in output
