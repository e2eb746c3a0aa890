"""The SQL files, and the name of the schema in them."""

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import pytest

from horsies.db import sqlfiles
from horsies.db.sqlfiles import bind, channel, listen, qualifier

TESTS = Path(__file__).parent
FUNCTIONS = Path(sqlfiles.__file__).parent / "sql" / "functions"
FOR_USERS = {"send"}
"""Entry points that only users call, in SQL."""
PYTHON = {str(file.relative_to(FUNCTIONS.parents[1])): file.read_text() for file in FUNCTIONS.parents[1].rglob("*.py")}


@dataclass(frozen=True)
class Header:
    """The comment above a function: its sections by name, and the functions and modules after "Called by"."""

    sections: dict[str, str]

    @property
    def callers(self) -> list[str]:
        """Return the calling SQL functions, and Python modules in the form ``queries/tasks.py``."""
        return re.findall(r"[\w/.]*\w", self.sections["Called by"])


def parse_header(sql: str) -> Header:
    """Read the header of a function's file.

    Raises:
        ValueError: a line before the function is not a comment.
    """
    comment, _, _ = sql.partition("create function")
    lines = [re.fullmatch(r"--(?: (.*))?", line) for line in comment.splitlines()]
    if not all(lines):
        msg = "only comments may stand before the function"
        raise ValueError(msg)
    text = "\n".join(line[1] or "" for line in lines if line)
    parts = re.split(r"^(Purpose|Planner settings|Locks|Called by|Granted to): ", text, flags=re.MULTILINE)
    return Header({name: part.strip() for name, part in zip(parts[1::2], parts[2::2], strict=True)})


def calls(text: str, name: str) -> bool:
    """Whether SQL or Python code calls a function; comments do not count."""
    return f"horsies.{name}(" in re.sub(r"--[^\n]*", "", text)


@pytest.mark.parametrize("name", sqlfiles.functions())
def test_each_file_has_a_complete_header_and_makes_the_function_of_its_name(name: str) -> None:
    sql = sqlfiles.functions()[name]
    assert re.findall(r"^create function horsies\.(\w+)", sql, re.MULTILINE) == [name]
    sections = parse_header(sql).sections
    assert [each for each in sections if each != "Planner settings"] == ["Purpose", "Locks", "Called by", "Granted to"]
    assert all(re.match(r"[A-Za-z].*[.)]$", each, re.DOTALL) for each in sections.values()), sections


@pytest.mark.parametrize("name", sqlfiles.functions())
def test_a_function_with_planner_settings_points_to_their_explanation(name: str) -> None:
    sql = sqlfiles.functions()[name]
    has_settings = re.search(r"\bset (enable_|jit|plan_cache_mode)", sql) is not None
    explanation = parse_header(sql).sections.get("Planner settings")
    assert explanation == ("see docs/architecture.md." if has_settings else None)


@pytest.mark.parametrize("name", sqlfiles.functions())
def test_no_literal_depends_on_standard_conforming_strings(name: str) -> None:
    """A session of users may have turned the setting off. A literal with a backslash is written E'…'."""
    code = re.sub(r"--.*", "", sqlfiles.functions()[name])
    literals = re.findall(r"(\w?)('(?:[^']|'')*')", code)
    assert [text for prefix, text in literals if "\\" in text and prefix.upper() != "E"] == []


def test_the_planner_settings_are_explained() -> None:
    text = (TESTS.parents[1] / "docs" / "architecture.md").read_text()
    assert "### Planner settings" in text
    used = {
        each for sql in sqlfiles.functions().values() for each in re.findall(r"\bset (enable_\w+|jit|plan_\w+)", sql)
    }
    assert {each for each in used if f"`{each}`" not in text} == set()


@pytest.mark.parametrize("name", sqlfiles.functions())
def test_each_function_has_its_tests_in_the_folder_of_its_subject(name: str) -> None:
    (file,) = FUNCTIONS.rglob(f"{name}.sql")
    assert (TESTS / file.parent.name / f"test_{name}.py").exists()


@pytest.mark.parametrize("name", sqlfiles.functions())
def test_each_header_names_exactly_the_functions_and_modules_that_call(name: str) -> None:
    functions = sqlfiles.functions()
    in_sql = {other for other, sql in functions.items() if other != name and calls(sql, name)}
    in_sql |= {f"views/{view}.sql" for view, sql in sqlfiles.views().items() if calls(sql, name)}
    in_python = {file for file, text in PYTHON.items() if calls(text, name)}
    callers = parse_header(functions[name]).callers
    if name in FOR_USERS:
        assert (in_sql | in_python, callers) == (set(), ["users", "in", "SQL"])
        return
    assert in_sql | in_python, "nothing calls this function"
    if name == "now":  # too many to list
        in_sql, callers = set[str](), []
    assert sorted(callers) == sorted(in_sql | in_python)


def test_the_callers_of_a_header_are_read_to_its_end() -> None:
    sql = (
        "-- Purpose: A.\n-- Locks: none.\n-- Called by: one, two,\n-- three; queries/a.py, migrate.py.\ncreate function"
    )
    assert parse_header(sql).callers == ["one", "two", "three", "queries/a.py", "migrate.py"]
    assert not calls("-- horsies.f(1)\nselect 1", "f")
    with pytest.raises(ValueError, match="only comments"):
        parse_header("select 1;\ncreate function")


def test_sql_uses_standard_terms() -> None:
    """SQL contains no words of the old private dialect; docs/nomenclature.md lists the standard terms."""
    words = r"alarmed|blamed|endless|in hand|in_hand|hand(s|ed)? (back|on)|hand_backs|goes on|anew|dut(y|ies)|strays"
    files = [file for file in FUNCTIONS.parent.rglob("*.sql") if file.parent.name != "migrations"]
    found = {file.name: re.search(rf"\b({words})\b", file.read_text(), re.IGNORECASE) for file in files}
    assert {name: match[0] for name, match in found.items() if match} == {}


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
    """A literal that names an object of the schema must use ``{horsies}.``. Add literals that are data here."""
    data = {
        "'horsies.map'",
        "'horsies.fence'",
        "'horsies.claim_marks'",
        "'horsies.claim_marks_'",
        "'horsies.turn_marks_'",
        "'horsies.'",
        "'Send a task of the app. Names that begin with ''horsies.'' are reserved.'",
    }
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
