"""Errors in a program or its configuration, which a developer has to fix. Errors of tasks are `TaskError`s instead.

All are `HorsiesError`s with a code, a location in the source and a suggested fix. The hierarchy:

    HorsiesError
    ├── ConfigurationError          (also ValueError)
    ├── TaskDefinitionError         (also ValueError)
    ├── WorkflowValidationError     (also ValueError)
    └── MultipleValidationErrors    (also ValueError): several of the above, reported together
"""

import inspect
import sysconfig
import threading
import traceback
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType, TracebackType

_NOT_THE_USERS = frozenset({"horsies", "pydantic"})
_LIBRARY = Path(__file__).parent
_INSTALLED = tuple(Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib"))
_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))


class ErrorCode(StrEnum):
    """The code of every `HorsiesError`: workflows 001-099, tasks 100s, configuration 200s, registry 300s."""

    WORKFLOW_NO_NAME = "HRS-001"
    WORKFLOW_NO_NODES = "HRS-002"
    WORKFLOW_INVALID_NODE_ID = "HRS-003"
    WORKFLOW_DUPLICATE_NODE_ID = "HRS-004"
    WORKFLOW_NO_ROOT_TASKS = "HRS-005"
    WORKFLOW_INVALID_DEPENDENCY = "HRS-006"
    WORKFLOW_CYCLE_DETECTED = "HRS-007"
    WORKFLOW_INVALID_ARGS_FROM = "HRS-008"
    WORKFLOW_INVALID_CTX_FROM = "HRS-009"
    WORKFLOW_CTX_PARAM_MISSING = "HRS-010"
    WORKFLOW_INVALID_OUTPUT = "HRS-011"
    WORKFLOW_INVALID_SUCCESS_POLICY = "HRS-012"
    WORKFLOW_INVALID_JOIN = "HRS-013"
    WORKFLOW_UNRESOLVED_QUEUE = "HRS-014"
    WORKFLOW_UNRESOLVED_PRIORITY = "HRS-015"
    WORKFLOW_NO_DEFINITION_KEY = "HRS-016"
    WORKFLOW_DUPLICATE_DEFINITION_KEY = "HRS-017"
    WORKFLOW_SUBWORKFLOW_APP_MISSING = "HRS-018"
    WORKFLOW_INVALID_KWARG_KEY = "HRS-019"
    WORKFLOW_MISSING_REQUIRED_PARAMS = "HRS-020"
    WORKFLOW_KWARGS_ARGS_FROM_OVERLAP = "HRS-021"
    WORKFLOW_SUBWORKFLOW_PARAMS_REQUIRE_BUILD_WITH = "HRS-022"
    WORKFLOW_SUBWORKFLOW_BUILD_WITH_BINDING = "HRS-023"
    WORKFLOW_ARGS_FROM_TYPE_MISMATCH = "HRS-024"
    WORKFLOW_OUTPUT_TYPE_MISMATCH = "HRS-025"
    WORKFLOW_POSITIONAL_ARGS_NOT_SUPPORTED = "HRS-026"
    WORKFLOW_CHECK_CASES_REQUIRED = "HRS-027"
    WORKFLOW_CHECK_CASE_INVALID = "HRS-028"
    WORKFLOW_CHECK_BUILDER_EXCEPTION = "HRS-029"
    WORKFLOW_CHECK_UNDECORATED_BUILDER = "HRS-030"
    WORKFLOW_KWARGS_NOT_SERIALIZABLE = "HRS-031"
    WORKFLOW_INVALID_ID = "HRS-032"
    TASK_NO_RETURN_TYPE = "HRS-100"
    TASK_INVALID_RETURN_TYPE = "HRS-101"
    TASK_INVALID_OPTIONS = "HRS-102"
    TASK_INVALID_QUEUE = "HRS-103"
    TASK_PREDECORATED_NOT_SUPPORTED = "HRS-104"
    TASK_UNSUPPORTED_TYPE = "HRS-105"
    TASK_INVALID_FUNCTION = "HRS-106"
    CONFIG_INVALID_QUEUE_MODE = "HRS-200"
    CONFIG_INVALID_CLUSTER_CAP = "HRS-201"
    CONFIG_INVALID_PREFETCH = "HRS-202"
    BROKER_INVALID_URL = "HRS-203"
    CONFIG_INVALID_RECOVERY = "HRS-204"
    CONFIG_INVALID_SCHEDULE = "HRS-205"
    CLI_INVALID_ARGS = "HRS-206"
    WORKER_INVALID_LOCATOR = "HRS-207"
    CONFIG_INVALID_RESILIENCE = "HRS-208"
    CONFIG_INVALID_EXCEPTION_MAPPER = "HRS-209"
    MODULE_EXEC_ERROR = "HRS-210"
    BROKER_INIT_FAILED = "HRS-211"
    CHECK_RESERVED_CODE_COLLISION = "HRS-212"
    WORKER_INVALID_CHILD_HOOK = "HRS-214"
    DATABASE_RESTRICTED = "HRS-215"
    TASK_NOT_REGISTERED = "HRS-300"
    TASK_DUPLICATE_NAME = "HRS-301"
    APP_WITHOUT_TASKS = "HRS-302"
    APP_IMPORTED_TWICE = "HRS-303"
    TASK_NOT_DISCOVERED = "HRS-304"
    SENT_AT_IMPORT = "HRS-305"


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """A line of a source file; the first line is 1."""

    file: str
    line: int

    def __str__(self) -> str:
        """Return ``file:line``, which editors and terminals turn into a link."""
        return f"{self.file}:{self.line}"


