"""The planned end of a child process.

A child leaves by `os._exit`, for it is a copy of the fork server and must not run through the code that this was in.
So what Python does at the end of a program is done here, in the same order: close the event loop, run the app's
hooks, wait for threads, run the functions registered with `atexit` (`logging.shutdown` is one), flush open files.

Functions that the import of the app registered run in every child, since clients that are made at import do their work
in the children. Finalizers (`weakref.finalize`) that a child has inherited do not: a temporary directory made at import
belongs to all children.
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

EXIT_WITHIN_S = 5.0

type _Step = tuple[str, Callable[[], object]]
type _File = io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom

_BUFFERED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
_inherited: list[weakref.ref[_File]] = []


def leave(close_loop: Callable[[], None], hooks: Sequence[ChildHook]) -> None:
    """Run all steps of the end of a child. The caller ends the process afterwards.

    If it takes longer than `EXIT_WITHIN_S`, the process ends without the rest. An exception is logged, and the next
    step follows.

    Args:
        close_loop: closes the child's event loop.
        hooks: those of the app, in the order of registration; the last runs first.
    """
    steps: list[_Step] = [("closing the event loop", close_loop)]
    steps += [(f"the child hook {hook}", hook.fn) for hook in reversed(hooks)]
    steps += [
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
    """Which step the end of this child has reached; a thread ends the process when it takes too long."""

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
    except BaseException as exception:  # noqa: BLE001 - whatever user code raises
        reason = mask_secrets(f"{type(exception).__name__}: {exception}")
        event("child.exit_step_failed", level=logging.ERROR, step=name, reason=reason, place=raised_at(exception))


def prepare_for_children() -> None:
    """Called in the fork server, behind the import of the app and before the first fork.

    What its files have buffered is written once, here. `gc.freeze` hides these files from a later search, so they are
    remembered.
    """
    flush_open_files()
    _inherited.extend(weakref.ref(file) for file in _visible_files())
    finalizers: dict[Any, object] = getattr(weakref.finalize, "_registry", {})
    for finalizer in list(finalizers):
        finalizer.atexit = False


def flush_open_files() -> None:
    """Write what files of this process have buffered, as closing them would."""
    inherited = [file for file in (reference() for reference in _inherited) if file is not None]
    files = sorted([*inherited, *_visible_files()], key=lambda file: not isinstance(file, io.TextIOWrapper))
    for file in files:  # text files first: they write to the others
        with suppress(Exception):  # it is closed, or nobody reads the pipe any more
            file.flush()


def _visible_files() -> list[_File]:
    """Files that the garbage collector knows. An isinstance would ask proxies for their class, which may run code."""
    return [each for each in gc.get_objects() if issubclass(type(each), _BUFFERED)]


def _nothing() -> None:
    """Stand in for a function that another implementation of Python does not have."""
