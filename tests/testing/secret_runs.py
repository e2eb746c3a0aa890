"""Workflows whose nodes get, pass on and return secrets."""

from typing import Any

import psycopg

from horsies import (
    Horsies,
    Secret,
    SubWorkflowNode,
    TaskError,
    TaskResult,
    WorkflowContext,
    WorkflowDefinition,
    WorkflowMeta,
    WorkflowSpec,
    current_task,
    from_node,
)
from tests.testing.secrets_app import MARK, Card, DeclinedError, app

type Text = TaskResult[str, TaskError]
type SecretText = TaskResult[Secret[str], TaskError]


@app.task("log_in", queue_name="shop")
def log_in(password: Secret[str], user: str = "ada") -> SecretText:
    """Return a secret made of a secret."""
    return TaskResult(ok=f"token of {password}")


@app.task("call_api", queue_name="shop")
def call_api(token: Text) -> Text:
    """Return a text with a secret, although neither the parameter nor the result is declared as secret."""
    task = current_task()
    assert task is not None
    task.progress(1, 2, f"with {token.unwrap()}")
    return TaskResult(ok=f"answer to <{token.unwrap()}>")


@app.task("fail_with", queue_name="shop")
def fail_with(token: SecretText) -> TaskResult[None, DeclinedError]:
    """Return an error with the secret in its message and in its field."""
    return TaskResult(err=DeclinedError(error_code="DECLINED", message=f"no {token.ok}", card=token.ok))


@app.task("crash_with", queue_name="shop")
def crash_with(token: Text) -> Text:
    """Raise the secret of another node."""
    raise RuntimeError(f"cannot use {token.ok!r}")


@app.task("look_up", queue_name="shop")
def look_up(workflow_ctx: WorkflowContext | None = None) -> Text:
    """Return the secret of a node from the context."""
    assert workflow_ctx is not None
    return TaskResult(ok=f"seen {workflow_ctx.result_for(LOGIN).unwrap()}")


@app.task("list_cards", queue_name="shop")
def list_cards(owner: str) -> TaskResult[list[Card], TaskError]:
    """Return items that contain secrets."""
    return TaskResult(ok=[Card(number=f"{owner} {number} {MARK}") for number in range(3)])


@app.task("list_tokens", queue_name="shop")
def list_tokens() -> TaskResult[Secret[list[str]], TaskError]:
    """Return a list that is secret as a whole."""
    return TaskResult(ok=[f"listed {number} {MARK}" for number in range(2)])


@app.task("list_texts", queue_name="shop")
def list_texts(password: Secret[str]) -> TaskResult[list[str], TaskError]:
    """Return a list of which one item contains a secret argument."""
    return TaskResult(ok=["a plain item", f"<{password}>"])


@app.task("charge", queue_name="shop", key_by="shop")
def charge(card: Card, shop: str) -> Text:
    """Return the secret of an item in a plain result."""
    return TaskResult(ok=f"{shop} charged {card.number}")


@app.task("use_token", queue_name="shop", key_by="token")
def use_token(token: str) -> Text:
    """Raise for one item, and return the other."""
    if "0" in token:
        raise RuntimeError(f"cannot use {token}")
    return TaskResult(ok=token)


@app.task("take_secret", queue_name="shop")
def take_secret(token: Secret[str], api_key: Secret[str]) -> TaskResult[int, TaskError]:
    """Take items of a plain list as secrets."""
    return TaskResult(ok=len(f"{token}{api_key}"))


@app.task("plain_list", queue_name="shop")
def plain_list() -> TaskResult[list[str], TaskError]:
    """Return a list without secrets."""
    return TaskResult(ok=["first", "second"])


@app.task("add_up", queue_name="shop")
def add_up(charged: TaskResult[list[TaskResult[str, TaskError]], TaskError]) -> Text:
    """Join the results of a map."""
    return TaskResult(ok=", ".join(each.unwrap() for each in charged.unwrap()))


