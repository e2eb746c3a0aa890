"""The context in which an attempt runs, so that no attempt sees what another one has set."""

import decimal
from contextvars import Context, copy_context


class AttemptContexts:
    """Makes a fresh context for each attempt: a copy of the context in which this object was made.

    A child makes it after its start hooks have run, so context variables that these set are visible in every task.
    """

    def __init__(self) -> None:
        """Remember the current context."""
        self._context = copy_context()
        self._decimal = decimal.getcontext().copy()

    def new(self) -> Context:
        """A context for one attempt.

        A decimal context is an object that tasks change in place, and a copy of a context shares it with the original.
        So each attempt gets a separate decimal context.
        """
        context = self._context.copy()
        context.run(decimal.setcontext, self._decimal.copy())
        return context
