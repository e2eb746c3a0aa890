"""`horsies top` in a real terminal: start, loss and return of the database, 60 columns, NO_COLOR, and the end."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import psutil
import pytest

from tests.support.environment import URL_VARIABLE
from tests.support.factories import DrivenWorker, request, send
from tests.support.proxy import Proxy
from tests.support.sessions import SCHEMA, Session
from tests.support.tmux import COLOR, Tmux
from tests.support.waiting import wait_until
from tests.support.workers import HORSIES

APP = "from horsies import *\napp = Horsies(AppConfig(broker=PostgresConfig(schema={schema!r})))\n"
WITHOUT_TEXTUAL = "import sys; sys.modules['textual'] = None; from horsies.cli.main import main; main()"


class Open(Protocol):
    """Opens a terminal with ``horsies top shop:app ARGS…``."""

    def __call__(self, *args: str, url: str = "", columns: int = 120, has_textual: bool = True, **env: str) -> Tmux: ...


@pytest.fixture
def open_top(tmp_path: Path, database_url: str) -> Iterator[Open]:
    """Yield a function that opens terminals. They are closed at the end."""
    (tmp_path / "shop.py").write_text(APP.format(schema=SCHEMA))
    opened: list[Tmux] = []
    with TemporaryDirectory(prefix="hrs-tmux-") as sockets:

        def start(*args: str, url: str = "", columns: int = 120, has_textual: bool = True, **env: str) -> Tmux:
            program = [HORSIES] if has_textual else [sys.executable, "-c", WITHOUT_TEXTUAL]
            full = {URL_VARIABLE: url or database_url, **env}
            socket = Path(sockets, str(len(opened)))
            opened.append(Tmux([*program, "top", "shop:app", *args], tmp_path, socket, full, columns=columns))
            return opened[-1]

        yield start
        for each in opened:
            each.close()


def test_it_starts_survives_the_loss_of_the_database_and_ends(
    open_top: Open, db: Session, tcp_database_url: str, proxy: Proxy
) -> None:
    assert DrivenWorker(db)
    send(db, request(name="lost"))
    terminal = open_top(url=proxy.url(tcp_database_url))
    terminal.wait_for(r"1 task lost in queue default cannot run")
    assert "postgresql://" in terminal.screen()
    assert "correct-horse" not in terminal.screen()
    proxy.refuse()
    proxy.cut()
    text = terminal.wait_for(r"The database does not answer\. These data are \d+")
    assert "1 task lost in queue default" in text
    proxy.accept()
    wait_until(lambda: "does not answer" not in terminal.screen(), 30, terminal.screen)
    terminal.type("3")
    terminal.wait_for(r"lost +pending")
    terminal.type("q")
    assert terminal.exit_code() == 0
    assert "Traceback" not in terminal.screen()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(open_top: Open, number: signal.Signals) -> None:
    terminal = open_top()
    terminal.wait_for("No worker is alive")
    os.kill(terminal.pid, number)
    assert terminal.exit_code() == 0
    assert not terminal.is_raw()


def test_it_ends_when_its_terminal_disappears(open_top: Open) -> None:
    terminals = [open_top() for _ in range(6)]
    for each in terminals:
        each.wait_for("No worker is alive")
    processes = [psutil.Process(each.pid) for each in terminals]
    for each in terminals:
        each.close()
    _, left = psutil.wait_procs(processes, timeout=30)
    assert left == []


def test_control_c_quits(open_top: Open) -> None:
    terminal = open_top()
    terminal.wait_for("No worker is alive")
    terminal.type("C-c")
    assert terminal.exit_code() == 0


def test_sixty_columns(open_top: Open, db: Session) -> None:
    assert DrivenWorker(db)
    send(db, request(name="lost"))
    terminal = open_top(columns=60)
    terminal.wait_for("cannot run")
    assert "6 Workers" in terminal.screen()
    for key, heading in (("2", "QUEUE .*STATE"), ("3", "TASK .*STATUS"), ("6", "WORKER .*STATE")):
        terminal.type(key)
        assert max(map(len, terminal.wait_for(heading).splitlines())) <= 60
    terminal.resize(140, 40)
    terminal.wait_for(r"WORKER .*CLOCK")


def test_no_color(open_top: Open, db: Session) -> None:
    send(db, request(name="lost"))
    terminal = open_top("status:pending", NO_COLOR="1")
    terminal.wait_for(r"lost +pending")
    assert not COLOR.search(terminal.styled())
    assert "\x1b[7m" in re.sub(r"\x1b\[[0-9;]*;7m|\x1b\[7;[0-9;]*m", "\x1b[7m", terminal.styled())
    coloured = open_top("status:pending")
    coloured.wait_for(r"lost +pending")
    assert COLOR.search(coloured.styled())


def test_without_textual_one_frame_is_printed(open_top: Open, db: Session) -> None:
    send(db, request(name="lost"))
    terminal = open_top(has_textual=False)
    assert terminal.exit_code() == 0
    text = terminal.screen()
    assert "WHY TASKS WAIT" in text
    assert "pip install 'textual>=" in text
    refused = open_top("--enable-actions", has_textual=False)
    assert refused.exit_code() == 1
    assert "pip install 'textual>=" in refused.screen()


def test_once_prints_one_frame_in_the_width_of_the_terminal(open_top: Open, db: Session) -> None:
    send(db, request(name="lost"))
    terminal = open_top("--once", columns=60)
    assert terminal.exit_code() == 0
    assert "WHY TASKS WAIT" in terminal.screen()
    assert not terminal.is_raw()
