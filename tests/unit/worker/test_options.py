"""`WorkerOptions`: validation of the options that a program sets."""

from typing import Any

import pytest

from horsies import AppConfig, Horsies, MultipleValidationErrors, PostgresConfig
from horsies.errors import ConfigurationError, ErrorCode
from horsies.worker.options import WorkerKeywords, WorkerOptions

APP = Horsies(AppConfig(broker=PostgresConfig(database_url="postgresql://nobody@127.0.0.1:1/none")))


def test_the_keywords_are_the_fields() -> None:
    assert list(WorkerKeywords.__annotations__) == list(WorkerOptions.__dataclass_fields__)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"processes": 0}, "processes must be a whole number of at least 1, got 0"),
        ({"concurrency": "2"}, "concurrency must be a whole number of at least 1, got '2'"),
        ({"max_tasks_per_child": -1}, "max_tasks_per_child must be a whole number of at least 0, got -1"),
        ({"max_memory_per_child_mb": 0.5}, "max_memory_per_child_mb must be a whole number of at least 0, got 0.5"),
        ({"metrics_port": 65536}, "metrics_port must be a port from 0 to 65535, got 65536"),
        ({"start_method": "thread"}, "start_method must be one of fork, spawn, got 'thread'"),
    ],
)
def test_a_wrong_option_is_refused_with_its_place(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        APP.worker(**options)
    error = caught.value
    assert (error.code, error.message) == (ErrorCode.CLI_INVALID_ARGS, says)
    assert error.location is not None
    assert error.location.file == __file__


def test_all_wrong_options_are_named_together() -> None:
    with pytest.raises(MultipleValidationErrors) as caught:
        APP.worker(processes=-1, max_claim_batch=-1)
    assert len(caught.value.report.errors) == 2
