from horsies import AppConfig, Err, Horsies, Ok, TaskError, TaskResult

app = Horsies(AppConfig())  # without a database URL: an embedded PostgreSQL in .horsies/pg


@app.task("add_numbers")
def add_numbers(a: int, b: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a + b)


app.discover_tasks(["hello"])

if __name__ == "__main__":
    match add_numbers.send(5, 3):  # arguments are checked here, statically and at run time
        case Ok(handle):  # the task is stored: it survives any crash from now on
            print(handle.get(timeout_ms=10_000).unwrap())
        case Err(error):  # the task was not stored, and why; nothing was raised
            print(f"Not sent: {error.code} - {error.message}")
