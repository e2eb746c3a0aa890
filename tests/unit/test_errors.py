import copy
import json
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pydantic
import pytest

from horsies.config.app import RecoveryConfig
from horsies.errors import (
    ConfigurationError,
    ErrorCode,
    HorsiesError,
    MultipleValidationErrors,
    SourceLocation,
    TaskDefinitionError,
    ValidationReport,
    WorkflowValidationError,
    caller_location,
    flatten,
    raise_all,
    raised_at,
)

HERE = SourceLocation("/project/instance.py", 7)


def full_error(kind: type[HorsiesError] = ConfigurationError) -> HorsiesError:
    return kind(
        ErrorCode.BROKER_INVALID_URL,
        "the URL is wrong",
        location=HERE,
        notes=["it has no scheme", "it is short"],
        help_text="write a longer one",
    )


def several(*errors: HorsiesError) -> MultipleValidationErrors:
    return MultipleValidationErrors(ValidationReport(errors))


def test_codes_are_their_own_text() -> None:
    assert ErrorCode.TASK_NO_RETURN_TYPE == "HRS-100"
    assert f"{ErrorCode.WORKFLOW_CYCLE_DETECTED}" == "HRS-007"


def test_every_code_has_one_name_and_the_families_keep_to_their_hundreds() -> None:
    numbers = [int(code.removeprefix("HRS-")) for code in ErrorCode]
    assert numbers == sorted(set(numbers))
    workflow_codes = [code for code in ErrorCode if code.name.startswith("WORKFLOW_")]
    assert workflow_codes == [code for code in ErrorCode if code < "HRS-100"]
    assert len(ErrorCode) == 60


def test_an_error_has_only_what_it_is_given() -> None:
    error = HorsiesError(ErrorCode.TASK_NOT_REGISTERED, "no such task")
    assert (error.location, error.notes, error.help_text) == (None, (), None)
    assert str(error) == "[HRS-300] no such task"


def test_a_plain_traceback_shows_everything() -> None:
    assert str(full_error()).splitlines() == [
        "[HRS-203] the URL is wrong",
        "  --> /project/instance.py:7",
        "  = note: it has no scheme",
        "  = note: it is short",
        "  = help: write a longer one",
    ]


@pytest.mark.parametrize("kind", [ConfigurationError, TaskDefinitionError, WorkflowValidationError])
def test_a_mistake_of_the_user_is_a_value_error(kind: type[HorsiesError]) -> None:
    assert isinstance(full_error(kind), ValueError)


def test_an_error_crosses_a_process_boundary_whole() -> None:
    error = full_error()
    for twin in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):  # noqa: S301
        assert type(twin) is ConfigurationError
        assert vars(twin) == vars(error)
        assert str(twin) == str(error)
        assert twin.code is ErrorCode.BROKER_INVALID_URL


def test_several_errors_cross_a_process_boundary_whole() -> None:
    twin = pickle.loads(pickle.dumps(several(full_error(), full_error(TaskDefinitionError))))  # noqa: S301
    assert isinstance(twin, MultipleValidationErrors)
    assert [type(error) for error in twin.report.errors] == [ConfigurationError, TaskDefinitionError]
    assert [str(error) for error in twin.report.errors] == [str(full_error())] * 2


def test_several_errors_show_how_many_and_each() -> None:
    text = str(several(full_error(), HorsiesError(ErrorCode.TASK_NOT_REGISTERED, "no such task")))
    assert text.splitlines()[0] == "2 errors"
    assert str(full_error()) in text
    assert "[HRS-300] no such task" in text


def test_several_errors_stand_where_the_first_stands() -> None:
    error = several(full_error(), HorsiesError(ErrorCode.TASK_NOT_REGISTERED, "no such task"))
    assert (error.code, error.location) == (ErrorCode.BROKER_INVALID_URL, HERE)
    assert isinstance(error, ValueError)


def test_raise_all_of_none_does_nothing() -> None:
    with nullcontext() as nothing:
        raise_all([])
    assert nothing is None


def test_raise_all_of_one_raises_that_very_error() -> None:
    error = full_error()
    with pytest.raises(ConfigurationError) as raised:
        raise_all([error])
    assert raised.value is error


