"""Keeping secrets out of the reports of attempts: results are sealed, and texts of errors are scrubbed."""

from collections.abc import Sequence
from typing import Any

from horsies.codec.secrets import Scrubber, SecretPath, redact, replace_secrets, seal
from horsies.codec.text import decode_json, encode_json
from horsies.codes import OperationalErrorCode
from horsies.tasks.registry import TaskDefinition
from horsies.worker.ipc import Job, Report
from horsies.worker.runtime.reports import failed


def scrubber_of(job: Job, definition: TaskDefinition) -> Scrubber | None:
    """Return what replaces the secret arguments of a job in texts; None: the task has no secret arguments.

    Raises:
        InvalidJson: the arguments are not JSON.
    """
    paths = definition.signature.secret_paths
    return Scrubber([(decode_json(job.args), paths)]) if paths else None


def protect(job: Job, report: Report, definition: TaskDefinition, scrub: Scrubber | None) -> Report:
    """Return a report that shows no secrets: neither those of the arguments nor those of the result.

    The complete value of a successful task is kept for those who get its result. In an error, the secret texts are
    replaced for everyone, except in the fields that its class declares as secret.
    """
    codec = definition.result
    paths = codec.secret_paths if report.ok else codec.secret_error_paths
    if not paths and scrub is None:
        return report
    try:
        _protect(report, paths, scrub)
    except Exception as error:  # noqa: BLE001 - if this fails for any reason, nothing of the outcome may be shown
        message = f"the secrets in the outcome of task {job.task_name} cannot be hidden: {type(error).__name__}"
        return failed(job, OperationalErrorCode.WORKER_SERIALIZATION_ERROR, message, location=definition.location)
    return report


def _protect(report: Report, paths: Sequence[SecretPath], scrub: Scrubber | None) -> None:
    document = decode_json(report.result)
    if scrub is not None and report.error_code is not None:
        report.error_code = scrub(report.error_code)
    if report.ok:
        public = redact(document, paths, scrub)
        if public != document:
            report.result = seal(public, report.result)
    elif report.postponed is not None:  # horsies has made this error
        report.result = encode_json(redact(document, (), scrub))
    else:
        report.result = _sealed_error(document, paths, scrub)


def _sealed_error(document: Any, paths: Sequence[SecretPath], scrub: Scrubber | None) -> bytes:
    complete = replace_secrets(document, paths, lambda value: value, scrub)
    public = redact(document, paths, scrub)
    encoded = encode_json(complete)
    return encoded if public == complete else seal(public, encoded)
