"""The page for users of the packages 0.x lists all that these had, and says the same as the error messages.

``horsies-0.5.4.json`` was read from the last of these packages: names, settings with their simple defaults, members of
enumerations, methods of an app, tables, notification channels, commands and environment variables.
"""

import json
import re
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import horsies
from horsies.cli.main import COMMANDS
from horsies.predecessor import REMOVED_MEMBERS, REMOVED_METHODS, REMOVED_NAMES, REMOVED_SETTINGS

ROOT = Path(__file__).parents[2]
HAD: dict[str, Any] = json.loads(Path(__file__).with_name("horsies-0.5.4.json").read_text())


@cache
def sections() -> dict[str, str]:
    page = (ROOT / "docs" / "moving-from-horsies-0.md").read_text()
    return dict(part.split("\n", 1) for part in page.split("\n## ")[1:])


def rows(title: str) -> dict[str, str]:
    """The table of a section, without its head and without the marks of code."""
    found = re.findall(r"^\| `([^`]+)` \| (.*) \|$", sections()[title], re.MULTILINE)
    assert len(dict(found)) == len(found), "a row is there twice"
    return {name: text.replace("`", "") for name, text in found}


def flat(texts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {f"{owner}.{name}": text for owner, own in texts.items() for name, text in own.items()}


def fields(model: str) -> dict[str, Any]:
    return {field.alias or name: field for name, field in getattr(horsies, model).model_fields.items()}


@pytest.mark.parametrize(
    ("title", "texts"),
    [
        ("Names that are gone", dict(REMOVED_NAMES)),
        ("Settings that are gone", flat(REMOVED_SETTINGS)),
        ("Methods of an app that are gone", {f"app.{name}": text for name, text in REMOVED_METHODS.items()}),
        ("Members of enumerations that are gone", flat(REMOVED_MEMBERS)),
    ],
)
def test_a_table_says_what_error_messages_say(title: str, texts: dict[str, str]) -> None:
    assert rows(title) == texts


def test_every_name_is_here_or_is_listed_as_gone() -> None:
    here = [name for name in HAD["names"] if name in horsies.__all__]
    assert sorted([*here, *REMOVED_NAMES]) == sorted(HAD["names"])
    assert re.findall(r"`(\w+)`", sections()["Names that are the same"].partition("\n\n")[2]) == here


def test_every_setting_is_here_or_is_listed_as_gone() -> None:
    listed = {
        model: re.findall(r"`(\w+)`", names)
        for model, names in re.findall(
            r"^- `(\w+)`: ((?:.+\n)(?:  .+\n)*)", sections()["Settings that are the same"], re.MULTILINE
        )
    }
    for model, settings in HAD["settings"].items():
        kept = [name for name in settings if hasattr(horsies, model) and name in fields(model)]
        assert listed.get(model, []) == kept, model
        gone = REMOVED_SETTINGS.get(model, {})
        assert set(settings) <= {*kept, *gone}, model
        assert not set(gone) & set(kept), model


def test_every_default_that_differs_is_listed() -> None:
    differing: list[tuple[str, str, str]] = []
    for model, settings in HAD["settings"].items():
        for name, before in settings.items():
            if hasattr(horsies, model) and name in fields(model) and before is not None:
                default = fields(model)[name].get_default()
                default = default.value if isinstance(default, Enum) else default
                if default != before:
                    differing.append((f"{model}.{name}", str(before), str(default)))
    text = sections()["Settings that are the same"]
    assert re.findall(r"^\| `([\w.]+)` \| `(.+)` \| `(.+)` \|$", text, re.MULTILINE) == differing


def test_every_method_of_an_app_is_here_or_is_listed_as_gone() -> None:
    here = {name for name in HAD["app_methods"] if name in dir(horsies.Horsies)}
    assert set(HAD["app_methods"]) == here | set(REMOVED_METHODS)
    assert not here & set(REMOVED_METHODS)


def test_every_member_is_here_or_is_listed_as_gone() -> None:
    for name, members in HAD["members"].items():
        if name in horsies.__all__:
            here = {member for member in members if member in getattr(horsies, name).__members__}
            assert set(members) - here == set(REMOVED_MEMBERS.get(name, {})), name
            assert not here & set(REMOVED_MEMBERS.get(name, {})), name


def test_what_the_texts_name_exists() -> None:
    texts = [*REMOVED_NAMES.values(), *flat(REMOVED_SETTINGS).values(), *flat(REMOVED_MEMBERS).values()]
    used = {match for text in texts for match in re.findall(r"\b([A-Z]\w+Code)\.([A-Z_]+)\b", text)}
    assert all(hasattr(getattr(horsies, owner), member) for owner, member in used)
    keywords = {match for text in texts for match in re.findall(r"RecoveryConfig\((\w+)=", text)}
    assert keywords
    assert keywords <= set(fields("RecoveryConfig"))
    app = horsies.Horsies(horsies.AppConfig())
    for text in [*texts, *REMOVED_METHODS.values()]:
        for broker_method in re.findall(r"app\.get_broker\(\)\.(\w+)", text):
            assert callable(getattr(app.get_broker(), broker_method))
        for method in re.findall(r"app\.(\w+)", text):
            assert hasattr(app, method)
        for expression in re.findall(r"CronSchedule\([^)]*\)", text):
            assert eval(expression, {"CronSchedule": horsies.CronSchedule})  # noqa: S307 - our own text


@pytest.mark.parametrize(
    ("title", "kind"),
    [("Tables", "tables"), ("Channels", "channels"), ("Command line", "commands"), ("Environment", "environment")],
)
def test_every_other_thing_is_listed(title: str, kind: str) -> None:
    assert list(rows(title)) == HAD[kind]


def test_the_tables_channels_and_commands_named_here_exist() -> None:
    sql = "\n".join(file.read_text() for file in sorted(ROOT.glob("horsies/db/sql/**/*.sql")))
    tables = set(re.findall(r"horsies\.\w+", "\n".join(rows("Tables").values())))
    assert len(tables) > 5
    assert all(f"create table {table} (" in sql for table in tables)
    channels = set(re.findall(r"horsies\.\w+", "\n".join(rows("Channels").values()))) - {"horsies.workers"}
    assert channels == {"horsies.wake", "horsies.done"}
    placeholders = {channel.replace("horsies.", "{horsies}.") for channel in channels}
    assert all(f"'{channel}'" in sql for channel in placeholders)
    commands = set(re.findall(r"horsies ([a-z]+)", "\n".join(rows("Command line").values())))
    assert commands <= set(COMMANDS)
