"""The measured tasks, which do nothing."""

import time

import psycopg

from horsies import AppConfig, Horsies, TaskError, TaskResult

app = Horsies(AppConfig())
app.discover_tasks(["bench_tasks"])


@app.task("noop")
def noop(number: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=number)


@app.task("noop_async")
async def noop_async(number: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=number)


@app.task("noop_transactional", transactional=True)
def noop_transactional(connection: psycopg.Connection, number: int) -> TaskResult[int, TaskError]:
    del connection
    return TaskResult(ok=number)


@app.task("nap")
def nap(seconds: float) -> TaskResult[float, TaskError]:
    time.sleep(seconds)
    return TaskResult(ok=seconds)


@app.task("doze")
def doze(number: int) -> TaskResult[int, TaskError]:
    time.sleep(0.05)
    return TaskResult(ok=number)
