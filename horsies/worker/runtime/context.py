"""Separate contexts for attempts, so that no attempt sees context variables that another one has set."""

import decimal
from contextvars import Context, copy_context


class AttemptContexts:
    """Makes a fresh context for each attempt: a copy of the context in which this object was made.

    A child creates it after its start hooks have run, so context variables that a hook sets are visible in every task.
    """

    def __init__(self) -> None:
        self._context = copy_context()
        self._decimal = decimal.getcontext().copy()

    def new(self) -> Context:
        """Return a context for one attempt.

        Tasks can change a decimal context in place, and a copy of a context shares it with the original. So each
        attempt gets a separate decimal context.
        """
        context = self._context.copy()
        context.run(decimal.setcontext, self._decimal.copy())
        return context
