"""Reset after a fork: a child process inherits objects, but not the threads and connections that they use."""

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """An object that must be reset in a forked child process."""

    def reset_after_fork(self) -> None:
        """Drop the threads, locks and connections of the parent process without closing them there."""


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()


def reset_in_children(one: Inherited) -> None:
    """Register ``one`` so that its ``reset_after_fork`` runs first in every forked child process."""
    _inherited.add(one)


def _reset_all() -> None:
    for one in list(_inherited):
        one.reset_after_fork()


os.register_at_fork(after_in_child=_reset_all)
