"""Keeping tasks from ending the process of the test, which in production would only be a child of a worker."""

import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from horsies.testing.errors import ProcessExitRefusedError


class _RefusedExit(BaseException):
    """Ends the code of a task that tried to end the process. Code that catches `Exception` must not continue."""


class Interception:
    """Refuses calls that would end or signal this process, and notes Ctrl-C and breakpoints.

    Args:
        on_breakpoint: called when a task reaches a breakpoint.

    Attributes:
        refused: the description of the first refused call; None: there was none.
        interrupted: whether the user has pressed Ctrl-C.
    """

    def __init__(self, on_breakpoint: Callable[[], None]) -> None:
        self._home = os.getpid()
        self._on_breakpoint = on_breakpoint
        self.refused: str | None = None
        self.interrupted = False

    def check(self) -> None:
        """Raise what has happened, in the thread of the test.

        Raises:
            KeyboardInterrupt: the user has pressed Ctrl-C while a task ran.
            ProcessExitRefusedError: a task tried to end or to signal this process.
        """
        if self.interrupted:
            raise KeyboardInterrupt
        if self.refused is not None:
            call, self.refused = self.refused, None
            msg = (
                f"a task called {call}, which would end or interrupt the process of this test: run it in a process of "
                "a real worker, with queue.worker()"
            )
            raise ProcessExitRefusedError(msg)

    @contextmanager
    def active(self) -> Generator[None]:
        """Intercept within the block."""
        originals: list[tuple[Any, str, Any]] = []
        for module, name, guard in (
            (os, "_exit", self._always),
            (os, "abort", self._always),
            (os, "kill", self._if_own),
            (os, "killpg", self._if_own_group),
            (signal, "raise_signal", self._always),
            (signal, "pthread_kill", self._always),
            (sys, "breakpointhook", self._note_breakpoint),
        ):
            original = getattr(module, name)
            originals.append((module, name, original))
            setattr(module, name, guard(f"{module.__name__}.{name}", original))
        try:
            with self._noting_interrupts():
                yield
        finally:
            for module, name, original in originals:
                setattr(module, name, original)

    @contextmanager
    def _noting_interrupts(self) -> Generator[None]:
        """Note Ctrl-C: as an exception in the code of a task, it would only become the outcome of an attempt."""
        try:
            before = signal.getsignal(signal.SIGINT)
            if not callable(before):
                yield
                return
            handler: Callable[[int, Any], Any] = before

            def note(number: int, frame: Any) -> None:
                self.interrupted = True
                handler(number, frame)

            signal.signal(signal.SIGINT, note)
        except ValueError:  # not in the main thread, where no signal handler runs
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _always(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if os.getpid() != self._home:  # a process that the task has forked
                return original(*args, **kwargs)
            raise self._refuse(name, args)

        return guarded

    def _if_own(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(pid: int, number: int) -> Any:
            if os.getpid() != self._home or number == 0 or pid not in {self._home, 0, -os.getpgid(0), -1}:
                return original(pid, number)
            raise self._refuse(name, (pid, number))

        return guarded

    def _if_own_group(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(group: int, number: int) -> Any:
            if os.getpid() != self._home or number == 0 or group not in {0, os.getpgid(0)}:
                return original(group, number)
            raise self._refuse(name, (group, number))

        return guarded

    def _note_breakpoint(self, _name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self._on_breakpoint()
            return original(*args, **kwargs)

        return guarded

    def _refuse(self, name: str, args: tuple[Any, ...]) -> _RefusedExit:
        call = f"{name}({', '.join(map(repr, args))})"
        self.refused = self.refused or call
        return _RefusedExit(call)


def has_debugger() -> bool:
    """Whether a debugger traces this thread."""
    trace = sys.gettrace()
    names = "" if trace is None else f"{type(getattr(trace, '__self__', trace)).__module__} {trace.__module__}"
    return sys.monitoring.get_tool(sys.monitoring.DEBUGGER_ID) is not None or any(
        known in names for known in ("bdb", "pdb", "pydevd")
    )
