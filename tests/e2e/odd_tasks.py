"""Tasks that misbehave. Each misbehaviour is a function; the tasks `odd` and `odd_async` run one by its name."""

import asyncio
import gc
import io
import locale
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from horsies import AppConfig, Horsies, PostgresConfig, TaskError, TaskResult

app = Horsies(AppConfig(broker=PostgresConfig(database_url=os.environ.get("HORSIES_DATABASE_URL"))))

MEGABYTE = 1 << 20
WIDTH = 1000

type Anything = TaskResult[Any, TaskError]

ODD: dict[str, Callable[[], Any]] = {}
ODD_ASYNC: dict[str, Callable[[], Awaitable[Any]]] = {}
kept: list[Any] = []  # objects that tasks leave behind in their process


def oddity[F: Callable[[], Any]](function: F) -> F:
    ODD[function.__name__] = function
    return function


def async_oddity[F: Callable[[], Awaitable[Any]]](function: F) -> F:
    ODD_ASYNC[function.__name__] = function
    return function


LEDGER = os.environ.get("TEST_LEDGER", "")


@app.task("plain")
def plain(key: str) -> TaskResult[int, TaskError]:
    """Open a file, and return the process id. This task must succeed after every other one."""
    with Path(LEDGER).open("ab", buffering=0) as ledger:
        ledger.write(f"{key} {os.getpid()}\n".encode())
    return TaskResult(ok=os.getpid())


@app.task("plain_async")
async def plain_async(key: str) -> TaskResult[int, TaskError]:
    await asyncio.sleep(0.001)
    return plain(key)


@app.task("odd")
def odd(kind: str) -> Anything:
    return TaskResult(ok=ODD[kind]())


@app.task("odd_async")
async def odd_async(kind: str) -> Anything:
    return TaskResult(ok=await ODD_ASYNC[kind]())


@app.task("odd_error")
def odd_error(code: str, data: Any = None) -> Anything:
    return TaskResult(err=TaskError(error_code=code, data=data))


@app.task("echo")
def echo(value: Any) -> Anything:
    return TaskResult(ok=value)


@app.task("nap")
def nap(key: str, seconds: float) -> TaskResult[str, TaskError]:
    plain(key)
    time.sleep(seconds)
    return TaskResult(ok=key)


@app.task("nap_async")
async def nap_async(key: str, seconds: float) -> TaskResult[int, TaskError]:
    for _ in range(10):
        await asyncio.sleep(seconds / 10)
    return plain(key)


def _wide() -> Callable[..., TaskResult[int, TaskError]]:
    parameters = ", ".join(f"p{number}: int" for number in range(WIDTH))
    values = ", ".join(f"p{number}" for number in range(WIDTH))
    source = f"def wide({parameters}) -> TaskResult[int, TaskError]:\n    return TaskResult(ok=sum([{values}]))\n"
    scope: dict[str, Any] = {"TaskResult": TaskResult, "TaskError": TaskError}
    exec(source, scope)  # noqa: S102 - too long to be written out
    return scope["wide"]


wide: Any = app.task("wide")(_wide())


# Tasks that succeed, and must not affect later ones.


@oddity
def prints_100_megabytes() -> str:
    for _ in range(100):
        sys.stdout.write("x" * MEGABYTE)
    sys.stdout.flush()
    return "fine"


@oddity
def closes_the_standard_streams() -> str:
    os.closerange(0, 3)
    return "fine"


@oddity
def replaces_the_standard_streams() -> str:
    sys.stdout = io.StringIO()
    sys.stderr = None  # type: ignore[assignment]
    return "fine"


@oddity
def changes_directory() -> str:
    os.chdir("/")
    return "fine"


@oddity
def deletes_its_directory() -> str:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    shutil.rmtree(folder)
    return "fine"


@oddity
def handles_signals() -> str:
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    return "fine"


@oddity
def leaves_an_alarm() -> str:
    if threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, 0.2)
    return "fine"


@oddity
def changes_the_process() -> str:
    os.umask(0o777)
    locale.setlocale(locale.LC_ALL, "C")
    os.environ = {}  # type: ignore[assignment]  # noqa: B003
    os.nice(1)
    return "fine"


@oddity
def changes_the_interpreter() -> str:
    gc.disable()
    sys.setswitchinterval(1)
    for least in range(1, 1000):
        with suppress(RecursionError):
            sys.setrecursionlimit(least)
            break
    return "fine"


@oddity
def changes_the_module_path() -> str:
    sys.path.clear()
    sys.path_hooks.clear()
    return "fine"


@oddity
def leaks_threads() -> str:
    for _ in range(20):
        threading.Thread(target=threading.Event().wait).start()
    return "fine"


@oddity
def runs_a_loop_of_its_own() -> str:
    return asyncio.run(_fine())


async def _fine() -> str:
    await asyncio.sleep(0.001)
    return "fine"


@oddity
def closes_the_loop() -> str:
    if threading.current_thread() is threading.main_thread():
        asyncio.get_event_loop().close()
    return "fine"


