"""The planned end of a child process.

A child ends with `os._exit`, because it is a copy of the fork server and must not return into the code that forked it.
Therefore this module runs the steps that Python runs at the end of a program, in the same order: close the event loop,
run the app's hooks, wait for threads, run the functions registered with `atexit` (`logging.shutdown` is one of them),
flush open files. Spans are exported after the hooks, which may make some.

Functions that were registered during the import of the app run in every child, because clients that are created during
the import do their work in the children. Finalizers (`weakref.finalize`) that a child has inherited do not run: a
temporary directory that was created during the import belongs to all children.
"""

import atexit
import gc
import io
import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from horsies.errors import raised_at
from horsies.events import event
from horsies.masking import mask_secrets
from horsies.tasks.hooks import ChildHook
from horsies.tracing.provider import flush_spans

EXIT_WITHIN_S = 5.0

type _Step = tuple[str, Callable[[], object]]
type _File = io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom

_BUFFERED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
_inherited: list[weakref.ref[_File]] = []


def leave(close_loop: Callable[[], None], hooks: Sequence[ChildHook]) -> None:
    """Run all steps of a planned exit. The caller ends the process afterwards.

    If the steps take longer than `EXIT_WITHIN_S`, the process ends without the remaining ones. An exception is logged,
    and the next step follows.

    Args:
        close_loop: closes the child's event loop.
        hooks: of the app, in the order of registration; they run in reverse order.
    """
    steps: list[_Step] = [("closing the event loop", close_loop)]
    steps += [(f"the child hook {hook}", hook.fn) for hook in reversed(hooks)]
    steps += [
        ("exporting spans", flush_spans),
        ("waiting for threads", getattr(threading, "_shutdown", _nothing)),
        ("atexit functions", getattr(atexit, "_run_exitfuncs", logging.shutdown)),
        ("flushing files", flush_open_files),
    ]
    progress = _Progress()
    threading.Thread(target=progress.enforce, daemon=True, name="horsies-exit").start()
    for name, step in steps:
        progress.step = name
        _try(name, step)
    progress.done.set()


class _Progress:
    """The current step; a thread runs `enforce`, which ends the process if the steps take too long."""

    def __init__(self) -> None:
        self.step = ""
        self.done = threading.Event()

    def enforce(self) -> None:
        if not self.done.wait(EXIT_WITHIN_S):
            event("child.exit_timed_out", level=logging.WARNING, step=self.step, seconds=EXIT_WITHIN_S)
            flush_open_files()
            os._exit(0)


def _try(name: str, step: Callable[[], object]) -> None:
    try:
        step()
    except BaseException as exception:  # noqa: BLE001 - user code may raise anything
        reason = mask_secrets(f"{type(exception).__name__}: {exception}")
        event("child.exit_step_failed", level=logging.ERROR, step=name, reason=reason, place=raised_at(exception))


def prepare_for_children() -> None:
    """Prepare the fork server for forks, after the import of the app and before the first fork.

    Buffered output of open files is written here, so that children do not write it again. The files are remembered,
    because `gc.freeze` hides them from the garbage collector, which `_visible_files` searches. Finalizers are disabled
    for the exit of the children.
    """
    flush_open_files()
    _inherited.extend(weakref.ref(file) for file in _visible_files())
    finalizers: dict[Any, object] = getattr(weakref.finalize, "_registry", {})
    for finalizer in list(finalizers):
        finalizer.atexit = False


def flush_open_files() -> None:
    """Flush all open files of this process."""
    inherited = [file for file in (reference() for reference in _inherited) if file is not None]
    files = sorted([*inherited, *_visible_files()], key=lambda file: not isinstance(file, io.TextIOWrapper))
    for file in files:  # text files first, because they write to binary ones
        with suppress(Exception):  # the file is closed, or it is a pipe without a reader
            file.flush()


def _visible_files() -> list[_File]:
    """Return the files that the garbage collector knows.

    It does not use isinstance, which asks proxy objects for their class and may run user code.
    """
    return [each for each in gc.get_objects() if issubclass(type(each), _BUFFERED)]


def _nothing() -> None:
    """Replace a private function of CPython that another implementation of Python does not have."""
