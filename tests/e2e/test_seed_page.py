"""The page of the README works as printed."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import horsies
from tests.support.seed_page import COMMAND, FIRST, PAGE, ROOT, SeedPage, readme_blocks
from tests.support.server import Server, database_name, with_database
from tests.support.terminal import Terminal
from tests.support.workers import HORSIES, clean_environment


@pytest.fixture
def page(server: Server, empty_database_url: str, tmp_path: Path) -> SeedPage:
    return SeedPage(tmp_path, with_database(server.tcp_url, database_name(empty_database_url)))


def test_the_worker_the_producer_and_the_endpoint_run_as_printed(page: SeedPage) -> None:
    with page.worker() as worker:
        assert page.run_producer() == "The sum is 8\n"
        assert page.get_endpoint() == {"result": 30}
        assert len(worker.children()) == 8
        assert "correct-horse" not in worker.log()
    results = page.python("-c", "from instance import *; print(process_data({}), process_data({'a': 1}).ok_value)")
    assert "EMPTY_DATA" in results
    assert results.endswith("Processed 1 items\n")


def test_the_first_steps_need_no_server(tmp_path: Path) -> None:
    """Run the two commands of the page in two terminals, in a folder that contains only the printed program."""
    (tmp_path / "hello.py").write_text(readme_blocks()[str(FIRST.relative_to(ROOT) / "hello.py")])
    text = (ROOT / "README.md").read_text()
    assert "```sh\nhorsies dev hello:app\n```" in text
    assert "```sh\npython hello.py               # prints 8\n```" in text
    terminal = Terminal(["dev", "hello:app"], tmp_path)
    try:
        terminal.wait_for(r"worker\.ready", 60)
        second = subprocess.run(
            [HORSIES.with_name("python"), "hello.py"],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert (second.stdout, second.stderr) == ("8\n", "")
        terminal.type("\x03")
        assert terminal.wait() == 0
        terminal.assert_gone()
    finally:
        terminal.close()


def test_a_producer_that_comes_before_the_worker_waits_for_it(page: SeedPage) -> None:
    sent = page.python("-c", "from instance import *; print(add_numbers.send(20, 22).unwrap().task_id)").strip()
    with page.worker():
        assert page.python("-c", f"from instance import *; print(app.get_result({sent!r}, 20_000).unwrap())") == "42\n"


def test_the_workflow_runs_as_printed(page: SeedPage) -> None:
    """Save the file and change `instance.py`, as the page says."""
    text = (ROOT / "README.md").read_text()
    [change] = re.findall(r"change the last line to `(app\.discover_tasks\(.*?\))`", text)
    file = page.folder / "instance.py"
    *lines, last = file.read_text().splitlines()
    assert last == 'app.discover_tasks(["instance"])'
    file.write_text("\n".join([*lines, change, ""]))
    checked = horsies(page.folder, "check", "instance:app")
    assert (checked.returncode, "HRS-304" in checked.stderr + checked.stdout) == (0, False)
    with page.worker():
        assert page.python("workflows.py") == "the sum is 8\n"
        assert page.run_producer() == "The sum is 8\n"


def test_the_readme_prints_what_is_run() -> None:
    blocks = readme_blocks()
    files = [*PAGE.glob("*.py"), *FIRST.glob("*.py")]
    assert sorted(blocks) == sorted(str(file.relative_to(ROOT)) for file in files)
    assert [name for name, code in blocks.items() if (ROOT / name).read_text() != code] == []
    assert f"```sh\n{COMMAND}\n```" in (ROOT / "README.md").read_text()
