"""The keys of tasks: which key each way of sending gives a task, and which keys are refused."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from horsies import (
    AppConfig,
    Err,
    Horsies,
    HourlySchedule,
    Ok,
    PostgresConfig,
    ScheduleConfig,
    TaskDefinitionError,
    TaskError,
    TaskResult,
    TaskSchedule,
    TaskSendErrorCode,
    Unique,
    from_node,
)
from horsies.db.queries.declarations import register_tasks
from horsies.db.queries.schedules import schedule_define, schedule_run
from horsies.db.queries.workflows import workflow_map
from horsies.producer.send import SendRequest, TaskSendOptions, prepare
from horsies.scheduler.plan import plan_schedules
from horsies.tasks.declarations import declarations_of
from tests.producer.shop import Do
from tests.support.factories import DrivenWorker, done
from tests.support.sessions import Session, call, column, row, scalar

KEYS = "select task_key from horsies.tasks order by id"


def bill(tenant: str | None = "none", year: int = 2026, note: str = "") -> TaskResult[None, TaskError]:
    return TaskResult(ok=None)


def tenants() -> TaskResult[list[str | None], TaskError]:
    return TaskResult(ok=["a", None])


def per_tenant(tenant: str | None, year: int = 2026) -> TaskResult[None, TaskError]:
    return TaskResult(ok=None)


class Billing:
    """An app with the same function as a task by several keys."""

    def __init__(self, url: str) -> None:
        schedule = TaskSchedule(
            name="hourly", task_name="bill", pattern=HourlySchedule(minute=0), kwargs={"tenant": "scheduled"}
        )
        config = AppConfig(broker=PostgresConfig(database_url=url), schedule=ScheduleConfig(schedules=[schedule]))
        self.app = Horsies(config)
        self.bill: Any = self.app.task("bill", key_by="tenant")(bill)
        self.by_year: Any = self.app.task("by_year", key_by="year")(lambda_of("by_year"))
        self.by_both: Any = self.app.task("by_both", key_by=("tenant", "year"))(lambda_of("by_both"))
        self.unique: Any = self.app.task("unique", key_by="tenant", unique=Unique())(lambda_of("unique"))
        self.tenants: Any = self.app.task("tenants")(tenants)
        self.per_tenant: Any = self.app.task("per_tenant", key_by=("tenant", "year"))(per_tenant)
        self.plain: Any = self.app.task("plain")(lambda_of("plain"))


def lambda_of(name: str) -> Callable[..., TaskResult[None, TaskError]]:
    def billing(tenant: str | None = "none", year: int = 2026, note: str = "") -> TaskResult[None, TaskError]:
        return TaskResult(ok=None)

    billing.__qualname__ = billing.__name__ = name
    return billing


@pytest.fixture
def shop(database_url: str, db: Session) -> Iterator[Billing]:
    assert db
    shop = Billing(database_url)
    yield shop
    shop.app.close()


def test_the_key_is_made_of_the_arguments_and_their_defaults(do: Do, shop: Billing, db: Session) -> None:
    do(shop.bill.send, "acme")
    do(shop.bill.send)
    do(shop.bill.send, None)
    do(shop.by_year.send, "acme")
    do(shop.by_both.send, 'a"é', 7)
    do(shop.by_both.schedule, 60, None)
    do(shop.unique.send, "acme")
    do(shop.plain.send, "acme")
    expected = ["acme", "none", None, "2026", '["a\\"é",7]', "[null,2026]", "acme", None]
    assert column(db, KEYS) == expected


def test_the_option_takes_the_place_of_the_arguments(do: Do, shop: Billing, db: Session) -> None:
    do(shop.plain.with_options(key="x").send)
    do(shop.bill.with_options(key="x" * 200).send, "acme")
    do(shop.bill.with_options(key=None).send, "acme")
    do(shop.bill.with_options(key="o", idempotency_key="1").send, "acme")
    assert column(db, KEYS) == ["x", "x" * 200, None, "o"]


def test_a_bulk_send_has_a_key_for_each_task(do: Do, shop: Billing, db: Session) -> None:
    calls = [shop.bill.args("a"), shop.bill.args("b").with_options(key="c"), shop.plain.args("d")]
    assert isinstance(do(shop.app.send_many, calls), Ok)
    do(shop.unique.send_many, [("e",), ("f",)])
    assert column(db, KEYS) == ["a", "c", None, "e", "f"]


@pytest.mark.parametrize("key", ["", "x" * 201, "a\0b", "\ud800", 7])
def test_a_key_of_another_form_is_refused(key: Any, shop: Billing, db: Session) -> None:
    for failed in (
        shop.plain.with_options(key=key).send(),
        shop.plain.with_options(key=key).send_many([()]),
        shop.app.send_many([shop.plain.args().with_options(key=key)]),
    ):
        assert isinstance(failed, Err)
        assert failed.err_value.code is TaskSendErrorCode.VALIDATION_FAILED
        assert "key must be a text of 1 to 200 characters" in failed.err_value.message
    assert scalar(db, "select count(*) from horsies.tasks") == 0


@pytest.mark.parametrize("tenant", ["", "x" * 201])
def test_a_key_that_the_arguments_make_is_checked(tenant: str, shop: Billing) -> None:
    for failed in (shop.bill.send(tenant), shop.bill.send_many([(tenant,)])):
        assert isinstance(failed, Err)
        assert failed.err_value.code is TaskSendErrorCode.VALIDATION_FAILED
        assert "the key of task 'bill', by tenant, must have 1 to 200 characters" in failed.err_value.message


def test_a_changed_key_is_another_request(shop: Billing) -> None:
    assert len({prepared_hash(shop, key) for key in ("a", "b", None)}) == 3


def prepared_hash(shop: Billing, key: str | None) -> str:
    definition = shop.plain.definition
    prepared = prepare(shop.app.producer, SendRequest(definition, "send", TaskSendOptions(key=key), (), {}))
    assert isinstance(prepared, Ok)
    return prepared.ok_value.enqueue_sha


@pytest.mark.parametrize(
    ("sql", "key"),
    [
        ("horsies.send('bill', '{\"tenant\": \"acme\"}')", "acme"),
        ("horsies.send('bill')", "none"),
        ("horsies.send('bill', '{\"tenant\": null}')", None),
        ("horsies.send('by_year', '{\"year\": 7}')", "7"),
        (r"""horsies.send('by_both', '{ "year" : 7, "tenant": "a\"\u00e9" }')""", '["a\\"é",7]'),
        (r"""horsies.send('bill', '{"note": "\u0000", "tenant": "x"}')""", "x"),
        ("horsies.send('bill', key => 'given')", "given"),
        ("horsies.send('unique', '{\"tenant\": \"acme\"}', idempotency_key => '1')", "acme"),
    ],
)
def test_a_send_from_sql_makes_the_same_key(sql: str, key: str | None, shop: Billing, db: Session) -> None:
    call(db, register_tasks(None, declarations_of(shop.app.config, shop.app.registry)))
    db.execute(f"select {sql}")
    assert column(db, KEYS) == [key]


@pytest.mark.parametrize(
    "sql", ["'bill', key => ''", "'bill', key => repeat('x', 201)", "'bill', '{\"tenant\": \"\"}'"]
)
def test_sql_refuses_a_wrong_key(sql: str, shop: Billing, db: Session) -> None:
    call(db, register_tasks(None, declarations_of(shop.app.config, shop.app.registry)))
    with pytest.raises(Exception, match="the key of the task 'bill' must have 1 to 200 characters"):
        db.execute(f"select horsies.send({sql})")


def test_a_schedule_sends_with_the_key(shop: Billing, db: Session) -> None:
    (plan,) = plan_schedules(shop.app.config, shop.app.registry).plans
    assert plan.request.key == "scheduled"
    call(db, schedule_define("hourly", "h1", "hourly", "UTC", plan.request, first_due=None))
    call(db, schedule_run("hourly", plan.request.task_id))
    assert column(db, KEYS) == ["scheduled"]


def test_reruns_keep_the_key_and_history_has_it(do: Do, shop: Billing, db: Session) -> None:
    handle = do(shop.bill.send, "acme").ok_value
    do(handle.cancel)
    assert row(db, "history", handle.task_id)["task_key"] == "acme"
    assert isinstance(do(shop.app.rerun, handle.task_id), Ok)
    assert column(db, KEYS) == ["acme"]


def test_nodes_of_a_workflow_have_the_keys_of_their_arguments(shop: Billing, db: Session) -> None:
    nodes = [shop.by_both.node()(tenant="a"), shop.bill.node()(tenant="b"), shop.plain.node()(tenant="c")]
    assert isinstance(shop.app.workflow("w", definition_key="w.v1", tasks=nodes).start(), Ok)
    assert column(db, "select task_key from horsies.tasks order by node_index") == ['["a",2026]', "b", None]


def test_items_of_a_map_have_their_own_keys(shop: Billing, db: Session) -> None:
    found = shop.tenants.node()()
    spec = shop.app.workflow("w", definition_key="w.v1", tasks=[found, shop.per_tenant.map(over=from_node(found))()])
    assert isinstance(spec.start(), Ok)
    worker = DrivenWorker(db, names=["tenants", "horsies.map"])
    worker.finish(done(worker.claim_one(), b'["a", null]'))
    mapping = worker.claim_one()
    assert call(db, workflow_map(mapping.task_id, 1)) == "done"
    items = "select task_key from horsies.tasks where item is not null order by item"
    assert column(db, items) == ['["a",2026]', "[null,2026]"]


@pytest.mark.parametrize("key_by", ["tenent", ("tenant", "yaer"), (), 7, ["tenant"]])
def test_key_by_must_name_parameters(key_by: Any, shop: Billing) -> None:
    with pytest.raises(TaskDefinitionError, match="key_by=") as raised:
        shop.app.task("wrong", key_by=key_by)(lambda_of("wrong"))
    assert raised.value.code == "HRS-102"
