"""``horsies send``: send a task from a shell."""

import json
import logging
from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Annotated, Any, cast

import typer
from pydantic_core import to_jsonable_python

from horsies.cli.locate import locate
from horsies.cli.output import say
from horsies.codec.adapters import CodecError
from horsies.codec.signature import SignatureCodec
from horsies.codec.typed_texts import choose_meanings, meanings
from horsies.codec.wire import decode_json
from horsies.codes import TaskSendErrorCode
from horsies.config.postgres import PostgresConfig
from horsies.errors import ConfigurationError, ErrorCode, HorsiesError, raise_all
from horsies.events import without_event
from horsies.producer.handle import TaskHandle
from horsies.producer.send import TaskSendError, TaskSendOptions
from horsies.rendering import printable_json
from horsies.result import Err
from horsies.task import TaskSender
from horsies.task_result import added_fields
from horsies.tasks.registry import TaskDefinition


def send(  # noqa: PLR0913 - one parameter an option
    locator: Annotated[str, typer.Argument(metavar="MODULE:APP", help="The app, as in instance:app.")],
    task: Annotated[str, typer.Argument(help="The task's name.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENTS", help="The task's arguments, as JSON or plain text.")
    ] = None,
    *,
    json_object: Annotated[
        str | None, typer.Option("--json", metavar="OBJECT", help="Arguments by name, as a JSON object.")
    ] = None,
    delay: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Earliest start.")] = 0.0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it as JSON.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="How long to wait. Default: no limit.")
    ] = None,
) -> None:
    """Send a task, and print its id or, with --wait, its result.

    An argument is read as JSON if that fits the parameter's type, and otherwise as text. Put -- before negative
    numbers.

    Example: horsies send instance:app add_numbers 5 3 --wait

    Example: horsies send instance:app add_numbers --json '{"a": 5, "b": 3}'
    """
    if timeout is not None and not wait:
        message = "needs --wait"
        raise typer.BadParameter(message, param_hint="--timeout")
    logging.getLogger("horsies").addHandler(logging.NullHandler())  # a failed send is printed below, not logged as well
    app = locate(locator)
    raise_all(app.check())
    definition = app.registry.get(task)
    given = arguments_by_name(definition.signature, arguments or [], json_object)
    args, kwargs = parse_arguments(definition.signature, given)
    sender = TaskSender[..., Any](definition, app.producer, TaskSendOptions(delay=delay))
    with without_event("task.send_failed"):  # the command itself prints why a task was not sent
        sent = sender.send(*args, **kwargs)
    if isinstance(sent, Err):
        raise _not_sent(sent.err_value, app.config.broker)
    if wait:
        _print_result(sent.ok_value, definition, timeout)
    else:
        say(sent.ok_value.task_id)


def arguments_by_name(
    signature: SignatureCodec, positional: Sequence[str], json_object: str | None
) -> dict[str, list[str]]:
    """Bind the arguments of the command line to parameters.

    Returns:
        For each given parameter, the JSON values that its argument may mean, the likeliest first.

    Raises:
        ConfigurationError: HRS-206: there are too many arguments, ``json_object`` is not a JSON object, or a parameter
            is given twice.
    """
    by_position = [name for name, each in signature.parameters.items() if each.kind is not Parameter.KEYWORD_ONLY]
    if len(positional) > len(by_position):
        message = f"{len(positional)} arguments are given, and the task takes {', '.join(by_position) or 'none'}"
        raise _bad_arguments(message)
    given = {name: meanings(text) for name, text in zip(by_position, positional, strict=False)}
    named = _parse_object(json_object)
    twice = sorted(given.keys() & named.keys())
    if twice:
        message = f"given by position and in --json: {', '.join(twice)}"
        raise _bad_arguments(message)
    return given | named


def parse_arguments(
    signature: SignatureCodec, given: Mapping[str, Sequence[str]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Choose the first meaning of each argument that fits its parameter.

    Raises:
        ConfigurationError: HRS-206: an argument does not fit its parameter, which the message names.
    """
    try:
        return choose_meanings(signature, given)
    except CodecError as error:
        raise _bad_arguments(str(error)) from error


def _parse_object(text: str | None) -> dict[str, list[str]]:
    if text is None:
        return {}
    try:
        members = decode_json(text)
    except CodecError as error:
        message = f"--json is {error}"
        raise _bad_arguments(message) from error
    if not isinstance(members, dict):
        message = "--json must be an object of arguments by name"
        raise _bad_arguments(message)
    return {name: [json.dumps(value)] for name, value in cast("dict[str, object]", members).items()}


def _bad_arguments(message: str) -> ConfigurationError:
    return ConfigurationError(ErrorCode.CLI_INVALID_ARGS, message)


def _not_sent(error: TaskSendError, broker: PostgresConfig) -> Exception:
    if isinstance(error.exception, HorsiesError):
        return error.exception
    if error.code is TaskSendErrorCode.ENQUEUE_FAILED:
        return broker.unusable(error.message)
    return _bad_arguments(f"not sent: {error.code}: {error.message}")


def _print_result(handle: TaskHandle[Any], definition: TaskDefinition, timeout: float | None) -> None:
    result = handle.get(None if timeout is None else round(timeout * 1000))
    if result.is_ok():
        say(printable_json(definition.result.encode(result).payload.decode()))
        return
    error = result.err_value
    message = error.message or ""
    where = "" if handle.task_id in message else f"task {handle.task_id}: "  # WAIT_TIMEOUT names the task itself
    say(f"{where}{error.error_code}: {message}", err=True)
    details = {"data": error.data} if error.data is not None else {}
    for name, value in (details | added_fields(error)).items():
        say(printable_json(f"{name}: {json.dumps(to_jsonable_python(value), ensure_ascii=False)}"), err=True)
    raise typer.Exit(1)
