"""Collects the errors of a construction as a list."""

from collections.abc import Callable

import pytest

from horsies.errors import ConfigurationError, HorsiesError, flatten


def problems(make: Callable[[], object]) -> list[HorsiesError]:
    """Return the errors that a constructor reports."""
    with pytest.raises(HorsiesError) as raised:
        make()
    assert isinstance(raised.value, ValueError)
    return list(flatten([raised.value]))


def only_problem(make: Callable[[], object]) -> HorsiesError:
    [problem] = problems(make)
    assert isinstance(problem, ConfigurationError)
    return problem
