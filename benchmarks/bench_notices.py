"""The task of the benchmark `latency_in_notices`, in an app whose notifications carry small results."""

from horsies import AppConfig, Horsies, TaskError, TaskResult

app = Horsies(AppConfig(results_in_notices=True))
app.discover_tasks(["bench_notices"])


@app.task("noop")
def noop(number: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=number)
