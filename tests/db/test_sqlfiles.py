"""The SQL files, and the schema's name in them."""

import re
from importlib import resources
from pathlib import Path

import pytest

from horsies.db import sqlfiles
from horsies.db.sqlfiles import bind, channel, listen, qualifier

TESTS = Path(__file__).parent
FUNCTIONS = Path(sqlfiles.__file__).parent / "sql" / "functions"


@pytest.mark.parametrize("name", sqlfiles.functions())
def test_each_file_begins_with_its_purpose_and_makes_the_function_of_its_name(name: str) -> None:
    sql = sqlfiles.functions()[name]
    assert re.findall(r"^create function horsies\.(\w+)", sql, re.MULTILINE) == [name]
    purpose, _, _ = sql.partition("create function")
    assert all(line.startswith("-- ") or line == "--" for line in purpose.splitlines())
    assert "-- Called by:" in purpose or " Called by:" in purpose


@pytest.mark.parametrize("name", sqlfiles.functions())
def test_each_function_has_its_tests_in_the_folder_of_its_subject(name: str) -> None:
    (file,) = FUNCTIONS.rglob(f"{name}.sql")
    assert (TESTS / file.parent.name / f"test_{name}.py").exists()


@pytest.mark.parametrize("name", sqlfiles.functions())
def test_each_caller_that_a_function_names_calls_it(name: str) -> None:
    callers = re.search(r"Called by: ([^.]*)\.", sqlfiles.functions()[name], re.DOTALL)
    assert callers
    named = set(re.findall(r"\w+", callers[1])) & sqlfiles.functions().keys()
    calling = {other for other, sql in sqlfiles.functions().items() if f"horsies.{name}(" in sql} - {name}
    assert not named or named == calling


def test_no_two_migrations_have_one_number() -> None:
    files = resources.files("horsies.db").joinpath("sql", "migrations").iterdir()
    numbers = sorted(int(file.name.split("_")[0]) for file in files)
    assert list(sqlfiles.migrations()) == numbers


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ("horsies", "horsies"),
        ("other", '"other"'),
        ("Two Words", '"Two Words"'),
        ('say "hi"', '"say ""hi"""'),
        ("select", '"select"'),
    ],
)
def test_any_name_but_the_default_is_quoted(schema: str, expected: str) -> None:
    assert qualifier(schema) == expected
    assert bind("select horsies.now()", schema) == f"select {expected}.now()".encode()
    assert bind("create schema horsies.;", schema) == f"create schema {expected};".encode()


def test_only_whole_qualifiers_are_replaced() -> None:
    sql = "select horsies_test.clock, myhorsies.x, horsies, horsies.a"
    assert bind(sql, "s") == b'select horsies_test.clock, myhorsies.x, horsies, "s".a'


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select 'horsies.map', horsies.a", "select 'horsies.map', \"s\".a"),
        ("select 'it''s horsies.map', horsies.a", "select 'it''s horsies.map', \"s\".a"),
        ("select '{horsies}.a', '{horsies}.b'", "select '\"s\".a', '\"s\".b'"),
        ("-- don't\nselect horsies.a, 'horsies.b'", "-- don't\nselect \"s\".a, 'horsies.b'"),
        ('select horsies.a as "it\'s", horsies.b', 'select "s".a as "it\'s", "s".b'),
        ("as $f$ select horsies.a('horsies.b') $f$", "as $f$ select \"s\".a('horsies.b') $f$"),
        ("select {horsies}.a", "select {horsies}.a"),
    ],
)
def test_a_literal_is_data_unless_it_marks_the_schema(sql: str, expected: str) -> None:
    assert bind(sql, "s").decode() == expected


def test_every_literal_that_holds_the_schemas_name_is_meant_so() -> None:
    """A literal that names an object of the schema must say ``{horsies}.``; add here what is data by intent."""
    data = {"'horsies.map'"}
    texts = [file.read_text() for file in FUNCTIONS.parent.rglob("*.sql")]
    literals = [each for text in texts for each in re.findall(r"--[^\n]*|'(?:[^']|'')*'", text) if each[0] == "'"]
    named = {each for each in literals if re.search(r"(?<!\{)\bhorsies\.", each)}
    assert named == data
    assert any("{horsies}." in each for each in literals)


def test_a_schema_that_is_called_like_a_qualifier_is_put_in_once() -> None:
    assert bind("select horsies.now()", "horsies.now") == b'select "horsies.now".now()'


@pytest.mark.parametrize("schema", ["x" * 48, "é" * 24, "a b", 'a"b', "a.b", "a;b", "--", "a/*b"])
def test_most_names_are_taken(schema: str) -> None:
    assert qualifier(schema)


@pytest.mark.parametrize("schema", ["", "x" * 49, "é" * 25])
def test_a_name_of_no_or_too_many_bytes_is_refused(schema: str) -> None:
    with pytest.raises(ValueError, match=rf"has {len(schema.encode())} bytes, but must have 1 to 48"):
        qualifier(schema)


@pytest.mark.parametrize("schema", ["a'b", "a\\b", "a%b", "a$b", "a\0b", "a\nb", "a\rb"])
def test_a_name_that_would_break_out_of_the_sql_is_refused(schema: str) -> None:
    with pytest.raises(ValueError, match=r"schema name .* contains "):
        bind("select horsies.now()", schema)


def test_channels_are_named_as_the_functions_name_them() -> None:
    for kind in ("done", "wake", "cancel"):
        (named,) = set(re.findall(r"pg_notify\('([^']*)'", sqlfiles.functions()[f"notify_{kind}"]))
        for schema in ("horsies", 'My "odd" schéma'):
            assert f"'{channel(kind, schema)}'" == bind(f"'{named}'", schema).decode()


def test_a_channel_is_quoted_to_be_listened_to() -> None:
    assert listen('"a ""b""".done') == b'listen """a """"b"""""".done"'


def test_the_hash_of_the_functions_is_one_of_their_text() -> None:
    assert re.fullmatch("[0-9a-f]{64}", sqlfiles.functions_hash("horsies"))
    assert sqlfiles.functions_hash("horsies") != sqlfiles.functions_hash("jobs")