@oddity
def uses_all_files() -> str:
    limit = 256
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    try:
        while True:
            kept.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return "fine"


@oddity
def leaves_a_process() -> str:
    if os.fork() == 0:
        time.sleep(600)
    return "fine"


@async_oddity
async def leaves_background_tasks() -> str:
    kept.extend(asyncio.create_task(asyncio.sleep(600)) for _ in range(10))
    asyncio.get_running_loop().call_soon(_raise, RuntimeError("nobody waits for this"))
    return "fine"


def _raise(exception: BaseException) -> None:
    raise exception


@async_oddity
async def stops_the_loop() -> str:
    asyncio.get_running_loop().stop()
    return await _fine()


@async_oddity
async def cancels_itself_and_goes_on() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    return "fine"


@async_oddity
async def cancels_all_tasks() -> str:
    for task in asyncio.all_tasks():
        task.cancel()
    return "fine"


@async_oddity
async def cancels_other_tasks() -> str:
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task() and "serve" not in repr(task):
            task.cancel()
    return "fine"


@async_oddity
async def leaves_a_task_that_exits() -> str:
    kept.append(asyncio.create_task(_exit()))
    return await _fine()


async def _exit() -> None:
    await asyncio.sleep(0)
    sys.exit("bye")


# Forks whose copy returns from the task. Each returns the exit status of its copy.


def _forked(in_copy: Callable[[], Any]) -> Any:
    pid = os.fork()
    if pid == 0:
        return in_copy()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@oddity
def forks_and_returns() -> Any:
    return _forked(lambda: 0)


@oddity
def forks_and_raises() -> Any:
    return _forked(lambda: 1 / 0)


@oddity
def forks_and_exits() -> Any:
    return _forked(lambda: sys.exit(3))


@async_oddity
async def forks_a_loop_and_returns() -> Any:
    return _forked(lambda: 0)


@async_oddity
async def forks_a_loop_and_raises() -> Any:
    return _forked(lambda: 1 / 0)


@async_oddity
async def forks_a_loop_and_exits() -> Any:
    return _forked(lambda: sys.exit(3))


@async_oddity
async def forks_a_loop_and_waits() -> Any:
    never = asyncio.get_running_loop().create_future()
    status = _forked(lambda: None)
    return await never if status is None else status


# Tasks that end the child, or themselves.


@oddity
def closes_all_files() -> str:
    os.closerange(3, 65536)
    return "fine"


@oddity
def becomes_another_program() -> None:
    os.execv("/bin/sleep", ["sleep", "600"])  # noqa: S606 - the purpose of this task


@oddity
def aborts() -> None:
    os.abort()


@oddity
def starts_a_session() -> None:
    os.setsid()


@oddity
def asks_for_an_exabyte() -> Any:
    return bytearray(1 << 60)


@async_oddity
async def closes_its_loop() -> None:
    asyncio.get_running_loop().close()


@async_oddity
async def runs_a_loop_in_a_loop() -> None:
    coroutine = _fine()
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


@async_oddity
async def waits_for_a_task_that_exits() -> None:
    await asyncio.gather(_exit(), _fine())


# Exceptions.


class Broken(Exception):  # noqa: N818
    """Raises its argument on every access."""

    def __str__(self) -> str:
        raise self.args[0]

    __repr__ = __str__


@oddity
def raises_the_unprintable() -> None:
    raise Broken(ValueError("no words"))


@oddity
def raises_what_exits_when_printed() -> None:
    raise Broken(SystemExit(5))


@oddity
def raises_ten_megabytes() -> None:
    raise ValueError("x" * 10 * MEGABYTE)


@oddity
def raises_a_circle() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    first.__context__ = first
    raise first


@oddity
def raises_a_long_chain() -> None:
    last: Exception | None = None
    for number in range(3000):
        one = ValueError(number)
        one.__cause__, last = last, one
    assert last is not None
    raise last


@oddity
def raises_a_deep_group() -> None:
    inner: Exception = ValueError("innermost")
    for _ in range(5000):
        inner = ExceptionGroup("around", [inner])
    raise inner


@oddity
def raises_odd_notes() -> None:
    error = ValueError("noted")
    error.__notes__ = [Broken(SystemExit(6)), "\ud800", 5]  # type: ignore[list-item]
    raise error


# Results.


class Rude:
    """Ends the program on every operation."""

    def __eq__(self, other: object) -> bool:
        sys.exit(8)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        sys.exit(9)

    def __reduce_ex__(self, protocol: Any) -> Any:
        sys.exit(10)


@oddity
def returns_the_rude() -> Any:
    return [Rude()]


@oddity
def returns_a_lone_surrogate() -> Any:
    return {"text": ["fine", "\ud800"]}


@oddity
def returns_a_circle() -> Any:
    circle: list[Any] = []
    circle.append({"again": circle})
    return circle


@oddity
def returns_a_deep_list() -> Any:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return deep


@oddity
def returns_too_many_digits() -> Any:
    return 10**5000


@oddity
def returns_ten_megabytes() -> Any:
    return "ö" * 5 * MEGABYTE