class HorsiesError(Exception):
    """An error in the program or its configuration that a developer has to fix.

    Attributes:
        code: The kind of problem.
        message: A description of the problem, in one sentence.
        location: The line of source code; None if it is unknown.
        notes: Facts that help to understand the problem.
        help_text: How to fix it; None if there is no advice.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        location: SourceLocation | None = None,
        notes: Sequence[str] = (),
        help_text: str | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.location = location
        self.notes = tuple(notes)
        self.help_text = help_text

    def __str__(self) -> str:
        """Return code, message, location, notes and help text on several lines, for a plain traceback."""
        lines = [f"[{self.code}] {self.message}"]
        if self.location is not None:
            lines.append(f"  --> {self.location}")
        lines += [f"  = note: {note}" for note in self.notes]
        if self.help_text is not None:
            lines.append(f"  = help: {self.help_text}")
        return "\n".join(lines)


class ConfigurationError(HorsiesError, ValueError):
    """A setting, a command line option or the location of an app is invalid."""


class TaskDefinitionError(HorsiesError, ValueError):
    """The definition of a task is invalid."""


class WorkflowValidationError(HorsiesError, ValueError):
    """The definition of a workflow is invalid."""


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """All errors that one phase of checking found, in the order in which they were found."""

    errors: tuple[HorsiesError, ...]


class MultipleValidationErrors(HorsiesError, ValueError):  # noqa: N818 - the documented name
    """Several errors that were found together.

    ``code`` and ``location`` are those of the first error.

    Attributes:
        report: The errors, at least one.
    """

    def __init__(self, report: ValidationReport) -> None:
        first = report.errors[0]
        super().__init__(first.code, f"{len(report.errors)} errors", location=first.location)
        self.args = (report,)  # unpickling passes these to the constructor
        self.report = report

    def __str__(self) -> str:
        """Return the number of errors, followed by all errors in full."""
        return "\n".join([self.message, *map(str, self.report.errors)])


def caller_location() -> SourceLocation | None:
    """Return the line of user code that called horsies: the innermost frame outside horsies and pydantic."""
    line = caller_line()
    return None if line is None else frame_location(*line)


def caller_line() -> tuple[str, int] | None:
    """Return file and line of `caller_location` unprocessed, which is cheap enough for workflows of 10,000 nodes."""
    frame = inspect.currentframe()
    while frame is not None and _root_package(frame) in _NOT_THE_USERS:
        frame = frame.f_back
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _root_package(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name.partition(".")[0] if isinstance(name, str) else ""


def users_frames(found: TracebackType | None) -> TracebackType | None:
    """Return a traceback without its leading frames of horsies; the whole traceback if it has no other frames."""
    own = found
    while own is not None and _root_package(own.tb_frame) in _NOT_THE_USERS:
        own = own.tb_next
    return own or found


def raised_at(error: BaseException) -> SourceLocation | None:
    """Return the line of user code that raised an exception: the innermost one in its traceback.

    A line of an installed package is used only if the traceback has no line of other code, because the user's package
    may itself be installed. Lines of horsies, of the standard library and of compiled modules are never used.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return frame_location(error.filename, error.lineno or 1)
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    lines = [frame_location(frame.filename, frame.lineno or 1) for frame in frames if _has_source(frame.filename)]
    candidates = [line for line in lines if not _is_library(Path(line.file))]
    own = [line for line in candidates if not _is_installed(Path(line.file))]
    return next(reversed(own or candidates), None)


