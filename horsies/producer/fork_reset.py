"""Forks: a child has its parent's objects, and none of the threads and connections behind them."""

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """Something that a forked child has to begin anew."""

    def reset_after_fork(self) -> None:
        """Forget the parent's threads, locks and connections, and close none of them."""


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()


def renew_in_children(one: Inherited) -> None:
    """Have ``one.reset_after_fork`` called in every forked child, before anything else runs there."""
    _inherited.add(one)


def _begin_anew() -> None:
    for one in list(_inherited):
        one.reset_after_fork()


os.register_at_fork(after_in_child=_begin_anew)