def test_raise_all_of_several_reports_them_in_order() -> None:
    first, second = full_error(), full_error(TaskDefinitionError)
    with pytest.raises(MultipleValidationErrors) as raised:
        raise_all(iter([first, second]))
    assert raised.value.report.errors == (first, second)


def test_reports_within_reports_are_one_list() -> None:
    first, second, third = full_error(), full_error(), full_error()
    assert flatten([several(first, second), third]) == (first, second, third)


def test_a_location_is_a_link() -> None:
    assert str(SourceLocation("/project/tasks.py", 12)) == "/project/tasks.py:12"


def test_caller_location_is_the_line_of_the_user() -> None:
    location = caller_location()
    assert location is not None
    assert Path(location.file) == Path(__file__)
    assert Path(__file__).read_text().splitlines()[location.line - 1] == "    location = caller_location()"


def test_caller_location_looks_through_horsies_and_pydantic() -> None:
    class Holder(pydantic.BaseModel):
        recovery: RecoveryConfig

    with pytest.raises(pydantic.ValidationError) as raised:
        Holder(recovery={"check_interval_ms": 1})  # pyright: ignore[reportArgumentType]
    [detail] = raised.value.errors()
    error: object = detail.get("ctx", {}).get("error")
    assert isinstance(error, ConfigurationError)
    assert error.location is not None
    line = Path(error.location.file).read_text().splitlines()[error.location.line - 1]
    assert line.lstrip().startswith("Holder(")


class TestRaisedAt:
    """`raised_at` on exceptions of files that look like a user's project."""

    def load(self, file: Path, source: str) -> Callable[[], object]:
        file.write_text(source)
        module = ModuleType(file.stem)
        exec(compile(source, file, "exec"), vars(module))  # noqa: S102
        return vars(module)["run"]

    def caught(self, run: Callable[[], object]) -> BaseException:
        try:
            run()
        except BaseException as error:  # noqa: BLE001
            return error
        raise AssertionError

    def test_is_the_innermost_line_of_the_user(self, tmp_path: Path) -> None:
        run = self.load(tmp_path / "user.py", "def inner():\n    1 / 0\n\ndef run():\n    inner()\n")
        assert raised_at(self.caught(run)) == SourceLocation(str(tmp_path / "user.py"), 2)

    def test_is_not_in_the_standard_library(self, tmp_path: Path) -> None:
        run = self.load(tmp_path / "user.py", "import json\n\ndef run():\n    json.loads('{')\n")
        assert raised_at(self.caught(run)) == SourceLocation(str(tmp_path / "user.py"), 4)

    def test_is_not_in_an_installed_package(self, tmp_path: Path) -> None:
        source = "import psycopg.conninfo\n\ndef run():\n    psycopg.conninfo.make_conninfo('nonsense')\n"
        assert raised_at(self.caught(self.load(tmp_path / "user.py", source))) == SourceLocation(
            str(tmp_path / "user.py"), 4
        )

    def test_is_not_in_a_compiled_module(self, tmp_path: Path) -> None:
        source = "from psycopg.pq import PGconn\n\ndef run():\n    PGconn().exec_(b'select 1')\n"
        assert raised_at(self.caught(self.load(tmp_path / "user.py", source))) == SourceLocation(
            str(tmp_path / "user.py"), 4
        )

    def test_is_not_in_horsies(self, tmp_path: Path) -> None:
        source = "from horsies.errors import raise_all\n\ndef run():\n    raise_all(1)\n"
        assert raised_at(self.caught(self.load(tmp_path / "user.py", source))) == SourceLocation(
            str(tmp_path / "user.py"), 4
        )

    def test_of_a_syntax_error_is_the_wrong_line(self, tmp_path: Path) -> None:
        file = tmp_path / "wrong.py"
        error = self.caught(lambda: compile("a = 1\nb = = 2\n", file, "exec"))
        assert raised_at(error) == SourceLocation(str(file), 2)

    def test_is_none_where_the_user_has_no_line(self) -> None:
        error = json.JSONDecodeError("wrong", "{", 0)
        assert raised_at(error) is None
