"""The wheel, installed as from a package index, contains everything that is needed."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.seed_page import ROOT, SeedPage
from tests.support.server import Server, database_name, with_database


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [file] = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an environment with the wheel and its dependencies but without our source; return its programs."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    [packages] = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", "--quiet"]
    done = subprocess.run([*install, "--ignore-installed", wheel], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return home / "bin"


def test_everything_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    package = ROOT / "horsies"
    source = {
        str(file.relative_to(ROOT))
        for file in package.rglob("*")
        if file.is_file() and file.suffix not in {".pyc", ".pyo"}
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == source
    assert "horsies/py.typed" in packed
    assert "horsies/db/sql/functions/worker/claim.sql" in packed
    assert "horsies/db/sql/migrations/0001_tables.sql" in packed


def test_the_seed_page_runs_from_the_wheel(
    programs: Path, server: Server, empty_database_url: str, tmp_path: Path
) -> None:
    page = SeedPage(tmp_path, with_database(server.tcp_url, database_name(empty_database_url)), programs)
    assert page.python("-c", "import horsies; print(horsies.__file__)").startswith(str(programs.parent))
    with page.worker():
        assert page.run_producer() == "The sum is 8\n"
        assert page.get_endpoint() == {"result": 30}
