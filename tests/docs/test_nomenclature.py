"""The names in all Python and SQL code contain none of the words that docs/nomenclature.md says not to use."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("horsies", "tests", "examples", "benchmarks", "scripts")
PAGE = ROOT / "docs" / "nomenclature.md"
ROW = re.compile(r"^\| ([^|]+) \| [^|]+ \| ([^|]*)\|$", re.MULTILINE)
SQL_FUNCTION = re.compile(r"^create (?:or replace )?function horsies\.(\w+)", re.MULTILINE)


def rows() -> list[tuple[str, list[str]]]:
    """The terms of the page, each with the words not to use for it."""
    found = [row for row in ROW.findall(PAGE.read_text()) if row[0] != "term" and not row[0].startswith("-")]
    return [(term, [word.strip() for word in words.split(",") if word.strip()]) for term, words in found]


def banned() -> set[str]:
    return {word for _, words in rows() for word in words}


def parts(name: str) -> list[str]:
    """The words of a name in snake_case or CamelCase."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def banned_word(name: str, words: set[str]) -> str | None:
    """The first word not to use that a name contains, also in its plural; None: there is none."""
    spaced = f" {' '.join(parts(name))} "
    return next((word for word in sorted(words) if re.search(rf" {plural(word)} ", spaced)), None)


def plural(word: str) -> str:
    return rf"{word[:-1]}(?:y|ies)" if word.endswith("y") else rf"{word}s?"


def python_names(tree: ast.AST) -> Iterator[str]:
    """Every name that a module defines: functions, classes, parameters, attributes and variables."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case _:
                continue


def found_in(names: Iterator[str] | list[str], words: set[str]) -> set[str]:
    return {name for name in names if banned_word(name, words)}


def test_the_names_in_python_are_standard_terms() -> None:
    words = banned()
    files = [path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*.py")]
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in found_in(python_names(ast.parse(path.read_text())), words)
    }
    assert {path.relative_to(ROOT).parts[0] for path in files} == set(FOLDERS)
    assert wrong == set()


def test_the_names_of_server_functions_are_standard_terms() -> None:
    names = [name for path in ROOT.glob("horsies/db/sql/**/*.sql") for name in SQL_FUNCTION.findall(path.read_text())]
    assert len(names) > 70
    assert found_in(names, banned()) == set()


def test_the_names_of_modules_are_standard_terms() -> None:
    names = [path.stem for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*.*")]
    assert found_in(names, banned()) == set()


def test_the_page_has_one_row_for_each_term() -> None:
    terms = [term for terms, _ in rows() for term in terms.split(", ")]
    assert len(terms) > 80
    assert len(terms) == len(set(terms))


def test_no_term_is_a_word_not_to_use() -> None:
    assert banned() & {term for terms, _ in rows() for term in terms.split(", ")} == set()
    assert {"crew", "elders", "bury", "pulse", "aftermath", "last will", "hand back", "duty", "neighbour"} <= banned()


@pytest.mark.parametrize("name", ["_bury", "hand_back_claims", "CrewMember", "duties", "LastWill", "neighbours"])
def test_a_metaphor_is_found(name: str) -> None:
    assert banned_word(name, banned()) is not None


@pytest.mark.parametrize(
    "name", ["heartbeat", "return_to_queue", "local_workers", "handler", "permitted", "will_retry"]
)
def test_other_names_are_left_alone(name: str) -> None:
    assert banned_word(name, banned()) is None
