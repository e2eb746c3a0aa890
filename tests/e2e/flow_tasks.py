"""An app with workflows, for tests with real workers."""

import os
import time
from pathlib import Path
from typing import Any

from horsies import (
    AppConfig,
    Horsies,
    OnError,
    PostgresConfig,
    RetryPolicy,
    SubWorkflowNode,
    SuccessCase,
    SuccessPolicy,
    TaskError,
    TaskNode,
    TaskResult,
    WorkflowContext,
    WorkflowDefinition,
    WorkflowMeta,
    WorkflowSpec,
    from_node,
)

app = Horsies(
    AppConfig(
        broker=PostgresConfig(
            database_url=os.environ["HORSIES_DATABASE_URL"],
            pgbouncer_transaction_mode=os.environ.get("TEST_POOL_MODE") == "transaction",
            schema=os.environ.get("HORSIES_TEST_SCHEMA", "horsies"),
        )
    )
)
LEDGER = Path(os.environ.get("TEST_LEDGER", "ledger"))


@app.task("number")
def number(value: int = 1) -> TaskResult[int, TaskError]:
    return TaskResult(ok=value)


@app.task("add")
def add(one: TaskResult[int, TaskError], other: TaskResult[int, TaskError]) -> TaskResult[int, TaskError]:
    return TaskResult(ok=one.unwrap() + other.unwrap())


@app.task("plus_one")
async def plus_one(before: TaskResult[int, TaskError]) -> TaskResult[int, TaskError]:
    return TaskResult(ok=before.unwrap() + 1)


@app.task("fail")
def fail(code: str = "BOOM") -> TaskResult[int, TaskError]:
    return TaskResult(err=TaskError(error_code=code, message="as requested"))


@app.task("code_of")
def code_of(before: TaskResult[int, TaskError]) -> TaskResult[str, TaskError]:
    return TaskResult(ok=str(before.unwrap_err().error_code))


class PaymentError(TaskError):
    amount: int


@app.task("pay")
def pay(amount: int) -> TaskResult[int, PaymentError]:
    return TaskResult(ok=amount) if amount > 0 else TaskResult(err=PaymentError(error_code="REFUSED", amount=amount))


@app.task("pay_or_crash")
def pay_or_crash(amount: int) -> TaskResult[int, PaymentError]:
    if amount:
        os._exit(3)
    return pay(amount)


def explanation(payment: TaskResult[int, PaymentError]) -> str:
    error = payment.unwrap_err()
    return f"{error.error_code} of {error.amount}" if isinstance(error, PaymentError) else str(error.error_code)


@app.task("explain")
def explain(payment: TaskResult[int, PaymentError]) -> TaskResult[str, TaskError]:
    return TaskResult(ok=explanation(payment))


@app.task("explain_all")
def explain_all(
    payments: TaskResult[list[TaskResult[int, PaymentError]], TaskError],
) -> TaskResult[list[str], TaskError]:
    return TaskResult(ok=[explanation(payment) for payment in payments.unwrap()])


@app.task("join_texts")
def join_texts(*, parts: list[str]) -> TaskResult[str, TaskError]:
    return TaskResult(ok=" ".join(parts))


@app.task("flaky", retry_policy=RetryPolicy.fixed([0.01] * 3, jitter=False, auto_retry_for=["AGAIN"]))
def flaky() -> TaskResult[int, TaskError]:
    with LEDGER.open("a") as ledger:
        ledger.write("x")
    tries = len(LEDGER.read_text())
    return TaskResult(ok=tries) if tries > 2 else TaskResult(err=TaskError(error_code="AGAIN"))


@app.task("sleep")
def sleep(seconds: float) -> TaskResult[float, TaskError]:
    time.sleep(seconds)
    return TaskResult(ok=seconds)


@app.task("numbers")
def numbers(count: int) -> TaskResult[list[int], TaskError]:
    return TaskResult(ok=list(range(count)))


