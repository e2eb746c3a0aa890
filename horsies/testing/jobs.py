"""How `drain` runs jobs in the process of the test: a ``def`` task in its thread, an ``async def`` task on a loop."""

import asyncio
from asyncio import Runner
from collections.abc import Callable

from horsies.testing.faults import LostWorker
from horsies.worker.ipc import Job, Report
from horsies.worker.runtime.attempts import run_job, run_job_async, with_context
from horsies.worker.runtime.context import AttemptContexts
from horsies.worker.runtime.executor import Executor


class JobRunner:
    """Runs jobs, each in a separate context. ``async def`` tasks of `run` share an event loop."""

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self.renew_contexts()

    def renew_contexts(self) -> None:
        """Let attempts see the context variables that are set now."""
        self._contexts = AttemptContexts()

    def run(self, executor: Executor, job: Job) -> Report | LostWorker:
        """Run a job in this thread, in which no event loop runs."""
        if self._runner is None:
            self._runner = Runner()
        try:
            return run_job(executor, self._contexts, self._runner.get_loop(), job)
        except LostWorker as lost:
            return lost

    async def run_async(self, executor: Executor, job: Job) -> Report | LostWorker:
        """Run a job on the running event loop: an ``async def`` task on this loop, and a ``def`` task in a thread."""
        executor.attempts.add(job)
        attempt = run_job_async(executor, job, self.in_thread)
        try:
            return await asyncio.create_task(attempt, context=self._contexts.new())
        except LostWorker as lost:
            return lost

    async def in_thread[A, R](self, fn: Callable[[A], R], argument: A) -> R:
        """Call a function of a task in a thread, in a copy of the context."""
        return await asyncio.get_running_loop().run_in_executor(None, with_context(fn, argument))

    async def call[**P, R](self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a blocking function of the testing kit."""
        return fn(*args, **kwargs)

    def close(self) -> None:
        """Close the event loop."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()
