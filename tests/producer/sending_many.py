"""A producer that sends tasks from a generator, and prints the memory that it took beyond their handles, in bytes.

test_send_many_memory.py runs it with a URL and the number of tasks.
"""

import ctypes
import gc
import re
import sys
from pathlib import Path

from horsies import PostgresConfig
from tests.producer.shop import Shop
from tests.support.sessions import SCHEMA


def memory(name: str) -> int:
    """Return the resident memory of this process: now (``VmRSS``), or at its peak (``VmHWM``)."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def now() -> int:
    """Return the resident memory after everything was returned that is not in use."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return memory("VmRSS")


url, count = sys.argv[1], int(sys.argv[2])
shop = Shop(PostgresConfig(database_url=url, schema=SCHEMA))
shop.plain.send_many([(0,)]).unwrap()
before = now()
handles = shop.plain.send_many((number,) for number in range(count)).unwrap()
peak, after = memory("VmHWM"), now()
assert len(handles) == count
handles.clear()
sys.stdout.write(f"{peak - before - (after - now())}\n")
