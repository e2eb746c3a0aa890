import io
import json
import logging
import re
from pathlib import Path

import pytest

from horsies.config.postgres import PostgresConfig
from horsies.errors import (
    ConfigurationError,
    ErrorCode,
    HorsiesError,
    MultipleValidationErrors,
    SourceLocation,
    ValidationReport,
)
from horsies.events import JsonFormatter, TextFormatter
from horsies.masking import mask_secrets, remember_secrets
from horsies.rendering import render_error, render_errors, use_color

SOURCE = """from horsies import PostgresConfig

config = dict(
\tbroker=PostgresConfig(database_url="mysql://me:hunter2@host/db"),
    größe="漢字",
)

"""
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "instance.py"
    file.write_text(SOURCE)
    return str(file)


def error_at(file: str | None, line: int = 1, **more: str) -> HorsiesError:
    location = None if file is None else SourceLocation(file, line)
    notes = [more["note"]] if "note" in more else []
    return ConfigurationError(
        ErrorCode.BROKER_INVALID_URL,
        "the URL is wrong",
        location=location,
        notes=notes,
        help_text=more.get("help_text"),
    )


def plain(error: HorsiesError) -> list[str]:
    return render_error(error, color=False).splitlines()


def test_an_error_is_printed_as_rustc_does(file: str) -> None:
    error = error_at(file, 3, note="it is not a PostgreSQL one", help_text="use postgresql://")
    assert plain(error) == [
        "error[HRS-203]: the URL is wrong",
        " --> instance.py:3",
        "  |",
        "3 | config = dict(",
        "  | ^^^^^^^^^^^^^^",
        "  = note: it is not a PostgreSQL one",
        "  = help: use postgresql://",
    ]


def test_the_gutter_is_as_wide_as_the_line_number(tmp_path: Path) -> None:
    file = tmp_path / "long.py"
    file.write_text("\n" * 119 + "x = 1\n")
    lines = plain(error_at(str(file), 120, note="here"))
    assert lines[1].startswith("   --> ")
    assert lines[2:] == ["    |", "120 | x = 1", "    | ^^^^^", "    = note: here"]


def test_only_what_is_not_blank_is_underlined(file: str) -> None:
    [_, _, _, source, underline] = plain(error_at(file, 4))
    assert source.startswith("4 |     broker=")
    assert underline.startswith("  |     ^^^")
    assert len(underline) == len(source)


def test_wide_characters_are_underlined_in_full(file: str) -> None:
    assert plain(error_at(file, 5))[-1] == "  |     " + "^" * len('größe="') + "^" * 4 + "^" * len('",')


def test_a_password_in_the_source_is_not_printed(file: str) -> None:
    rendered = render_error(error_at(file, 4), color=False)
    assert "hunter2" not in rendered
    assert "mysql://me:***@host/db" in rendered


@pytest.mark.parametrize("line", [7, 99])
def test_a_line_that_is_blank_or_gone_is_only_named(file: str, line: int) -> None:
    assert plain(error_at(file, line, note="here"))[1:] == [
        f"{' ' * len(str(line))}--> instance.py:{line}",
        f"{' ' * len(str(line))} = note: here",
    ]


def test_a_file_that_cannot_be_read_is_only_named() -> None:
    assert plain(error_at("<stdin>", 2)) == ["error[HRS-203]: the URL is wrong", " --> <stdin>:2"]


