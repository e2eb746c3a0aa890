"""Tests that use no fixture of the testing kit, so that nothing guards them."""

import sys

from shop import add


def test_the_plugin_has_loaded_nothing():
    assert "horsies.testing.guard" not in sys.modules
    assert "horsies.testing.databases" not in sys.modules


def test_a_send_reaches_the_database_of_the_app():
    error = add.send(1, 2).unwrap_err()
    assert "127.0.0.1" in error.message
