"""What is wrong with a program, as opposed to with a task: errors that a developer has to mend in the source.

All are `HorsiesError` with a code, a place in the source and a way out. The tree:

    HorsiesError
    ├── ConfigurationError          (also ValueError)
    ├── TaskDefinitionError         (also ValueError)
    ├── WorkflowValidationError     (also ValueError)
    └── MultipleValidationErrors    (also ValueError): several of the above, found together
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
        """``file:line``, as editors and terminals make it a link."""
        return f"{self.file}:{self.line}"


class HorsiesError(Exception):
    """Something a developer has to mend.

    Attributes:
        code: what kind of problem it is.
        message: what is wrong, in one sentence.
        location: where in the source, where that is known.
        notes: facts that help to understand it.
        help_text: what to do about it.
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
        """Take code and message, and what else is known about the problem."""
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.location = location
        self.notes = tuple(notes)
        self.help_text = help_text

    def __str__(self) -> str:
        """All of it, for a plain traceback."""
        lines = [f"[{self.code}] {self.message}"]
        if self.location is not None:
            lines.append(f"  --> {self.location}")
        lines += [f"  = note: {note}" for note in self.notes]
        if self.help_text is not None:
            lines.append(f"  = help: {self.help_text}")
        return "\n".join(lines)


class ConfigurationError(HorsiesError, ValueError):
    """A setting, an option of the command line, or the place an app is loaded from is wrong."""


class TaskDefinitionError(HorsiesError, ValueError):
    """A task cannot be defined as it is written."""


class WorkflowValidationError(HorsiesError, ValueError):
    """A workflow cannot be built as it is written."""


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """All problems that one phase of checking found, in the order they were found."""

    errors: tuple[HorsiesError, ...]


class MultipleValidationErrors(HorsiesError, ValueError):  # noqa: N818 - the documented name
    """Several problems that were found together.

    Attributes:
        report: holds them; ``code`` and ``location`` are those of the first.
    """

    def __init__(self, report: ValidationReport) -> None:
        """Take a report of at least one error."""
        first = report.errors[0]
        super().__init__(first.code, f"{len(report.errors)} errors", location=first.location)
        self.args = (report,)  # what unpickling passes to this constructor
        self.report = report

    def __str__(self) -> str:
        """How many there are, then every one in full."""
        return "\n".join([self.message, *map(str, self.report.errors)])


def caller_location() -> SourceLocation | None:
    """Find the user's line that led here: the innermost frame outside horsies and pydantic."""
    line = caller_line()
    return None if line is None else frame_location(*line)


def caller_line() -> tuple[str, int] | None:
    """File and line of `caller_location` as the frame has them: cheap enough to be noted ten thousand times."""
    frame = inspect.currentframe()
    while frame is not None and _root_package(frame) in _NOT_THE_USERS:
        frame = frame.f_back
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _root_package(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name.partition(".")[0] if isinstance(name, str) else ""


def users_frames(found: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of horsies above the user's; all of it, if there are no others."""
    own = found
    while own is not None and _root_package(own.tb_frame) in _NOT_THE_USERS:
        own = own.tb_next
    return own or found


def raised_at(error: BaseException) -> SourceLocation | None:
    """Find the user's line that an exception came from: the innermost in its traceback.

    Lines of installed packages count only where there are no others, for the user's own package may be installed;
    those of horsies and the standard library never do.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return frame_location(error.filename, error.lineno or 1)
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    lines = [frame_location(frame.filename, frame.lineno or 1) for frame in frames if frame.filename[:1] != "<"]
    candidates = [line for line in lines if not _is_library(Path(line.file))]
    own = [line for line in candidates if not _is_installed(Path(line.file))]
    return next(reversed(own or candidates), None)


def is_users_own(file: Path) -> bool:
    """Whether a file is part of the program, and not of a library."""
    return not (str(file).startswith("<") or _is_library(file) or _is_installed(file))


def _is_library(file: Path) -> bool:
    return file.is_relative_to(_LIBRARY) or (file.is_relative_to(_STANDARD_LIBRARY) and not _is_installed(file))


def _is_installed(file: Path) -> bool:
    return any(file.is_relative_to(folder) for folder in _INSTALLED)


def frame_location(file: str, line: int) -> SourceLocation:
    """Make a location of what a frame, a code object or a traceback says; ``<stdin>`` and the like stay as they are."""
    return SourceLocation(file if file.startswith("<") else str(Path(file).absolute()), line)


def raise_all(errors: Iterable[HorsiesError]) -> None:
    """Report problems together.

    Raises:
        HorsiesError: the error itself if there is one, `MultipleValidationErrors` if there are several;
            several that were already reported together are counted one by one.
    """
    found = flatten(errors)
    if len(found) == 1:
        raise found[0]
    if found:
        raise MultipleValidationErrors(ValidationReport(found))


def flatten(errors: Iterable[HorsiesError]) -> tuple[HorsiesError, ...]:
    """Put the errors of every `MultipleValidationErrors` in its place."""
    return tuple(
        single
        for error in errors
        for single in (error.report.errors if isinstance(error, MultipleValidationErrors) else (error,))
    )


class _Collection(threading.local):
    """What a check under way in this thread has collected; None: there is none under way."""

    found: list[HorsiesError] | None = None


_collection = _Collection()


@contextmanager
def collecting(found: list[HorsiesError]) -> Generator[None]:
    """Within this block `collect` puts errors of this thread into a list: a check reports all, not only the first."""
    before, _collection.found = _collection.found, found
    try:
        yield
    finally:
        _collection.found = before


def report(errors: Iterable[HorsiesError]) -> None:
    """Raise problems together, as `raise_all` does, or keep them for the check that is under way."""
    raise_all(error for error in errors if not collect(error))


def collect(error: HorsiesError) -> bool:
    """Keep an error for the check that is under way. False: there is none, the error has to be raised."""
    if _collection.found is None:
        return False
    _collection.found += flatten([error])
    return True