@app.task("half")
def half(value: int, factor: TaskResult[int, TaskError]) -> TaskResult[int, TaskError]:
    if value % 2:
        return TaskResult(err=TaskError(error_code="ODD"))
    return TaskResult(ok=value * factor.unwrap() // 2)


@app.task("total")
def total(parts: TaskResult[list[TaskResult[int, TaskError]], TaskError]) -> TaskResult[list[int], TaskError]:
    found = parts.unwrap()
    return TaskResult(ok=[sum(part.ok or 0 for part in found), sum(part.is_err() for part in found)])


@app.task("large")
def large(size: int) -> TaskResult[str, TaskError]:
    return TaskResult(ok="é" * size)


@app.task("length")
def length(text: TaskResult[str, TaskError]) -> TaskResult[int, TaskError]:
    return TaskResult(ok=len(text.unwrap()))


@app.task("look")
def look(workflow_ctx: WorkflowContext | None, workflow_meta: WorkflowMeta | None) -> TaskResult[str, TaskError]:
    assert workflow_ctx is not None
    assert workflow_meta is not None
    first = workflow_ctx.result_for(FIRST).unwrap()
    return TaskResult(ok=f"{first} {workflow_meta.task_index} {workflow_meta.task_name}")


FIRST = TaskNode(number, kwargs={"value": 5}, node_id="first")


class Doubled(WorkflowDefinition[int]):
    name = "doubled"
    definition_key = "test.doubled.v1"

    @classmethod
    def build_with(cls, app: Horsies, value: int, factor: TaskResult[int, TaskError]) -> WorkflowSpec[int]:
        first = number.node(node_id="first")(value * factor.unwrap())
        last = plus_one.node(node_id="last")(from_node(first))
        return app.workflow("doubled", [first, last], output=last)


class Open(WorkflowDefinition[str]):
    name = "open"
    definition_key = "test.open.v1"

    @classmethod
    def build_with(cls, app: Horsies, first: int, *args: object, **others: Any) -> WorkflowSpec[str]:
        passed = {name: value["ok"] if isinstance(value, dict) else value for name, value in others.items()}
        parts = [str(first), *map(str, args), *(f"{name}={passed[name]}" for name in sorted(passed))]
        joined = join_texts.node(node_id="joined")(parts=parts)
        return app.workflow("open", [joined], output=joined)


class PositionalOnly(WorkflowDefinition[int]):
    name = "positional only"
    definition_key = "test.positional-only.v1"

    @classmethod
    def build_with(cls, app: Horsies, definition: int, /) -> WorkflowSpec[int]:
        only = number.node(node_id="only")(definition)
        return app.workflow("positional only", [only], output=only)


class MayFail(WorkflowDefinition[int]):
    name = "may fail"
    definition_key = "test.may-fail.v1"
    good = TaskNode(number)
    bad = TaskNode(fail)

    class Meta:
        output = "bad"
        success_policy = SuccessPolicy([SuccessCase([good])])  # noqa: F821 - lent to the module


class Failing(WorkflowDefinition[int]):
    name = "failing"
    definition_key = "test.failing.v1"
    broken = TaskNode(fail)
    after = TaskNode(plus_one, args_from={"before": broken}, waits_for=[broken])

    class Meta:
        output = "after"


class Unbuilt(WorkflowDefinition[int]):
    name = "unbuilt"
    definition_key = "test.unbuilt.v1"

    @classmethod
    def build_with(cls, app: Horsies) -> WorkflowSpec[int]:
        message = f"there is no {cls.name} for {app.name}"
        raise RuntimeError(message)


@app.workflow_builder(cases=[{"count": 3}])
def chain(count: int) -> WorkflowSpec[int]:
    nodes = [number.node()(1)]
    for _ in range(count - 1):
        nodes.append(plus_one.node()(from_node(nodes[-1])))
    return app.workflow("chain", nodes, output=nodes[-1], definition_key="test.chain")


@app.workflow_builder(cases=[{"count": 3}])
def fan_out(count: int) -> WorkflowSpec[int]:
    first = number.node()(1)
    wide = [plus_one.node()(from_node(first)) for _ in range(count)]
    join = add.node(waits_for=wide, node_id="join")(from_node(wide[0]), from_node(wide[-1]))
    return app.workflow("fan out", [first, *wide, join], output=join, definition_key="test.fan")


@app.workflow_builder()
def recovery(on_error: OnError = OnError.FAIL) -> WorkflowSpec[str]:
    broken = fail.node(node_id="broken")()
    skipped = plus_one.node(node_id="skipped")(from_node(broken))
    recovered = code_of.node(node_id="recovered", allow_failed_deps=True)(from_node(broken))
    return app.workflow(
        "recovery", [broken, skipped, recovered], output=recovered, on_error=on_error, definition_key="test.recovery"
    )


@app.workflow_builder(cases=[{"count": 3}])
def mapped(count: int, max_parallel: int | None = None) -> WorkflowSpec[list[int]]:
    found = numbers.node(node_id="found")(count)
    factor = number.node(node_id="factor")(10)
    each = half.map(over=from_node(found), max_parallel=max_parallel, node_id="each")(factor=from_node(factor))
    summed = total.node(node_id="summed")(from_node(each))
    return app.workflow("mapped", [found, factor, each, summed], output=summed, definition_key="test.mapped")


@app.workflow_builder()
def nested() -> WorkflowSpec[int]:
    factor = number.node(node_id="factor")(2)
    child = SubWorkflowNode(
        workflow_def=Doubled, kwargs={"value": 20}, args_from={"factor": factor}, waits_for=[factor], node_id="child"
    )
    last = plus_one.node(node_id="last")(from_node(child))
    return app.workflow("nested", [factor, child, last], output=last, definition_key="test.nested")
