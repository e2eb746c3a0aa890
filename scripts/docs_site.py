"""Hooks of mkdocs: pages from outside docs/, and links that work on GitHub and on the site alike.

The Markdown files link to each other, and to source files, by paths in the repository. mkdocs knows docs/ only. So
README.md becomes the site's first page, CONTRIBUTING.md, CHANGELOG.md and benchmarks/README.md become pages, and each
other file that a page links to is shown on a separate page, with line numbers. A link whose text is the name of a
function or class leads to its line there.

The list of server functions on docs/sql.md is made from the comments at the head of their files.
"""

import ast
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES_OUTSIDE_DOCS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "benchmarks/README.md": "benchmarks.md",  # a page named README would become the index of its section
}
"""Markdown files that become pages: the path in the repository, and the path among the pages."""
LINK = re.compile(r"(\[[^\]]*\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?(\))")
FENCE = re.compile(r"^```(python|sh|text) [a-z ]+$", re.MULTILINE)  # such as "python run", which the tests read
FILE_NOTE = re.compile(r"^<!-- file: \S+ -->\n", re.MULTILINE)
LINK_TO_NAME = re.compile(r'(<a href="[^"]*source/(horsies/[^"#]+\.py)/)("><code>([\w.]+)</code>)')
SERVER_FUNCTIONS = "<!-- server functions -->"
SQL_FUNCTIONS = ROOT / "horsies" / "db" / "sql" / "functions"
LANGUAGES = {".py": "python", ".pyi": "python", ".sql": "postgresql", ".toml": "toml", ".yml": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not come from docs/."""
    sources = [repository_path(file.src_uri) for file in files.documentation_pages()]
    for path, page in PAGES_OUTSIDE_DOCS.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
        sources.append(ROOT / path)
    linked = {target for path in sources for target in linked_files(path)}
    assets = {file.src_uri for file in files}  # such as images, which are part of docs/
    for target in sorted(target for target in linked - set(sources) if page_of(target) not in assets):
        shown = File.generated(config, page_of(target), content=source_page(target))
        shown.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(shown)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite markup that only GitHub and the tests understand."""
    del config, files
    origin = repository_path(page.file.src_uri)
    markdown = FENCE.sub(r"```\1", FILE_NOTE.sub("", markdown))
    if page.file.src_uri.startswith("source/"):
        return markdown

    def rewrite(found: re.Match[str]) -> str:
        before, target, heading, after = found.groups()
        path = (origin.parent / target).resolve()
        if not path.is_file():
            return found[0]  # mkdocs reports it
        link = os.path.relpath(page_of(path), Path(page.file.src_uri).parent)
        return f"{before}{link}{heading or ''}{after}"

    return LINK.sub(rewrite, with_server_functions(markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links to functions and classes lead to their lines."""
    del page, config, files

    def with_line(found: re.Match[str]) -> str:
        line = line_of(ROOT / found[2], found[4])
        return found[0] if line is None else f"{found[1]}#__codelineno-0-{line}{found[3]}"

    return LINK_TO_NAME.sub(with_line, html)


def line_of(path: Path, name: str) -> int | None:
    """Return the line that defines a function, a class or a method (``Class.method``); None if there is none."""
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    node = None
    for part in name.split("."):
        definitions = (each for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef))
        node = next((each for each in definitions if each.name == part), None)
        if node is None:
            return None
        body = node.body
    return None if node is None else node.lineno


def linked_files(path: Path) -> list[Path]:
    """Return the files of the repository that a Markdown file links to."""
    text = with_server_functions(path.read_text())
    targets = [(path.parent / target).resolve() for _, target, _, _ in LINK.findall(text)]
    return [target for target in targets if target.is_file() and target.is_relative_to(ROOT)]


def with_server_functions(markdown: str) -> str:
    """Replace the placeholder of a page in docs/ by tables of all server functions, one table a folder."""
    if SERVER_FUNCTIONS not in markdown:
        return markdown
    tables: list[str] = []
    for folder in sorted(each for each in SQL_FUNCTIONS.iterdir() if each.is_dir()):
        rows = [f"| [`{file.stem}`](../{file.relative_to(ROOT)}) | {purpose(file)} |" for file in functions_of(folder)]
        head = f"### Folder {folder.name}\n\n| function | purpose |\n|---|---|"
        tables.append("\n".join([head, *rows]))
    return markdown.replace(SERVER_FUNCTIONS, "\n\n".join(tables))


def functions_of(folder: Path) -> list[Path]:
    """Return the files of the server functions of a folder, by name."""
    return sorted(folder.glob("*.sql"))


def purpose(file: Path) -> str:
    """Return the first paragraph of the purpose of a server function, from the comment at the head of its file."""
    comment = "\n".join(line[3:] for line in file.read_text().split("\ncreate ")[0].splitlines())
    found = re.match(r"Purpose: (.+?)(?=\n\n|\n *- |\n[A-Z][a-z ]+: |\Z)", comment, re.DOTALL)
    assert found is not None, f"{file} does not begin with its purpose"
    return " ".join(found[1].split()).removesuffix(":").removesuffix(".").replace("|", "\\|") + "."


def repository_path(page: str) -> Path:
    """Return the path of a page's source in the repository."""
    outside = {page: path for path, page in PAGES_OUTSIDE_DOCS.items()}
    return ROOT / outside.get(page, f"docs/{page}")


def page_of(path: Path) -> str:
    """Return the page that shows a file of the repository."""
    name = path.relative_to(ROOT).as_posix()
    if name in PAGES_OUTSIDE_DOCS:
        return PAGES_OUTSIDE_DOCS[name]
    return name.removeprefix("docs/") if name.startswith("docs/") else f"source/{name}.md"


def source_page(path: Path) -> str:
    """Return a page that shows a source file."""
    language = LANGUAGES.get(path.suffix, "text")
    head = "---\nsearch:\n  exclude: true\nhide:\n  - navigation\n---\n"
    title = f"# {path.relative_to(ROOT).as_posix()}\n\n"
    return f'{head}{title}````{language} linenums="1"\n{path.read_text()}````\n'
