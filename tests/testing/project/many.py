"""Tests that pytest-xdist runs in several processes; each has a database of its own."""

import pytest

from shop import add, add_async, app


@pytest.mark.parametrize("number", range(24))
def test_a_database_of_its_own(horsies, number):
    queue = horsies(app)
    assert queue.sent() == []
    task = add_async if number % 2 else add
    assert queue.run(task, number, 1).unwrap() == number + 1
