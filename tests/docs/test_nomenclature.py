"""One word per concept: what `docs/nomenclature.md` rules out is not a name in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "nomenclature.md"
NEVER = {
    "ack",
    "dequeue",
    "dispatch",
    "forkserver",
    "janitor",
    "nack",
    "promise",
    "publish",
    "publisher",
    "redelivery",
    "submit",
    "topic",
    "vacuum",
    "zygote",
}
"""Those of the ruled-out words that mean nothing else here; `run`, `main` and `message` do."""


def ruled_out() -> set[str]:
    rows = re.findall(r"^\|[^|]*\|.*\|([^|]*)\|$", PAGE.read_text(), re.MULTILINE)
    return {word.strip() for row in rows for word in row.split(",")}


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that the code gives to something."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case _:
                continue


def words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in the singular too."""
    parts = {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
    return parts | {part.removesuffix("s") for part in parts}


def test_the_words_to_look_for_are_on_the_page() -> None:
    assert ruled_out() >= NEVER


def test_each_word_is_on_the_page_once() -> None:
    listed = re.findall(r"^\| ([^|]*?) \|", PAGE.read_text(), re.MULTILINE)
    assert len(listed) == len(set(listed)) > 50


def test_no_name_is_a_word_that_is_ruled_out() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} {name}"
        for file in sorted((ROOT / "horsies").rglob("*.py"))
        for line, name in names(ast.parse(file.read_text()))
        if words(name) & NEVER
    ]
    assert not wrong, "\n".join(wrong)


def test_nor_a_server_function_or_a_column() -> None:
    sql = (ROOT / "horsies" / "db" / "sql").rglob("*.sql")
    named = re.compile(r"create (?:function|table|index|view) (?:horsies\.)?(\w+)")
    wrong = [name for file in sql for name in named.findall(file.read_text()) if words(name) & NEVER]
    assert not wrong