@app.task("in_transaction", queue_name="shop", transactional=True)
def in_transaction(connection: psycopg.Connection, token: SecretText) -> SecretText:
    """Return the secret from a transaction."""
    connection.execute("select 1")
    return token


@app.task("read_summary", queue_name="shop")
def read_summary(token: Text, workflow_ctx: WorkflowContext | None = None) -> Text:
    """Return the output of a child run, from its summary."""
    assert workflow_ctx is not None
    return TaskResult(ok=f"{token.unwrap()} = {workflow_ctx.summary_for(Nested.child).output}")


LOGIN = log_in.node(node_id="login")(password=f"login {MARK}")


def passing() -> WorkflowSpec[Any]:
    """A secret constant, and results that are passed on in every way."""
    called = call_api.node(node_id="called")(from_node(LOGIN))
    again = call_api.node(node_id="again")(from_node(called))
    failed = fail_with.node(node_id="failed")(from_node(LOGIN))
    crashed = crash_with.node(node_id="crashed")(from_node(again))
    looked = look_up.node(node_id="looked", waits_for=[LOGIN], workflow_ctx_from=[LOGIN])()
    own = in_transaction.node(node_id="own")(from_node(LOGIN))
    return app.workflow("passing", [LOGIN, called, again, failed, crashed, looked, own], definition_key="passing.v1")


def mapping() -> WorkflowSpec[Any]:
    """Maps over lists with secrets, in each place where a secret can be."""
    cards = list_cards.node(node_id="cards")(owner="ada")
    charged = charge.map(over=from_node(cards), node_id="charged", max_parallel=2)(shop="lamps")
    total = add_up.node(node_id="total")(from_node(charged))
    tokens = list_tokens.node(node_id="tokens")()
    used = use_token.map(over=from_node(tokens), node_id="used")()
    texts = list_texts.node(node_id="texts")(password=f"texts {MARK}")
    of_texts = use_token.map(over=from_node(texts), node_id="of_texts")()
    plain = plain_list.node(node_id="plain")()
    taken = take_secret.map(over=from_node(plain), node_id="taken")(api_key=f"key {MARK}")
    nodes = [cards, charged, total, tokens, used, texts, of_texts, plain, taken]
    return app.workflow("mapping", nodes, definition_key="mapping.v1")


class Child(WorkflowDefinition[str]):
    """Passes its parameters on to nodes that do not declare them as secret."""

    name = "child"
    definition_key = "child.v1"

    @classmethod
    def build_with(cls, app: Horsies, token: Text, password: Secret[str]) -> WorkflowSpec[str]:
        """Build a node of each secret."""
        first = charge.node(node_id="first")(card=Card(number=token.unwrap()), shop=f"shop of {token.unwrap()}")
        second = use_token.node(node_id="second", waits_for=[first])(token=password)
        return app.workflow("child", [first, second], output=second)


class Nested(WorkflowDefinition[str]):
    """Runs a workflow as a node."""

    name = "nested"
    definition_key = "nested.v1"
    child = SubWorkflowNode(Child, kwargs={"password": f"child {MARK}"}, args_from={"token": LOGIN}, waits_for=[LOGIN])
    login = LOGIN
    read = read_summary.node(workflow_ctx_from=[child])(from_node(child))

    class Meta:
        output = "read"


@app.task("name_node", queue_name="shop")
def name_node(password: Secret[str], workflow_meta: WorkflowMeta | None = None) -> Text:
    """Return whether the task belongs to a node; a rerun does not."""
    return TaskResult(ok="no node" if workflow_meta is None else f"node {workflow_meta.task_index}")


def naming() -> WorkflowSpec[Any]:
    """A node with a secret, whose task asks for its node."""
    return app.workflow(
        "naming", [name_node.node(node_id="named")(password=f"named {MARK}")], definition_key="naming.v1"
    )
