"""horsies: a PostgreSQL-backed task queue with types that hold end to end and errors as values.

What there is to import stands in ``__init__.pyi``, one name a line, as type checkers read it. Names are imported from
their modules at first use: who needs a few, such as the command line for its help, does not pay for the database's
driver.
"""

from importlib import import_module
from pathlib import Path

_LINES = Path(__file__).with_suffix(".pyi").read_text().splitlines()
_MODULES = {name: module for _from, module, _import, name, *_ in map(str.split, _LINES)}
globals()["__all__"] = sorted(_MODULES, key=lambda name: (not name.isupper(), name[0] != name[0].upper(), name))


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
