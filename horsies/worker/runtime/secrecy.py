"""Keeping secrets out of the reports of attempts: results are sealed, and texts of errors are scrubbed."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from horsies.codec.secrets import REDACTED, Scrubber, SecretPath, hidden_parts, redact, replace_secrets, seal
from horsies.codec.text import decode_json, encode_json
from horsies.codes import BUILT_IN_CODES, OperationalErrorCode
from horsies.tasks.registry import TaskDefinition
from horsies.worker.ipc import Job, Report
from horsies.worker.runtime.reports import failed


def scrubber_of(
    call: Mapping[str, Any], definition: TaskDefinition, inputs: Mapping[str, Any] | None
) -> Scrubber | None:
    """Return what replaces the secrets that a task gets in texts; None: it gets none.

    Args:
        call: the decoded arguments, with the results of other nodes.
        definition: the task. Its signature says which arguments are secret.
        inputs: the inputs of the job, which say what is secret in results of other nodes and in arguments that are made
            of them; None: none.
    """
    paths = definition.signature.secret_paths
    if inputs is None:
        return Scrubber([(call, paths)]) if paths else None
    results = [*inputs["args_from"].values(), *(inputs["ctx"] or ())]
    pairs = [(each["result"], each["public"]) for each in results if each.get("public") is not None]
    pairs += [(call[name], shown) for name, shown in inputs.get("public_args", {}).items()]
    hidden = [part for complete, public in pairs for part in hidden_parts(complete, public)]
    return Scrubber([(call, paths), (hidden, [()])]) if paths or hidden else None


def protect(
    job: Job, report: Report, definition: TaskDefinition, scrub: Scrubber | None, app_codes: Collection[str] = ()
) -> Report:
    """Return a report that shows no secrets: neither those of the arguments nor those of the result.

    The complete value of a successful task is kept for those who get its result. In an error, the secret texts are
    replaced for everyone, except in the fields that its class declares as secret, in the names of its fields, and in
    an error code that horsies, the task or the app declares.

    Args:
        job: the job.
        report: how the attempt ended; it may be changed.
        definition: the task.
        scrub: replaces the secret arguments in texts; None: the task has none.
        app_codes: the error codes that the configuration of the app names.
    """
    codec = definition.result
    paths = codec.secret_paths if report.ok else codec.secret_error_paths
    if not paths and scrub is None:
        return report
    try:
        _protect(report, paths, scrub, {*BUILT_IN_CODES, *_task_codes(definition), *app_codes})
    except Exception as error:  # noqa: BLE001 - if this fails for any reason, nothing of the outcome may be shown
        message = f"the secrets in the outcome of task {job.task_name} cannot be hidden: {type(error).__name__}"
        return failed(job, OperationalErrorCode.WORKER_SERIALIZATION_ERROR, message, location=definition.location)
    return report


def _task_codes(definition: TaskDefinition) -> set[str]:
    """Return the error codes that the options of a task name. They are not secret, and decide whether it is retried."""
    policy, default = definition.retry_policy, definition.default_unhandled_error_code
    return {
        *(str(code) for code in (policy.auto_retry_for if policy else ())),
        *(definition.exception_mapper or {}).values(),
        *(() if default is None else (str(default),)),
    }


def _protect(report: Report, paths: Sequence[SecretPath], scrub: Scrubber | None, codes: Collection[str]) -> None:
    document = decode_json(report.result)
    if scrub is not None and report.error_code is not None and report.error_code not in codes:
        report.error_code = scrub(report.error_code)
    if report.ok:
        public = redact(document, paths, scrub)
        if public != document:
            report.result = seal(public, report.result)
        return
    if report.postponed is not None:  # horsies has made this error
        paths = ()
    complete = _scrubbed_error(document, paths, lambda value: value, scrub, codes)
    public = _scrubbed_error(document, paths, lambda _value: REDACTED, scrub, codes) if paths else complete
    encoded = encode_json(complete)
    report.result = encoded if public == complete else seal(public, encoded)


def _scrubbed_error(
    document: Any,
    paths: Sequence[SecretPath],
    secret: Callable[[Any], Any],
    scrub: Scrubber | None,
    codes: Collection[str],
) -> Any:
    """Return a copy of an encoded error, like `replace_secrets`, with the names of its fields and declared codes."""
    if any(not path for path in paths):
        return secret(document)
    scrubbed: dict[str, Any] = {}
    for name, value in cast("dict[str, Any]", document).items():
        if name == "error_code" and value in codes:
            scrubbed[name] = value
        elif name == "exception" and isinstance(value, dict) and not any(path[0] in {name, "*"} for path in paths):
            described = cast("dict[str, Any]", value).items()
            scrubbed[name] = {key: replace_secrets(text, (), secret, scrub) for key, text in described}
        else:
            [scrubbed[name]] = replace_secrets({name: value}, paths, secret, scrub).values()
    return scrubbed