def test_a_file_elsewhere_has_its_whole_path(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.chdir(Path(file).parent.joinpath("..").resolve())
    assert plain(error_at(file, 1))[1] == f" --> {Path(file).parent.name}/instance.py:1"
    monkeypatch.chdir("/proc")
    assert plain(error_at(file, 1))[1] == f" --> {file}:1"


def test_the_source_is_that_of_now(file: str) -> None:
    assert "from horsies" in plain(error_at(file, 1))[3]
    Path(file).write_text("import horsies  # edited\n")
    assert plain(error_at(file, 1))[3] == "1 | import horsies  # edited"


def test_without_a_location_there_is_no_source() -> None:
    assert plain(error_at(None, help_text="try again")) == ["error[HRS-203]: the URL is wrong", "  = help: try again"]


def test_lines_of_a_note_stand_below_each_other() -> None:
    assert plain(error_at(None, note="first\nsecond"))[1:] == ["  = note: first", "          second"]


def test_several_errors_are_counted(file: str) -> None:
    report = ValidationReport((error_at(file, 1), error_at(None)))
    blocks = render_error(MultipleValidationErrors(report), color=False).split("\n\n")
    assert blocks[0].startswith("error[HRS-203]: the URL is wrong\n --> instance.py:1")
    assert blocks[1:] == ["error[HRS-203]: the URL is wrong", "error: 2 errors\n"]


def test_nested_reports_are_counted_once_each() -> None:
    nested = MultipleValidationErrors(ValidationReport((error_at(None), error_at(None))))
    assert render_errors([nested, error_at(None)], color=False).endswith("\n\nerror: 3 errors\n")


def test_one_error_is_not_counted() -> None:
    assert render_errors([error_at(None)], color=False) == "error[HRS-203]: the URL is wrong\n"


def test_colour_changes_nothing_but_the_colour(file: str) -> None:
    error = error_at(file, 3, note="one", help_text="two")
    coloured = render_error(error, color=True)
    assert coloured != render_error(error, color=False)
    assert ANSI.sub("", coloured) == render_error(error, color=False)
    assert coloured.startswith("\x1b[1;31merror[HRS-203]\x1b[0m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "stream", "expected"),
    [
        ({}, Terminal(), True),
        ({}, io.StringIO(), False),
        ({"NO_COLOR": "1"}, Terminal(), False),
        ({"NO_COLOR": ""}, Terminal(), True),
        ({"HORSIES_FORCE_COLOR": "1"}, io.StringIO(), True),
        ({"HORSIES_FORCE_COLOR": ""}, io.StringIO(), False),
        ({"HORSIES_FORCE_COLOR": "1", "NO_COLOR": "1"}, io.StringIO(), True),
        ({"TERM": "dumb"}, Terminal(), False),
    ],
)
def test_colour_is_for_terminals_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    stream: io.StringIO,
    expected: bool,  # noqa: FBT001
) -> None:
    for name in ("NO_COLOR", "HORSIES_FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert use_color(stream) is expected


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://me:pw@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("postgresql://:pw@host/db", "postgresql://:***@host/db"),
        ("postgresql://me:p@ss/w:rd?#@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@host/db?password=pw&sslmode=require", "postgresql://me@host/db?password=***&sslmode=require"),
        ("postgresql://host/db?sslmode=require&sslpassword=pw", "postgresql://host/db?sslmode=require&sslpassword=***"),
        (
            "from postgresql://a:pw@b/c to 'postgres://d:pw@e/f'",
            "from postgresql://a:***@b/c to 'postgres://d:***@e/f'",
        ),
        ("no URL, no secret", "no URL, no secret"),
    ],
)
def test_passwords_of_urls_are_masked(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


def test_a_password_that_is_a_common_word_takes_no_words_out_of_our_texts() -> None:
    broker = PostgresConfig(database_url="postgresql://me:privileges@localhost:1/jobs")
    shown = render_error(broker.unusable("the driver said: privileges"), color=False)
    assert "the database postgresql://me:***@localhost:1/jobs cannot be used" in shown
    assert "note: the driver said: ***" in shown
    assert "and the privileges of that user" in shown


def test_the_name_of_an_event_is_not_masked_and_its_facts_are() -> None:
    remember_secrets("postgresql://me:bewildered@localhost:1/jobs")
    fields = {"reason": "is bewildered"}
    record = logging.makeLogRecord({"name": "horsies", "event": "user.bewildered", "fields": fields})
    assert TextFormatter().format(record).endswith('user.bewildered reason="is ***"')
    assert json.loads(JsonFormatter().format(record))["event"] == "user.bewildered"
    foreign = logging.makeLogRecord({"name": "other", "msg": "got %s", "args": ("bewildered",)})
    assert "got ***" in TextFormatter().format(foreign)
