from horsies import Ok, Err, TaskError, TaskResult, from_node
from instance import app, add_numbers


@app.task("describe")
def describe(total: TaskResult[int, TaskError]) -> TaskResult[str, TaskError]:
    return TaskResult(ok=f"the sum is {total.unwrap()}")


if __name__ == "__main__":
    total = add_numbers.node(node_id="total")(5, 3)
    text = describe.node(node_id="text")(from_node(total))  # runs after `total`, with its result
    spec = app.workflow("sum", [total, text], output=text, definition_key="example.sum.v1")
    match spec.start():
        case Ok(run):
            result = run.get(timeout_ms=10000)
            print(result.ok_value if result.is_ok() else f"No result: {result.err_value.message}")
        case Err(error):
            print(f"Not started: {error.code} - {error.message}")
