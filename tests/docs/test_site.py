"""The documentation site: it builds in strict mode, has every page, and loads nothing from other servers.

`make test` builds the site before the tests and names its folder in HORSIES_TEST_SITE. Without that, the first test
that needs the site builds it, also if several processes run the tests.
"""

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import horsies
from horsies import testing

ROOT = Path(__file__).parents[2]
BUILT_SITE = "HORSIES_TEST_SITE"
LOADED_BY_STYLES = re.compile(r"""(?:url\(|@import\s)\s*["']?((?:https?:)?//[^"')\s]+)""")


def build(site: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site), *options],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if BUILT_SITE in os.environ:
        return ROOT / os.environ[BUILT_SITE]
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, is_built = shared / "site", shared / "site-is-built"
    with (shared / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_built.exists():
            built = build(folder)
            assert built.returncode == 0, built.stdout + built.stderr
            is_built.touch()
    return folder


class LoadedResources(HTMLParser):
    """Collects the addresses of everything that a page loads: scripts, styles, fonts, images and frames."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        relations = set(values.get("rel", "").split())
        if tag == "link" and relations - {"canonical", "prev", "next", "edit", "license"}:
            self.addresses.append(values.get("href", ""))
        if tag in {"script", "img", "iframe", "source", "video", "audio", "embed"}:
            self.addresses += [values[name] for name in ("src", "srcset") if name in values]


def foreign(addresses: list[str]) -> list[str]:
    return [address for address in addresses if re.match(r"\s*(?:https?:)?//", address)]


def loaded_from_elsewhere(site: Path) -> Iterator[str]:
    for page in site.rglob("*.html"):
        text = page.read_text()
        for address in foreign(LoadedResources(text).addresses + LOADED_BY_STYLES.findall(text)):
            yield f"{page.relative_to(site)}: {address}"
    for style in site.rglob("*.css"):
        for address in LOADED_BY_STYLES.findall(style.read_text()):
            yield f"{style.relative_to(site)}: {address}"


@pytest.mark.timeout(300)
def test_no_page_loads_anything_from_another_server(site: Path) -> None:
    assert len(list(site.rglob("*.html"))) > 50
    assert list(site.rglob("*.css"))
    assert list(loaded_from_elsewhere(site)) == []


@pytest.mark.timeout(300)
def test_every_page_with_a_diagram_loads_the_script_of_this_site_that_draws_it(site: Path) -> None:
    """Without it, the script of the theme loads one from another server."""
    pages = [page for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text()]
    assert site / "task-life-cycle" / "index.html" in pages
    for page in pages:
        [script] = [each for each in LoadedResources(page.read_text()).addresses if "mermaid" in each]
        assert (page.parent / script).resolve().stat().st_size > 1_000_000


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://unpkg.com/mermaid@11/dist/mermaid.min.js"></script>',
        '<link rel="preconnect stylesheet" href="//fonts.googleapis.com/css">',
        '<img src=" https://img.shields.io/badge.svg">',
        "<style>@font-face { src: url('https://fonts.gstatic.com/roboto.woff2') }</style>",
    ],
)
def test_what_comes_from_another_server_is_found(page: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(page)
    assert len(list(loaded_from_elsewhere(tmp_path))) == 1


def test_links_and_own_files_are_not_loaded_from_another_server(tmp_path: Path) -> None:
    page = '<a href="https://www.postgresql.org">PostgreSQL</a> <script src="../assets/mermaid.min.js"></script>'
    (tmp_path / "index.html").write_text(page)
    assert list(loaded_from_elsewhere(tmp_path)) == []


@pytest.mark.timeout(300)
def test_the_site_has_every_page(site: Path) -> None:
    for page in ROOT.glob("docs/*.md"):
        assert (site / page.stem / "index.html").exists(), page.name
    assert "<h1 id=" in (site / "index.html").read_text()


@pytest.mark.timeout(300)
def test_the_site_shows_the_source_files_that_pages_link_to(site: Path) -> None:
    page = (site / "architecture" / "index.html").read_text()
    assert "../source/horsies/db/sql/functions/worker/claim.sql/" in page
    shown = (site / "source/horsies/db/sql/functions/worker/claim.sql/index.html").read_text()
    assert "horsies.claim" in re.sub(r"<[^>]+>", "", shown)


@pytest.mark.timeout(300)
def test_pictures_are_shown_and_not_their_source(site: Path) -> None:
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert {picture.suffix for picture in pictures} == {".png", ".svg"}
    for picture in pictures:
        assert (site / "images" / picture.name).read_bytes() == picture.read_bytes()
    assert 'src="images/web-overview.png"' in (site / "index.html").read_text()


def test_a_link_to_a_function_leads_to_its_line(site: Path) -> None:
    page = (site / "architecture" / "index.html").read_text()
    number = re.findall(r'claimer\.py/#__codelineno-0-(\d+)"><code>Claimer\.request<', page)[0]
    lines = (ROOT / "horsies" / "worker" / "claimer.py").read_text().splitlines()
    assert lines[int(number) - 1].startswith("    def request(")
    shown = (site / "source/horsies/worker/claimer.py/index.html").read_text()
    assert f'id="__codelineno-0-{number}"' in shown


@pytest.mark.timeout(300)
def test_the_search_finds_settings_commands_and_names(site: Path) -> None:
    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    places = {entry["location"] for entry in entries}
    assert {"api/#horsies.AppConfig", "cli/#worker", "configuration/#postgresconfig"} <= places


@pytest.mark.timeout(300)
def test_the_reference_documents_every_public_name(site: Path) -> None:
    page = (site / "api" / "index.html").read_text()
    assert sorted(re.findall(r'id="horsies\.(\w+)"', page)) == sorted(horsies.__all__)
    assert sorted(re.findall(r'id="horsies\.testing\.(\w+)"', page)) == sorted(testing.__all__)


@pytest.mark.timeout(300)
def test_the_page_about_sql_lists_every_server_function_with_its_purpose(site: Path) -> None:
    page = (site / "sql" / "index.html").read_text()
    listed = re.findall(r'functions/\w+/(\w+)\.sql/"><code>\1</code></a></td>\s*<td>\w[^<]', page)
    assert sorted(listed) == sorted(file.stem for file in ROOT.glob("horsies/db/sql/functions/*/*.sql"))


@pytest.mark.timeout(300)
def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("# Page\n\n[nowhere](missing.md)\n")
    config = f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nhooks: []\nplugins: []\nnav: [page.md]\n"
    (tmp_path / "mkdocs.yml").write_text(config)
    built = build(tmp_path / "site", "--config-file", str(tmp_path / "mkdocs.yml"))
    assert built.returncode == 1
    assert "missing.md" in built.stderr
