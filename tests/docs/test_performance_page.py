"""The formula for connections on the page about performance is that of the code."""

import re
from pathlib import Path

from horsies import PostgresConfig
from horsies.db.restrictions import SCHEDULER_CONNECTIONS, WORKER_CONNECTIONS

TIMES = "\N{MULTIPLICATION SIGN}"
PAGE = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()


def test_the_formula_has_the_numbers_of_the_code() -> None:
    config = PostgresConfig()
    of_pool = config.pool_size + config.max_overflow + 1
    assert f"    {WORKER_CONNECTIONS} {TIMES} workers " in PAGE
    assert f"  + {SCHEDULER_CONNECTIONS} {TIMES} workers with --scheduler\n" in PAGE
    assert f"  + producers {TIMES} {of_pool} " in PAGE
    assert f"children whose tasks send or wait {TIMES} {of_pool} " in PAGE


def test_the_examples_follow_from_the_formula() -> None:
    examples = re.findall(rf"4 {TIMES} (\d+) \+ 1 \+ 4 {TIMES} (\d+) = (\d+) \|", PAGE)
    of_pool = [PostgresConfig(), PostgresConfig(pool_size=4, max_overflow=0)]
    pools = [config.pool_size + config.max_overflow + 1 for config in of_pool]
    assert examples == [
        (str(WORKER_CONNECTIONS), str(pool), str(4 * WORKER_CONNECTIONS + 1 + 4 * pool)) for pool in pools
    ]
