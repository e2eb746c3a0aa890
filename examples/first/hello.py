from horsies import AppConfig, Err, Horsies, Ok, TaskError, TaskResult

app = Horsies(AppConfig())  # without a database URL, an embedded PostgreSQL is used


@app.task("add_numbers")
def add_numbers(a: int, b: int) -> TaskResult[int, TaskError]:
    return TaskResult(ok=a + b)


app.discover_tasks(["hello"])

if __name__ == "__main__":
    match add_numbers.send(5, 3):  # the arguments are checked against the annotations
        case Ok(handle):  # the task is stored, and survives a crash of any process
            print(handle.get(timeout_ms=10_000).unwrap())
        case Err(error):  # the task was not stored; no exception is raised
            print(f"Not sent: {error.code} - {error.message}")
