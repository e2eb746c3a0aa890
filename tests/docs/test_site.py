"""The documentation site: it builds in strict mode, has every page, and documents every public name."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import horsies

ROOT = Path(__file__).parents[2]


def build(site: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site), *options],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.mark.timeout(120)
def test_the_site_has_every_page(site: Path) -> None:
    for page in ROOT.glob("docs/*.md"):
        assert (site / page.stem / "index.html").exists(), page.name
    assert "<h1 id=" in (site / "index.html").read_text()


@pytest.mark.timeout(120)
def test_the_site_shows_the_source_files_that_pages_link_to(site: Path) -> None:
    page = (site / "architecture" / "index.html").read_text()
    assert "../source/horsies/db/sql/functions/worker/claim.sql/" in page
    shown = (site / "source/horsies/db/sql/functions/worker/claim.sql/index.html").read_text()
    assert "horsies.claim" in re.sub(r"<[^>]+>", "", shown)


@pytest.mark.timeout(120)
def test_a_link_to_a_function_leads_to_its_line(site: Path) -> None:
    page = (site / "architecture" / "index.html").read_text()
    number = re.findall(r'claimer\.py/#__codelineno-0-(\d+)"><code>Claimer\.request<', page)[0]
    lines = (ROOT / "horsies" / "worker" / "claimer.py").read_text().splitlines()
    assert lines[int(number) - 1].startswith("    def request(")
    shown = (site / "source/horsies/worker/claimer.py/index.html").read_text()
    assert f'id="__codelineno-0-{number}"' in shown


@pytest.mark.timeout(120)
def test_the_search_finds_settings_commands_and_names(site: Path) -> None:
    entries = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    places = {entry["location"] for entry in entries}
    assert {"api/#horsies.AppConfig", "cli/#worker", "configuration/#postgresconfig"} <= places


@pytest.mark.timeout(120)
def test_the_reference_documents_every_public_name(site: Path) -> None:
    headings = re.findall(r'id="horsies\.(\w+)"', (site / "api" / "index.html").read_text())
    assert sorted(headings) == sorted(horsies.__all__)


@pytest.mark.timeout(120)
def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("# Page\n\n[nowhere](missing.md)\n")
    config = f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nhooks: []\nplugins: []\nnav: [page.md]\n"
    (tmp_path / "mkdocs.yml").write_text(config)
    built = build(tmp_path / "site", "--config-file", str(tmp_path / "mkdocs.yml"))
    assert built.returncode == 1
    assert "missing.md" in built.stderr
