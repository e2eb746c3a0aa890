"""A test that fails while a real worker runs."""

from shop import add, app


def test_with_a_worker(horsies):
    with horsies(app).worker():
        assert add.send(1, 2).unwrap().get(timeout_ms=30_000).unwrap() == 4
