"""Running one job from its arguments to its report: in a child of a worker, or in a test (`horsies.testing`)."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Protocol

from horsies.worker.ipc import Job, Report
from horsies.worker.runtime.context import AttemptContexts
from horsies.worker.runtime.executor import Executor
from horsies.worker.runtime.post_run import drive
from horsies.worker.runtime.traces import begin_span, end_span, with_span


class InThread(Protocol):
    """Calls a function with one argument in another thread, in a copy of the context."""

    def __call__[A, R](self, fn: Callable[[A], R], argument: A) -> Awaitable[R]:
        """Call ``fn`` with the argument."""
        ...


def run_job(executor: Executor, contexts: AttemptContexts, loop: asyncio.AbstractEventLoop, job: Job) -> Report:
    """Run a job that is the only one: a ``def`` task in this thread, an ``async def`` task on a loop that is idle."""
    start = time.perf_counter()
    executor.attempts.add(job)
    try:
        report = _outcome_of(executor, contexts, loop, job)
    finally:
        executor.attempts.remove(job)
    report.seconds = time.perf_counter() - start
    return report


def _outcome_of(executor: Executor, contexts: AttemptContexts, loop: asyncio.AbstractEventLoop, job: Job) -> Report:
    context = contexts.new()
    span = context.run(begin_span, executor.traces, job)
    call = context.run(executor.prepare, with_span(job, span))
    if isinstance(call, Report):
        report = call
    elif call.definition.is_async:
        report = drive(loop, executor.run_async(call), context)
    else:
        report = context.run(executor.run, call)
    context.run(end_span, span, report)
    return report


async def run_job_async(executor: Executor, job: Job, in_thread: InThread) -> Report:
    """Run a job on the running event loop: a ``def`` task in another thread, an ``async def`` task on this loop.

    The attempt has been added to ``executor.attempts``. It is removed here.
    """
    start = time.perf_counter()
    span = begin_span(executor.traces, job)
    try:
        report = await _run(executor, with_span(job, span), in_thread)
    finally:
        executor.attempts.remove(job)
    end_span(span, report)
    report.seconds = time.perf_counter() - start
    return report


async def _run(executor: Executor, job: Job, in_thread: InThread) -> Report:
    if job.inputs:  # the inputs may have to be read from the database, which blocks
        call = await in_thread(executor.prepare, job)
    else:
        call = executor.prepare(job)
    if isinstance(call, Report):
        return call
    if call.definition.is_async:
        return await executor.run_async(call)
    return await in_thread(executor.run, call)


def with_context[A, R](fn: Callable[[A], R], argument: A) -> Callable[[], R]:
    """Return a call in a copy of the current context, for another thread: only one thread can enter a context."""
    context = copy_context()
    return lambda: context.run(fn, argument)