def _has_source(filename: str) -> bool:
    """Whether the file of a frame exists here. A compiled module names a file of the folder in which it was built."""
    return filename[:1] != "<" and (Path(filename).is_absolute() or Path(filename).exists())


def is_users_own(file: Path) -> bool:
    """Whether a file belongs to the program rather than to a library."""
    return not (str(file).startswith("<") or _is_library(file) or _is_installed(file))


def _is_library(file: Path) -> bool:
    return file.is_relative_to(_LIBRARY) or (file.is_relative_to(_STANDARD_LIBRARY) and not _is_installed(file))


def _is_installed(file: Path) -> bool:
    return any(file.is_relative_to(folder) for folder in _INSTALLED)


def frame_location(file: str, line: int) -> SourceLocation:
    """Make a location from the file and line of a frame, a code object or a traceback.

    Relative paths become absolute; names such as ``<stdin>`` are kept.
    """
    return SourceLocation(file if file.startswith("<") else str(Path(file).absolute()), line)


def raise_all(errors: Iterable[HorsiesError]) -> None:
    """Raise the errors, if there are any.

    Raises:
        HorsiesError: The error itself if there is exactly one, `MultipleValidationErrors` if there are several. The
            errors inside a `MultipleValidationErrors` are counted one by one.
    """
    found = flatten(errors)
    if len(found) == 1:
        raise found[0]
    if found:
        raise MultipleValidationErrors(ValidationReport(found))


def flatten(errors: Iterable[HorsiesError]) -> tuple[HorsiesError, ...]:
    """Replace every `MultipleValidationErrors` by the errors that it contains."""
    return tuple(
        single
        for error in errors
        for single in (error.report.errors if isinstance(error, MultipleValidationErrors) else (error,))
    )


class _Collection(threading.local):
    """The errors that the running check of this thread has collected; None if no check is running."""

    found: list[HorsiesError] | None = None


_collection = _Collection()


@contextmanager
def collecting(found: list[HorsiesError]) -> Generator[None]:
    """Collect errors of this thread in ``found`` within this block, so that a check reports all of them."""
    before, _collection.found = _collection.found, found
    try:
        yield
    finally:
        _collection.found = before


def report(errors: Iterable[HorsiesError]) -> None:
    """Keep the errors for the running check, or raise them with `raise_all` if no check is running."""
    raise_all(error for error in errors if not collect(error))


def collect(error: HorsiesError) -> bool:
    """Keep an error for the running check. Return False if no check is running and the caller must raise the error."""
    if _collection.found is None:
        return False
    _collection.found += flatten([error])
    return True
